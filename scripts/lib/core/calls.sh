# shellcheck shell=bash
# AWS CLI calls, as the scripts make them.

# AWS_ENDPOINT_URL is passed as a flag, because CLI v1 and early v2 releases ignore it and would go to the real AWS.
aws() { ${exec-} "$AWS_CLI" ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

dry_run='' # when it is set, a command that would change anything is printed, and does not run

# only_reads OPERATION: its verb tells. A wait only reads too, but in a dry run it could wait for ever.
only_reads() { [[ $1 =~ ^((get|list|describe|batch-get|head|filter)-|query$) ]]; }

stopping='' # set in a background job when the run is interrupted
stop_if_interrupted() { [[ -z $stopping ]] || exit 130; }

# print_command ARGUMENTS: `aws ARGUMENTS` as you would type it; as a comment when the dry run makes this call as well.
print_command() {
  local word line='' quote="'" escaped="'\\''"
  for word in aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=$quote${word//$quote/$escaped}$quote
    line+=" $word"
  done
  ! only_reads "$2" || line=" #$line"
  printf '%s\n' "${line# }"
}

# Whether AWS_ENDPOINT_URL is the emulator on this machine.
is_local() {
  [[ ${AWS_ENDPOINT_URL:-} =~ ^https?://(127\.[0-9.]+|localhost|\[::1\])(:[0-9]+)?(/|$) ]]
}

# Functions that return text put it in the variable REPLY: $(…) would run them in a subshell, and an error there could
# not end the run.

# call_unless 'CODE|CODE' ARGUMENTS: runs `aws ARGUMENTS`, its output in REPLY. Status 1 when AWS answers with one of
# the codes, which is then in REPLY. Any other error is explained and ends the (sub)shell, so never use it in $(…).
call_unless() {
  local codes=$1
  shift
  stop_if_interrupted
  REPLY=''
  [[ -z $dry_run ]] || print_command "$@"
  [[ -z $dry_run ]] || only_reads "$2" || return 0
  if [[ $2 == wait ]]; then
    exec='exec' aws "$@" 2>"$CLI_ERRORS" & # without a shell around it, so that an interruption ends it at once
    ! wait $! || return 0
    stop_if_interrupted
  elif REPLY=$(aws "$@" 2>"$CLI_ERRORS"); then
    return 0
  fi
  if aws_error_is "$codes" "$(<"$CLI_ERRORS")"; then
    REPLY=${BASH_REMATCH[1]}
    return 1
  fi
  refused "$@"
}

# refused ARGUMENTS: ends the (sub)shell with what AWS said to `aws ARGUMENTS`.
refused() { die "$1 $2: $(explain "$(<"$CLI_ERRORS")")"; }

# call ARGUMENTS: as call_unless, but every error ends the (sub)shell.
call() { call_unless 'no code at all' "$@"; }

# retry_unless 'GONE' 'BUSY' ARGUMENTS: as call_unless with the codes GONE, and repeats a call that AWS refuses with one of
# the codes BUSY, for a minute.
retry_unless() {
  local gone=$1 busy=$2 tries=0
  shift 2
  until call_unless "$gone|$busy" "$@"; do
    ! aws_error_is "$gone" "$(<"$CLI_ERRORS")" || return 1
    tries=$((tries + 1))
    ((tries < 30)) || refused "$@"
    sleep 2
  done
}

# retry_while 'CODE|CODE' ARGUMENTS: as call, but repeats a call that AWS refuses with one of the codes, for a minute. AWS
# needs some seconds until something new is known everywhere.
retry_while() { retry_unless 'no code at all' "$@"; }

# What AWS answers for a moment while something else changes the resource, or another job deletes its neighbour.
BUSY='ResourceInUseException|ResourceConflict(Exception)?|OperationAborted(Exception)?|ConflictException'
BUSY+='|Concurrent(Modification|Access)(Exception)?|LimitExceeded(Exception)?|OperationTimeoutException'

# delete_unless 'GONE' ARGUMENTS: as call_unless, for a deletion: asks again while AWS is busy.
delete_unless() { retry_unless "$1" "$BUSY" "${@:2}"; }
