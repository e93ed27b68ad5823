#!/usr/bin/env bash
# Who gets the alerts: lists the subscribers, adds and removes some, sends a test alert. And what your rules say.
#
# Usage: scripts/alerts.sh list
#        scripts/alerts.sh subscribe (email ADDRESS | sms NUMBER | sqs QUEUE) [--symbols AAPL,MSFT] [--signals BUY,SELL]
#        scripts/alerts.sh subscribe (slack URL | discord URL | telegram CHAT_ID | ntfy URL | webhook URL)
#        scripts/alerts.sh unsubscribe (email ADDRESS | sms NUMBER | sqs QUEUE | slack ID | discord ID | …)
#        scripts/alerts.sh test [--symbol TEST] [--signal BUY]
#        scripts/alerts.sh rules
#        scripts/alerts.sh try 'AAPL price > 300' [--days 5]
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
#   rules        checks the rules in ALERT_RULES, and says how far each is from an alert
#   try          what a rule would have told about the stored ticks
#
# When many alerts come at once, people get one message that sums them up; who asked for --symbols gets each of theirs.
# scripts/setup.sh subscribes the address and the number in .env. When you change one there, the old one stays subscribed.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/lookup resources/audience alerts/{arguments,chats,subscribers,recipients,rules}

main() {
  local command=${1-} protocol='' endpoint='' symbols='' signals='' days=5
  case $command in
    list | test | rules) shift ;;
    try)
      [[ -n ${2-} ]] || die 'try needs a rule: see scripts/alerts.sh --help'
      export ALERT_RULES=$2
      shift 2
      ;;
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
      try--days) days=${2-} ;;
      *) die "$command does not take $1: see scripts/alerts.sh --help" ;;
    esac
    [[ -n ${2-} ]] || die "$1 needs a value: see scripts/alerts.sh --help"
    shift 2
  done
  [[ $days =~ ^[1-9][0-9]?$ ]] || die "--days $days: expected a number of days from 1 to 99"
  check_filter "$command" "$protocol" "$symbols" "$signals"
  symbols=$(tr '[:lower:]' '[:upper:]' <<<"$symbols")
  [[ ! $command-$protocol =~ ^subscribe-($CHATS)$ ]] || check_chat "$protocol" "$endpoint"
  start_session
  case $command in
    rules) list_rules ;;
    try) try_rule "$days" ;;
    *) manage "$command" "$protocol" "$endpoint" "$symbols" "$signals" ;;
  esac
}

# manage COMMAND PROTOCOL ENDPOINT SYMBOLS SIGNALS
manage() {
  read_tag topic "$TOPIC_NAME" || REPLY=''
  [[ $REPLY == "$PROJECT" ]] || die "there is no topic $TOPIC_NAME of this project yet: run scripts/setup.sh first"
  case $1-$2 in
    test-) send_test "${4:-TEST}" "${5:-BUY}" ;;
    subscribe-email | subscribe-sms | subscribe-sqs)
      subscribe_alerts "$2" "$3" "$(with_audience "$2" "$(filter_policy "$4" "$5")")"
      ;;
    subscribe-*) subscribe_chat "$2" ;;
    unsubscribe-email | unsubscribe-sms | unsubscribe-sqs) unsubscribe_alerts "$2" "$3" ;;
    unsubscribe-*) unsubscribe_chat "$2" "$3" ;;
  esac
  [[ $1 != list && $1 != subscribe ]] || list
}

list() {
  read_subscribers
  print_subscribers
  print_obstacles
}

main "$@"
