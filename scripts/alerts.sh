#!/usr/bin/env bash
# Who gets the alerts: lists the subscribers, adds and removes some, sends a test alert.
#
# Usage: scripts/alerts.sh list
#        scripts/alerts.sh subscribe (email ADDRESS | sms NUMBER | sqs QUEUE) [--symbols AAPL,MSFT] [--signals BUY,SELL]
#        scripts/alerts.sh unsubscribe (email ADDRESS | sms NUMBER | sqs QUEUE)
#        scripts/alerts.sh test [--symbol TEST] [--signal BUY]
#
#   subscribe    --symbols and --signals (BUY, SELL, ANOMALY) limit what it gets; once more, with others or without
#                any, changes that. A queue by its name or ARN: it is made if there is none (scripts/cleanup.sh deletes
#                it then), and is allowed to take what the topic sends. Each message is the alert as JSON
#   unsubscribe  a queue itself stays
#   test         sends an alert that is marked as a test (a text message costs), and says who gets it,
#                and who does not and why
#
# The address and number in .env are subscribed by scripts/setup.sh; the old one stays when you change it there.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
require_lib state/survey alerts/subscribers alerts/recipients

main() {
  local command=${1-} protocol='' endpoint='' symbols='' signals=''
  case $command in
    list | test) shift ;;
    subscribe | unsubscribe)
      protocol=${2-} endpoint=${3-}
      check_endpoint
      shift 3
      ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  while (($#)); do
    case $command$1 in
      subscribe--symbols | test--symbol) symbols=${2-} ;;
      subscribe--signals | test--signal) signals=${2-} ;;
      *) die "$command does not take $1: see scripts/alerts.sh --help" ;;
    esac
    [[ -n ${2-} ]] || die "$1 needs a value: see scripts/alerts.sh --help"
    shift 2
  done
  check_filter
  start_session
  read_tag topic "$TOPIC_NAME" || REPLY=''
  [[ $REPLY == "$PROJECT" ]] || die "there is no topic $TOPIC_NAME of this project yet: run scripts/setup.sh first"
  case $command in
    list) list ;;
    test) send_test "${symbols:-TEST}" "${signals:-BUY}" ;;
    subscribe)
      subscribe_alerts "$protocol" "$endpoint" "$(filter)"
      list
      ;;
    unsubscribe) unsubscribe_alerts "$protocol" "$endpoint" ;;
  esac
}

check_endpoint() {
  local email='^[^[:space:]@]+@[^[:space:]@]+[.][^[:space:]@]+$' sms='^[+][1-9][0-9]{6,14}$' sqs='^[A-Za-z0-9:_.-]+$'
  case $protocol in
    email) [[ $endpoint =~ $email ]] || die "$(printf '%q' "$endpoint") is no e-mail address" ;;
    sms) [[ $endpoint =~ $sms ]] || die "$(printf '%q' "$endpoint") is no phone number such as +15551234567" ;;
    sqs) [[ $endpoint =~ $sqs ]] || die "$(printf '%q' "$endpoint") is no name or ARN of a queue" ;;
    *) die "$command ${protocol:-nobody}: expected email ADDRESS, sms NUMBER or sqs QUEUE" ;;
  esac
}

check_filter() {
  local signal='(BUY|SELL|ANOMALY)' symbol='[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}'
  [[ $command != subscribe ]] || signal+="(,$signal)*" symbol+="(,$symbol)*"
  [[ -z $signals || $signals =~ ^$signal$ ]] ||
    die "signal $(printf '%q' "$signals"): expected BUY, SELL or ANOMALY, comma-separated, without spaces"
  [[ -z $symbols || $symbols =~ ^$symbol$ ]] ||
    die "symbol $(printf '%q' "$symbols"): expected symbols as Yahoo writes them, comma-separated, without spaces"
  symbols=$(tr '[:lower:]' '[:upper:]' <<<"$symbols")
}

# The filter policy, on the attributes of the message.
filter() {
  local parts=''
  [[ -z $symbols ]] || parts="\"symbol\": [\"${symbols//,/\", \"}\"]"
  [[ -z $signals ]] || parts+="${parts:+, }\"signal\": [\"${signals//,/\", \"}\"]"
  printf '{%s}' "$parts"
}

list() {
  read_subscribers
  print_subscribers
  print_obstacles
}

main "$@"
