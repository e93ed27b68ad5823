#!/usr/bin/env bash
# Uploads the code of each function that differs from what runs, and applies its settings (averages, rules …).
#
# Usage: scripts/deploy_lambdas.sh

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/{inventory,survey} resources/functions alerts/rules

main() {
  take_no_arguments "$@"
  start_session
  check_rules
  look_at functions
  if ! exists function "$PROCESSOR" || ! exists function "$ANALYST"; then
    die 'the functions do not exist: run scripts/setup.sh'
  fi
  in_parallel "deploy $PROCESSOR process_stock_data" "deploy $ANALYST stock_trend_analysis" "deploy $FORWARDER forward_alerts"
}

functions() { printf 'function %s\n' "$PROCESSOR" "$ANALYST" "$FORWARDER"; }

# deploy NAME BASENAME: from lambdas/BASENAME.py and scripts/resources/BASENAME.json. ForwardAlerts is there only if a chat
# is subscribed.
deploy() {
  ! exists function "$1" || update_function "$1" "$2" "$(render "$SCRIPTS/resources/$2.json")"
}

main "$@"
