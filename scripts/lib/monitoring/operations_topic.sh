# shellcheck shell=bash
# The topic that tells of trouble, and what S3 publishes to it.
require_lib state/leftovers state/survey resources/topic state/comparison

# CloudWatch, S3 and Budgets cannot publish to a topic that is encrypted with alias/aws/sns, as that of the alerts is,
# and a key of one's own costs $1 a month. Alarms name functions and objects, no quotes: they get a topic without.
# shellcheck disable=SC2034 # SNS_TOPIC_ARN and subscriptions are what ensure_subscription works on
ensure_operations_topic() {
  local SNS_TOPIC_ARN=$OPERATIONS_TOPIC_ARN subscriptions wanted
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
  call sns get-topic-attributes --topic-arn "$SNS_TOPIC_ARN" --query Attributes.Policy --output text
  if [[ $REPLY == None ]] || ! is_same "$wanted" "$REPLY"; then
    call sns set-topic-attributes --topic-arn "$SNS_TOPIC_ARN" --attribute-name Policy --attribute-value "$wanted"
    log "topic $OPERATIONS_TOPIC: policy set"
  fi
  list_subscriptions
  subscriptions=$REPLY
  [[ -z $ALERT_EMAIL ]] || ensure_subscription email "$ALERT_EMAIL"
}

# S3 itself says when Lambda gives a batch up and puts it into the bucket: at once, by name, and for nothing. The
# metrics of event source mappings would be charged, and need a CLI that is newer than many.
ensure_failed_batches_notified() {
  get_notification
  if [[ $REPLY == "$OPERATIONS_TOPIC_ARN" ]]; then
    log 'notification of failed batches: already exists'
    return
  fi
  changed_notifications add "$(render "$SCRIPTS/resources/failed_batches_notification.json")"
  # S3 tries the topic, whose policy it may not know yet.
  retry_while InvalidArgument s3api put-bucket-notification-configuration --bucket "$BUCKET_NAME" \
    --notification-configuration "$REPLY"
  log 'notification of failed batches: created'
}

# The topic that is told of failed batches, in REPLY; status 1 without a bucket.
get_notification() {
  call_unless NoSuchBucket s3api get-bucket-notification-configuration --bucket "$BUCKET_NAME" --output text \
    --query "TopicConfigurations[?Id=='$PROJECT-failed-batches'].TopicArn | [0]"
}

# changed_notifications add|remove ITEM: the bucket's notifications, which there is one document for, in REPLY.
changed_notifications() {
  call_unless NoSuchBucket s3api get-bucket-notification-configuration --bucket "$BUCKET_NAME" --output json || return 1
  REPLY=$(python3 "$SCRIPTS/lib/core/json_list.py" "$1" TopicConfigurations "$2" "$REPLY")
}

# The topic's subscriptions go with it. The bucket may stay, or be on its way out at the same time.
delete_operations_topic() {
  if get_notification && [[ $REPLY != None ]] && changed_notifications remove "{\"Id\": \"$PROJECT-failed-batches\"}"; then
    call_unless 'NoSuchBucket|OperationAborted' s3api put-bucket-notification-configuration --bucket "$BUCKET_NAME" \
      --notification-configuration "$REPLY" || true
  fi
  delete_topic "$1"
}
