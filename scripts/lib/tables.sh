# shellcheck shell=bash
# The two DynamoDB tables (encrypted at rest, as every table is). Sourced.

ensure_ticks_table() { ensure_table "$TABLE_NAME" ticks_table.json; }
ensure_alerts_table() { ensure_table "$ALERTS_TABLE_NAME" alerts_table.json; }

# ensure_table NAME DEFINITION
ensure_table() {
  if exists table "$1"; then
    log "table $1: already exists"
  else
    call dynamodb create-table --cli-input-json "$(render "$SCRIPTS/resources/$2")"
    log "table $1: created"
  fi
  call dynamodb wait table-exists --table-name "$1"
  call dynamodb describe-time-to-live --table-name "$1" --query TimeToLiveDescription.TimeToLiveStatus --output text
  [[ $REPLY == ENABL* ]] || call dynamodb update-time-to-live --table-name "$1" \
    --time-to-live-specification Enabled=true,AttributeName=expires_at
  # A table that was made a moment ago has no backups to continue yet.
  retry_while ContinuousBackupsUnavailableException dynamodb update-continuous-backups --table-name "$1" \
    --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true
}

delete_table() {
  call_unless 'ResourceNotFoundException|ResourceInUseException' dynamodb delete-table --table-name "$1" || true
  log "table $1: deleted"
}
