# shellcheck shell=bash
# The two DynamoDB tables. (DynamoDB encrypts every table at rest.)
require_lib state/inventory state/lookup state/survey

LATEST_STREAM='"LatestStreamArn": "([^"]+)"'

ensure_ticks_table() { ensure_table "$TABLE_NAME" ticks_table.json; }
ensure_alerts_table() { ensure_table "$ALERTS_TABLE_NAME" alerts_table.json; }

# ensure_table NAME DEFINITION: DEFINITION is a file of scripts/resources/.
ensure_table() {
  if ! exists table "$1"; then
    call dynamodb create-table --cli-input-json "$(render "$SCRIPTS/resources/$2")" --output json
    keep_description table "$1"
    created table "$1"
    call dynamodb wait table-exists --table-name "$1"
    expire_items "$1"
    keep_backups "$1"
    return
  fi
  log "table $1: already exists"
  [[ $(description_of table "$1") == *'"TableStatus": "ACTIVE"'* ]] || call dynamodb wait table-exists --table-name "$1"
  if [[ $1 == "$TABLE_NAME" && $(description_of table "$1") != *'"StreamViewType": "NEW_IMAGE"'* ]]; then
    call dynamodb update-table --table-name "$1" --output json \
      --stream-specification StreamEnabled=true,StreamViewType=NEW_IMAGE
    keep_description table "$1"
    log "table $1: stream switched on"
  fi
  call dynamodb describe-time-to-live --table-name "$1" --query TimeToLiveDescription.TimeToLiveStatus --output text
  if [[ $REPLY != ENABL* ]]; then
    expire_items "$1"
    log "table $1: items expire"
  fi
  call dynamodb describe-continuous-backups --table-name "$1" --output text --query \
    ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus
  if [[ $REPLY != ENABLED ]]; then
    keep_backups "$1"
    log "table $1: backed up continuously"
  fi
}

expire_items() {
  call dynamodb update-time-to-live --table-name "$1" \
    --time-to-live-specification Enabled=true,AttributeName=expires_at
}

# A new table cannot have continuous backups for its first moments.
keep_backups() {
  retry_while ContinuousBackupsUnavailableException dynamodb update-continuous-backups --table-name "$1" \
    --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true
}

# table_stream TABLE: prints the ARN of its stream. It ends with the time when the stream was made, which a dry run
# does not know yet: LABEL stands for it.
table_stream() {
  if [[ $(description_of table "$1" 2>/dev/null) =~ $LATEST_STREAM ]]; then
    printf '%s' "${BASH_REMATCH[1]}"
  else
    printf '%s/stream/LABEL' "$(arn_of table "$1")"
  fi
}

delete_table() {
  delete_unless ResourceNotFoundException dynamodb delete-table --table-name "$1" || true
  log "table $1: deleted"
}
