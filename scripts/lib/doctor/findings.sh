# shellcheck shell=bash
# How the checks report what they find.

ok() { printf 'ok     %s\n' "$*"; }
note() { printf 'note   %s\n' "$*"; }
wrong() { printf 'WRONG  %s\n' "$*" | tee -a "$TEMPORARY/wrong"; }
unknown() { printf '?      %s\n' "$*"; }

# run_check COMMAND…: a check that dies says why, and the other checks go on.
run_check() {
  ("$@") 2>"$CLI_ERRORS-told" || unknown "$(last_error "$CLI_ERRORS-told")"
}

# last_error FILE
last_error() { sed -n '$ { s/^error: //; p; }' "$1"; }

# report_output_of COMMAND…: reports each line that it prints, a state (ok, note or wrong) and words.
report_output_of() {
  local state words lines
  lines=$("$@") || exit 1
  while read -r state words; do
    [[ -z $state ]] || "$state" "$words"
  done <<<"$lines"
}
