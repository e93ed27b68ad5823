# shellcheck shell=bash
# What run_local.sh runs, and how everything stops in the right order, whatever ends the run.
require_lib local/lock local/run_folder

child=''    # process group of what runs in the foreground
emulator='' # process group of MiniStack and its Lambda workers
extra=''    # process group of what comes after the first tick: packages, the page
PATIENCE_SECONDS=20

start_jobs() {
  # Each job gets a process group. So the terminal's Ctrl-C reaches only this script, which passes it on.
  set -m
  trap 'stop' EXIT
  trap 'on_signal 129' HUP
  trap 'on_signal 130' INT
  trap 'on_signal 143' TERM
}

# run COMMAND…: waits for it, but handles a signal at once and not only after the command.
run() {
  "$@" &
  child=$!
  wait "$child"
  child=''
}

# run_beside COMMAND…: until it ends by itself, or everything is stopped.
run_beside() {
  "$@" &
  extra=$!
}

# stay MESSAGE: goes on until everything is stopped.
stay() {
  trap 'exit 0' TERM
  log "$1"
  while kill -0 $$ 2>/dev/null; do # unless the run was killed
    sleep 60 &
    wait $!
  done
}

# on_signal STATUS: ends what runs in the foreground. When that ends well, so does the script; otherwise with STATUS.
on_signal() {
  local status=$1
  trap '' HUP INT TERM
  if [[ -n $child ]] && end_group "$child"; then
    status=0
  fi
  child=''
  exit "$status"
}

stop() {
  local status=$? group
  trap '' HUP INT TERM EXIT
  set +e
  end_group "$child" # its leader may have been killed, and have left others
  end_group "$extra"
  end_group "$emulator"
  # A signal may have come before the number of a job was noted.
  for group in $(jobs -p); do
    end_group "$group"
  done
  close_run_folder
  release_locks
  exit "$status"
}

# end_group PROCESS_GROUP: asks its leader to end, waits, and kills what is left. Status: the leader's.
end_group() {
  local deadline=$((SECONDS + PATIENCE_SECONDS))
  [[ -n $1 ]] || return 0
  { # or bash tells how each job ended
    kill -TERM "$1" || true
    while kill -0 "$1" && ((SECONDS < deadline)); do
      sleep 0.1
    done
    kill -KILL -- "-$1" || true
    wait "$1"
  } 2>/dev/null
}
