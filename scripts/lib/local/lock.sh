# shellcheck shell=bash
# Locks between runs. A lock is a file with the process id of its owner.

# take_lock NAME: status 1, with the owner's process id in REPLY, when another run has the lock and is alive.
take_lock() {
  local file=$ROOT/.local/$1.pid
  mkdir -p "$ROOT/.local"
  until (set -o noclobber && printf '%d' "$$" >"$file") 2>/dev/null; do
    ! is_locked "$1" || return 1
    rm -f "$file"
  done
}

# is_locked NAME: whether another run has the lock and is alive; then its process id is in REPLY.
is_locked() {
  REPLY=$(cat "$ROOT/.local/$1.pid" 2>/dev/null || true)
  # The system uses process ids again, so a living process is the owner only when it is one of these scripts.
  [[ ${REPLY:-$$} != "$$" && $(ps -ww -o args= -p "$REPLY") =~ (run_local|test)\.sh ]]
}

# Gives back all locks of this run.
release_locks() {
  local file
  for file in "$ROOT"/.local/*.pid; do
    [[ $(cat "$file" 2>/dev/null) != "$$" ]] || rm -f "$file"
  done
}
