#!/usr/bin/env bash
# Deletes everything that these scripts made, and proves that nothing is left.
#
# Usage: scripts/cleanup.sh [--yes] [--keep-data]
#
#   --yes        do not ask
#   --keep-data  keep the bucket and the tables, with what is in them
#
# Looks in the region AWS_REGION alone. What belongs to the whole account (roles, budget, CloudWatch dashboard) stays while
# the stack in another region has it. First lists what it will delete, and asks. A resource that has one of our names but not the tag
# project=stock-market-streaming is not ours: it is named and left alone. Exit status 1 when anything is left.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/{regions,survey,leftovers} resources/{stream,tables,bucket,topic,roles,functions,forwarder,mappings,analytics} \
  alerts/queues monitoring/{search,operations_topic,alarms,cloudwatch_dashboard,trail,budget}

main() {
  local yes='' kept='^$' failed=0
  while (($#)); do
    case $1 in
      --yes) yes=1 ;;
      --keep-data) kept='^(table|bucket) ' ;;
      -h | --help) usage ;;
      *) usage 2 >&2 ;;
    esac
    shift
  done
  start_session
  find_ours "$kept"
  if [[ -s $TEMPORARY/ours ]]; then
    log 'This will be deleted, with everything in it:'
    sed 's/^/  /' "$TEMPORARY/ours" >&2
    [[ -n $yes ]] || confirm
    # Mappings go first because they invoke the functions, and functions next because they write to the rest. A trail
    # writes to the bucket.
    delete_each < <(grep -E '^(mapping|trail) ' "$TEMPORARY/ours") || failed=1
    delete_each < <(grep '^function ' "$TEMPORARY/ours") || failed=1
    delete_each < <(grep -Ev '^(mapping|trail|function) ' "$TEMPORARY/ours") || failed=1
    prove "$kept" "$failed"
  else
    log "Nothing of the project is in $AWS_REGION."
  fi
  name_other_regions
  if [[ -n $(in_state foreign)$(in_state hidden) ]]; then
    { in_state foreign && in_state hidden; } >&2
    die "the above does not have the tag project=$PROJECT: it is not ours, and was left alone"
  fi
}

# find_ours KEPT: writes "kind name" lines to $TEMPORARY/ours, without those that match the pattern KEPT. A second search
# skips monitoring resources already known to be absent.
find_ours() {
  local search file searches=(find_tagged find_mappings)
  for search in "${FIND_MONITORING[@]}"; do
    file=${search#find_}
    file=$TEMPORARY/found-${file//_/-}
    [[ -e $file && ! -s $file ]] || searches+=("$search")
  done
  survey "${searches[@]}"
  (leftovers && in_state ours) | grep -Ev "$1" >"$TEMPORARY/ours" || true
}

# What was typed before the question was there is no answer to it.
confirm() {
  local answer='' _
  while [[ -t 0 ]] && read -r -t 1 -n 1000 _; do :; done
  printf 'In account %s, region %s%s. Type %s to delete it: ' "$ACCOUNT_ID" "$AWS_REGION" \
    "${AWS_ENDPOINT_URL:+, $AWS_ENDPOINT_URL}" "$PROJECT" >&2
  read -r answer || true
  [[ $answer == "$PROJECT" ]] || die 'not confirmed: nothing was deleted'
}

# prove KEPT FAILED: AWS needs a while for a table or a stream, so look again, unless something failed.
prove() {
  local tries=0 kind name waits
  find_ours "$1"
  while [[ -s $TEMPORARY/ours && $2 == 0 ]] && ((tries < 20)); do
    tries=$((tries + 1)) waits=()
    while read -r kind name; do
      waits+=("wait_until_gone $kind $name")
    done <"$TEMPORARY/ours"
    in_parallel "${waits[@]}" || break
    find_ours "$1"
  done
  if [[ -s $TEMPORARY/ours ]]; then
    sed 's/^/  /' "$TEMPORARY/ours" >&2
    die 'the above is still there: mend the errors further up and run scripts/cleanup.sh again'
  fi
  log "Nothing of the project is left in $AWS_REGION, by name and by tag."
}

main "$@"
