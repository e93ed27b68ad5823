# shellcheck shell=bash
# The event source mappings: what Lambda reads, and how it treats failures.
require_lib state/inventory resources/tables state/comparison

ensure_stream_mapping() { ensure_mapping "$PROCESSOR" "$(arn_of stream "$STREAM_NAME")" kinesis_mapping.json; }
ensure_table_mapping() { ensure_mapping "$ANALYST" "$(table_stream "$TABLE_NAME")" dynamodb_mapping.json; }

# ensure_mapping FUNCTION SOURCE_ARN SETTINGS: SETTINGS is a file of scripts/resources/. A mapping outlives its function
# and its stream, so one may exist when these are new.
ensure_mapping() {
  local wanted uuid='"UUID": "([^"]+)"' arn
  wanted=$(render "$SCRIPTS/resources/$3")
  call lambda list-event-source-mappings --event-source-arn "$2" --output json \
    --query "EventSourceMappings[?ends_with(FunctionArn, ':function:$1')] | [0]"
  if [[ ! $REPLY =~ $uuid ]]; then
    # A new role may not read the source for its first moments.
    retry_while InvalidParameterValueException lambda create-event-source-mapping --cli-input-json "$wanted" \
      --function-name "$1" --event-source-arn "$2" --starting-position TRIM_HORIZON --output json
    log "mapping of $1: created"
    [[ -z $dry_run ]] || REPLY='"UUID": "UUID"'
    [[ $REPLY =~ $uuid ]]
    tag_mapping "${BASH_REMATCH[1]}"
    return
  fi
  arn=$(arn_of mapping "${BASH_REMATCH[1]}")
  log "mapping of $1: already exists"
  if ! has_settings "$wanted" "$REPLY"; then
    call lambda update-event-source-mapping --cli-input-json "$wanted" --uuid "${arn##*:}"
    log "mapping of $1: settings updated"
  fi
  call lambda list-tags --resource "$arn" --query Tags.project --output text
  [[ $REPLY == "$PROJECT" ]] || tag_mapping "${arn##*:}"
}

# tag_mapping UUID: in a second call, because early releases of CLI v2 cannot tag a mapping while they create it.
tag_mapping() { call lambda tag-resource --resource "$(arn_of mapping "$1")" --tags "project=$PROJECT"; }

# delete_mapping UUID: waits until it is gone, because it invokes its function until then.
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
