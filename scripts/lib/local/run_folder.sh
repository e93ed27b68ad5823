# shellcheck shell=bash
# The folder .local/SOURCE, which holds all files of a run. One run at a time has it.
require_lib local/lock state/untagged

RUN_FOLDER=''

# open_run_folder SOURCE KEEP: sets RUN_FOLDER.
open_run_folder() {
  take_lock "$1" || die "process $REPLY is running --source $1 here: stop it first, or choose another source"
  RUN_FOLDER=$ROOT/.local/$1
  if [[ -e $RUN_FOLDER/kept ]]; then
    if [[ -n $2 ]]; then
      log "going on from what an earlier run kept in .local/$1"
    else
      log "going on from what an earlier run kept in .local/$1. It is removed at the end, because there is no --keep"
    fi
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
  [[ -z ${AWS_ENDPOINT_URL:-} ]] || forget_untagged
  ! grep -q "^# --source ${RUN_FOLDER##*/}\$" "$LOCAL_STACK" 2>/dev/null || rm -f "$LOCAL_STACK"
  rm -rf "$RUN_FOLDER/tmp" "$RUN_FOLDER/first_tick" "$RUN_FOLDER/page_address"
  if [[ -e $RUN_FOLDER/kept ]]; then
    log "kept in .local/${RUN_FOLDER##*/}: scripts/run_local.sh --source ${RUN_FOLDER##*/} --keep goes on from there"
  else
    rm -rf "$RUN_FOLDER"
  fi
}
