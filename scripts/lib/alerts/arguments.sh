# shellcheck shell=bash
# What alerts.sh takes, and checks before it asks AWS for anything.

CHATS='slack|discord|telegram|ntfy|webhook'

# check_endpoint COMMAND PROTOCOL ENDPOINT
check_endpoint() {
  local email='^[^[:space:]@]+@[^[:space:]@]+[.][^[:space:]@]+$' sms='^[+][1-9][0-9]{6,14}$' sqs='^[A-Za-z0-9:_.-]+$'
  local chat='^(-?[0-9]{1,20}|@[A-Za-z0-9_]{5,32})$'
  case $2 in
    email) [[ $3 =~ $email ]] || die "$(printf '%q' "$3") is no e-mail address" ;;
    sms) [[ $3 =~ $sms ]] || die "$(printf '%q' "$3") is no phone number such as +15551234567" ;;
    sqs) [[ $3 =~ $sqs ]] || die "$(printf '%q' "$3") is no name or ARN of a queue" ;;
    telegram) [[ $1 == unsubscribe || $3 =~ $chat ]] || die "$(printf '%q' "$3") is no telegram chat, such as -100123456 or @name" ;;
    slack | discord | ntfy | webhook) [[ -n $3 ]] || die "$2 needs a URL, or - to type it" ;;
    *) die "$1 ${2:-nobody}: expected email ADDRESS, sms NUMBER, sqs QUEUE, telegram CHAT_ID, or slack, discord, ntfy or webhook URL" ;;
  esac
}

# check_filter COMMAND PROTOCOL SYMBOLS SIGNALS: lists for subscribe, one of each for a test.
check_filter() {
  local signal='(BUY|SELL|ANOMALY|RULE)' symbol='[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}'
  [[ $1 != subscribe ]] || signal+="(,$signal)*" symbol+="(,$symbol)*"
  [[ -z $4 || $4 =~ ^$signal$ ]] ||
    die "signal $(printf '%q' "$4"): expected BUY, SELL, ANOMALY or RULE, comma-separated, without spaces"
  [[ -z $3 || $3 =~ ^$symbol$ ]] ||
    die "symbol $(printf '%q' "$3"): expected symbols as Yahoo writes them, comma-separated, without spaces"
  [[ ! $2 =~ ^($CHATS)$ || -z $3$4 ]] || die "$2: --symbols and --signals are for email, sms and sqs: a chat gets all alerts"
}

# filter_policy SYMBOLS SIGNALS: prints it; a message passes when its attributes are in these lists.
filter_policy() {
  local parts=''
  [[ -z $1 ]] || parts="\"symbol\": [\"${1//,/\", \"}\"]"
  [[ -z $2 ]] || parts+="${parts:+, }\"signal\": [\"${2//,/\", \"}\"]"
  printf '{%s}' "$parts"
}
