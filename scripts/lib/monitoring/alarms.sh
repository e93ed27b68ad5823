# shellcheck shell=bash
# The dashboard and the alarms.
require_lib state/leftovers resources/topic state/comparison

# Five minutes behind leaves ten to mend it before signals are too old to be alerted (ALERT_MAX_AGE_MINUTES), and most
# of the hour after which Lambda gives a batch up.
ensure_iterator_age_alarm() { ensure_alarm iterator_age "$1"; }
# A single error is mended by Lambda's retry; what fails for longer than five minutes is not.
ensure_errors_alarm() { ensure_alarm errors "$1"; }
# The producer sends none, so one is enough.
ensure_rejects_alarm() { ensure_alarm rejects; }
# Ticks come every half minute, but not every quarter of an hour in a quiet or rate-limited one.
ensure_no_data_alarm() { ensure_alarm no_data; }

# ensure_alarm KIND [FUNCTION]: of scripts/resources/alarm_KIND.json
ensure_alarm() {
  # shellcheck disable=SC2034 # FUNCTION is for render
  local wanted name FUNCTION=${2-}
  wanted=$(render "$SCRIPTS/resources/alarm_$1.json")
  name=${wanted#*\"AlarmName\": \"}
  name=${name%%\"*}
  call cloudwatch describe-alarms --alarm-names "$name" --query 'MetricAlarms[0]' --output json
  if [[ $REPLY != null ]] && has_settings "$wanted" "$REPLY"; then
    log "alarm $name: already exists"
    return
  fi
  call cloudwatch put-metric-alarm --cli-input-json "$wanted" --tags "Key=project,Value=$PROJECT"
  log "alarm $name: set"
}

ensure_dashboard() {
  local wanted
  wanted=$(render "$SCRIPTS/resources/dashboard.json")
  if call_unless 'ResourceNotFound(Exception)?|DashboardNotFoundError' cloudwatch get-dashboard \
    --dashboard-name "$DASHBOARD" --query DashboardBody --output text && is_same "$wanted" "$REPLY"; then
    log "dashboard $DASHBOARD: already exists"
    return
  fi
  call cloudwatch put-dashboard --dashboard-name "$DASHBOARD" --dashboard-body "$wanted" --output text \
    --query 'DashboardValidationMessages[].Message'
  log "dashboard $DASHBOARD: set${REPLY:+, with remarks: $REPLY}"
}

delete_alarm() {
  call cloudwatch delete-alarms --alarm-names "$1"
  log "alarm $1: deleted"
}

delete_dashboard() {
  call cloudwatch delete-dashboards --dashboard-names "$1"
  log "dashboard $1: deleted"
}

# What there is, what it costs (us-east-1, in US dollars) and who is told.
print_monitoring() {
  local alarms home="https://$AWS_REGION.console.aws.amazon.com/cloudwatch/home?region=$AWS_REGION"
  in_parallel "${FIND_MONITORING[@]}" || exit 1
  alarms=$(grep -c . "$TEMPORARY/found-alarm" || true)
  cost_row RESOURCE NAME USD/MONTH BUT
  cost_row "CloudWatch alarms, $alarms" "$PROJECT-…" "0.$((alarms * 10))" "an account's first 10 are free"
  cost_row 'CloudWatch dashboard' "$DASHBOARD" 3.00 "an account's first 3 are free"
  cost_row 'CloudWatch metrics, 9' 'StockMarketStreaming (of the functions)' 2.70 "an account's first 10 are free"
  cost_row 'SNS topic, S3 notification' "$OPERATIONS_TOPIC" 0 "\$2 per 100,000 mails, the first 1,000 a month are free"
  [[ ! -s $TEMPORARY/found-trail ]] || cost_row 'CloudTrail trail' "$TRAIL" 0 'a second one in the account costs'
  [[ ! -s $TEMPORARY/found-budget ]] || cost_row 'AWS budget' "$BUDGET" 0 ''
  printf '%s\n' '' "Dashboard: $home#dashboards/dashboard/$DASHBOARD"
  print_told
}

cost_row() { printf '%-28s %-42s %9s  %s\n' "$@"; }

print_told() {
  # shellcheck disable=SC2034 # SNS_TOPIC_ARN is what list_subscriptions lists
  local _ endpoint arn SNS_TOPIC_ARN=$OPERATIONS_TOPIC_ARN
  list_subscriptions
  [[ -n $REPLY ]] || log 'Nobody gets the alarms yet: scripts/monitoring.sh --email ADDRESS'
  while read -r _ endpoint arn; do
    case $arn in
      '') ;;
      arn:*) printf 'Alarms go to %s.\n' "$endpoint" ;;
      *) printf 'Alarms go to %s once the link in the mail "AWS Notification - Subscription Confirmation" was opened.\n' "$endpoint" ;;
    esac
  done <<<"$REPLY"
}
