#!/usr/bin/env bash
# Lists the batches that Lambda gave up (s3://BUCKET/aws/lambda/) and why, and invokes their functions with them again.
#
# Usage: scripts/redrive.sh [--list]
#
#   --list  only lists them
#
# An alert that no chat has taken lies there too. What succeeds is removed from the bucket, the rest stays for the next
# run. A function takes a batch twice without harm, so you may interrupt this and run it again. Exit status 1 when
# something failed again.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib state/inventory

main() {
  local list_only='' key failed=0 keys
  case ${1-} in
    '') ;;
    --list) list_only=1 ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
  esac
  start_session
  call_unless NoSuchBucket s3api list-objects-v2 --bucket "$BUCKET_NAME" --prefix aws/lambda/ --output text \
    --query 'Contents[].[Key]' || die "bucket $BUCKET_NAME does not exist: run scripts/setup.sh"
  keys=$REPLY
  if [[ $keys == None ]]; then
    log 'No failed batches.'
    return
  fi
  # S3 lists them in the order of mapping, shard and time, so the oldest batch of a shard comes first.
  while IFS= read -r key; do
    describe_batch "$key" || {
      failed=1
      continue
    }
    [[ -n $list_only ]] || redrive_batch "$key" || failed=1
  done <<<"$keys"
  [[ $failed == 0 ]] || die 'not every batch landed: mend the cause, then run scripts/redrive.sh again'
}

# describe_batch KEY: prints a line about it, writes its event to $TEMPORARY/event, and sets $function, which takes it.
describe_batch() {
  local why
  call s3api get-object --bucket "$BUCKET_NAME" --key "$1" "$TEMPORARY/batch"
  why=$(python3 "$SCRIPTS/lib/archive/failed_batch.py" "$TEMPORARY/batch" "$TEMPORARY/event") || {
    log "$1: ${why:-unreadable}"
    return 1
  }
  case ${why%% *} in
    kinesis) function=$PROCESSOR ;;
    dynamodb) function=$ANALYST ;;
    sns) function=$FORWARDER ;;
  esac
  log "$1: $function, ${why#* }"
}

# redrive_batch KEY: after describe_batch.
redrive_batch() {
  call lambda invoke --function-name "$function" --payload "fileb://$TEMPORARY/event" --cli-read-timeout 130 \
    --query FunctionError --output text "$TEMPORARY/answer"
  if [[ $REPLY != None ]] || grep -q itemIdentifier "$TEMPORARY/answer"; then
    log "  failed again: $(head -c 300 "$TEMPORARY/answer")"
    return 1
  fi
  call s3api delete-object --bucket "$BUCKET_NAME" --key "$1"
  log '  landed'
}

main "$@"
