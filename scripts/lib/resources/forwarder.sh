# shellcheck shell=bash
# ForwardAlerts, the function that posts alerts to chats and web hooks, with all that it needs.
require_lib state/{inventory,survey,comparison} resources/{audience,functions,roles,subscriptions} monitoring/alarms

# The parameter is there while an address is subscribed.
ensure_forwarder_if_used() { ! exists parameter "$ADDRESSES_PARAMETER" || ensure_forwarder; }

ensure_forwarder() {
  ensure_role "$FORWARDER_ROLE" forward_alerts.json
  ensure_log_group "/aws/lambda/$FORWARDER"
  ensure_function "$FORWARDER" forward_alerts
  ensure_invocation
  # What SNS needs to invoke it. One statement a topic, because the name of the topic may change.
  if ! call_unless ResourceNotFoundException lambda get-policy --function-name "$FORWARDER" --query Policy --output text ||
    [[ $REPLY != *"\"$SNS_TOPIC_ARN\""* ]]; then
    call lambda add-permission --function-name "$FORWARDER" --statement-id "$TOPIC_NAME" --source-arn "$SNS_TOPIC_ARN" \
      --action lambda:InvokeFunction --principal sns.amazonaws.com
    log "function $FORWARDER: the topic may invoke it"
  fi
  list_subscriptions "$SNS_TOPIC_ARN"
  ensure_subscription "$SNS_TOPIC_ARN" "$REPLY" lambda "$(arn_of function "$FORWARDER")" "$(with_audience chat '{}')"
}

# How Lambda treats a failed invocation: it tries again twice, then stores the event in the bucket.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
ensure_invocation() {
  local wanted
  wanted=$(render "$SCRIPTS/resources/forward_alerts_invocation.json")
  if call_unless ResourceNotFoundException lambda get-function-event-invoke-config --function-name "$FORWARDER" \
    --output json && has_settings "$wanted" "$REPLY"; then
    return
  fi
  with_role "$FORWARDER_ROLE" lambda put-function-event-invoke-config --function-name "$FORWARDER" \
    --cli-input-json "$wanted"
  log "function $FORWARDER: retries set"
}

# Removes all of it. The addresses go last: until then, running the same command again goes on from there.
delete_forwarder() {
  local arn alarm
  list_subscriptions "$SNS_TOPIC_ARN"
  arn=$(awk -F '\t' -v endpoint="$(arn_of function "$FORWARDER")" '$2 == endpoint { print $3 }' <<<"$REPLY")
  [[ $arn != arn:* ]] || call sns unsubscribe --subscription-arn "$arn"
  delete_function "$FORWARDER"
  call cloudwatch describe-alarms --alarm-names "$PROJECT"-{errors,undelivered}-"$FORWARDER" --output text \
    --query 'MetricAlarms[].[AlarmName]'
  for alarm in ${REPLY/None/}; do
    delete_alarm "$alarm"
  done
  delete_role "$FORWARDER_ROLE"
  delete_log_group "/aws/lambda/$FORWARDER"
  delete_parameter "$ADDRESSES_PARAMETER"
}

delete_parameter() {
  delete_unless ParameterNotFound ssm delete-parameter --name "$1" || true
  log "parameter $1: deleted"
}
