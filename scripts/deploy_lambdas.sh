#!/usr/bin/env bash
# Uploads the code of both functions, where it differs from what runs. Settings are scripts/setup.sh's business.
#
# Usage: scripts/deploy_lambdas.sh
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
for part in inventory functions; do
  # shellcheck source=/dev/null
  source "$SCRIPTS/lib/$part.sh"
done

main() {
  case ${1-} in
    '') ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  start_session
  in_parallel "deploy_code $PROCESSOR process_stock_data" "deploy_code $ANALYST stock_trend_analysis"
}

main "$@"
