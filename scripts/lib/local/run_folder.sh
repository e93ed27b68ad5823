# shellcheck shell=bash
# The folder .local/SOURCE, which holds all files of a run. One run at a time has it.
require_lib local/lock

RUN_FOLDER=''

# open_run_folder SOURCE KEEP: sets RUN_FOLDER.
open_run_folder() {
  take_lock "$1" || die "process $REPLY is running --source $1 here: stop it first, or choose another source"
  RUN_FOLDER=$ROOT/.local/$1
  if [[ -e $RUN_FOLDER/kept ]]; then
    log "going on from what an earlier run left in .local/$1${2:-, which is removed at the end, because there is no --keep}"
    rm -rf "$RUN_FOLDER/tmp" "$RUN_FOLDER/first_tick" # of a run that was killed
  else
    rm -rf "$RUN_FOLDER"
  fi
  mkdir -p "$RUN_FOLDER/tmp"
  export TMPDIR=$RUN_FOLDER/tmp
}

# mark_run_folder KEEP: decides what this run leaves, once it is about to add something.
mark_run_folder() {
  rm -f "$RUN_FOLDER/kept"
  [[ -z $1 ]] || touch "$RUN_FOLDER/kept"
}

close_run_folder() {
  [[ -n $RUN_FOLDER ]] || return 0
  rm -rf "$RUN_FOLDER/tmp" "$RUN_FOLDER/first_tick"
  if [[ -e $RUN_FOLDER/kept ]]; then
    log "kept: $RUN_FOLDER"
  else
    rm -rf "$RUN_FOLDER"
  fi
}
