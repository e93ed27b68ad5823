# shellcheck shell=bash
# AWS CLI calls whose errors are told apart by their code and explained.

# CLI v1 and early v2 releases do not know AWS_ENDPOINT_URL, and would go to the real AWS.
aws() { ${instead-} "$AWS_CLI" ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

dry_run='' # when it is set, what would change anything is printed instead

# The operation's verb tells. (A wait command changes nothing, but in a dry run what it waits for may never come.)
only_reads() { [[ $1 =~ ^((get|list|describe|batch-get|head)-|query$) ]]; }

stopping='' # set in the background when the run is interrupted
stop_if_interrupted() { [[ -z $stopping ]] || exit 130; }

# The command as a shell takes it; as a comment when a dry run makes it as well.
print_command() {
  local word line='' quote="'" escaped="'\\''"
  for word in aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=$quote${word//$quote/$escaped}$quote
    line+=" $word"
  done
  ! only_reads "$2" || line=" #$line"
  printf '%s\n' "${line# }"
}

# True for the emulator on this machine.
is_local() {
  [[ ${AWS_ENDPOINT_URL:-} =~ ^https?://(127\.[0-9.]+|localhost|\[::1\])(:[0-9]+)?(/|$) ]]
}

# aws_error_is 'CODE|CODE' TEXT: does the AWS CLI's message carry one of these error codes?
# (Exit statuses differ between the CLI's versions, the codes do not.)
aws_error_is() {
  local pattern="An error occurred \(($1)\)"
  [[ $2 =~ $pattern ]]
}

# call_unless 'CODE|CODE' ARGUMENTS: `aws ARGUMENTS` with its output in REPLY. Status 1 when AWS answers with one of
# the codes, which is then in REPLY; any other error is explained and ends the (sub)shell. Never use it in $(…).
call_unless() {
  local codes=$1 text
  shift
  stop_if_interrupted
  REPLY=''
  [[ -z $dry_run ]] || print_command "$@"
  [[ -z $dry_run ]] || only_reads "$2" || return 0
  if [[ $2 == wait ]]; then
    instead='exec' aws "$@" 2>"$CLI_ERRORS" & # an interruption ends it at once
    ! wait $! || return 0
    stop_if_interrupted
  elif REPLY=$(aws "$@" 2>"$CLI_ERRORS"); then
    return 0
  fi
  text=$(<"$CLI_ERRORS")
  if aws_error_is "$codes" "$text"; then
    REPLY=${BASH_REMATCH[1]}
    return 1
  fi
  die "$1 $2: $(explain "$text")"
}

call() { call_unless 'no code at all' "$@"; }

# retry_while CODE ARGUMENTS: repeats a call that fails until something made a moment ago is known everywhere.
retry_while() {
  local tries=0
  until call_unless "$@"; do
    tries=$((tries + 1))
    ((tries < 30)) || call "${@:2}"
    sleep 2
  done
}

# One line for what the AWS CLI says in several, with what to do about it.
explain() {
  local last
  last=$(sed -n '/[^[:space:]]/p' <<<"$1" | tail -n 1)
  case $1 in
    *'locate credentials'* | *'Partial credentials'* | *'profile'*'could not be found'*)
      last='no AWS credentials: run aws configure or aws sso login (or, without an account, scripts/run_local.sh)'
      ;;
    *ExpiredToken* | *RequestExpired* | *'has expired'* | *'is expired'*)
      last='the AWS credentials have expired: log in again (aws sso login, or new keys)'
      ;;
    *InvalidClientTokenId* | *UnrecognizedClient* | *SignatureDoesNotMatch* | *InvalidAccessKeyId* | *AuthFailure*)
      last="AWS refuses these credentials: look at aws configure list (and whether $AWS_REGION is enabled for the account)"
      ;;
    *'connect to the endpoint'* | *'onnect timeout'* | *'Connection was closed'* | *'Invalid endpoint'*)
      last="cannot reach ${AWS_ENDPOINT_URL:-AWS in the region $AWS_REGION}: is there such a region (AWS_REGION)"
      last+="${AWS_ENDPOINT_URL:+, does it run (AWS_ENDPOINT_URL)}, is the network up?"
      ;;
    *AccessDenied* | *'not authorized'*)
      last="not allowed: ${last#*operation: } (get this permission, then run this again)"
      ;;
  esac
  printf '%s' "$last"
}
