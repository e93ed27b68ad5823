# shellcheck shell=bash
# What the scripts share: messages, AWS calls whose errors are explained, settings, work side by side.
# Sourced, never run:  source "${BASH_SOURCE[0]%/*}/common.sh"
# shellcheck disable=SC2034 # most of these are used by the scripts that source this file

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
SCRIPTS=$ROOT/scripts
PROJECT=stock-market-streaming # the tag on every resource: project=stock-market-streaming
export AWS_PAGER=''

log() { printf '%s\n' "$*" >&2; }

die() {
  log "error: $*"
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

# in_parallel COMMAND…: each in a background subshell; status 1 when one of them failed.
in_parallel() {
  local command pids=() pid failed=0
  for command in "$@"; do
    ($command) &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
  done
  return "$failed"
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
  python3 "$SCRIPTS/lib/has_settings.py" "$1" "$2"
}

# shellcheck source=scripts/lib/calls.sh
source "$SCRIPTS/lib/calls.sh"
# shellcheck source=scripts/lib/settings.sh
source "$SCRIPTS/lib/settings.sh"
# shellcheck source=scripts/lib/session.sh
source "$SCRIPTS/lib/session.sh"
