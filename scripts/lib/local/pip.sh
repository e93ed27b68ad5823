# shellcheck shell=bash
# Installs packages into .venv, and says how far it is.

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
  mark_installed "$file"
  log "installed $file in $((SECONDS - begin)) s"
}

# A file that names others ("-r FILE", from its own folder) stands for them too.
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
