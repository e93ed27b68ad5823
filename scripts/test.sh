#!/usr/bin/env bash
# Checks everything: the style of the Python and shell code, then all tests. Works offline once it has its packages.
#
# Usage: scripts/test.sh [PYTEST_ARGUMENT…]      for example: scripts/test.sh -k replay
#
# Installs what it needs into .venv. It runs a part of the long random tests, and with CI=true all of them. It runs shfmt
# and shellcheck when the machine has them; with CI=true the machine must have them.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib local/{lock,venv,pip}

main() {
  case ${1-} in
    -h | --help) usage 0 ;;
  esac
  trap 'release_locks' EXIT
  ensure_packages requirements/dev.txt
  export PATH=$VENV/bin:$PATH
  unset PYTHONDONTWRITEBYTECODE # each process would compile the tests anew
  cd "$ROOT"
  ruff check
  ruff format --check
  check_shell shellcheck -x
  check_shell shfmt -d
  python -m pytest -n 3 --dist loadgroup "$@"
}

# check_shell TOOL OPTION…: on all shell scripts.
check_shell() {
  if command -v "$1" >/dev/null; then
    "$@" scripts/*.sh scripts/lib/*/*.sh bench/*.sh .ci/run
  elif [[ ${CI:-} == true ]]; then
    die "$1 is missing: install it (apt-get install shellcheck shfmt)"
  else
    log "$1 is not installed: left out"
  fi
}

main "$@"
