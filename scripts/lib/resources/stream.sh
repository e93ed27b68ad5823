# shellcheck shell=bash
# The Kinesis data stream.
require_lib state/inventory state/survey state/untagged

ensure_stream() {
  local shards=() mode open encryption status
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
    call kinesis update-stream-mode --stream-arn "$(arn_of stream "$STREAM_NAME")" \
      --stream-mode-details "StreamMode=$STREAM_MODE"
    stream_changed "mode $STREAM_MODE"
  fi
  if [[ $STREAM_MODE == PROVISIONED && $open != "$SHARD_COUNT" ]]; then
    call kinesis update-shard-count --stream-name "$STREAM_NAME" --target-shard-count "$SHARD_COUNT" \
      --scaling-type UNIFORM_SCALING
    stream_changed "$SHARD_COUNT shard(s)"
  fi
  [[ $encryption == KMS ]] || encrypt_stream
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
  call_unless ResourceNotFoundException kinesis delete-stream --stream-name "$1" --enforce-consumer-deletion || true
  unmark_untagged stream "$1"
  log "stream $1: deleted"
}
