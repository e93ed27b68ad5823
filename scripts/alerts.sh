#!/usr/bin/env bash
# Who gets the alerts: lists the subscribers, adds and removes some, sends a test alert.
#
# Usage: scripts/alerts.sh list
#        scripts/alerts.sh subscribe (email ADDRESS | sms NUMBER | sqs QUEUE) [--symbols AAPL,MSFT] [--signals BUY,SELL]
#        scripts/alerts.sh unsubscribe (email ADDRESS | sms NUMBER | sqs QUEUE)
#        scripts/alerts.sh test [--symbol TEST] [--signal BUY]
#
#   subscribe    --symbols and --signals (BUY, SELL, ANOMALY) limit what the subscriber gets; run it again with other
#                limits, or with none, to change them. Name a queue by its name or ARN: if there is none, it is made, and
#                scripts/cleanup.sh deletes it. The topic may then send to the queue; each message is the alert as JSON
#   unsubscribe  a queue itself stays
#   test         sends an alert that is marked as a test (a text message costs), and says who gets it,
#                and who does not and why
#
# scripts/setup.sh subscribes the address and the number in .env. When you change one there, the old one stays subscribed.
# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/lookup alerts/{subscribers,recipients}

main() {
  local command=${1-} protocol='' endpoint='' symbols='' signals=''
  case $command in
    list | test) shift ;;
    subscribe | unsubscribe)
      protocol=${2-} endpoint=${3-}
      check_endpoint "$command" "$protocol" "$endpoint"
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
  check_filter "$command" "$symbols" "$signals"
  symbols=$(tr '[:lower:]' '[:upper:]' <<<"$symbols")
  start_session
  read_tag topic "$TOPIC_NAME" || REPLY=''
  [[ $REPLY == "$PROJECT" ]] || die "there is no topic $TOPIC_NAME of this project yet: run scripts/setup.sh first"
  case $command in
    list) list ;;
    test) send_test "${symbols:-TEST}" "${signals:-BUY}" ;;
    subscribe)
      subscribe_alerts "$protocol" "$endpoint" "$(filter_policy "$symbols" "$signals")"
      list
      ;;
    unsubscribe) unsubscribe_alerts "$protocol" "$endpoint" ;;
  esac
}

# check_endpoint COMMAND PROTOCOL ENDPOINT
check_endpoint() {
  local email='^[^[:space:]@]+@[^[:space:]@]+[.][^[:space:]@]+$' sms='^[+][1-9][0-9]{6,14}$' sqs='^[A-Za-z0-9:_.-]+$'
  case $2 in
    email) [[ $3 =~ $email ]] || die "$(printf '%q' "$3") is no e-mail address" ;;
    sms) [[ $3 =~ $sms ]] || die "$(printf '%q' "$3") is no phone number such as +15551234567" ;;
    sqs) [[ $3 =~ $sqs ]] || die "$(printf '%q' "$3") is no name or ARN of a queue" ;;
    *) die "$1 ${2:-nobody}: expected email ADDRESS, sms NUMBER or sqs QUEUE" ;;
  esac
}

# check_filter COMMAND SYMBOLS SIGNALS: lists for subscribe, one of each for a test.
check_filter() {
  local signal='(BUY|SELL|ANOMALY)' symbol='[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}'
  [[ $1 != subscribe ]] || signal+="(,$signal)*" symbol+="(,$symbol)*"
  [[ -z $3 || $3 =~ ^$signal$ ]] ||
    die "signal $(printf '%q' "$3"): expected BUY, SELL or ANOMALY, comma-separated, without spaces"
  [[ -z $2 || $2 =~ ^$symbol$ ]] ||
    die "symbol $(printf '%q' "$2"): expected symbols as Yahoo writes them, comma-separated, without spaces"
}

# filter_policy SYMBOLS SIGNALS: prints it; a message passes when its attributes are in these lists.
filter_policy() {
  local parts=''
  [[ -z $1 ]] || parts="\"symbol\": [\"${1//,/\", \"}\"]"
  [[ -z $2 ]] || parts+="${parts:+, }\"signal\": [\"${2//,/\", \"}\"]"
  printf '{%s}' "$parts"
}

list() {
  read_subscribers
  print_subscribers
  print_obstacles
}

main "$@"
