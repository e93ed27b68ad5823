# shellcheck shell=bash
# The S3 bucket of the archive. No versioning: an object is written again only with the same content.
require_lib state/survey state/comparison

ensure_bucket() {
  local location=() is_new='' private='{"BlockPublicAcls": true, "IgnorePublicAcls": true'
  private+=', "BlockPublicPolicy": true, "RestrictPublicBuckets": true}'
  if exists bucket "$BUCKET_NAME"; then
    log "bucket $BUCKET_NAME: already exists"
  else
    is_new=1
    # us-east-1 is the one region that may not be named.
    [[ $AWS_REGION == us-east-1 ]] || location=(--create-bucket-configuration "LocationConstraint=$AWS_REGION")
    begin bucket "$BUCKET_NAME"
    call_unless BucketAlreadyExists s3api create-bucket --bucket "$BUCKET_NAME" \
      --object-ownership BucketOwnerEnforced ${location[@]+"${location[@]}"} || {
      finish bucket "$BUCKET_NAME"
      die "bucket $BUCKET_NAME belongs to another account: choose another BUCKET_NAME in .env"
    }
    created bucket "$BUCKET_NAME"
  fi
  if [[ -n $is_new ]] || is_unfinished bucket "$BUCKET_NAME"; then
    call s3api put-bucket-tagging --bucket "$BUCKET_NAME" --tagging "TagSet=[{Key=project,Value=$PROJECT}]"
    finish bucket "$BUCKET_NAME"
  fi
  [[ -n $is_new ]] || ensure_setting bucket-ownership-controls OwnershipControlsNotFoundError OwnershipControls \
    --ownership-controls '{"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}'
  ensure_setting public-access-block NoSuchPublicAccessBlockConfiguration PublicAccessBlockConfiguration \
    --public-access-block-configuration "$private"
  ensure_setting bucket-encryption ServerSideEncryptionConfigurationNotFoundError ServerSideEncryptionConfiguration \
    --server-side-encryption-configuration \
    '{"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": false}]}'
  ensure_setting bucket-lifecycle-configuration NoSuchLifecycleConfiguration '{Rules: Rules}' \
    --lifecycle-configuration "$(render "$SCRIPTS/resources/bucket_lifecycle.json")"
  if [[ ${AWS_ENDPOINT_URL:-} == http://* ]]; then
    log "bucket $BUCKET_NAME: TLS-only policy left out, the endpoint is plain http"
  else
    ensure_setting bucket-policy NoSuchBucketPolicy Policy --policy "$(render "$SCRIPTS/policies/bucket.json")"
  fi
}

# ensure_setting NAME CODE QUERY FLAG WANTED: what get-NAME gives, or CODE while there is none, and put-NAME takes.
ensure_setting() {
  if [[ -z $is_new ]]; then
    ! call_unless "$2" s3api "get-$1" --bucket "$BUCKET_NAME" --query "$3" --output json ||
      ! has_settings "$5" "$REPLY" || return 0
  fi
  call s3api "put-$1" --bucket "$BUCKET_NAME" "$4" "$5"
  [[ -n $is_new ]] || log "bucket $BUCKET_NAME: ${1#bucket-} set"
}

# Everything in it goes too: all versions, delete markers and unfinished uploads, up to 1,000 objects a call.
delete_bucket() {
  local key upload batch=$TEMPORARY/objects.json
  while list_versions "$1"; do
    printf '%s' "$REPLY" >"$batch"
    call s3api delete-objects --bucket "$1" --delete "file://$batch" --query 'Errors[0].Message' --output text
    [[ $REPLY == None ]] || die "bucket $1: $REPLY"
  done
  if call_unless NoSuchBucket s3api list-multipart-uploads --bucket "$1" --output text \
    --query 'Uploads[].[UploadId,Key]'; then
    while IFS=$'\t' read -r upload key; do
      [[ -z $key ]] || call_unless NoSuchUpload s3api abort-multipart-upload --bucket "$1" --key "$key" \
        --upload-id "$upload" || true
    done <<<"$REPLY"
  fi
  call_unless NoSuchBucket s3api delete-bucket --bucket "$1" || true
  finish bucket "$1"
  log "bucket $1: deleted"
}

# One page of versions in REPLY, in the form that delete-objects takes; status 1 when there are none.
list_versions() {
  call_unless NoSuchBucket s3api list-object-versions --bucket "$1" --no-paginate --output json --query \
    '{Objects: [Versions, DeleteMarkers][][].{Key: Key, VersionId: VersionId}}' || return 1
  [[ $REPLY == *VersionId* ]]
}
