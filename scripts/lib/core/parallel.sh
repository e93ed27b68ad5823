# shellcheck shell=bash
# Runs commands side by side, and ends them when the run is interrupted.

# in_parallel COMMAND…: runs each in a background subshell; status 1 when one of them failed. A dry run prints their
# output in the order of the commands.
in_parallel() {
  local command number pids=() failed=0 outputs=''
  [[ -z $dry_run ]] || outputs=$(mktemp -d "$TEMPORARY/outputs.XXXXXX")
  for command in "$@"; do
    (
      trap '' INT HUP # the terminal sends these to every process, but the script decides which jobs end
      trap 'stopping=1; stop_jobs' TERM
      # shellcheck disable=SC2030 # each job has its own
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

# Reads "kind name" lines, and deletes each of these side by side with delete_KIND. A failure does not stop the others.
delete_each() {
  local kind name jobs=()
  while read -r kind name; do
    jobs+=("delete_${kind//-/_} $name")
  done
  [[ ${#jobs[@]} -eq 0 ]] || in_parallel "${jobs[@]}"
}

# A job finishes the call that it is making, so that we know what exists, and makes no other one.
stop_jobs() {
  # shellcheck disable=SC2046 # one word a process
  kill $(jobs -p) 2>/dev/null || true
  wait
}
