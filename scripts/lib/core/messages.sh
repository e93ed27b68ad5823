# shellcheck shell=bash
# What the scripts say: progress, errors, their usage.

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
