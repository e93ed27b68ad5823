# shellcheck shell=bash
# Fills in the JSON files that the scripts deploy.

# render FILE: prints the file with each ${NAME} (capitals) replaced by the shell variable of that name.
render() {
  local rest name out=''
  rest=$(<"$1")
  while [[ $rest =~ \$\{([A-Z_]+)\} ]]; do
    name=${BASH_REMATCH[1]}
    [[ -n ${!name+set} ]] || die "$1: no value for \${$name}"
    out+=${rest%%"\${$name}"*}${!name}
    rest=${rest#*"\${$name}"}
  done
  printf '%s\n' "$out$rest"
}
