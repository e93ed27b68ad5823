# shellcheck shell=bash
# Locks between runs: a file with the process id of the run that has it.

# take_lock NAME: status 1, with the owner's process id in REPLY, when a run that is still alive has it.
take_lock() {
  local file=$ROOT/.local/$1.pid
  mkdir -p "$ROOT/.local"
  until (set -o noclobber && printf '%d' "$$" >"$file") 2>/dev/null; do
    REPLY=$(cat "$file" 2>/dev/null || true)
    # Process ids are used again: the owner has to be one of these scripts.
    [[ ! $(ps -o args= -p "${REPLY:-0}") =~ (run_local|test)\.sh ]] || return 1
    rm -f "$file"
  done
}

# Gives back all that this run has.
release_locks() {
  local file
  for file in "$ROOT"/.local/*.pid; do
    [[ $(cat "$file" 2>/dev/null) != "$$" ]] || rm -f "$file"
  done
}
