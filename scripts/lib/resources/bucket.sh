# shellcheck shell=bash
# The S3 bucket of the archive. It needs no versioning: an object is only ever written again with the same content.
require_lib state/survey state/comparison state/untagged

ensure_bucket() {
  local location=() is_new='' private='{"BlockPublicAcls": true, "IgnorePublicAcls": true'
  private+=', "BlockPublicPolicy": true, "RestrictPublicBuckets": true}'
  if exists bucket "$BUCKET_NAME"; then
    log "bucket $BUCKET_NAME: already exists"
  else
    is_new=yes
    # S3 refuses the name of its first region, us-east-1.
    [[ $AWS_REGION == us-east-1 ]] || location=(--create-bucket-configuration "LocationConstraint=$AWS_REGION")
    mark_untagged bucket "$BUCKET_NAME"
    call_unless BucketAlreadyExists s3api create-bucket --bucket "$BUCKET_NAME" \
      --object-ownership BucketOwnerEnforced ${location[@]+"${location[@]}"} || {
      unmark_untagged bucket "$BUCKET_NAME"
      die "bucket $BUCKET_NAME belongs to another account: choose another BUCKET_NAME in .env"
    }
    created bucket "$BUCKET_NAME"
  fi
  if [[ -n $is_new ]] || is_marked_untagged bucket "$BUCKET_NAME"; then
    call s3api put-bucket-tagging --bucket "$BUCKET_NAME" --tagging "TagSet=[{Key=project,Value=$PROJECT}]"
    unmark_untagged bucket "$BUCKET_NAME"
  fi
  [[ -n $is_new ]] || ensure_bucket_setting '' bucket-ownership-controls OwnershipControlsNotFoundError \
    OwnershipControls --ownership-controls '{"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}'
  ensure_bucket_setting "$is_new" public-access-block NoSuchPublicAccessBlockConfiguration \
    PublicAccessBlockConfiguration --public-access-block-configuration "$private"
  ensure_bucket_setting "$is_new" bucket-encryption ServerSideEncryptionConfigurationNotFoundError \
    ServerSideEncryptionConfiguration --server-side-encryption-configuration \
    '{"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": false}]}'
  ensure_bucket_setting "$is_new" bucket-lifecycle-configuration NoSuchLifecycleConfiguration '{Rules: Rules}' \
    --lifecycle-configuration "$(render "$SCRIPTS/resources/bucket_lifecycle.json")"
  if [[ ${AWS_ENDPOINT_URL:-} == http://* ]]; then
    log "bucket $BUCKET_NAME: TLS-only policy left out, the endpoint is plain http"
  else
    ensure_bucket_setting "$is_new" bucket-policy NoSuchBucketPolicy Policy \
      --policy "$(render "$SCRIPTS/policies/bucket.json")"
  fi
}

# ensure_bucket_setting IS_NEW NAME CODE QUERY FLAG WANTED: makes what get-NAME answers (CODE while nothing is set, QUERY
# picks the setting) what put-NAME takes with FLAG. A new bucket has no setting to ask for.
ensure_bucket_setting() {
  if [[ -z $1 ]]; then
    ! call_unless "$3" s3api "get-$2" --bucket "$BUCKET_NAME" --query "$4" --output json ||
      ! has_settings "$6" "$REPLY" || return 0
  fi
  call s3api "put-$2" --bucket "$BUCKET_NAME" "$5" "$6"
  [[ -n $1 ]] || log "bucket $BUCKET_NAME: ${2#bucket-} set"
}

# delete_bucket NAME: with everything in it.
delete_bucket() {
  local tries=0
  empty_bucket "$1"
  # What Lambda or CloudTrail still had under way may come until now.
  until delete_unless 'NoSuchBucket|BucketNotEmpty' s3api delete-bucket --bucket "$1" || [[ $REPLY == NoSuchBucket ]]; do
    tries=$((tries + 1))
    ((tries < 10)) || refused s3api delete-bucket
    empty_bucket "$1"
  done
  unmark_untagged bucket "$1"
  log "bucket $1: deleted"
}

# empty_bucket NAME: deletes all versions, delete markers and unfinished uploads.
empty_bucket() {
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
}

# list_versions BUCKET: one page of versions, up to 1,000, in REPLY, in the form that delete-objects takes; status 1 when
# there are none.
list_versions() {
  call_unless NoSuchBucket s3api list-object-versions --bucket "$1" --no-paginate --output json --query \
    '{Objects: [Versions, DeleteMarkers][][].{Key: Key, VersionId: VersionId}}' || return 1
  [[ $REPLY == *VersionId* ]]
}
