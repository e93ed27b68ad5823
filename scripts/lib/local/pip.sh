# shellcheck shell=bash
# Installs packages into .venv.
require_lib local/lock local/leftovers local/venv

# ensure_packages REQUIREMENTS_FILE [PIP_OPTION…]: installs what the file names, unless that is done already. With options
# it adds to a .venv that is in use, quietly.
ensure_packages() {
  local owner=''
  ! is_installed "$1" || return 0
  until take_lock install; do
    [[ $owner == "$REPLY" ]] || log "process $REPLY is installing into .venv: waiting for it"
    owner=$REPLY
    sleep 1
  done
  end_leftovers install
  if ! is_installed "$1"; then
    is_sound || make_venv
    (($# > 1)) || touch "$INCOMPLETE"
    pip_install "$@"
    rm -f "$INCOMPLETE"
  fi
  rm -f "$ROOT/.local/install.pid"
}

is_installed() { [[ -f $VENV/installed/$1 ]] && is_sound && requirements | cmp -s - "$VENV/installed/$1"; }
requirements() { cat "$ROOT"/requirements.txt "$ROOT"/requirements/*.txt; }

# pip_install REQUIREMENTS_FILE [PIP_OPTION…]: on a terminal pip shows its own progress.
pip_install() {
  local file=$1 output=$VENV/install.log begin=$SECONDS
  local pip=("$VENV/bin/python" -X "run=$ROOT/.local/install" -m pip install --disable-pip-version-check --no-input --no-compile "${@:2}" -r "$ROOT/$file")
  log "installing $file: $(grep -c '==' "$ROOT/$file") packages and what they need"
  if [[ -t 2 && -e $INCOMPLETE ]]; then
    "${pip[@]}" >&2 || die "pip could not install $file: see above"
  else
    "${pip[@]}" >"$output" 2>&1 ||
      die "pip could not install $file: $(grep '^ERROR' "$output" | tail -n 1) (see $output)"
  fi
  compile_packages
  mend_aws
  mark_installed "$file"
  log "installed $file in $((SECONDS - begin)) s"
}

# pip would compile on one core, and the tests inside of the packages too. What does not compile is not for this Python.
compile_packages() {
  "$VENV/bin/python" -m compileall -q -j 0 -x 'site-packages/.*/tests/' "$VENV"/lib/python*/site-packages >/dev/null 2>&1 || true
}

# mark_installed REQUIREMENTS_FILE: and the files that it names in lines "-r FILE", as seen from its own folder.
mark_installed() {
  local file
  mkdir -p "$VENV/installed/requirements"
  requirements >"$VENV/installed/$1"
  while read -r file; do
    case $file in
      ../*) mark_installed "${file#../}" ;;
      *) mark_installed "requirements/$file" ;;
    esac
  done < <(sed -n 's/^-r //p' "$ROOT/$1")
}

# The first line of .venv/bin/aws cannot name a Python whose folder has a space in its name.
mend_aws() {
  [[ -f $VENV/bin/aws ]] && ! "$VENV/bin/aws" --version >/dev/null 2>&1 || return 0
  # shellcheck disable=SC2016 # the new script expands it
  printf '#!/bin/sh\nexec "${0%%/*}/python" -m awscli "$@"\n' >"$VENV/bin/aws"
}
