# shellcheck shell=bash
# Commands side by side, and how an interruption ends them.

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
