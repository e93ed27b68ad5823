# shellcheck shell=bash
# Who gets an alert, who does not, and why.
require_lib resources/subscriptions alerts/subscribers alerts/sms

# send_test SYMBOL SIGNAL
send_test() {
  call sns publish --query MessageId --output text --cli-input-json \
    "$(python3 "$SCRIPTS/lib/alerts/build_test_alert.py" "$SNS_TOPIC_ARN" "$1" "$2" "$SMA_SHORT" "$SMA_LONG")"
  log "test alert $2 $1: sent"
  read_subscribers
  print_recipients "$1" "$2"
  say_filter_delay
}

# print_recipients SYMBOL SIGNAL: who gets such an alert, and who does not and why.
print_recipients() {
  local protocol endpoint state filter why
  while IFS=$'\t' read -r protocol endpoint state filter <&3; do
    obstacle "$protocol" "$endpoint" "$state"
    why=$REPLY
    if [[ -z $why && $filter != '{}' ]]; then
      case $(python3 "$SCRIPTS/lib/alerts/filter_verdict.py" "$filter" "$1" "$2") in
        no) why="its filter is $filter" ;;
        unknown)
          printf '%s %s: its filter decides, %s\n' "$protocol" "$endpoint" "$filter"
          continue
          ;;
      esac
    fi
    printf '%s %s: %s\n' "$protocol" "$endpoint" "${why:+does not get it: }${why:-gets it}"
  done 3<"$TEMPORARY/subscribers"
}

# Names the subscribers that get no alert at all, and says why.
print_obstacles() {
  local protocol endpoint state
  while IFS=$'\t' read -r protocol endpoint state _ <&3; do
    obstacle "$protocol" "$endpoint" "$state"
    [[ -z $REPLY ]] || log "$protocol $endpoint gets nothing: $REPLY"
  done 3<"$TEMPORARY/subscribers"
  ! grep -q '^sms' "$TEMPORARY/subscribers" || print_sms_limit
}

# obstacle PROTOCOL ENDPOINT STATE: why nothing arrives there, and what to do, in REPLY; empty when alerts arrive.
obstacle() {
  REPLY=''
  if [[ $3 == unconfirmed ]]; then
    REPLY='unconfirmed, open the link in the mail from AWS Notifications (look in the spam folder too)'
  elif [[ $1 == sms ]]; then
    sms_obstacle "$2"
  fi
}
