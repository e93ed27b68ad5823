#!/usr/bin/env bash
# Says what is wrong with the set-up, and which command mends it. Changes nothing; run it before setup.sh and after.
#
# Usage: scripts/doctor.sh
#
# One line a check: ok, note (worth knowing), WRONG, or a question mark for what could not be looked at, such as for
# lack of a permission. Tools, settings, credentials, then each resource against the settings, mappings, subscriptions,
# data and failures of the last hour. Exit status 1 when something is WRONG.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
require_lib state/inventory state/survey resources/{stream,tables,bucket,topic,roles,functions,mappings,analytics} \
  doctor/{machine,resources,alerts,data}

main() {
  case ${1-} in
    '') ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  prepare
  # shellcheck disable=SC2034 # print_command is asked instead of AWS
  dry_run=1 # the functions that set up tell what they would do
  examine
  [[ ! -s $TEMPORARY/wrong ]] || exit 1
}

# What makes no sense without what comes before it is not looked at.
examine() {
  in_parallel 'look check_cli' 'look check_python' 'look check_env' 'look check_region'
  (load_settings) 2>/dev/null || return 0 # check_env has said why
  load_settings
  if ! (call sts get-caller-identity --query '[Account,Arn]' --output text --cli-connect-timeout 10 &&
    printf '%s' "$REPLY" >"$TEMPORARY/identity") 2>"$CLI_ERRORS-told"; then
    wrong "account: $(last_error "$CLI_ERRORS-told")"
    return
  fi
  use_account "$(cut -f 1 "$TEMPORARY/identity")"
  (survey) 2>/dev/null || true # a resource that was not found out about is asked for again below
  look check_credentials
  if [[ $(in_state absent) == "$(inventory)" ]]; then
    note "nothing is set up in $AWS_REGION yet: scripts/setup.sh does it, scripts/setup.sh --dry-run shows how"
    return
  fi
  check_everything
}

check_everything() {
  in_parallel "look check_resource stream $STREAM_NAME ensure_stream" \
    "look check_resource table $TABLE_NAME ensure_ticks_table" \
    "look check_resource table $ALERTS_TABLE_NAME ensure_alerts_table" \
    "look check_resource bucket $BUCKET_NAME ensure_bucket" \
    "look check_resource topic $TOPIC_NAME ensure_topic" \
    "look check_role $PROCESSOR_ROLE ensure_processor_role" "look check_role $ANALYST_ROLE ensure_analyst_role" \
    "look check_resource log-group /aws/lambda/$PROCESSOR ensure_log_group /aws/lambda/$PROCESSOR" \
    "look check_resource log-group /aws/lambda/$ANALYST ensure_log_group /aws/lambda/$ANALYST" \
    "look check_resource function $PROCESSOR ensure_function $PROCESSOR process_stock_data" \
    "look check_resource function $ANALYST ensure_function $ANALYST stock_trend_analysis" \
    "look check_resource database $DATABASE ensure_catalog" \
    "look check_resource workgroup $WORKGROUP ensure_workgroup_and_queries" \
    "look check_mapping $PROCESSOR ensure_stream_mapping" "look check_mapping $ANALYST ensure_table_mapping" \
    'look check_subscriptions' 'look check_alarms' \
    'look check_flow' 'look check_rejects' 'look check_failed_batches'
}

# look COMMAND…: a check that ends early says why, and the others go on.
look() {
  ("$@") 2>"$CLI_ERRORS-told" || unknown "$(last_error "$CLI_ERRORS-told")"
}

last_error() { sed -n '$ { s/^error: //; p; }' "$1"; }

ok() { printf 'ok     %s\n' "$*"; }
note() { printf 'note   %s\n' "$*"; }
wrong() { printf 'WRONG  %s\n' "$*" | tee -a "$TEMPORARY/wrong"; }
unknown() { printf '?      %s\n' "$*"; }

# In short what setup.sh would do.
print_command() { only_reads "$2" || printf '%s %s\n' "$1" "$2"; }

main "$@"
