# shellcheck shell=bash
# The SNS topic that tells operators of trouble, and the notifications that S3 sends to it.
require_lib state/lookup state/comparison resources/topic resources/subscriptions monitoring/search

# The topic of the alerts is encrypted with alias/aws/sns, so CloudWatch, S3 and Budgets cannot publish to it, and a
# key of our own costs $1 a month. Alarms name functions and objects, not quotes, so their topic needs no key.
ensure_operations_topic() {
  local wanted
  wanted=$(render "$SCRIPTS/policies/operations_topic.json")
  if ! read_tag topic "$OPERATIONS_TOPIC"; then
    call sns create-topic --name "$OPERATIONS_TOPIC" --attributes DisplayName=stock-market-streaming \
      --tags "Key=project,Value=$PROJECT"
    log "topic $OPERATIONS_TOPIC: created"
  elif [[ $REPLY == "$PROJECT" ]]; then
    log "topic $OPERATIONS_TOPIC: already exists"
  else
    die "topic $OPERATIONS_TOPIC: in this account already, without the tag project=$PROJECT"
  fi
  call sns get-topic-attributes --topic-arn "$OPERATIONS_TOPIC_ARN" --query Attributes.Policy --output text
  if [[ $REPLY == None ]] || ! is_same "$wanted" "$REPLY"; then
    call sns set-topic-attributes --topic-arn "$OPERATIONS_TOPIC_ARN" --attribute-name Policy --attribute-value "$wanted"
    log "topic $OPERATIONS_TOPIC: policy set"
  fi
  [[ -n $ALERT_EMAIL ]] || return 0
  list_subscriptions "$OPERATIONS_TOPIC_ARN"
  ensure_subscription "$OPERATIONS_TOPIC_ARN" "$REPLY" email "$ALERT_EMAIL" '{}' keep
}

# S3 itself says when Lambda gives up a batch and stores it in the bucket: at once, by its name, and free of charge.
# The metrics of event source mappings cost money, and need a newer CLI than many people have.
ensure_failed_batches_notified() {
  get_notification
  if [[ $REPLY == "$OPERATIONS_TOPIC_ARN" ]]; then
    log 'notification of failed batches: already exists'
    return
  fi
  changed_notifications add "$(render "$SCRIPTS/resources/failed_batches_notification.json")"
  # S3 tries to publish to the topic, and may not know its policy yet.
  retry_while InvalidArgument s3api put-bucket-notification-configuration --bucket "$BUCKET_NAME" \
    --notification-configuration "$REPLY"
  log 'notification of failed batches: created'
}

# The topic that gets the notification, in REPLY; status 1 when there is no bucket.
get_notification() {
  call_unless NoSuchBucket s3api get-bucket-notification-configuration --bucket "$BUCKET_NAME" --output text \
    --query "TopicConfigurations[?Id=='$PROJECT-failed-batches'].TopicArn | [0]"
}

# changed_notifications add|remove ITEM: the bucket's notifications after that change, in REPLY; status 1 when there is
# no bucket. S3 takes all notifications of a bucket as one document.
changed_notifications() {
  call_unless NoSuchBucket s3api get-bucket-notification-configuration --bucket "$BUCKET_NAME" --output json || return 1
  REPLY=$(python3 "$SCRIPTS/lib/core/json_list.py" "$1" TopicConfigurations "$2" "$REPLY")
}

# The subscriptions go with their topic. The bucket may stay, or another job may be deleting it at the same time.
delete_operations_topic() {
  if get_notification && [[ $REPLY != None ]] && changed_notifications remove "{\"Id\": \"$PROJECT-failed-batches\"}"; then
    call_unless 'NoSuchBucket|OperationAborted' s3api put-bucket-notification-configuration --bucket "$BUCKET_NAME" \
      --notification-configuration "$REPLY" || true
  fi
  delete_topic "$1"
}
