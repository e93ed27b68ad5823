#!/usr/bin/env bash
# Uploads the code of each function that differs from what runs. For settings, run scripts/setup.sh.
#
# Usage: scripts/deploy_lambdas.sh
# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/inventory resources/functions

main() {
  take_no_arguments "$@"
  start_session
  in_parallel "deploy $PROCESSOR process_stock_data" "deploy $ANALYST stock_trend_analysis"
}

# deploy NAME BASENAME: from lambdas/BASENAME.py.
deploy() {
  call_unless ResourceNotFoundException lambda get-function-configuration --function-name "$1" \
    --query CodeSha256 --output text || die "function $1 does not exist: run scripts/setup.sh"
  deploy_code "$1" "$2" "$REPLY"
}

main "$@"
