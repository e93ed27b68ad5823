# shellcheck shell=bash
# The virtual environment .venv: which one will do, and how it is made.

VENV=$ROOT/.venv
# This file exists while something is being installed, and stays when that does not come to its end.
INCOMPLETE=$VENV/incomplete

# Sound: complete, in the folder where it was made (its commands name it), with a Python that runs and is new enough.
is_sound() {
  [[ ! -e $INCOMPLETE ]] && grep -qsF "$VENV/bin/python" "$VENV/bin/pip" &&
    "$VENV/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_venv() {
  find_python
  [[ ! -e $VENV ]] || log '.venv is incomplete, broken or was moved: making it again'
  log "making .venv with $("$REPLY" -V)"
  rm -rf "$VENV"
  "$REPLY" -m venv "$VENV" || die "$REPLY -m venv failed: see above"
}

# The command of a suitable Python in REPLY. A command may exist and not run.
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
