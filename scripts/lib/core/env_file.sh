# shellcheck shell=bash
# Reads .env.

# read_env_file FILE: exports its NAME=value lines. A variable of the environment wins over its line. Nothing in the
# file is executed or expanded. load_settings in stream_stock_data.py accepts and refuses the same files.
read_env_file() {
  local LC_ALL=C file=$1 line number=0 name value first seen=' ' # byte by byte, whatever the locale
  local assignment='^(export[[:blank:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:blank:]]*=(.*)$'
  local quoted="^[[:blank:]]*(\"([^\"\\]*)\"|'([^'\\]*)')[[:blank:]]*(#.*)?\$"
  # The white space of Unicode but space and tab. The readers would not agree where a value with it ends.
  local space=$'[\v\f\r\x1c-\x1f]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80'
  ! IFS= read -r -d '' line <"$file" || die "$file: holds a NUL byte, save it as UTF-8"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    ((number > 1)) || line=${line#$'\xef\xbb\xbf'}
    line=${line%$'\r'}
    [[ ! $line =~ $space ]] || die "$file, line $number: holds white space that is neither a space nor a tab"
    line=$(trim "$line")
    [[ -n $line && $line != '#'* ]] || continue
    [[ $line =~ $assignment && ${BASH_REMATCH[2]} != export ]] || die "$file, line $number: expected NAME=value"
    name=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
    if [[ $value =~ $quoted ]]; then
      value=${BASH_REMATCH[2]}${BASH_REMATCH[3]}
    elif [[ $(trim "$value") == [\"\']* ]]; then
      die "$file, line $number: the quotes do not match, or hold a backslash"
    else
      value=$(trim "${value%%[[:blank:]]#*}")
    fi
    if [[ $seen == *" $name="* ]]; then
      first=${seen##*" $name="}
      die "$file, line $number: $name is set already, in line ${first%% *}"
    fi
    seen+="$name=$number "
    [[ -n ${!name+set} ]] || export "$name=$value"
  done <"$file"
}

trim() {
  local text=$1
  text=${text#"${text%%[![:space:]]*}"}
  printf '%s' "${text%"${text##*[![:space:]]}"}"
}
