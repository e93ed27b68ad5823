# shellcheck shell=bash
# The doctor on alerts: do they reach anybody?
require_lib state/{inventory,survey} resources/{subscriptions,forwarder} alerts/sms doctor/{findings,resources}

check_subscriptions() {
  local protocol endpoint arn subscriptions
  exists topic "$TOPIC_NAME" || return 0
  list_subscriptions "$SNS_TOPIC_ARN"
  subscriptions=$REPLY
  while read -r protocol endpoint arn; do
    case $arn in
      arn:*) check_audience "$protocol" "$endpoint" "$arn" ;;
      Deleted) ;;
      '') note 'nobody gets the alerts: set ALERT_EMAIL in .env and run scripts/setup.sh, or see scripts/alerts.sh' ;;
      *) wrong "subscription $protocol $endpoint: not confirmed: open the link in the mail from AWS Notifications" ;;
    esac
  done <<<"$subscriptions"
  run_check check_sms "$subscriptions"
}

# check_audience PROTOCOL ENDPOINT ARN: of a confirmed subscription. AWS ends an e-mail subscription that gets too much:
# https://docs.aws.amazon.com/sns/latest/dg/sns-email-notifications.html
check_audience() {
  [[ $1 != email* ]] || call sns get-subscription-attributes --subscription-arn "$3" --query Attributes.FilterPolicy --output text
  if [[ $1 == email* && $REPLY != *'"audience"'* ]]; then
    note "subscription $1 $2: gets each alert by itself, also hundreds at once, and AWS ends an e-mail subscription above 10" \
      'mails a second: run scripts/setup.sh'
  else
    ok "subscription $1 $2: confirmed"
  fi
}

# The chats: is the function as the scripts want it, and which address has refused an alert since yesterday?
check_chats() {
  local changes kind id host status
  exists parameter "$ADDRESSES_PARAMETER" || return 0
  changes=$(ensure_forwarder) || exit 1
  report_changes "function $FORWARDER, for chats" "$changes"
  call_unless ResourceNotFoundException logs filter-log-events --log-group-name "/aws/lambda/$FORWARDER" \
    --start-time "$(($(date +%s) - 86400))000" --filter-pattern '"refused with"' --query 'events[].[message]' --output text ||
    REPLY=''
  while read -r kind id host status; do
    wrong "$kind $host: has refused an alert ($status) since yesterday: subscribe it again with the right address, or" \
      "scripts/alerts.sh unsubscribe $kind $id"
  done < <(sed -nE 's/^.*[[:space:]]([a-z]+ [0-9a-f]+ [^ ]+): refused with ([0-9]+),.*$/\1 \2/p' <<<"$REPLY" | sort -u)
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
