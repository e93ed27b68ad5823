# shellcheck shell=bash
# The doctor on alerts: do they reach anybody?
require_lib state/survey resources/subscriptions alerts/sms doctor/findings

check_subscriptions() {
  local protocol endpoint arn subscriptions
  exists topic "$TOPIC_NAME" || return 0
  list_subscriptions "$SNS_TOPIC_ARN"
  subscriptions=$REPLY
  while read -r protocol endpoint arn; do
    case $arn in
      arn:*) ok "subscription $protocol $endpoint: confirmed" ;;
      Deleted) ;;
      '') note 'nobody gets the alerts: set ALERT_EMAIL in .env and run scripts/setup.sh, or see scripts/alerts.sh' ;;
      *) wrong "subscription $protocol $endpoint: not confirmed: open the link in the mail from AWS Notifications" ;;
    esac
  done <<<"$subscriptions"
  run_check check_sms "$subscriptions"
}

# check_sms SUBSCRIPTIONS: do text messages arrive?
check_sms() {
  local phones phone limit in_sandbox
  phones=$(printf '%s\nsms %s' "$1" "$ALERT_PHONE" | awk '$1 == "sms" && $2 != "" {print $2}' | sort -u)
  [[ -n $phones ]] || return 0
  call sns get-sms-sandbox-account-status --query IsInSandbox --output text
  in_sandbox=$REPLY
  call sns get-sms-attributes --attributes MonthlySpendLimit --query attributes.MonthlySpendLimit --output text
  limit=${REPLY/None/1}
  for phone in $phones; do
    phone_obstacle "$phone" "$in_sandbox"
    if [[ -n $REPLY ]]; then
      wrong "SMS to $phone: $REPLY"
    else
      ok "SMS to $phone: at most \$$limit a month"
    fi
  done
}

# The alarms of scripts/monitoring.sh.
check_alarms() {
  call cloudwatch describe-alarms --alarm-name-prefix "$PROJECT" --output text \
    --query 'MetricAlarms[].[AlarmName,StateValue]'
  if [[ -z $REPLY || $REPLY == None ]]; then
    note 'nobody hears of failures: scripts/monitoring.sh makes alarms and a CloudWatch dashboard'
  elif [[ $REPLY == *$'\t'ALARM* ]]; then
    wrong "alarms are on: $(awk '$2 == "ALARM" {printf "%s ", $1}' <<<"$REPLY"): see the lines about them here"
  else
    ok "alarms: $(grep -c . <<<"$REPLY"), none is on"
  fi
}
