# shellcheck shell=bash
# What belongs to the project beside the inventory: mappings, and what was added later and tagged. Sourced.

DASHBOARD=$PROJECT # a dashboard takes no tags, so it bears the project's name

find_tagged() {
  call resourcegroupstaggingapi get-resources --tag-filters "Key=project,Values=$PROJECT" --output text \
    --query 'ResourceTagMappingList[].[ResourceARN]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/arns"
}

find_dashboard() {
  call cloudwatch list-dashboards --dashboard-name-prefix "$DASHBOARD" --output text \
    --query "DashboardEntries[?DashboardName=='$DASHBOARD'].[DashboardName]"
  printf '%s' "$REPLY" >"$TEMPORARY/dashboard"
}

# Also those whose function is gone.
find_mappings() {
  call lambda list-event-source-mappings --output text --query 'EventSourceMappings[].[FunctionArn,UUID]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/mappings"
}

# "kind name" lines out of what the above found.
leftovers() {
  local arn uuid known kind name
  while read -r arn uuid; do
    case ${arn##*:function:} in
      "$PROCESSOR" | "$ANALYST")
        [[ $(state_of function "${arn##*:}") == foreign ]] || printf 'mapping %s\n' "$uuid"
        ;;
    esac
  done <"$TEMPORARY/mappings"
  [[ ! -s $TEMPORARY/dashboard ]] || printf 'dashboard %s\n' "$DASHBOARD"
  known=$(while read -r kind name; do printf ' %s ' "$(arn_of "$kind" "$name")"; done < <(inventory))
  while read -r arn; do
    [[ -z $arn || $known == *" $arn "* ]] || tagged_resource "$arn"
  done <"$TEMPORARY/arns"
}

# What has the tag is ours, whatever its name: the names in .env may have changed since it was made.
tagged_resource() {
  case $1 in
    *:event-source-mapping:*) ;; # found by its function
    arn:aws:kinesis:*:stream/*) printf 'stream %s\n' "${1##*/}" ;;
    arn:aws:dynamodb:*:table/*) printf 'table %s\n' "${1##*/}" ;;
    arn:aws:s3:::*) printf 'bucket %s\n' "${1##*:}" ;;
    arn:aws:sns:*) printf 'topic %s\n' "${1##*:}" ;;
    arn:aws:sqs:*) printf 'queue %s\n' "${1##*:}" ;;
    arn:aws:cloudwatch:*:alarm:*) printf 'alarm %s\n' "${1##*:alarm:}" ;;
    *) printf 'resource %s\n' "$1" ;;
  esac
}

delete_queue() {
  if call_unless '.*NonExistentQueue|QueueDoesNotExist' sqs get-queue-url --queue-name "$1" --query QueueUrl --output text; then
    call sqs delete-queue --queue-url "$REPLY"
  fi
  log "queue $1: deleted"
}

delete_alarm() {
  call cloudwatch delete-alarms --alarm-names "$1"
  log "alarm $1: deleted"
}

delete_dashboard() {
  call cloudwatch delete-dashboards --dashboard-names "$1"
  log "dashboard $1: deleted"
}

delete_resource() { die "$1 has the tag project=$PROJECT, but is nothing that these scripts make: delete it yourself"; }
