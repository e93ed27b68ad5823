#!/usr/bin/env bash
# Who gets the alerts: lists the subscribers, adds and removes some, sends a test alert.
#
# Usage: scripts/alerts.sh list
#        scripts/alerts.sh subscribe (email ADDRESS | sms NUMBER | sqs QUEUE) [--symbols AAPL,MSFT] [--signals BUY,SELL]
#        scripts/alerts.sh subscribe (slack URL | discord URL | telegram CHAT_ID | ntfy URL | webhook URL)
#        scripts/alerts.sh unsubscribe (email ADDRESS | sms NUMBER | sqs QUEUE | slack ID | discord ID | …)
#        scripts/alerts.sh test [--symbol TEST] [--signal BUY]
#
#   subscribe    --symbols and --signals (BUY, SELL, ANOMALY, RULE) limit what the subscriber gets; run it again with other
#                limits, or with none, to change them. Name a queue by its name or ARN: if there is none, it is made, and
#                scripts/cleanup.sh deletes it. The topic may then send to the queue; each message is the alert as JSON.
#                A chat or web hook has a secret URL: write - in its place to type it, or to read it from standard input.
#                telegram takes the bot's token from TELEGRAM_TOKEN, or asks for it. The addresses lie encrypted in
#                an SSM parameter; the function ForwardAlerts, made with the first one, posts the alerts to them
#   unsubscribe  a queue itself stays. A chat is named by its id, which list shows. The last one takes ForwardAlerts away
#   test         sends an alert that is marked as a test (a text message costs), and says who gets it,
#                and who does not and why
#
# When many alerts come at once, people get one message that sums them up; who asked for --symbols gets each of theirs.
# scripts/setup.sh subscribes the address and the number in .env. When you change one there, the old one stays subscribed.
# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/lookup resources/audience alerts/{arguments,chats,subscribers,recipients}

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
  check_filter "$command" "$protocol" "$symbols" "$signals"
  symbols=$(tr '[:lower:]' '[:upper:]' <<<"$symbols")
  [[ ! $command-$protocol =~ ^subscribe-($CHATS)$ ]] || check_chat "$protocol" "$endpoint"
  start_session
  read_tag topic "$TOPIC_NAME" || REPLY=''
  [[ $REPLY == "$PROJECT" ]] || die "there is no topic $TOPIC_NAME of this project yet: run scripts/setup.sh first"
  case $command in
    list) list ;;
    test) send_test "${symbols:-TEST}" "${signals:-BUY}" ;;
    *) "$command" "$protocol" "$endpoint" "$symbols" "$signals" ;;
  esac
}

# subscribe PROTOCOL ENDPOINT SYMBOLS SIGNALS
subscribe() {
  if [[ $1 =~ ^($CHATS)$ ]]; then
    subscribe_chat "$1"
  else
    subscribe_alerts "$1" "$2" "$(with_audience "$1" "$(filter_policy "$3" "$4")")"
  fi
  list
}

# unsubscribe PROTOCOL ENDPOINT
unsubscribe() {
  if [[ $1 =~ ^($CHATS)$ ]]; then
    unsubscribe_chat "$1" "$2"
  else
    unsubscribe_alerts "$1" "$2"
  fi
}

list() {
  read_subscribers
  print_subscribers
  print_obstacles
}

main "$@"
