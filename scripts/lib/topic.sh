# shellcheck shell=bash
# The SNS topic and the subscriptions that the settings name. Sourced.

# Encrypted with the key that AWS keeps for SNS: no cost, and all that a publisher of this account needs is
# sns:Publish. CloudWatch alarms cannot use that key; they get a topic of their own.
ensure_topic() {
  if exists topic "$TOPIC_NAME"; then
    log "topic $TOPIC_NAME: already exists"
  else
    call sns create-topic --name "$TOPIC_NAME" --tags "Key=project,Value=$PROJECT"
    log "topic $TOPIC_NAME: created"
  fi
  call sns set-topic-attributes --topic-arn "$SNS_TOPIC_ARN" --attribute-name KmsMasterKeyId \
    --attribute-value alias/aws/sns
  [[ -z $ALERT_EMAIL ]] || ensure_subscription email "$ALERT_EMAIL"
  [[ -z $ALERT_PHONE ]] ||
    ensure_subscription sms "$ALERT_PHONE" "{\"signal\": [\"${ALERT_PHONE_SIGNALS//,/\", \"}\"]}"
}

# ensure_subscription PROTOCOL ENDPOINT [FILTER_POLICY]
ensure_subscription() {
  local protocol endpoint arn found=''
  call sns list-subscriptions-by-topic --topic-arn "$SNS_TOPIC_ARN" --output text \
    --query 'Subscriptions[].[Protocol,Endpoint,SubscriptionArn]'
  while read -r protocol endpoint arn; do
    [[ $protocol != "$1" || $endpoint != "$2" ]] || found=$arn
  done <<<"$REPLY"
  if [[ -z $found ]]; then
    call sns subscribe --topic-arn "$SNS_TOPIC_ARN" --protocol "$1" --notification-endpoint "$2" \
      --return-subscription-arn --query SubscriptionArn --output text
    found=$REPLY
    log "subscription $1 $2: created"
  else
    log "subscription $1 $2: already exists"
  fi
  [[ $# -lt 3 ]] || call sns set-subscription-attributes --subscription-arn "$found" \
    --attribute-name FilterPolicy --attribute-value "$3"
}

delete_topic() {
  call sns delete-topic --topic-arn "$(arn_of topic "$1")"
  log "topic $1: deleted, with its subscriptions"
}
