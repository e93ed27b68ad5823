# shellcheck shell=bash
# What belongs to the project and is not in the inventory: mappings, what monitoring.sh made, and everything else that
# has the tag.
require_lib state/{inventory,lookup,regions,survey} monitoring/search

# What has the tag and is not in the inventory, as "kind name" lines in $TEMPORARY/tagged.
find_tagged() {
  local kind name known arns arn
  known=$(while read -r kind name; do printf ' %s ' "$(arn_of "$kind" "$name")"; done < <(inventory))
  call resourcegroupstaggingapi get-resources --tag-filters "Key=project,Values=$PROJECT" --output text \
    --query 'ResourceTagMappingList[].[ResourceARN]'
  arns=$REPLY
  : >"$TEMPORARY/tagged"
  while read -r arn; do
    [[ -n $arn && $known != *" $arn "* ]] || continue
    read -r kind name <<<"$(tagged_resource "$arn")"
    [[ -z $kind ]] || ! is_there "$kind" "$name" || printf '%s\n' "$kind $name" >>"$TEMPORARY/tagged"
  done <<<"$arns"
}

# is_there KIND NAME: AWS lists what was deleted by its tag for hours, so this asks for the resource itself.
is_there() {
  case $1 in
    stream | table | topic) read_tag "$@" ;;
    bucket) read_tag "$@" && ! is_elsewhere "$@" ;;
    operations-topic) read_tag topic "$2" ;;
    queue)
      call_unless 'AWS.SimpleQueueService.NonExistentQueue|QueueDoesNotExist' sqs get-queue-url --queue-name "$2" \
        --output text
      ;;
    alarm)
      call cloudwatch describe-alarms --alarm-names "$2" --query 'MetricAlarms[].AlarmName' --output text
      [[ $REPLY == "$2" ]]
      ;;
    trail) call_unless TrailNotFoundException cloudtrail get-trail-status --name "$2" --output text ;;
  esac
}

# All mappings, because one can outlive its function.
find_mappings() {
  call lambda list-event-source-mappings --output text --query 'EventSourceMappings[].[FunctionArn,UUID]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/mappings"
}

# wait_until_gone KIND NAME: AWS has waiters for two kinds.
wait_until_gone() {
  case $1 in
    stream) call kinesis wait stream-not-exists --stream-name "$2" ;;
    table) call dynamodb wait table-not-exists --table-name "$2" ;;
    *) sleep 3 ;;
  esac
}

# Prints what the searches found, as "kind name" lines.
leftovers() {
  local arn uuid
  while read -r arn uuid; do
    case ${arn##*:function:} in
      "$PROCESSOR" | "$ANALYST")
        [[ $(state_of function "${arn##*:}") == foreign ]] || printf 'mapping %s\n' "$uuid"
        ;;
    esac
  done <"$TEMPORARY/mappings"
  sort -u "$TEMPORARY"/found-* "$TEMPORARY/tagged"
}

# tagged_resource ARN: its "kind name". What has the tag is ours, whatever its name: the names in .env may have changed
# since it was made.
tagged_resource() {
  case $1 in
    *:event-source-mapping:*) ;; # find_mappings finds it
    arn:aws:kinesis:*:stream/*) printf 'stream %s\n' "${1##*/}" ;;
    arn:aws:dynamodb:*:table/*) printf 'table %s\n' "${1##*/}" ;;
    arn:aws:s3:::*) printf 'bucket %s\n' "${1##*:}" ;;
    arn:aws:sns:*:"$OPERATIONS_TOPIC") printf 'operations-topic %s\n' "${1##*:}" ;;
    arn:aws:sns:*) printf 'topic %s\n' "${1##*:}" ;;
    arn:aws:sqs:*) printf 'queue %s\n' "${1##*:}" ;;
    arn:aws:cloudwatch:*:alarm:*) printf 'alarm %s\n' "${1##*:alarm:}" ;;
    arn:aws:cloudtrail:*:trail/*) printf 'trail %s\n' "${1##*/}" ;;
    *) printf 'resource %s\n' "$1" ;;
  esac
}

delete_resource() { die "$1 has the tag project=$PROJECT, but these scripts do not make such a resource: delete it yourself"; }
