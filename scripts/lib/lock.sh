# shellcheck shell=bash
# Locks between runs: a file with the process id of the run that has it. Sourced.

LOCKS=()

# take_lock FILE: status 1, with the owner's process id in REPLY, when a run that is still alive has it.
take_lock() {
  mkdir -p "${1%/*}"
  until (set -o noclobber && printf '%d' "$$" >"$1") 2>/dev/null; do
    REPLY=$(cat "$1" 2>/dev/null || true)
    # Process ids are used again: the owner has to be one of these scripts.
    [[ ! $(ps -o args= -p "${REPLY:-0}") =~ (run_local|test)\.sh ]] || return 1
    rm -f "$1"
  done
  LOCKS+=("$1")
}

release_locks() {
  [[ -z ${LOCKS[*]-} ]] || rm -f "${LOCKS[@]}"
  LOCKS=()
}
