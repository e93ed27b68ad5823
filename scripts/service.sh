#!/usr/bin/env bash
# Runs the producer as a service: it starts at boot, comes back when it fails, and needs no terminal.
#
# Usage: scripts/service.sh install [PRODUCER_FLAG…]    for example: install --symbols-file symbols.txt --backfill 60
#        scripts/service.sh status
#        scripts/service.sh logs [-f]                   -f goes on until Ctrl-C
#        scripts/service.sh remove                      its state and its log stay
#
# On Linux it is a systemd user unit, on macOS a launchd agent: of this user, without root. It follows .env and the flags
# (python stream_stock_data.py --help), and reads the AWS credentials that `aws configure` has stored. A second install
# replaces the flags, and starts the producer again with what .env says then. docs/always-on.md says more.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib local/venv service/{systemd,launchd}

manager=systemd # or launchd: who runs services here

main() {
  case ${1-} in
    -h | --help) usage 0 ;;
    install | logs) ;;
    status | remove) (($# == 1)) || usage 2 >&2 ;;
    *) usage 2 >&2 ;;
  esac
  [[ $(id -u) != 0 ]] || die 'run this as the user whose service it is to be, not as root: without sudo'
  [[ $(uname) != Darwin ]] || manager=launchd
  "${manager}_require"
  file=$("${manager}_file")
  [[ $1 == install || -e $file ]] || die 'no service is installed: scripts/service.sh install'
  refuse_other_checkout
  "do_$1" "${@:2}"
}

# One service a user: two producers with one watchlist would only ask Yahoo twice.
refuse_other_checkout() {
  local checkout
  [[ -e $file ]] || return 0
  checkout=$(definition --checkout "$file")
  [[ $checkout == "$ROOT" ]] || die "the service runs the producer in ${checkout:-another place}: use its scripts/service.sh" \
    "(or, when it is gone, remove $file)"
}

definition() { python3 "$SCRIPTS/lib/service/definition.py" "$@"; }

do_install() {
  local state='' verb=installed
  (load_settings) || exit 1
  "$VENV/bin/python" -c '' 2>/dev/null ||
    die '.venv is missing or broken: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt'
  # The producer that runs as the service has the state's lock, until it is replaced.
  if "${manager}_is_running"; then
    state=$(mktemp -d) verb=updated
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -rf '$state'" EXIT
  fi
  "$VENV/bin/python" "$SCRIPTS/lib/service/check.py" "$state" "$@"
  definition "$file" "$ROOT" "$@"
  "${manager}_start"
  log "$verb: $file. See it: scripts/service.sh status, scripts/service.sh logs -f"
}

do_status() { "${manager}_status"; }
do_logs() { "${manager}_logs" "$@"; }

do_remove() {
  "${manager}_stop"
  rm -f "$file"
  "${manager}_forget"
  log "removed: $file. What was not sent waits in STATE_DIR for the next producer"
}

main "$@"
