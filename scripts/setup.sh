#!/usr/bin/env bash
# Creates everything the pipeline needs, or completes and updates what exists.
#
# Usage: scripts/setup.sh [--dry-run]
#
#   --dry-run  print every AWS command that it would run, in order, and change nothing; those that only read are run
#              all the same, and printed as comments
#
# Stream, tables, bucket, topic with its subscriptions, roles, functions, event source mappings, Glue catalog and
# Athena workgroup, all tagged project=stock-market-streaming. Reads .env (see .env.example); a variable of the
# environment wins. Run it again after changing a setting, or after an interruption. AWS_ENDPOINT_URL sends it to
# an emulator instead of AWS. What it costs while idle is printed at the end; scripts/cleanup.sh removes it all.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
require_lib state/survey resources/{stream,tables,bucket,topic,roles,functions,mappings,analytics,saved_queries,summary}

main() {
  case ${1-} in
    '') ;;
    --dry-run) dry_run=1 ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  start_session
  [[ -z $dry_run ]] || printf 'export AWS_REGION=%s AWS_DEFAULT_REGION=%s\n' "$AWS_REGION" "$AWS_REGION"
  survey
  refuse_others
  ensure ensure_stream ensure_ticks_table ensure_alerts_table ensure_bucket ensure_topic \
    ensure_processor_role ensure_analyst_role ensure_catalog ensure_workgroup
  ensure ensure_processor ensure_analyst ensure_queries
  ensure ensure_stream_mapping ensure_table_mapping
  if [[ -z $dry_run ]]; then
    print_summary
  else
    printf 'Nothing was changed. Lines with # only read; LABEL and UUID stand for what AWS will make up.\n' >&2
  fi
}

refuse_others() {
  local others
  others=$(in_state hidden)
  [[ -z $others ]] || die "${others//$'\n'/, }: exists, but AWS does not say whose it is: a bucket of another account" \
    'or tags that you may not read; choose another name in .env (nothing was changed)'
  others=$(in_state foreign)
  [[ -z $others ]] || die "${others//$'\n'/, }: in this account already, without the tag project=$PROJECT:" \
    'choose other names in .env (nothing was changed)'
}

ensure() { in_parallel "$@" || die "the set-up is not complete: $(what_now)"; }

what_now() {
  local there
  there=$(in_state ours)
  there=${there:-nothing}
  printf '%s' "these exist now: ${there//$'\n'/, }. Mend what was said above, if anything, and run scripts/setup.sh again:" \
    ' it goes on from here. Or remove them: scripts/cleanup.sh'
}

main "$@"
