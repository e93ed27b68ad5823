# shellcheck shell=bash
# The SNS topic and the subscriptions that the settings name.
require_lib state/inventory state/survey state/comparison

# Encrypted with the key that AWS keeps for SNS: no cost, and all that a publisher of this account needs is
# sns:Publish. CloudWatch alarms cannot use that key; they get a topic of their own.
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
    list_subscriptions
    subscriptions=$REPLY
  else
    call sns create-topic --name "$TOPIC_NAME" --attributes KmsMasterKeyId=alias/aws/sns \
      --tags "Key=project,Value=$PROJECT"
    created topic "$TOPIC_NAME"
  fi
  [[ -z $ALERT_EMAIL ]] || ensure_subscription email "$ALERT_EMAIL"
  [[ -z $ALERT_PHONE ]] ||
    ensure_subscription sms "$ALERT_PHONE" "{\"signal\": [\"${ALERT_PHONE_SIGNALS//,/\", \"}\"]}"
}

# Lines of protocol, endpoint and ARN in REPLY.
list_subscriptions() {
  call sns list-subscriptions-by-topic --topic-arn "$SNS_TOPIC_ARN" --output text \
    --query 'Subscriptions[].[Protocol,Endpoint,SubscriptionArn]'
}

# ensure_subscription PROTOCOL ENDPOINT [FILTER_POLICY]: beside $subscriptions. A filter of {} is none; without that
# argument the one that is there stays.
ensure_subscription() {
  local protocol endpoint arn found='' others=''
  while read -r protocol endpoint arn; do
    if [[ $protocol == "$1" && $endpoint == "$2" ]]; then
      found=$arn
    elif [[ $protocol == "$1" && $arn != Deleted ]]; then
      others+=" $endpoint"
    fi
  done <<<"$subscriptions"
  if [[ -z $found || $found == Deleted ]]; then
    subscribe_unless none "$@"
    log "subscription $1 $2: created"
    [[ -z $others ]] || log "also subscribed:$others (the link in each mail ends that, for alerts scripts/alerts.sh unsubscribe does too)"
    return
  fi
  log "subscription $1 $2: already exists"
  [[ $# -eq 3 && $found == arn:* ]] || return 0 # a pending one has no ARN yet
  call sns get-subscription-attributes --subscription-arn "$found" --query Attributes.FilterPolicy --output text
  [[ $REPLY != None ]] || REPLY={}
  is_same "$3" "$REPLY" && return
  call sns set-subscription-attributes --subscription-arn "$found" --attribute-name FilterPolicy --attribute-value "$3"
  log "subscription $1 $2: filter set"
}

# subscribe_unless CODE PROTOCOL ENDPOINT [FILTER_POLICY]: as call_unless. A queue gets the alert itself, without an
# envelope around it.
subscribe_unless() {
  local attributes=() quote='"' escaped='\"' text=''
  [[ $2 != sqs ]] || text='"RawMessageDelivery": "true"'
  [[ -z ${4-} || $4 == '{}' ]] || text+="${text:+, }\"FilterPolicy\": \"${4//$quote/$escaped}\""
  [[ -z $text ]] || attributes=(--attributes "{$text}")
  call_unless "$1" sns subscribe --topic-arn "$SNS_TOPIC_ARN" --protocol "$2" --notification-endpoint "$3" \
    ${attributes[@]+"${attributes[@]}"}
}

delete_topic() {
  call sns delete-topic --topic-arn "$(arn_of topic "$1")"
  log "topic $1: deleted, with its subscriptions"
}

# sandbox_obstacle NUMBER IN_SANDBOX: why a number gets no text message, and what to do, in REPLY; empty when it does.
sandbox_obstacle() {
  REPLY=''
  [[ $2 == True ]] || return 0
  call sns list-sms-sandbox-phone-numbers --query "PhoneNumbers[?PhoneNumber=='$1'].Status | [0]" --output text
  if [[ $REPLY == Verified ]]; then
    REPLY=''
  else
    REPLY='the account is in the SMS sandbox, and the number is not verified:'
    REPLY+=" aws sns create-sms-sandbox-phone-number --phone-number $1, then"
    REPLY+=" aws sns verify-sms-sandbox-phone-number --phone-number $1 --one-time-password CODE"
  fi
}
