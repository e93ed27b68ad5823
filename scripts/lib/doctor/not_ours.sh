# shellcheck shell=bash
# The doctor on names that are not ours: what else has such a name, and why AWS does not say whose it is.
require_lib doctor/findings

# near_miss KIND NAME: a name that differs only in upper and lower case.
near_miss() {
  local name
  case $1 in
    stream) call kinesis list-streams --query 'StreamNames[].[@]' --output text ;;
    table) call dynamodb list-tables --query 'TableNames[].[@]' --output text ;;
    *) return 0 ;;
  esac
  while read -r name; do
    [[ $(lower "$name") != "$(lower "$2")" ]] || printf ' (but %s does: does .env write the name this way?)' "$name"
  done <<<"$REPLY"
}

lower() { tr '[:upper:]' '[:lower:]' <<<"$1"; }

# explain_hidden KIND NAME: of a bucket or table whose tags AWS does not show.
explain_hidden() {
  local action=dynamodb:ListTagsOfResource
  if [[ $1 == bucket ]]; then
    action=s3:GetBucketTagging
    call s3api list-buckets --query "Buckets[?Name=='$2'].[Name]" --output text
    if [[ $REPLY != "$2" ]]; then
      wrong "bucket $2: belongs to another account: choose another BUCKET_NAME in .env"
      return
    fi
  fi
  wrong "$1 $2: you may not read its tags: get the permission $action (scripts/policies/setup.json has all that it takes)"
}
