# shellcheck shell=bash
# What belongs to the project and is not in the inventory: mappings, what monitoring.sh made, and everything else that
# has the tag.
require_lib state/inventory state/survey monitoring/search

find_tagged() {
  call resourcegroupstaggingapi get-resources --tag-filters "Key=project,Values=$PROJECT" --output text \
    --query 'ResourceTagMappingList[].[ResourceARN]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/arns"
}

# All mappings, because one can outlive its function.
find_mappings() {
  call lambda list-event-source-mappings --output text --query 'EventSourceMappings[].[FunctionArn,UUID]'
  printf '%s\n' "$REPLY" >"$TEMPORARY/mappings"
}

# Prints what the searches found, as "kind name" lines.
leftovers() {
  local arn uuid known kind name
  while read -r arn uuid; do
    case ${arn##*:function:} in
      "$PROCESSOR" | "$ANALYST")
        [[ $(state_of function "${arn##*:}") == foreign ]] || printf 'mapping %s\n' "$uuid"
        ;;
    esac
  done <"$TEMPORARY/mappings"
  known=$(while read -r kind name; do printf ' %s ' "$(arn_of "$kind" "$name")"; done < <(inventory))
  {
    cat "$TEMPORARY"/found-*
    while read -r arn; do
      [[ -z $arn || $known == *" $arn "* ]] || tagged_resource "$arn"
    done <"$TEMPORARY/arns"
  } | sort -u
}

# tagged_resource ARN: its "kind name". What has the tag is ours, whatever its name: the names in .env may have changed
# since it was made.
tagged_resource() {
  case $1 in
    *:event-source-mapping:*) ;; # find_mappings finds it
    arn:aws:kinesis:*:stream/*) printf 'stream %s\n' "${1##*/}" ;;
    arn:aws:dynamodb:*:table/*) printf 'table %s\n' "${1##*/}" ;;
    arn:aws:s3:::*) printf 'bucket %s\n' "${1##*:}" ;;
    arn:aws:sns:*:"$OPERATIONS_TOPIC") printf 'operations-topic %s\n' "${1##*:}" ;;
    arn:aws:sns:*) printf 'topic %s\n' "${1##*:}" ;;
    arn:aws:sqs:*) printf 'queue %s\n' "${1##*:}" ;;
    arn:aws:cloudwatch:*:alarm:*) printf 'alarm %s\n' "${1##*:alarm:}" ;;
    arn:aws:cloudtrail:*:trail/*) printf 'trail %s\n' "${1##*/}" ;;
    *) printf 'resource %s\n' "$1" ;;
  esac
}

delete_resource() { die "$1 has the tag project=$PROJECT, but these scripts do not make such a resource: delete it yourself"; }
