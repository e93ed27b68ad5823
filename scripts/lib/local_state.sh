# shellcheck shell=bash
# The folder .local/SOURCE, which holds all files of a run; one run at a time has it. Sourced by run_local.sh, after
# lock.sh.

state=''

# open_state SOURCE: sets state, the folder.
open_state() {
  take_lock "$1" || die "process $REPLY is running --source $1 here: stop it first, or take another source"
  state=$ROOT/.local/$1
  if [[ -e $state/kept ]]; then
    log "going on from what an earlier run left in .local/$1${keep:-, which is removed at the end, for there is no --keep}"
  else
    rm -rf "$state"
  fi
  mkdir -p "$state/tmp"
  export TMPDIR=$state/tmp
}

# What this run leaves is decided when it has got so far as to add something.
mark_state() {
  rm -f "$state/kept"
  [[ -z $keep ]] || touch "$state/kept"
}

close_state() {
  [[ -n $state ]] || return 0
  rm -rf "$state/tmp" "$state/first_tick"
  if [[ -e $state/kept ]]; then
    log "kept: $state"
  else
    rm -rf "$state"
  fi
}
