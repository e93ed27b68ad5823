# shellcheck shell=bash
# Asks AWS for a resource: is it there, whose is it, and how is it described?
require_lib state/inventory

# seen_file KIND NAME: sets $seen, the file that holds its state.
seen_file() { seen=$TEMPORARY/states/$1-${2//\//:}; }

# The JSON {"is": DESCRIPTION} of a function, role, table or workgroup as the survey found it.
keep_description() { seen_file "$1" "$2" && [[ -z $REPLY ]] || printf '%s' "$REPLY" >"$seen.json"; }

# read_tag KIND NAME: the project tag in REPLY (another text when it has none or we may not read it); status 1 when there
# is no such resource. Where the call for the tag cannot tell these apart, a call for the resource comes first.
read_tag() {
  local gone=ResourceNotFoundException list="Tags[?Key=='project'].Value | [0]" arn
  arn=$(arn_of "$1" "$2")
  case $1 in
    stream) tag_unless $gone "$list" kinesis list-tags-for-stream --stream-name "$2" ;;
    table)
      describe_unless "$@" $gone '{is: Table}' dynamodb describe-table --table-name "$2" &&
        { tag_unless "$gone|AccessDeniedException" "$list" dynamodb list-tags-of-resource --resource-arn "$arn" ||
          [[ $REPLY != "$gone" ]]; }
      ;;
    bucket)
      tag_unless 'NoSuchBucket|NoSuchTagSet|AccessDenied' "TagSet${list#Tags}" s3api get-bucket-tagging --bucket "$2" ||
        [[ $REPLY != NoSuchBucket ]]
      ;;
    topic) tag_unless "$gone|ResourceNotFound|NotFound" "$list" sns list-tags-for-resource --resource-arn "$arn" ;;
    role) describe_unless "$@" NoSuchEntity "{tag: Role.$list, is: Role}" iam get-role --role-name "$2" ;;
    parameter)
      call_unless ParameterNotFound ssm get-parameter --name "$2" --query Parameter.Name --output text &&
        tag_unless InvalidResourceId "TagList${list#Tags}" ssm list-tags-for-resource --resource-type Parameter \
          --resource-id "$2"
      ;;
    log-group) tag_unless $gone tags.project logs list-tags-for-resource --resource-arn "$arn" ;;
    function)
      describe_unless "$@" $gone '{tag: Tags.project, is: Configuration}' lambda get-function --function-name "$2"
      ;;
    database)
      call_unless EntityNotFoundException glue get-database --name "$2" &&
        tag_unless EntityNotFoundException Tags.project glue get-tags --resource-arn "$arn"
      ;;
    workgroup)
      describe_unless "$@" InvalidRequestException '{is: WorkGroup}' athena get-work-group --work-group "$2" &&
        tag_unless $gone "$list" athena list-tags-for-resource --resource-arn "$arn"
      ;;
  esac
}

tag_unless() { call_unless "$1" "${@:3}" --query "$2" --output text; }

# describe_unless KIND NAME CODE QUERY COMMAND…: keeps the answer for description_of, and puts a tag in it into REPLY.
describe_unless() {
  local tag='"tag": "([^"]*)"'
  call_unless "$3" "${@:5}" --query "$4" --output json || return 1
  keep_description "$1" "$2"
  [[ $REPLY =~ $tag ]] || return 0
  REPLY=${BASH_REMATCH[1]}
}
