# shellcheck shell=bash
# What every script begins with: where things are, and the files of scripts/lib that all of them use.
# Sourced, never run:  . "${0%/*}/common.sh"
# shellcheck disable=SC2034 # the scripts that source this file use these variables

# This is plain sh, for whoever runs a script with sh.
case ${BASH_VERSION:+:$SHELLOPTS:} in
  '' | *:posix:*) echo "error: this script needs bash: bash $0" >&2 && exit 2 ;;
esac

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
SCRIPTS=$ROOT/scripts
PROJECT=stock-market-streaming # the tag on every resource: project=stock-market-streaming
export AWS_PAGER=''

# require_lib ROOM/FILE…: loads these files of scripts/lib, each once. Every file there opens by naming the files that
# it needs itself, except those of core/, which are always loaded.
loaded=' '
require_lib() {
  local lib
  for lib in "$@"; do
    [[ $loaded != *" $lib "* ]] || continue
    loaded+="$lib "
    # shellcheck source=/dev/null
    source "$SCRIPTS/lib/$lib.sh"
  done
}

# Every script takes --local (the stack of scripts/run_local.sh) and --aws, wherever they stand among its arguments. They are
# taken out here: a file that is sourced without arguments shares those of the script.
stack='' arguments=()
for argument in "$@"; do
  case $argument in
    --local | --aws) stack=${argument#--} ;;
    *) arguments+=("$argument") ;;
  esac
done
set -- ${arguments[@]+"${arguments[@]}"}
unset argument arguments

require_lib core/{messages,parallel,errors,calls,render,env_file,checks,settings,prices,stack,session}
