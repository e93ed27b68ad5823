# shellcheck shell=bash
# What the scripts share: messages, AWS calls whose errors are explained, settings, work side by side.
# Sourced, never run:  source "${BASH_SOURCE[0]%/*}/common.sh"
# shellcheck disable=SC2034 # most of these are used by the scripts that source this file

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
SCRIPTS=$ROOT/scripts
PROJECT=stock-market-streaming # the tag on every resource: project=stock-market-streaming
export AWS_PAGER=''

# What was done; a dry run does nothing.
log() { [[ -n $dry_run ]] || printf '%s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints the comment at the top of the script that runs, and ends.
usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
  exit "${1:-0}"
}

require_command() {
  command -v "$1" >/dev/null || die "$1 is missing: $2"
}

# in_parallel COMMAND…: each in a background subshell; status 1 when one of them failed. In a dry run, what they print
# comes in the order of the commands.
in_parallel() {
  local command number pids=() failed=0 outputs=''
  [[ -z $dry_run ]] || outputs=$(mktemp -d "$TEMPORARY/outputs.XXXXXX")
  for command in "$@"; do
    (
      trap '' INT HUP # the terminal sends them to all, the script says to whom they go
      trap 'stopping=1; stop_jobs' TERM
      # shellcheck disable=SC2030 # each its own
      CLI_ERRORS=$CLI_ERRORS-${#pids[@]}
      [[ -z $outputs ]] || exec >"$outputs/${#pids[@]}"
      $command
    ) &
    pids+=($!)
  done
  for number in "${!pids[@]}"; do
    wait "${pids[number]}" || failed=1
    [[ -z $outputs ]] || cat "$outputs/$number"
  done
  return "$failed"
}

# A call under way is seen to its end, so that it is known what exists; the next one is not made.
stop_jobs() {
  # shellcheck disable=SC2046 # one word a process
  kill $(jobs -p) 2>/dev/null || true
  wait
}

# render FILE: the file with each ${NAME} (capitals) replaced by the shell variable of that name.
render() {
  local rest name out=''
  rest=$(<"$1")
  while [[ $rest =~ \$\{([A-Z_]+)\} ]]; do
    name=${BASH_REMATCH[1]}
    [[ -n ${!name+set} ]] || die "$1: no value for \${$name}"
    out+=${rest%%"\${$name}"*}${!name}
    rest=${rest#*"\${$name}"}
  done
  printf '%s\n' "$out$rest"
}

# has_settings WANTED CURRENT (both JSON): does CURRENT hold all that WANTED names?
has_settings() {
  python3 -IS "$SCRIPTS/lib/has_settings.py" "$@" # starts without what only other programs need
}

# is_same POLICY POLICY: neither holds anything that the other one does not.
is_same() { has_settings --same "$1" "$2"; }

# shellcheck source=scripts/lib/calls.sh
source "$SCRIPTS/lib/calls.sh"
# shellcheck source=scripts/lib/env_file.sh
source "$SCRIPTS/lib/env_file.sh"
# shellcheck source=scripts/lib/settings.sh
source "$SCRIPTS/lib/settings.sh"
# shellcheck source=scripts/lib/session.sh
source "$SCRIPTS/lib/session.sh"
