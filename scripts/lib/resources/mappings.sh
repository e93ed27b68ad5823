# shellcheck shell=bash
# The event source mappings: what Lambda reads, and how it treats failures.
require_lib state/inventory resources/{tables,roles} state/comparison

ensure_stream_mapping() {
  ensure_mapping "$PROCESSOR" "$PROCESSOR_ROLE" "$(arn_of stream "$STREAM_NAME")" kinesis_mapping.json
}
ensure_table_mapping() {
  ensure_mapping "$ANALYST" "$ANALYST_ROLE" "$(table_stream "$TABLE_NAME")" dynamodb_mapping.json
}

# ensure_mapping FUNCTION ROLE SOURCE_ARN SETTINGS: SETTINGS is a file of scripts/resources/. A mapping outlives its function
# and its stream, so one may exist when these are new.
ensure_mapping() {
  local wanted found uuid='"UUID": "([^"]+)"' unassumed='"LastProcessingResult": "[^"]*assume' arn
  wanted=$(render "$SCRIPTS/resources/$4")
  call lambda list-event-source-mappings --event-source-arn "$3" --output json \
    --query "EventSourceMappings[?ends_with(FunctionArn, ':function:$1')] | [0]"
  if [[ ! $REPLY =~ $uuid ]]; then
    with_role "$2" lambda create-event-source-mapping --cli-input-json "$wanted" --function-name "$1" \
      --event-source-arn "$3" --starting-position TRIM_HORIZON --output json
    log "mapping of $1: created"
    [[ -z $dry_run ]] || REPLY='"UUID": "UUID"'
    [[ $REPLY =~ $uuid ]]
    tag_mapping "${BASH_REMATCH[1]}"
    return
  fi
  found=$REPLY
  arn=$(arn_of mapping "${BASH_REMATCH[1]}")
  log "mapping of $1: already exists"
  # Here the condition is refused when Lambda polls, not when the mapping is made.
  [[ ! $found =~ $unassumed ]] || trusts_any_account "$2" || trust_any_account "$2"
  if ! has_settings "$wanted" "$found"; then
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
  delete_unless ResourceNotFoundException lambda delete-event-source-mapping --uuid "$1" || true
  while call_unless ResourceNotFoundException lambda get-event-source-mapping --uuid "$1"; do
    tries=$((tries + 1))
    ((tries < 60)) || die "mapping $1 is still there after two minutes: run this again"
    sleep 2
  done
  log "mapping $1: deleted"
}
