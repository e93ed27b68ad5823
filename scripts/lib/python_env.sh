# shellcheck shell=bash
# The virtual environment .venv: made, filled, and made anew when it is broken. Sourced after common.sh and lock.sh.

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
requirements() { cat "$ROOT"/requirements*.txt; }

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

# pip_install REQUIREMENTS_FILE [PIP_OPTION…], saying how far it is (not of what is installed after the first tick).
pip_install() {
  local file=$1 output=$VENV/install.log pip begin=$SECONDS
  log "installing $file: $(grep -c '==' "$ROOT/$file") packages and what they need"
  "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input "${@:2}" -r "$ROOT/$file" >"$output" 2>&1 &
  pip=$!
  while kill -0 "$pip" 2>/dev/null; do
    [[ ! -t 2 || ! -e $INCOMPLETE ]] || printf '\r\033[K  %s' "$(pip_progress "$output")" >&2
    sleep 0.5
  done
  [[ ! -t 2 || ! -e $INCOMPLETE ]] || printf '\r\033[K' >&2
  wait "$pip" || die "pip could not install $file: $(grep '^ERROR' "$output" | tail -n 1) (see $output)"
  mend_aws
  mkdir -p "$VENV/installed"
  requirements >"$VENV/installed/$file"
  log "installed $file in $((SECONDS - begin)) s"
}

# The first line of .venv/bin/aws cannot name a Python in a folder with a space.
mend_aws() {
  [[ -f $VENV/bin/aws ]] && ! "$VENV/bin/aws" --version >/dev/null 2>&1 || return 0
  # shellcheck disable=SC2016 # that is for the script written here to expand
  printf '#!/bin/sh\nexec "${0%%/*}/python" -m awscli "$@"\n' >"$VENV/bin/aws"
}

# pip says what it found while it downloads, and nothing while it installs: there the packages on disk are counted.
pip_progress() {
  local found wanted
  found=$(grep -c '^Collecting' "$1" || true)
  wanted=$(sed -n 's/^Installing collected packages: //p' "$1" | wc -w)
  if ((wanted == 0)); then
    printf '%d packages found: %s' "$found" "$(sed -n 's/^Collecting \([^ ]*\).*/\1/p' "$1" | tail -n 1)"
  else
    printf '%d of %d packages installed' "$(find "$VENV/lib" -newer "$INCOMPLETE" -name '*.dist-info' | wc -l)" "$wanted"
  fi
}
