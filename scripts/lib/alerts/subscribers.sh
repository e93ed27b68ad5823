# shellcheck shell=bash
# Who is subscribed to the alerts: listing, adding, removing.
require_lib state/inventory resources/subscriptions alerts/{queues,chats}

# Writes a line for each subscriber to $TEMPORARY/subscribers, tab-separated: protocol, endpoint, confirmed or
# unconfirmed, filter ({} when there is none).
read_subscribers() {
  local number jobs=()
  list_subscriptions "$SNS_TOPIC_ARN"
  awk -F '\t' 'NF > 2 && $3 != "Deleted"' <<<"$REPLY" | sort >"$TEMPORARY/listed"
  while read -r number; do
    jobs+=("read_subscriber $number")
  done < <(awk '{ printf "%03d\n", NR }' "$TEMPORARY/listed")
  while ((${#jobs[@]} > 0)); do
    in_parallel "${jobs[@]:0:8}" || exit 1
    jobs=("${jobs[@]:8}")
  done
  touch "$TEMPORARY/subscriber.000"
  cat "$TEMPORARY"/subscriber.* >"$TEMPORARY/subscribers"
}

# read_subscriber NUMBER: of the line in $TEMPORARY/listed.
read_subscriber() {
  local protocol endpoint arn state=unconfirmed filter={}
  IFS=$'\t' read -r protocol endpoint arn < <(awk -v number="$1" 'NR == number + 0' "$TEMPORARY/listed")
  if [[ $arn == arn:* ]]; then # an unconfirmed one has no ARN
    state=confirmed
    call sns get-subscription-attributes --subscription-arn "$arn" --query Attributes.FilterPolicy --output text
    [[ -z $REPLY || $REPLY == None ]] || filter=${REPLY//[$'\n\t']/ }
  fi
  if [[ $endpoint == *":function:$FORWARDER" ]]; then
    list_chats "$state" "$filter"
  else
    printf '%s\t%s\t%s\t%s\n' "$protocol" "$endpoint" "$state" "$filter"
  fi >"$TEMPORARY/subscriber.$1"
}

print_subscribers() {
  local protocol endpoint state filter
  printf '%-9s %-44s %-12s %s\n' PROTOCOL ENDPOINT STATE FILTER
  while IFS=$'\t' read -r protocol endpoint state filter; do
    [[ $filter != '{}' ]] || filter='all alerts'
    printf '%-9s %-44s %-12s %s\n' "$protocol" "$endpoint" "$state" "$filter"
  done < <(sed -E 's/"audience": *\[[^]]*\](, *)?//' "$TEMPORARY/subscribers")
}

# subscribe_alerts PROTOCOL ENDPOINT FILTER
subscribe_alerts() {
  local endpoint=$2 subscriptions
  if [[ $1 == sqs ]]; then
    ensure_queue "$2"
    change_queue_policy add
    endpoint=$QUEUE_ARN
  fi
  list_subscriptions "$SNS_TOPIC_ARN"
  subscriptions=$REPLY
  ensure_subscription "$SNS_TOPIC_ARN" "$subscriptions" "$1" "$endpoint" "$3"
  if [[ $subscriptions == *"$1"$'\t'"$endpoint"$'\t'[Pp]ending* ]]; then
    subscribe_unless InvalidParameter "$SNS_TOPIC_ARN" "$1" "$endpoint" "$3" ||
      die "$1 $2 waits for its confirmation with another filter: confirm it, then run this again"
    log 'The confirmation mail is sent again.'
  fi
}

# unsubscribe_alerts PROTOCOL ENDPOINT
unsubscribe_alerts() {
  local endpoint=$2
  if [[ $1 == sqs ]]; then
    ! resolve_queue "$2" || change_queue_policy remove
    endpoint=$QUEUE_ARN
  fi
  subscription_of "$1" "$endpoint" || die "$1 $2 is not subscribed: scripts/alerts.sh list"
  [[ $REPLY == arn:* ]] || die "$1 $2 is unconfirmed: it gets nothing, and AWS forgets it after some days"
  call sns unsubscribe --subscription-arn "$REPLY"
  log "subscription $1 $2: deleted"
  [[ $2 != "${ALERT_EMAIL:-}" && $2 != "${ALERT_PHONE:-}" ]] ||
    log "It is still in .env: remove it there, or scripts/setup.sh subscribes it again."
}

# subscription_of PROTOCOL ENDPOINT: its ARN in REPLY (or a word, while it is unconfirmed); status 1 when there is none.
subscription_of() {
  list_subscriptions "$SNS_TOPIC_ARN"
  REPLY=$(awk -F '\t' -v protocol="$1" -v endpoint="$2" '$1 == protocol && $2 == endpoint && $3 != "Deleted" { print $3 }' \
    <<<"$REPLY")
  [[ -n $REPLY ]]
}
