#!/usr/bin/env bash
# Creates everything the pipeline needs, or completes and updates what exists.
#
# Usage: scripts/setup.sh
#
# Stream, tables, bucket, topic with its subscriptions, roles, functions, event source mappings, Glue catalog and
# Athena workgroup, all tagged project=stock-market-streaming. Reads .env (see .env.example); a variable of the
# environment wins. Run it again after changing a setting, or after an interruption. AWS_ENDPOINT_URL sends it to
# an emulator instead of AWS. What it costs while idle is printed at the end; scripts/cleanup.sh removes it all.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
for part in inventory stream tables bucket topic roles functions mappings analytics saved_queries summary; do
  # shellcheck source=/dev/null
  source "$SCRIPTS/lib/$part.sh"
done

main() {
  local foreign
  case ${1-} in
    '') ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  start_session
  survey
  foreign=$(in_state foreign)
  if [[ -n $foreign ]]; then
    log "${foreign//$'\n'/, }"
    die "this account has the above already, without the tag project=$PROJECT: choose other names in .env (nothing was changed)"
  fi
  ensure ensure_stream ensure_ticks_table ensure_alerts_table ensure_bucket ensure_topic \
    ensure_processor_role ensure_analyst_role ensure_catalog ensure_workgroup
  ensure ensure_processor ensure_analyst ensure_queries
  ensure ensure_stream_mapping ensure_table_mapping
  print_summary
}

ensure() {
  in_parallel "$@" || die 'the set-up is not complete: mend the above and run scripts/setup.sh again, it goes on from here'
}

main "$@"
