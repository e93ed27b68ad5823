# shellcheck shell=bash
# The virtual environment .venv: made, filled, and made anew when it is broken.
require_lib local/lock local/pip

VENV=$(cd "$ROOT" && pwd -P)/.venv
# Marks a .venv as half-made while something is being installed into it.
INCOMPLETE=$VENV/incomplete

# ensure_venv REQUIREMENTS_FILE [PIP_OPTION…]: installs what the file names, unless that is done already.
ensure_venv() {
  local owner=''
  ! is_installed "$1" || return 0
  until take_lock install; do
    [[ $owner == "$REPLY" ]] || log "process $REPLY is installing into .venv: waiting for it"
    owner=$REPLY
    sleep 1
  done
  if ! is_installed "$1"; then
    is_sound || make_venv
    (($# > 1)) || touch "$INCOMPLETE"
    pip_install "$@"
    rm -f "$INCOMPLETE"
  fi
  rm -f "$ROOT/.local/install.pid"
}

# Sound: complete, at the place where it was made (its commands name it), with a Python that runs and is new enough.
is_sound() {
  [[ ! -e $INCOMPLETE ]] && grep -qsF "$VENV/bin/python" "$VENV/bin/pip" &&
    "$VENV/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

is_installed() { [[ -f $VENV/installed/$1 ]] && is_sound && requirements | cmp -s - "$VENV/installed/$1"; }
requirements() { cat "$ROOT"/requirements.txt "$ROOT"/requirements/*.txt; }

make_venv() {
  find_python
  [[ ! -e $VENV ]] || log '.venv is incomplete, broken or was moved: making it anew'
  log "making .venv with $("$REPLY" -V)"
  rm -rf "$VENV"
  "$REPLY" -m venv "$VENV" || die "$REPLY -m venv failed: see above"
}

# The command of a Python that will do in REPLY. That a command exists does not mean that it runs.
find_python() {
  local old='' bare=''
  for REPLY in python3.13 python3.12 python3.11 python3.14 python3 python; do
    "$REPLY" -c '' 2>/dev/null || continue
    if ! "$REPLY" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      old=${old:-$("$REPLY" -V 2>&1)}
    elif ! "$REPLY" -c 'import ensurepip, venv' 2>/dev/null; then
      bare=${bare:-$REPLY}
    else
      return 0
    fi
  done
  [[ -z $bare ]] ||
    die "$bare cannot make virtual environments: install venv and ensurepip (Debian, Ubuntu: sudo apt install $bare-venv)"
  die "Python 3.11 or newer is needed${old:+, only $old is here}: install it (Debian, Ubuntu: sudo apt install python3" \
    "python3-venv; macOS: brew install python; others: https://www.python.org/downloads/)"
}
