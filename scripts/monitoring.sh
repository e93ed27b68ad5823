#!/usr/bin/env bash
# Watches the pipeline: a CloudWatch dashboard, alarms by e-mail and, on request, a trail and a budget.
#
# Usage: scripts/monitoring.sh [--email ADDRESS] [--market-hours] [--cloudtrail] [--budget USD]
#        scripts/monitoring.sh --remove
#
#   --email         who gets the alarms, besides those who already do (default: ALERT_EMAIL of .env)
#   --market-hours  one more alarm: no tick stored for 15 minutes on a weekday between 15:00 and 20:00 UTC, when New
#                   York trades in summer and in winter alike (a holiday sets it off too)
#   --cloudtrail    records who did what in the account and region, in the bucket under cloudtrail/, for 90 days. The
#                   first trail of an account is free; beside another one it costs $2 per 100,000 events
#   --budget        warns when the whole account has spent 80 % of so many USD in a month, and when it is about to
#                   spend all of it. Free
#   --remove        removes all of this, and nothing else (scripts/cleanup.sh removes it too)
#
# Alarms: a function is five minutes behind or keeps failing, a record is not a tick, Lambda has given up a batch, or
# could not even store it. ForwardAlerts is watched too, if scripts/alerts.sh has made it.
# Run it again at any time: what exists stays, also what you asked for earlier. At the end it prints what this costs.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/inventory state/{lookup,regions} monitoring/{search,operations_topic,alarms,cloudwatch_dashboard,trail,budget,report}

main() {
  local jobs=(ensure_cloudwatch_dashboard ensure_failed_batches_notified ensure_rejects_alarm) remove='' name
  for name in "$PROCESSOR" "$ANALYST"; do
    jobs+=("ensure_iterator_age_alarm $name" "ensure_errors_alarm $name" "ensure_undelivered_alarm $name")
  done
  while (($#)); do
    case $1 in
      --email)
        [[ -n ${2-} ]] || die '--email needs an address'
        export ALERT_EMAIL=$2
        shift
        ;;
      --market-hours) jobs+=(ensure_no_data_alarm) ;;
      --cloudtrail) jobs+=(ensure_trail) ;;
      --budget)
        [[ ${2-} =~ ^[1-9][0-9]{0,6}([.][0-9]{1,2})?$ ]] || die "--budget ${2-}: expected USD a month, such as 20"
        jobs+=("ensure_budget $2")
        shift
        ;;
      --remove) remove=1 ;;
      -h | --help) usage ;;
      *) usage 2 >&2 ;;
    esac
    shift
  done
  start_session
  # shellcheck disable=SC2034 # for render, and for the files in lib/monitoring/
  OPERATIONS_TOPIC_ARN=$(arn_of topic "$OPERATIONS_TOPIC")
  if [[ -n $remove ]]; then
    remove_all
    return
  fi
  read_tag bucket "$BUCKET_NAME" || REPLY=''
  if [[ $REPLY != "$PROJECT" ]] || is_elsewhere bucket "$BUCKET_NAME" || ! belongs_here; then
    die "there is nothing to watch in $AWS_REGION yet: run scripts/setup.sh first"
  fi
  ensure_operations_topic
  if call_unless ResourceNotFoundException lambda get-function --function-name "$FORWARDER" --query Tags.project --output text &&
    [[ $REPLY == "$PROJECT" ]]; then
    jobs+=("ensure_errors_alarm $FORWARDER" "ensure_undelivered_alarm $FORWARDER")
  fi
  in_parallel "${jobs[@]}" ||
    die 'the monitoring is not complete: mend the above and run this again, it goes on from here'
  print_monitoring
}

remove_all() {
  in_parallel "${FIND_MONITORING[@]}" || exit 1
  delete_each < <(cat "$TEMPORARY"/found-*) ||
    die 'not all of the monitoring is removed: mend the above and run this again'
  log 'Nothing of the monitoring is left.'
}

main "$@"
