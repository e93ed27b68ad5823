#!/usr/bin/env bash
# Times setup.sh, doctor.sh and cleanup.sh on the emulator, and counts the AWS CLI processes that they start.
#
# Usage: bench/scripts.sh
#
# Once with the AWS CLI v1 of .venv, and once with v2 where the machine has one. Exit status 1 if a goal is missed
# (they are for two cores that have nothing else to do).
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/../scripts/common.sh"
require_lib local/{lock,venv,pip,emulator}
emulator='' missed=0

main() {
  local cli clis=("$VENV/bin/aws")
  take_no_arguments "$@"
  TEMPORARY=$(mktemp -d)
  trap 'stop' EXIT
  trap 'exit 130' INT TERM HUP
  ensure_packages requirements/local.txt
  while read -r cli; do
    [[ ${#clis[@]} -gt 1 || -z $cli || $("$cli" --version 2>&1) != aws-cli/2* ]] || clis+=("$cli")
  done <<<"$(type -aP aws)"
  export AWS_REGION=us-east-1
  use_no_other_aws
  export ALERT_EMAIL=a@example.com ALERT_PHONE=+15550100200 AWS_CALLS=$TEMPORARY/calls
  start_emulator "$TEMPORARY/emulator"
  printf '%-28s %8s %6s %10s\n' 'seconds and AWS CLI processes' seconds goal processes
  for cli in "${clis[@]}"; do
    measure_all "$cli"
  done
  return "$missed"
}

measure_all() {
  "$1" --version
  mkdir -p "$TEMPORARY/bin"
  # shellcheck disable=SC2016 # the new script expands them
  printf '#!/bin/sh\necho >>"$AWS_CALLS"\nexec "%s" "$@"\n' "$1" >"$TEMPORARY/bin/aws"
  chmod +x "$TEMPORARY/bin/aws"
  measure 'setup.sh --dry-run' - setup.sh --dry-run
  measure 'setup.sh from nothing' 25 setup.sh
  measure 'setup.sh again' 15 setup.sh
  measure 'doctor.sh' - doctor.sh
  measure 'cleanup.sh' 20 cleanup.sh --yes
}

# measure TITLE GOAL SCRIPT…: one line of the table.
measure() {
  local TIMEFORMAT=%R seconds
  : >"$AWS_CALLS"
  seconds=$({ time PATH=$TEMPORARY/bin:$PATH "$SCRIPTS/$3" "${@:4}" >"$TEMPORARY/said" 2>&1; } 2>&1) ||
    die "$3 failed: $(tail -n 1 "$TEMPORARY/said")"
  printf '%-29s %8s %6s %10d\n' "$1" "$seconds" "$2" "$(grep -c '' "$AWS_CALLS")"
  [[ $2 == - || ${seconds%.*} -lt $2 ]] || missed=1
}

stop() {
  if [[ -n $emulator ]]; then
    kill "$emulator" 2>/dev/null || true
    wait "$emulator" 2>/dev/null || true
  fi
  release_locks
  rm -rf "$TEMPORARY"
}

main "$@"
