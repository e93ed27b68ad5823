# shellcheck shell=bash
# The Kinesis data stream.
require_lib state/inventory state/survey state/untagged

ensure_stream() {
  local shards=() mode open encryption status refusal
  if ! exists stream "$STREAM_NAME"; then
    [[ $STREAM_MODE == ON_DEMAND ]] || shards=(--shard-count "$SHARD_COUNT")
    mark_untagged stream "$STREAM_NAME"
    call kinesis create-stream --stream-name "$STREAM_NAME" \
      --stream-mode-details "StreamMode=$STREAM_MODE" ${shards[@]+"${shards[@]}"}
    created stream "$STREAM_NAME"
    wait_for_stream
    tag_stream
    encrypt_stream
    return
  fi
  log "stream $STREAM_NAME: already exists"
  call kinesis describe-stream-summary --stream-name "$STREAM_NAME" --output text --query \
    'StreamDescriptionSummary.[StreamStatus,StreamModeDetails.StreamMode,OpenShardCount,EncryptionType]'
  read -r status mode open encryption <<<"$REPLY"
  [[ $status == ACTIVE ]] || wait_for_stream
  ! is_marked_untagged stream "$STREAM_NAME" || tag_stream
  if [[ $mode != "$STREAM_MODE" ]]; then
    refusal="stream $STREAM_NAME: AWS refuses to change its mode now. It can change twice in 24 hours: run scripts/setup.sh again"
    refusal+=" later, or set STREAM_MODE=$mode"
    change_stream "$refusal" update-stream-mode --stream-arn "$(arn_of stream "$STREAM_NAME")" \
      --stream-mode-details "StreamMode=$STREAM_MODE"
    stream_changed "mode $STREAM_MODE"
  fi
  [[ $STREAM_MODE != PROVISIONED ]] || reshard "$open"
  [[ $encryption == KMS ]] || encrypt_stream
}

# reshard OPEN: from so many open shards to SHARD_COUNT, in steps. A call takes at most twice and at least half of the open
# shards: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html
reshard() {
  local open=$1 next refusal
  while ((open != SHARD_COUNT)); do
    next=$SHARD_COUNT
    ((next <= 2 * open)) || next=$((2 * open))
    ((2 * next >= open)) || next=$(((open + 1) / 2))
    refusal="stream $STREAM_NAME: has $open shard(s), and AWS refuses to go on to $next now. Their number can change 10 times in 24"
    refusal+=" hours: run scripts/setup.sh again tomorrow, or set SHARD_COUNT=$open"
    change_stream "$refusal" update-shard-count --stream-name "$STREAM_NAME" --target-shard-count "$next" \
      --scaling-type UNIFORM_SCALING
    stream_changed "$next shard(s)"
    open=$next
  done
}

# change_stream REFUSAL ARGUMENTS: REFUSAL is what to say when a limit of AWS's is reached; its own words follow.
change_stream() {
  call_unless LimitExceededException kinesis "${@:2}" || die "$1 ($(explain "$(<"$CLI_ERRORS")"))"
}

tag_stream() {
  call kinesis add-tags-to-stream --stream-name "$STREAM_NAME" --tags "project=$PROJECT"
  unmark_untagged stream "$STREAM_NAME"
}

encrypt_stream() {
  call kinesis start-stream-encryption --stream-name "$STREAM_NAME" --encryption-type KMS --key-id alias/aws/kinesis
  stream_changed 'encrypted at rest'
}

# stream_changed WORDS: says so, and waits, because a stream takes its next change only after the last one is done.
stream_changed() {
  log "stream $STREAM_NAME: $1"
  wait_for_stream
}

wait_for_stream() { call kinesis wait stream-exists --stream-name "$STREAM_NAME"; }

delete_stream() {
  delete_unless ResourceNotFoundException kinesis delete-stream --stream-name "$1" --enforce-consumer-deletion || true
  unmark_untagged stream "$1"
  log "stream $1: deleted"
}
