#!/usr/bin/env bash
# Deletes everything that the scripts here made, and proves that nothing is left.
#
# Usage: scripts/cleanup.sh [--yes] [--keep-data]
#
#   --yes        do not ask
#   --keep-data  the bucket and the tables stay, with what is in them
#
# Lists first what it will delete, and asks. What goes by one of our names without the tag
# project=stock-market-streaming is not ours: it is named and left alone. Exit status 1 when anything is left.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
require_lib state/survey state/leftovers resources/{stream,tables,bucket,topic,roles,functions,mappings,analytics} \
  alerts/queues monitoring/{operations_topic,alarms,trail}

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
    log 'This will be deleted, with all that is in it:'
    sed 's/^/  /' "$TEMPORARY/ours" >&2
    [[ -n $yes ]] || confirm
    # A mapping invokes its function as long as it is there, a function may still write to the rest, a trail to the bucket.
    delete_all '^(mapping|trail) ' || failed=1
    delete_all '^function ' || failed=1
    delete_all '^(mapping|trail|function) ' -v || failed=1
    prove "$kept" "$failed"
  else
    log 'Nothing of the project is there.'
  fi
  if [[ -n $(in_state foreign)$(in_state hidden) ]]; then
    { in_state foreign && in_state hidden; } >&2
    die "the above has not the tag project=$PROJECT: it is not ours, and was left alone"
  fi
}

# find_ours KEPT: "kind name" lines in $TEMPORARY/ours, without those that match KEPT. What the first search did not
# find of the monitoring is not searched for again.
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

confirm() {
  local answer=''
  printf 'Type %s to delete it: ' "$PROJECT" >&2
  read -r answer || true
  [[ $answer == "$PROJECT" ]] || die 'not confirmed: nothing was deleted'
}

# delete_all PATTERN [-v]: those that match (or do not), side by side. One that fails does not stop the others.
delete_all() {
  local kind name jobs=()
  while read -r kind name; do
    jobs+=("delete_${kind//-/_} $name")
  done < <(grep -E ${2+"$2"} "$1" "$TEMPORARY/ours")
  [[ ${#jobs[@]} -eq 0 ]] || in_parallel "${jobs[@]}"
}

# prove KEPT FAILED: a table or a stream takes AWS up to a minute, so look again, unless something failed.
prove() {
  local tries=0
  find_ours "$1"
  while [[ -s $TEMPORARY/ours && $2 == 0 ]] && ((tries < 20)); do
    tries=$((tries + 1))
    sleep 3
    find_ours "$1"
  done
  if [[ -s $TEMPORARY/ours ]]; then
    sed 's/^/  /' "$TEMPORARY/ours" >&2
    die 'the above is still there: mend what was said further up and run scripts/cleanup.sh again'
  fi
  log 'Nothing of the project is left, by name and by tag.'
}

main "$@"
