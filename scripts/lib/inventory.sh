# shellcheck shell=bash
# What the project is made of, one "kind name" a line, and who owns what goes by these names.

# shellcheck disable=SC2034 # not every script that sources this uses all of them

# The fixed names; those that can be chosen are settings.
PROCESSOR=ProcessStockData
ANALYST=StockTrendAnalysis
PROCESSOR_ROLE=Lambda_Kinesis_DynamoDB_Role
ANALYST_ROLE=StockTrendLambdaRole
DATABASE=stock_data_db
GLUE_TABLE=stock_data_table
WORKGROUP=stock-market-analytics

inventory() {
  printf '%s\n' "stream $STREAM_NAME" "table $TABLE_NAME" "table $ALERTS_TABLE_NAME" "bucket $BUCKET_NAME" \
    "topic $TOPIC_NAME" "role $PROCESSOR_ROLE" "role $ANALYST_ROLE" "log-group /aws/lambda/$PROCESSOR" \
    "log-group /aws/lambda/$ANALYST" "function $PROCESSOR" "function $ANALYST" "database $DATABASE" \
    "workgroup $WORKGROUP"
}

arn_of() {
  local here=$AWS_REGION:$ACCOUNT_ID
  case $1 in
    stream) printf 'arn:aws:kinesis:%s:stream/%s' "$here" "$2" ;;
    table) printf 'arn:aws:dynamodb:%s:table/%s' "$here" "$2" ;;
    bucket) printf 'arn:aws:s3:::%s' "$2" ;;
    topic) printf 'arn:aws:sns:%s:%s' "$here" "$2" ;;
    role) printf 'arn:aws:iam::%s:role/%s' "$ACCOUNT_ID" "$2" ;;
    log-group) printf 'arn:aws:logs:%s:log-group:%s' "$here" "$2" ;;
    function) printf 'arn:aws:lambda:%s:function:%s' "$here" "$2" ;;
    mapping) printf 'arn:aws:lambda:%s:event-source-mapping:%s' "$here" "$2" ;;
    database) printf 'arn:aws:glue:%s:database/%s' "$here" "$2" ;;
    workgroup) printf 'arn:aws:athena:%s:workgroup/%s' "$here" "$2" ;;
  esac
}

# survey [COMMAND…]: finds out the state of everything, and runs the commands, side by side. A state is absent, ours,
# or foreign: there, without the project's tag.
survey() {
  local kind name jobs=()
  while read -r kind name; do
    jobs+=("record_state $kind $name")
  done < <(inventory)
  rm -rf "$TEMPORARY/states"
  mkdir "$TEMPORARY/states"
  in_parallel "${jobs[@]}" "$@" || exit 1
}

# in_state STATE: the "kind name" lines that the last survey found so.
in_state() {
  local kind name
  while read -r kind name; do
    [[ $(state_of "$kind" "$name") != "$1" ]] || printf '%s\n' "$kind $name"
  done < <(inventory)
}

state_of() { cat "$TEMPORARY/states/$1-${2//\//:}"; }
exists() { [[ $(state_of "$1" "$2") == ours ]]; }

record_state() {
  local state=absent
  if read_tag "$1" "$2"; then
    state=foreign
    [[ $REPLY != "$PROJECT" && ! -e $(unfinished "$1" "$2") ]] || state=ours
  fi
  printf '%s' "$state" >"$TEMPORARY/states/$1-${2//\//:}"
}

# read_tag KIND NAME: the project tag in REPLY (something else when it has none, or we may not see it); status 1 when
# there is no such resource. Where AWS does not tell the two apart, the resource itself is asked for.
read_tag() {
  local gone=ResourceNotFoundException list="Tags[?Key=='project'].Value | [0]" arn
  arn=$(arn_of "$1" "$2")
  case $1 in
    stream) tag_unless $gone "$list" kinesis list-tags-for-stream --stream-name "$2" ;;
    table)
      tag_unless "$gone|AccessDeniedException" "$list" dynamodb list-tags-of-resource --resource-arn "$arn" ||
        call_unless $gone dynamodb describe-table --table-name "$2"
      ;;
    bucket)
      tag_unless 'NoSuchBucket|NoSuchTagSet|AccessDenied' "TagSet${list#Tags}" s3api get-bucket-tagging --bucket "$2" ||
        [[ $REPLY != NoSuchBucket ]]
      ;;
    topic) tag_unless "$gone|ResourceNotFound|NotFound" "$list" sns list-tags-for-resource --resource-arn "$arn" ;;
    role) tag_unless NoSuchEntity "$list" iam list-role-tags --role-name "$2" ;;
    log-group) tag_unless $gone tags.project logs list-tags-for-resource --resource-arn "$arn" ;;
    function) tag_unless $gone Tags.project lambda list-tags --resource "$arn" ;;
    database)
      call_unless EntityNotFoundException glue get-database --name "$2" &&
        tag_unless EntityNotFoundException Tags.project glue get-tags --resource-arn "$arn"
      ;;
    workgroup)
      call_unless InvalidRequestException athena get-work-group --work-group "$2" &&
        tag_unless $gone "$list" athena list-tags-for-resource --resource-arn "$arn"
      ;;
  esac
}

tag_unless() { call_unless "$1" "${@:3}" --query "$2" --output text; }
