# shellcheck shell=bash
# What monitoring.sh makes: its names, and how it is found again. Names, because a dashboard and a budget take no tag,
# and the tags of the rest are seen only after a while.
require_lib state/inventory state/lookup state/regions

# shellcheck disable=SC2034 # the files that require this one use these names
{
  CLOUDWATCH_DASHBOARD=$PROJECT
  TRAIL=$PROJECT
  BUDGET=$PROJECT
  OPERATIONS_TOPIC=$PROJECT-operations
  ALARMS=("$PROJECT"-{iterator-age,errors,undelivered}-{"$PROCESSOR","$ANALYST"} "$PROJECT"-{errors,undelivered}-"$FORWARDER"
    "$PROJECT-rejects" "$PROJECT-no-data")
  FIND_MONITORING=(find_cloudwatch_dashboard find_alarm find_operations_topic find_trail find_budget)
}

# note_found KIND: writes the names in REPLY, one a line, to $TEMPORARY/found-KIND as "KIND name".
note_found() { awk -v kind="$1" 'NF { print kind, $0 }' <<<"$REPLY" >"$TEMPORARY/found-$1"; }

# note_found_here KIND: the same, for what belongs to the whole account: the stack in another region may use it.
note_found_here() {
  note_found "$1"
  [[ ! -s $TEMPORARY/found-$1 ]] || belongs_here || : >"$TEMPORARY/found-$1"
}

# Like a budget, a dashboard has no region:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
find_cloudwatch_dashboard() {
  call cloudwatch list-dashboards --dashboard-name-prefix "$CLOUDWATCH_DASHBOARD" --output text \
    --query "DashboardEntries[?DashboardName=='$CLOUDWATCH_DASHBOARD'].[DashboardName]"
  note_found_here cloudwatch-dashboard
}

find_alarm() {
  call cloudwatch describe-alarms --alarm-names "${ALARMS[@]}" --query 'MetricAlarms[].[AlarmName]' --output text
  note_found alarm
}

find_operations_topic() {
  read_tag topic "$OPERATIONS_TOPIC" && [[ $REPLY == "$PROJECT" ]] && REPLY=$OPERATIONS_TOPIC || REPLY=''
  note_found operations-topic
}

# A trail of this name that writes to another bucket is not ours. Trails and budgets belong to the whole account:
# a user who may not look at them has not made any.
find_trail() {
  call_unless AccessDeniedException cloudtrail describe-trails --trail-name-list "$TRAIL" --no-include-shadow-trails \
    --query "trailList[?S3BucketName=='$BUCKET_NAME'].[Name]" --output text || REPLY=''
  note_found trail
}

find_budget() {
  call_unless 'NotFoundException|AccessDeniedException' budgets describe-budget --account-id "$ACCOUNT_ID" \
    --budget-name "$BUDGET" --query Budget.BudgetName --output text || REPLY=''
  note_found_here budget
}
