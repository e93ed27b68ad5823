#!/usr/bin/env bash
# Creates everything the pipeline needs, or completes and updates what exists.
#
# Usage: scripts/setup.sh [--dry-run]
#
#   --dry-run  changes nothing, and prints every AWS command that it would run, in order. It does run the commands that
#              only read, and prints them as comments
#
# Stream, tables, bucket, topic with its subscriptions, roles, functions, event source mappings, Glue catalog and
# Athena workgroup, all tagged project=stock-market-streaming. Reads .env (see .env.example); a variable of the
# environment wins. Run it again after you change a setting, or after an interruption. AWS_ENDPOINT_URL sends it to
# an emulator instead of AWS. At the end it prints what all this costs while idle; scripts/cleanup.sh removes it all.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/{inventory,regions,survey} resources/{stream,tables,bucket,topic,audience,roles,functions} \
  resources/{forwarder,mappings,analytics,saved_queries,summary} alerts/rules

main() {
  case ${1-} in
    '') ;;
    --dry-run) dry_run=1 ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  start_session
  check_rules
  [[ -z $dry_run ]] || printf 'export AWS_REGION=%s AWS_DEFAULT_REGION=%s\n' "$AWS_REGION" "$AWS_REGION"
  survey
  refuse_others
  if exists table "$TABLE_NAME" && ! exists function "$ANALYST"; then
    log "table $TABLE_NAME: its stream keeps a day's ticks. Those that are too old for $ANALYST by now go to the failed" \
      'batches, which does no harm: scripts/redrive.sh hands them to it'
  fi
  # First what needs nothing else: these name each other only in policies and settings, which AWS does not check.
  ensure ensure_stream ensure_ticks_table ensure_alerts_table ensure_bucket ensure_topic \
    ensure_processor_role ensure_analyst_role ensure_catalog ensure_workgroup
  # A function needs its role, and the queries need the workgroup, the Glue table and the bucket.
  ensure ensure_processor ensure_analyst ensure_queries ensure_audiences ensure_forwarder_if_used
  # A mapping needs its function, its source, and the bucket for what fails. From now on ticks flow.
  ensure ensure_stream_mapping ensure_table_mapping
  if [[ -z $dry_run ]]; then
    print_summary
  else
    printf 'Nothing was changed. Lines with # only read. LABEL and UUID stand for what only AWS knows, once it makes them.\n' >&2
  fi
}

refuse_others() {
  local others
  others=$(in_state hidden)
  [[ -z $others ]] || die "${others//$'\n'/, }: exists, but AWS does not say whose it is: it is a bucket of another account," \
    'or you may not read its tags; choose another name in .env (nothing was changed)'
  others=$(in_state elsewhere)
  [[ -z $others ]] || die "${others//$'\n'/, }: your stack is in $(other_region), and roles belong to the whole account:" \
    "correct AWS_REGION, or first remove that stack: AWS_REGION=$(other_region) scripts/cleanup.sh (nothing was changed)"
  others=$(in_state foreign)
  [[ -z $others ]] || die "${others//$'\n'/, }: in this account already, without the tag project=$PROJECT:" \
    'choose other names in .env (nothing was changed)'
}

# ensure COMMAND…: one wave, all at the same time.
ensure() { in_parallel "$@" || die "the set-up is not complete: $(what_now)"; }

what_now() {
  local there
  if [[ -n ${IN_LOCAL_RUN:-} ]]; then
    printf 'the local stack ends, with what was made'
    return
  fi
  there=$(in_state ours)
  there=${there:-nothing}
  printf '%s' "these exist now: ${there//$'\n'/, }. If there is an error above, mend it. Then run scripts/setup.sh again:" \
    ' it goes on from here. Or remove them: scripts/cleanup.sh'
}

main "$@"
