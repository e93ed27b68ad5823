# shellcheck shell=bash
# How one setting is checked, and what is said about a wrong one.

# check_setting NAME PATTERN WORDS: WORDS say what PATTERN allows. The locale C compares byte by byte, so that an invisible character
# does not match, and is shown as an escape.
check_setting() {
  local LC_ALL=C hint=''
  [[ ${!1} =~ $2 ]] && return
  case ${!1} in
    *[![:print:]]*) hint=', but it holds something invisible, or a letter that is not plain' ;;
    *' '*) hint=', but it holds a space' ;;
  esac
  complain "$1=$(printf '%q' "${!1}"): expected $3$hint"
}

# The run goes on, so that one run names everything that is wrong; refuse_bad_settings ends it.
complain() {
  printf 'error: %s\n' "$*" >&2
  bad_settings=1
}

refuse_bad_settings() { [[ -z $bad_settings ]] || exit 1; }
