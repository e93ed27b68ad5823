# shellcheck shell=bash
# Subscriptions of an SNS topic.
require_lib state/comparison

# https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
say_filter_delay() { log 'AWS takes up to 15 minutes to apply a new or changed filter everywhere.'; }

# list_subscriptions TOPIC_ARN: lines of protocol, endpoint and ARN in REPLY; none when there is no topic.
list_subscriptions() {
  call_unless 'NotFound|NotFoundException' sns list-subscriptions-by-topic --topic-arn "$1" --output text \
    --query 'Subscriptions[].[Protocol,Endpoint,SubscriptionArn]' || REPLY=''
}

# ensure_subscription TOPIC_ARN SUBSCRIPTIONS PROTOCOL ENDPOINT FILTER_POLICY [keep]: SUBSCRIPTIONS are the lines of
# list_subscriptions. The filter policy {} lets everything through. With keep, a subscription that exists keeps its own.
ensure_subscription() {
  local protocol endpoint arn found='' others=''
  while read -r protocol endpoint arn; do
    if [[ $protocol == "$3" && $endpoint == "$4" ]]; then
      found=$arn
    elif [[ $protocol == "$3" && $arn != Deleted ]]; then
      others+=" $endpoint"
    fi
  done <<<"$2"
  if [[ -z $found || $found == Deleted ]]; then
    subscribe_unless none "$1" "${@:3:3}"
    log "subscription $3 $4: created"
    [[ $5 == '{}' ]] || say_filter_delay
    [[ -z $others ]] || log "also subscribed:$others. $(how_to_end "$3")"
    return
  fi
  log "subscription $3 $4: already exists"
  [[ -z ${6-} && $found == arn:* ]] || return 0 # a subscription has no ARN before it is confirmed
  call sns get-subscription-attributes --subscription-arn "$found" --query Attributes.FilterPolicy --output text
  [[ $REPLY != None ]] || REPLY={}
  is_same "$5" "$REPLY" || set_filter "$3" "$4" "$found" "$5"
}

# set_filter PROTOCOL ENDPOINT ARN FILTER_POLICY
set_filter() {
  call sns set-subscription-attributes --subscription-arn "$3" --attribute-name FilterPolicy --attribute-value "$4"
  log "subscription $1 $2: filter set"
  say_filter_delay
}

# how_to_end PROTOCOL: which command, or what else, ends a subscription.
how_to_end() {
  printf 'To end that: scripts/alerts.sh unsubscribe %s, and what is named here' "$1"
  [[ $1 != email ]] || printf '; or the link in each mail'
}

# subscribe_unless CODE TOPIC_ARN PROTOCOL ENDPOINT FILTER_POLICY: as call_unless. A queue gets the alert itself,
# without SNS's envelope around it.
subscribe_unless() {
  local attributes=() quote='"' escaped='\"' text=''
  [[ $3 != sqs ]] || text='"RawMessageDelivery": "true"'
  [[ $5 == '{}' ]] || text+="${text:+, }\"FilterPolicy\": \"${5//$quote/$escaped}\""
  [[ -z $text ]] || attributes=(--attributes "{$text}")
  call_unless "$1" sns subscribe --topic-arn "$2" --protocol "$3" --notification-endpoint "$4" \
    ${attributes[@]+"${attributes[@]}"}
}
