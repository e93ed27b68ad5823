# shellcheck shell=bash
# What belongs to the project beside the inventory: mappings, what scripts/monitoring.sh made, and what was added
# later and tagged.
require_lib state/inventory state/survey

# Names of their own for what takes no tag (dashboard, budget) or is seen by its tag only after a while.
# shellcheck disable=SC2034 # not every script that sources this uses all of them
{
  DASHBOARD=$PROJECT
  TRAIL=$PROJECT
  BUDGET=$PROJECT
  OPERATIONS_TOPIC=$PROJECT-operations
  ALARMS=("$PROJECT-iterator-age-$PROCESSOR" "$PROJECT-iterator-age-$ANALYST" "$PROJECT-errors-$PROCESSOR"
    "$PROJECT-errors-$ANALYST" "$PROJECT-rejects" "$PROJECT-no-data")
  FIND_MONITORING=(find_dashboard find_alarm find_operations_topic find_trail find_budget)
}

find_tagged() {
  call resourcegroupstaggingapi get-resources --tag-filters "Key=project,Values=$PROJECT" --output text \
    --query 'ResourceTagMappingList[].[ResourceARN]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/arns"
}

# Also those whose function is gone.
find_mappings() {
  call lambda list-event-source-mappings --output text --query 'EventSourceMappings[].[FunctionArn,UUID]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/mappings"
}

# found KIND: the names in REPLY, one a line.
found() { awk -v kind="$1" 'NF { print kind, $0 }' <<<"$REPLY" >"$TEMPORARY/found-$1"; }

find_dashboard() {
  call cloudwatch list-dashboards --dashboard-name-prefix "$DASHBOARD" --output text \
    --query "DashboardEntries[?DashboardName=='$DASHBOARD'].[DashboardName]"
  found dashboard
}

find_alarm() {
  call cloudwatch describe-alarms --alarm-names "${ALARMS[@]}" --query 'MetricAlarms[].[AlarmName]' --output text
  found alarm
}

find_operations_topic() {
  read_tag topic "$OPERATIONS_TOPIC" && [[ $REPLY == "$PROJECT" ]] && REPLY=$OPERATIONS_TOPIC || REPLY=''
  found operations-topic
}

# One of this name that writes to another bucket is somebody else's. Trails and budgets are the account's: who may
# not look at them has made none.
find_trail() {
  call_unless AccessDeniedException cloudtrail describe-trails --trail-name-list "$TRAIL" --no-include-shadow-trails \
    --query "trailList[?S3BucketName=='$BUCKET_NAME'].[Name]" --output text || REPLY=''
  found trail
}

find_budget() {
  call_unless 'NotFoundException|AccessDeniedException' budgets describe-budget --account-id "$ACCOUNT_ID" \
    --budget-name "$BUDGET" --query Budget.BudgetName --output text || REPLY=''
  found budget
}

# "kind name" lines out of what the searches found.
leftovers() {
  local arn uuid known kind name
  while read -r arn uuid; do
    case ${arn##*:function:} in
      "$PROCESSOR" | "$ANALYST")
        [[ $(state_of function "${arn##*:}") == foreign ]] || printf 'mapping %s\n' "$uuid"
        ;;
    esac
  done <"$TEMPORARY/mappings"
  known=$(while read -r kind name; do printf ' %s ' "$(arn_of "$kind" "$name")"; done < <(inventory))
  {
    cat "$TEMPORARY"/found-*
    while read -r arn; do
      [[ -z $arn || $known == *" $arn "* ]] || tagged_resource "$arn"
    done <"$TEMPORARY/arns"
  } | sort -u
}

# What has the tag is ours, whatever its name: the names in .env may have changed since it was made.
tagged_resource() {
  case $1 in
    *:event-source-mapping:*) ;; # found by its function
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

delete_resource() { die "$1 has the tag project=$PROJECT, but is nothing that these scripts make: delete it yourself"; }
