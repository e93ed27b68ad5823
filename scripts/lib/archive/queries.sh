# shellcheck shell=bash
# The queries in athena/: their descriptions and parameters.

# description FILE: prints its first line, without the comment's dashes.
description() { sed -n '1s/^-- *//p' "$1"; }

is_view() { grep -q '^CREATE OR REPLACE VIEW' "$1"; }

# bind_parameters FILE NAME=VALUE…: puts Athena's execution parameters into the array literals: for each name in the line
# "-- Parameters: symbol, days=7" of the file, in the order of the question marks, the given value or the default. A name
# with a default takes a number, any other name a text. A text is quoted and its quotes are doubled, so that it cannot
# become SQL.
bind_parameters() {
  local file=$1 line name value each quote="'" names=() number='^[0-9]{1,9}([.][0-9]{1,9})?$'
  shift
  literals=()
  line=$(sed -n 's/^-- Parameters: *//p' "$file")
  [[ -z $line ]] || IFS=', ' read -r -a names <<<"$line"
  for each in "$@"; do
    [[ " ${names[*]+"${names[*]%%=*}"} " == *" ${each%%=*} "* ]] ||
      die "${file##*/} has no parameter ${each%%=*}${line:+, only: $line}"
  done
  for name in ${names[@]+"${names[@]}"}; do
    value=''
    [[ $name != *=* ]] || value=${name#*=}
    for each in "$@"; do
      [[ ${each%%=*} != "${name%%=*}" ]] || value=${each#*=}
    done
    [[ -n $value ]] || die "${file##*/} needs --param ${name%%=*}=VALUE"
    if [[ $name == *=* ]]; then
      [[ $value =~ $number ]] || die "--param ${name%%=*}=$value: expected a number"
      literals+=("$value")
    else
      literals+=("$quote${value//$quote/$quote$quote}$quote")
    fi
  done
}
