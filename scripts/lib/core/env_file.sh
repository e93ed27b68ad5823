# shellcheck shell=bash
# Reads .env.

# read_env_file FILE: exports its NAME=value lines. A variable of the environment wins over its line. Nothing in the
# file is executed.
read_env_file() {
  local file=$1 line number=0 name value
  local assignment='^(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$'
  local quoted="^(\"([^\"]*)\"|'([^']*)')[[:space:]]*(#.*)?\$"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=$(trim "${line%$'\r'}")
    [[ -n $line && $line != '#'* ]] || continue
    [[ $line =~ $assignment ]] || die "$file, line $number: expected NAME=value"
    name=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
    if [[ $value =~ $quoted ]]; then
      value=${BASH_REMATCH[2]}${BASH_REMATCH[3]}
    elif [[ $value == [\"\']* ]]; then
      die "$file, line $number: the quotes do not match"
    else
      value=${value%%[[:space:]]#*}
    fi
    [[ -n ${!name+set} ]] || export "$name=$(trim "$value")"
  done <"$file"
}

trim() {
  local text=$1
  text=${text#"${text%%[![:space:]]*}"}
  printf '%s' "${text%"${text##*[![:space:]]}"}"
}
