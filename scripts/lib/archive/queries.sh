# shellcheck shell=bash
# The queries in athena/: their descriptions and parameters.

# description FILE: its first line, without the comment's dashes.
description() { sed -n '1s/^-- *//p' "$1"; }

is_view() { grep -q '^CREATE OR REPLACE VIEW' "$1"; }

# bind_parameters FILE NAME=VALUE…: Athena's execution parameters in $literals. For each name in the file's line
# "-- Parameters: symbol, days=7", in the order of the question marks, the value given or the default. A name with
# a default takes a number, any other a text. They are literals, quotes doubled: no value can become SQL.
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
