# shellcheck shell=bash
# The two DynamoDB tables (encrypted at rest, as every table is). Sourced.

ensure_ticks_table() { ensure_table "$TABLE_NAME" ticks_table.json; }
ensure_alerts_table() { ensure_table "$ALERTS_TABLE_NAME" alerts_table.json; }

# ensure_table NAME DEFINITION. The ARN of its stream goes to a file, for table_stream.
ensure_table() {
  local seen stream='"LatestStreamArn": "([^"]+)"'
  if ! exists table "$1"; then
    call dynamodb create-table --cli-input-json "$(render "$SCRIPTS/resources/$2")" --output json
    [[ ! $REPLY =~ $stream ]] || keep_stream "$1" "${BASH_REMATCH[1]}"
    created table "$1"
    call dynamodb wait table-exists --table-name "$1"
    expire_items "$1"
    keep_backups "$1"
    return
  fi
  log "table $1: already exists"
  seen=$(description_of table "$1")
  [[ $seen == *'"TableStatus": "ACTIVE"'* ]] || call dynamodb wait table-exists --table-name "$1"
  if [[ $1 == "$TABLE_NAME" ]] && ! is_set table "$1" '{"StreamSpecification": {"StreamViewType": "NEW_IMAGE"}}'; then
    call dynamodb update-table --table-name "$1" --output json \
      --stream-specification StreamEnabled=true,StreamViewType=NEW_IMAGE
    seen=$REPLY
    log "table $1: stream switched on"
  fi
  [[ ! $seen =~ $stream ]] || keep_stream "$1" "${BASH_REMATCH[1]}"
  call dynamodb describe-time-to-live --table-name "$1" --query TimeToLiveDescription.TimeToLiveStatus --output text
  [[ $REPLY == ENABL* ]] || expire_items "$1"
  call dynamodb describe-continuous-backups --table-name "$1" --output text --query \
    ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus
  [[ $REPLY == ENABLED ]] || keep_backups "$1"
}

expire_items() {
  call dynamodb update-time-to-live --table-name "$1" \
    --time-to-live-specification Enabled=true,AttributeName=expires_at
  log "table $1: items expire"
}

# A table that was made a moment ago has no backups to continue yet.
keep_backups() {
  retry_while ContinuousBackupsUnavailableException dynamodb update-continuous-backups --table-name "$1" \
    --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true
  log "table $1: backed up continuously"
}

keep_stream() { printf '%s' "$2" >"$(seen_file table "$1").stream"; }

# The ARN of the table's stream, which ends in the time when it was made (LABEL: in a dry run it may not be yet).
table_stream() {
  cat "$(seen_file table "$1").stream" 2>/dev/null || printf '%s/stream/LABEL' "$(arn_of table "$1")"
}

delete_table() {
  call_unless 'ResourceNotFoundException|ResourceInUseException' dynamodb delete-table --table-name "$1" || true
  log "table $1: deleted"
}
