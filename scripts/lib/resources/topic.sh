# shellcheck shell=bash
# The SNS topic of the alerts, with the subscriptions that the settings name.
require_lib state/inventory state/survey resources/{subscriptions,audience}

# The topic is encrypted with the key that AWS keeps for SNS: it costs nothing, and a publisher of this account needs
# no more than sns:Publish. CloudWatch alarms cannot use that key, so they have a topic of their own.
ensure_topic() {
  local subscriptions=''
  if exists topic "$TOPIC_NAME"; then
    log "topic $TOPIC_NAME: already exists"
    call sns get-topic-attributes --topic-arn "$SNS_TOPIC_ARN" --query Attributes.KmsMasterKeyId --output text
    if [[ $REPLY != alias/aws/sns ]]; then
      call sns set-topic-attributes --topic-arn "$SNS_TOPIC_ARN" --attribute-name KmsMasterKeyId \
        --attribute-value alias/aws/sns
      log "topic $TOPIC_NAME: encrypted at rest"
    fi
    list_subscriptions "$SNS_TOPIC_ARN"
    subscriptions=$REPLY
  else
    call sns create-topic --name "$TOPIC_NAME" --attributes KmsMasterKeyId=alias/aws/sns \
      --tags "Key=project,Value=$PROJECT"
    created topic "$TOPIC_NAME"
  fi
  [[ -z $ALERT_EMAIL ]] || ensure_subscription "$SNS_TOPIC_ARN" "$subscriptions" email "$ALERT_EMAIL" \
    "$(with_audience email '{}')" keep
  [[ -z $ALERT_PHONE ]] || ensure_subscription "$SNS_TOPIC_ARN" "$subscriptions" sms "$ALERT_PHONE" \
    "$(with_audience sms "{\"signal\": [\"${ALERT_PHONE_SIGNALS//,/\", \"}\"]}")"
}

delete_topic() {
  delete_unless NotFound sns delete-topic --topic-arn "$(arn_of topic "$1")" || true
  log "topic $1: deleted, with its subscriptions"
}
