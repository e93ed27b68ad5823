# shellcheck shell=bash
# SQS queues that are subscribed to the alerts.
require_lib state/comparison

# resolve_queue NAME|ARN: sets QUEUE_ARN and queue_url; status 1 when there is no queue of this name.
resolve_queue() {
  local name=${1##*:}
  QUEUE_ARN=arn:aws:sqs:$AWS_REGION:$ACCOUNT_ID:$name
  [[ $1 == "$name" || $1 == "$QUEUE_ARN" ]] ||
    die "queue $1: not of this account and region; its owner has to subscribe it"
  [[ $name =~ ^[A-Za-z0-9_-]{1,80}$ ]] ||
    die "queue $(printf '%q' "$name"): expected up to 80 letters, digits, _ - (a FIFO queue cannot take these alerts)"
  call_unless '.*NonExistentQueue|.*QueueDoesNotExist' sqs get-queue-url --queue-name "$name" --query QueueUrl \
    --output text || return 1
  queue_url=$REPLY
}

# ensure_queue NAME|ARN: as resolve_queue, after it made the queue when there was none.
ensure_queue() {
  if resolve_queue "$1"; then
    log "queue ${1##*:}: already exists"
  else
    call sqs create-queue --queue-name "${1##*:}" --tags "project=$PROJECT" --query QueueUrl --output text
    queue_url=$REPLY
    log "queue ${1##*:}: created (scripts/cleanup.sh deletes it)"
  fi
}

# change_queue_policy add|remove: the statement that lets the topic send to the queue; other statements stay.
change_queue_policy() {
  local key policy changed
  call sqs get-queue-attributes --queue-url "$queue_url" --attribute-names All --output text \
    --query '[Attributes.KmsMasterKeyId, Attributes.Policy]'
  key=${REPLY%%$'\t'*} policy=${REPLY#*$'\t'}
  [[ $policy != None ]] || policy='{"Version": "2012-10-17", "Statement": []}'
  changed=$(python3 "$SCRIPTS/lib/core/json_list.py" "$1" Statement "$(render "$SCRIPTS/policies/queue.json")" "$policy")
  is_same "$policy" "$changed" || set_queue_policy "$changed"
  [[ $key == None || $1 == remove ]] ||
    log "queue ${QUEUE_ARN##*:}: encrypted with $key, so nothing arrives unless that key's policy lets sns.amazonaws.com use it"
}

# SQS takes an empty text for no policy, but refuses a policy without statements.
set_queue_policy() {
  local quote='"' escaped='\"' policy=$1
  [[ $policy != *'"Statement": []'* ]] || policy=''
  policy=${policy//\\/\\\\}
  call sqs set-queue-attributes --queue-url "$queue_url" --attributes "{\"Policy\": \"${policy//$quote/$escaped}\"}"
  log "queue ${QUEUE_ARN##*:}: policy set"
}

delete_queue() {
  if resolve_queue "$1"; then
    call sqs delete-queue --queue-url "$queue_url"
  fi
  log "queue $1: deleted"
}
