# shellcheck shell=bash
# How the scripts talk: progress, errors, usage.

# Says what was done. A dry run does nothing, so it says nothing.
log() { [[ -n $dry_run ]] || printf '%s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# usage [STATUS]: prints the comment at the top of the running script, and ends it.
usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
  case ${0##*/} in
    run_local.sh | service.sh | test.sh) ;;
    *) printf '\n%s\n' 'With --local it works on the stack of scripts/run_local.sh, with --aws on that in AWS.' ;;
  esac
  exit "${1:-0}"
}

# take_no_arguments ARGUMENT…: for a script that knows only --help.
take_no_arguments() {
  case ${1-} in
    '') ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
}

# require_command COMMAND REMEDY
require_command() {
  command -v "$1" >/dev/null || die "$1 is missing: $2"
}
