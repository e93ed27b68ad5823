# shellcheck shell=bash
# What monitoring.sh says at the end: what there is, what it costs (us-east-1, in US dollars) and who gets the alarms.
require_lib state/inventory resources/subscriptions monitoring/search

print_monitoring() {
  local alarms home="https://$AWS_REGION.console.aws.amazon.com/cloudwatch/home?region=$AWS_REGION"
  in_parallel "${FIND_MONITORING[@]}" || exit 1
  alarms=$(grep -c . "$TEMPORARY/found-alarm" || true)
  cost_row RESOURCE NAME USD/MONTH BUT
  cost_row "CloudWatch alarms, $alarms" "$PROJECT-…" "$(dollars 2 "$(price cloudwatch_alarm_month)" "$alarms")" "an account's first 10 are free"
  cost_row 'CloudWatch dashboard' "$CLOUDWATCH_DASHBOARD" "$(price cloudwatch_dashboard_month)" "an account's first 3 are free"
  cost_row "CloudWatch metrics, $METRICS" 'StockMarketStreaming (there without alarms too)' \
    "$(dollars 2 "$(price cloudwatch_metric_month)" "$METRICS")" "an account's first 10 are free"
  cost_row 'SNS topic, S3 notification' "$OPERATIONS_TOPIC" 0 "\$2 per 100,000 mails, the first 1,000 a month are free"
  [[ ! -s $TEMPORARY/found-trail ]] || cost_row 'CloudTrail trail' "$TRAIL" 0 'a second one in the account costs'
  [[ ! -s $TEMPORARY/found-budget ]] || cost_row 'AWS budget' "$BUDGET" 0 ''
  is_local || printf '%s\n' '' "CloudWatch dashboard: $home#dashboards/dashboard/$CLOUDWATCH_DASHBOARD"
  print_alarm_subscribers
}

cost_row() { printf '%-28s %-42s %9s  %s\n' "$@"; }

print_alarm_subscribers() {
  local _ endpoint arn
  list_subscriptions "$OPERATIONS_TOPIC_ARN"
  [[ -n $REPLY ]] || log 'Nobody gets the alarms yet: scripts/monitoring.sh --email ADDRESS'
  while read -r _ endpoint arn; do
    case $arn in
      '') ;;
      arn:*) printf 'Alarms go to %s.\n' "$endpoint" ;;
      *) printf 'Alarms go to %s after somebody opens the link in the mail "AWS Notification - Subscription Confirmation".\n' "$endpoint" ;;
    esac
  done <<<"$REPLY"
}
