# shellcheck shell=bash
# Roles, budgets and CloudWatch dashboards belong to the whole account, and a bucket has one region. So a run in another
# region may find them, and must leave them alone.
require_lib state/inventory

# role_policy ROLE: its inline policy as JSON, in REPLY; status 1 when it has none. Asks AWS once.
role_policy() {
  local file=$TEMPORARY/policy-$1
  if [[ ! -e $file ]]; then
    call_unless NoSuchEntity iam get-role-policy --role-name "$1" --policy-name "$1" --query PolicyDocument \
      --output json || REPLY=''
    # In two steps, because another job may look at the same time.
    printf '%s' "$REPLY" >"$CLI_ERRORS-policy" && mv "$CLI_ERRORS-policy" "$file"
  fi
  REPLY=$(<"$file")
  [[ -n $REPLY ]]
}

# region_of_role ROLE: the region of the stack that the role serves, in REPLY. The ARNs in its policy name it. Empty when
# there is no such role, or no policy yet.
region_of_role() {
  local arn='arn:aws:[a-z]+:([a-z]+(-[a-z]+)+-[0-9]):'
  if role_policy "$1" && [[ $REPLY =~ $arn ]]; then
    REPLY=${BASH_REMATCH[1]}
  else
    REPLY=''
  fi
}

# region_of_bucket BUCKET: in REPLY. One with our region in its name was made for this region.
region_of_bucket() {
  REPLY=$AWS_REGION
  [[ $1 != *"$AWS_REGION"* ]] || return 0
  call s3api get-bucket-location --bucket "$1" --query LocationConstraint --output text
  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html: the oldest regions have other names.
  case $REPLY in
    None | '') REPLY=us-east-1 ;;
    EU) REPLY=eu-west-1 ;;
  esac
}

# is_elsewhere KIND NAME: whether this role or bucket of ours is that of another region, which other_region then prints.
is_elsewhere() {
  case $1 in
    role | bucket) "region_of_$1" "$2" ;;
    *) return 1 ;;
  esac
  [[ -n $REPLY && $REPLY != "$AWS_REGION" ]] && printf '%s' "$REPLY" >"$TEMPORARY/other-region"
}

other_region() { printf '%s' "$(<"$TEMPORARY/other-region")"; }

# belongs_here: whether what belongs to the whole account is this region's, as the roles are.
belongs_here() { ! is_elsewhere role "$PROCESSOR_ROLE" && ! is_elsewhere role "$ANALYST_ROLE"; }

# name_other_regions: says where else there is something of the project. A search by tag sees one region only, but roles
# and the names of buckets are known everywhere.
name_other_regions() {
  local before=${BUCKET_NAME%%"$AWS_REGION"*} after=${BUCKET_NAME#*"$AWS_REGION"} bucket region regions=''
  [[ ! -e $TEMPORARY/other-region ]] || regions=$(other_region)
  if [[ $BUCKET_NAME == *"$AWS_REGION"* ]] && call_unless AccessDenied s3api list-buckets --output text \
    --query "Buckets[?starts_with(Name, '$before') && ends_with(Name, '$after')].[Name]"; then
    while read -r bucket; do
      bucket=${bucket#"$before"}
      regions+=$'\n'${bucket%"$after"}
    done <<<"$REPLY"
  fi
  while read -r region; do
    [[ ! $region =~ ^[a-z]+(-[a-z]+)+-[0-9]$ || $region == "$AWS_REGION" ]] ||
      log "More of the project is in $region, and stays there: AWS_REGION=$region scripts/cleanup.sh removes it."
  done < <(sort -u <<<"$regions")
}
