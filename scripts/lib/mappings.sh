# shellcheck shell=bash
# The event source mappings: what Lambda reads, and how it treats failures. Sourced.

ensure_stream_mapping() {
  ensure_mapping "$PROCESSOR" "$(arn_of stream "$STREAM_NAME")" kinesis_mapping.json
}

ensure_table_mapping() {
  call dynamodb describe-table --table-name "$TABLE_NAME" --query Table.LatestStreamArn --output text
  ensure_mapping "$ANALYST" "$REPLY" dynamodb_mapping.json
}

# ensure_mapping FUNCTION SOURCE_ARN SETTINGS
ensure_mapping() {
  local wanted uuid='"UUID": "([^"]+)"'
  wanted=$(render "$SCRIPTS/resources/$3")
  call lambda list-event-source-mappings --function-name "$1" --event-source-arn "$2" --output json \
    --query 'EventSourceMappings[0]'
  if [[ ! $REPLY =~ $uuid ]]; then
    # A role that was made a moment ago may not read the source yet.
    retry_while InvalidParameterValueException lambda create-event-source-mapping --cli-input-json "$wanted" \
      --function-name "$1" --event-source-arn "$2" --starting-position TRIM_HORIZON --output json
    [[ $REPLY =~ $uuid ]]
    log "mapping of $1: created"
  elif has_settings "$wanted" "$REPLY"; then
    log "mapping of $1: already exists"
  else
    call lambda update-event-source-mapping --cli-input-json "$wanted" --uuid "${BASH_REMATCH[1]}" --output json
    [[ $REPLY =~ $uuid ]]
    log "mapping of $1: settings updated"
  fi
  # Early releases of CLI v2 cannot tag one while they create it.
  call lambda tag-resource --resource "$(arn_of mapping "${BASH_REMATCH[1]}")" --tags "project=$PROJECT"
}

# A mapping that is being deleted invokes its function until it is gone.
delete_mapping() {
  local tries=0
  call_unless 'ResourceNotFoundException|ResourceInUseException' lambda delete-event-source-mapping --uuid "$1" || true
  while call_unless ResourceNotFoundException lambda get-event-source-mapping --uuid "$1"; do
    tries=$((tries + 1))
    ((tries < 60)) || die "mapping $1 is still there after two minutes: run this again"
    sleep 2
  done
  log "mapping $1: deleted"
}
