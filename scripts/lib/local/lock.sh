# shellcheck shell=bash
# Locks between runs. A lock is a file with the process id of its owner.

# take_lock NAME: status 1, with the owner's process id in REPLY, when another run has the lock and is alive.
take_lock() {
  local file=$ROOT/.local/$1.pid
  mkdir -p "$ROOT/.local"
  until (set -o noclobber && printf '%d' "$$" >"$file") 2>/dev/null; do
    REPLY=$(cat "$file" 2>/dev/null || true)
    # The system uses process ids again, so a living process is the owner only when it is one of these scripts.
    [[ ! $(ps -o args= -p "${REPLY:-0}") =~ (run_local|test)\.sh ]] || return 1
    rm -f "$file"
  done
}

# Gives back all locks of this run.
release_locks() {
  local file
  for file in "$ROOT"/.local/*.pid; do
    [[ $(cat "$file" 2>/dev/null) != "$$" ]] || rm -f "$file"
  done
}
