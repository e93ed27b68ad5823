# shellcheck shell=bash
# The CloudTrail trail, which records the whole account and is made on request.
require_lib monitoring/search

# It records the account's management events in this region. The permission to write to the bucket is in
# policies/bucket.json and the expiry of its files in resources/bucket_lifecycle.json, so that setup.sh keeps both.
ensure_trail() {
  local name bucket mine='' cost='nothing for the events'
  call cloudtrail describe-trails --query 'trailList[].[Name,S3BucketName]' --output text
  while read -r name bucket; do
    case $name in
      '') ;;
      "$TRAIL") mine=$bucket ;;
      *) cost="\$2 per 100,000 events, because there is the trail $name already" ;;
    esac
  done <<<"$REPLY"
  if [[ -z $mine ]]; then
    log "trail $TRAIL: $cost; its files cost S3 storage"
    call_unless InsufficientS3BucketPolicyException cloudtrail create-trail --name "$TRAIL" \
      --s3-bucket-name "$BUCKET_NAME" --s3-key-prefix cloudtrail --no-is-multi-region-trail \
      --enable-log-file-validation --tags-list "Key=project,Value=$PROJECT" ||
      die "trail $TRAIL: may not write to the bucket $BUCKET_NAME yet: run scripts/setup.sh, which allows it, then this again"
    log "trail $TRAIL: created"
  elif [[ $mine == "$BUCKET_NAME" ]]; then
    log "trail $TRAIL: already exists"
  else
    die "trail $TRAIL: there is one that writes to the bucket $mine, not to $BUCKET_NAME: delete it yourself, if it is yours"
  fi
  # A new trail records nothing until a second call starts it.
  call cloudtrail get-trail-status --name "$TRAIL" --query IsLogging --output text
  [[ $REPLY == True ]] || call cloudtrail start-logging --name "$TRAIL"
}

delete_trail() {
  delete_unless TrailNotFoundException cloudtrail delete-trail --name "$1" || true
  log "trail $1: deleted"
}
