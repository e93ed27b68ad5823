#!/usr/bin/env bash
# Runs a query of athena/ on the history, and prints its rows, the bytes it scanned and what it cost.
#
# Usage: scripts/query.sh                                        lists the queries
#        scripts/query.sh QUERY [--param NAME=VALUE]… [--csv]    for example: scripts/query.sh top_movers --param days=7
#
#   QUERY    a file with one statement in Athena's SQL, or the name of one in athena/
#   --param  a value for one of the query's parameters, which its second line names, with their defaults
#   --csv    comma-separated values, never cut to the terminal's width
#
# Rows go to standard output, everything else to standard error. AWS_ENDPOINT_URL sends it to an emulator instead of AWS;
# there it needs requirements/athena.txt. Ctrl-C stops the query. Exit status 1 when it failed or there is no data.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib archive/athena archive/queries

file='' format=table given=() literals=()

main() {
  parse_flags "$@"
  if [[ -z $file ]]; then
    list_queries
    return
  fi
  bind_parameters "$file" ${given[@]+"${given[@]}"}
  start_session
  if is_local; then
    translate_query "$file" ${literals[@]+"${literals[@]}"}
    file=$TEMPORARY/translated.sql literals=()
  fi
  run_query "$file" ${literals[@]+"${literals[@]}"}
  print_result "$format" ${given[@]+"${given[@]}"}
}

parse_flags() {
  while (($# > 0)); do
    case $1 in
      -h | --help) usage 0 ;;
      --csv) format=csv ;;
      --param)
        [[ ${2-} == *=* ]] || die '--param needs NAME=VALUE: see scripts/query.sh --help'
        given+=("$2")
        shift
        ;;
      -*) die "$1 is unknown: see scripts/query.sh --help" ;;
      *)
        [[ -z $file ]] || die "one query at a time, not $file and $1"
        find_query "$1"
        ;;
    esac
    shift
  done
  [[ -n $file || ($format == table && ${#given[@]} == 0) ]] || die 'which query: see scripts/query.sh'
}

find_query() {
  file=$1
  [[ -f $file ]] || file=$ROOT/athena/${1##*/}
  [[ -f $file ]] || file=$file.sql
  [[ -f $file && $file == *.sql ]] || die "no query $1: scripts/query.sh lists those there are"
}

list_queries() {
  local each
  for each in "$ROOT"/athena/*.sql; do
    is_view "$each" || printf '%-16s %s\n' "$(basename "$each" .sql)" "$(description "$each")"
  done
}

main "$@"
