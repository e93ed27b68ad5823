#!/usr/bin/env bash
# Says what is wrong with the set-up, and which command mends it. Changes nothing; run it before setup.sh and after.
#
# Usage: scripts/doctor.sh
#
# One line for each check: ok, note (worth knowing), WRONG, or ? when the check could not be done, for example without a
# permission. It checks tools, settings and credentials, then each resource against the settings, mappings,
# subscriptions, data, and failures of the last hour. Exit status 1 when something is WRONG.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/{inventory,regions,survey} resources/{stream,tables,bucket,topic,roles,functions,mappings,analytics} \
  doctor/{findings,machine,resources,alerts,data,stuck} alerts/rules

main() {
  take_no_arguments "$@"
  prepare_session
  # shellcheck disable=SC2034 # call_unless reads it
  dry_run=1 # the functions of setup.sh now print what they would do
  examine
  [[ ! -s $TEMPORARY/wrong ]] || exit 1
}

# Goes on only as far as it makes sense: no account without settings, no resources without an account.
examine() {
  in_parallel 'run_check check_cli' 'run_check check_python' 'run_check check_env' 'run_check check_region'
  (load_settings) 2>/dev/null || return 0 # check_env has said why
  load_settings
  if ! (get_identity && printf '%s' "$REPLY" >"$TEMPORARY/identity") 2>"$CLI_ERRORS-told"; then
    wrong "account: $(last_error "$CLI_ERRORS-told")"
    return
  fi
  use_account "$(<"$TEMPORARY/identity")"
  (check_rules) 2>"$CLI_ERRORS-told" || wrong "settings: $(sed -n '1s/^error: //p' "$CLI_ERRORS-told")"
  (survey) 2>/dev/null || true # below, check_resource asks again for a resource that this missed
  run_check check_credentials
  if [[ -z $(in_state ours) && -n $(in_state elsewhere) ]]; then
    wrong "region $AWS_REGION: your stack is in $(other_region): correct AWS_REGION"
    return
  fi
  if [[ $(in_state absent) == "$(inventory)" ]]; then
    note "nothing is set up in $AWS_REGION yet: scripts/setup.sh does it, scripts/setup.sh --dry-run shows how"
    return
  fi
  check_everything
}

check_everything() {
  in_parallel "run_check check_resource stream $STREAM_NAME ensure_stream" \
    "run_check check_resource table $TABLE_NAME ensure_ticks_table" \
    "run_check check_resource table $ALERTS_TABLE_NAME ensure_alerts_table" \
    "run_check check_resource bucket $BUCKET_NAME ensure_bucket" \
    "run_check check_resource topic $TOPIC_NAME ensure_topic" \
    "run_check check_role $PROCESSOR_ROLE ensure_processor_role" "run_check check_role $ANALYST_ROLE ensure_analyst_role" \
    "run_check check_resource log-group /aws/lambda/$PROCESSOR ensure_log_group /aws/lambda/$PROCESSOR" \
    "run_check check_resource log-group /aws/lambda/$ANALYST ensure_log_group /aws/lambda/$ANALYST" \
    "run_check check_resource function $PROCESSOR ensure_function $PROCESSOR process_stock_data" \
    "run_check check_resource function $ANALYST ensure_function $ANALYST stock_trend_analysis" \
    "run_check check_resource database $DATABASE ensure_catalog" \
    "run_check check_resource workgroup $WORKGROUP ensure_workgroup_and_queries" \
    "run_check check_mapping $PROCESSOR ensure_stream_mapping" "run_check check_mapping $ANALYST ensure_table_mapping" \
    'run_check check_subscriptions' 'run_check check_chats' 'run_check check_alarms' \
    'run_check check_flow' 'run_check check_rejects' 'run_check check_failed_batches'
}

# Prints in short what setup.sh would do, in place of the whole command.
print_command() { only_reads "$2" || printf '%s %s\n' "$1" "$2"; }

main "$@"
