#!/usr/bin/env bash
# Checks everything: style of the Python and shell code, then all tests. Offline, once the packages are here.
#
# Usage: scripts/test.sh [PYTEST_ARGUMENT…]      for example: scripts/test.sh -k replay
#
# Installs what it needs into .venv. Of the long random tests it runs a part, with CI=true all of them. shellcheck and
# shfmt are used when the machine has them; with CI=true they have to be there.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
require_lib local/lock local/venv

main() {
  case ${1-} in
    -h | --help) usage 0 ;;
  esac
  trap 'release_locks' EXIT
  ensure_venv requirements/dev.txt
  export PATH=$VENV/bin:$PATH
  cd "$ROOT"
  ruff check
  ruff format --check
  check_shell shellcheck -x
  check_shell shfmt -d
  python -m pytest -n 3 --dist loadgroup "$@"
}

# check_shell TOOL OPTION…: all shell scripts.
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
