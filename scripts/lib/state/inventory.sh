# shellcheck shell=bash
# What the project is made of.
# shellcheck disable=SC2034 # the files that require this one use these names

# The fixed names. Settings hold the names that you can choose.
PROCESSOR=ProcessStockData
ANALYST=StockTrendAnalysis
PROCESSOR_ROLE=Lambda_Kinesis_DynamoDB_Role
ANALYST_ROLE=StockTrendLambdaRole
FORWARDER=ForwardAlerts
FORWARDER_ROLE=ForwardAlertsRole
ADDRESSES_PARAMETER=/stock-market-streaming/alert-addresses # of chats and web hooks, in SSM
DATABASE=stock_data_db
GLUE_TABLE=stock_data_table
WORKGROUP=stock-market-analytics
METRICS=9 # that the functions make, in the embedded metric format

# Prints a "kind name" line for each resource that setup.sh and alerts.sh make (mappings have no name of their own).
inventory() {
  printf '%s\n' "stream $STREAM_NAME" "table $TABLE_NAME" "table $ALERTS_TABLE_NAME" "bucket $BUCKET_NAME" \
    "topic $TOPIC_NAME" "role $PROCESSOR_ROLE" "role $ANALYST_ROLE" "log-group /aws/lambda/$PROCESSOR" \
    "log-group /aws/lambda/$ANALYST" "function $PROCESSOR" "function $ANALYST" "database $DATABASE" \
    "workgroup $WORKGROUP"
  forwarding
}

# What alerts.sh makes with the first chat.
forwarding() {
  printf '%s\n' "role $FORWARDER_ROLE" "log-group /aws/lambda/$FORWARDER" "function $FORWARDER" \
    "parameter $ADDRESSES_PARAMETER"
}

# arn_of KIND NAME
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
    parameter) printf 'arn:aws:ssm:%s:parameter%s' "$here" "$2" ;;
  esac
}
