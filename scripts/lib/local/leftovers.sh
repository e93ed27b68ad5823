# shellcheck shell=bash
# What a run leaves behind when it is killed (kill -9). Each Python that a run starts has the run's folder in its command
# line: python -X run=FOLDER. Python ignores that (https://docs.python.org/3/using/cmdline.html#cmdoption-X), and no other
# process has it. So nothing else is ever ended, whatever became of process ids.
require_lib local/lock

LEFTOVER_SECONDS=20

# end_leftovers NAME…: ends what is left of killed runs with the folders .local/NAME. A run that is alive has the lock NAME.
end_leftovers() {
  local name found
  for name in "$@"; do
    # In this order: a run takes its lock before it starts a process.
    found=$(processes_of_run "$name")
    if [[ -z $found ]] || is_locked "$name"; then
      continue
    fi
    log "an earlier run was killed: ending what it left behind, $(tr '\n' ',' <<<"$found" | sed 's/,$//; s/,/, /g')"
    # The watcher stops the producer in good order, and needs the emulator for that.
    end_processes "$name" 'watcher|producer|page|pip'
    end_processes "$name" emulator
  done
}

# processes_of_run NAME: prints a line for each, such as "watcher 4711".
processes_of_run() {
  ps -A -ww -o pid= -o args= | MARK="ython -X run=$ROOT/.local/$1 " awk 'index($0, ENVIRON["MARK"]) {
    print (/emulator\.py/ ? "emulator" : /watch\.py/ ? "watcher" : /streamlit/ ? "page" : / -m pip / ? "pip" : "producer"), $1
  }'
}

# end_processes NAME KINDS: asks them to end, and kills those that do not.
end_processes() {
  local deadline=$((SECONDS + LEFTOVER_SECONDS)) ids
  ids=$(ids_of_run "$@")
  # shellcheck disable=SC2086 # one word an id
  [[ -z $ids ]] || kill -TERM $ids 2>/dev/null || true
  while ids=$(ids_of_run "$@") && [[ -n $ids ]]; do
    # shellcheck disable=SC2086
    ((SECONDS < deadline)) || kill -KILL $ids 2>/dev/null || true
    sleep 0.2
  done
}

ids_of_run() { processes_of_run "$1" | sed -nE "s/^($2) //p"; }
