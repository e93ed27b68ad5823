# shellcheck shell=bash
# The settings of .env.example: reads them, adds the defaults, and checks them.

# What the scripts read. The producer has STATE_DIR too.
SETTINGS=(AWS_REGION STOCK_SYMBOLS DELAY_SECONDS STREAM_NAME STREAM_MODE SHARD_COUNT TABLE_NAME ALERTS_TABLE_NAME
  BUCKET_NAME TOPIC_NAME ALERT_EMAIL ALERT_PHONE ALERT_PHONE_SIGNALS SMA_SHORT SMA_LONG ANOMALY_PERCENT
  ALERT_MAX_AGE_MINUTES ALERT_COOLDOWN_MINUTES ALERT_DIGEST_ABOVE ALERT_RULES BATCH_WINDOW_SECONDS RETENTION_DAYS
  PERMISSIONS_BOUNDARY HEARTBEAT_URL)

# The only place of the defaults (.env.example shows them, and a test compares). Exports what the AWS CLI reads.
load_settings() {
  local name bucket='stock-market-data-bucket-{account}-{region}'
  [[ ! -f $ROOT/.env ]] || read_env_file "$ROOT/.env"
  # shellcheck disable=SC2034 # session.sh asks
  is_region_chosen=${AWS_REGION:-}
  AWS_REGION=${AWS_REGION:-us-east-1}
  STOCK_SYMBOLS=${STOCK_SYMBOLS:-${STOCK_SYMBOL:-AAPL}}
  DELAY_SECONDS=${DELAY_SECONDS:-30}
  STREAM_NAME=${STREAM_NAME:-Stock-market-stream}
  STREAM_MODE=${STREAM_MODE:-PROVISIONED}
  SHARD_COUNT=${SHARD_COUNT:-1}
  TABLE_NAME=${TABLE_NAME:-stock-market-data}
  ALERTS_TABLE_NAME=${ALERTS_TABLE_NAME:-stock-trend-alerts}
  BUCKET_NAME=${BUCKET_NAME:-$bucket}
  TOPIC_NAME=${TOPIC_NAME:-Stock_Trend_Alerts}
  ALERT_EMAIL=${ALERT_EMAIL:-}
  ALERT_PHONE=${ALERT_PHONE:-}
  ALERT_PHONE_SIGNALS=${ALERT_PHONE_SIGNALS:-ANOMALY}
  SMA_SHORT=${SMA_SHORT:-5}
  SMA_LONG=${SMA_LONG:-20}
  ANOMALY_PERCENT=${ANOMALY_PERCENT:-5}
  ALERT_MAX_AGE_MINUTES=${ALERT_MAX_AGE_MINUTES:-15}
  ALERT_COOLDOWN_MINUTES=${ALERT_COOLDOWN_MINUTES:-0}
  ALERT_DIGEST_ABOVE=${ALERT_DIGEST_ABOVE:-5}
  ALERT_RULES=${ALERT_RULES:-}
  BATCH_WINDOW_SECONDS=${BATCH_WINDOW_SECONDS:-1}
  RETENTION_DAYS=${RETENTION_DAYS:-30}
  PERMISSIONS_BOUNDARY=${PERMISSIONS_BOUNDARY:-}
  HEARTBEAT_URL=${HEARTBEAT_URL:-}
  for name in "${SETTINGS[@]}"; do
    printf -v "$name" '%s' "$(trim "${!name}")"
  done
  # CLI v2 and the Lambda runtime read AWS_REGION, CLI v1 and boto3 read AWS_DEFAULT_REGION.
  export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
  check_settings
}

# shellcheck disable=SC2034 # core/checks.sh reads bad_settings
check_settings() {
  bad_settings='' # complain sets it
  local number='^(0|[1-9][0-9]{0,5})$' count='^[1-9][0-9]{0,4}$' signals='(ANOMALY|BUY|SELL|RULE)'
  local symbol='[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}'
  check_setting AWS_REGION '^[a-z]{2}(-[a-z]+)+-[0-9]$' 'a region, such as us-east-1'
  check_setting STREAM_NAME '^[A-Za-z0-9_.-]{1,128}$' 'letters, digits, _ . - (up to 128)'
  check_setting STREAM_MODE '^(PROVISIONED|ON_DEMAND)$' 'PROVISIONED or ON_DEMAND'
  check_setting SHARD_COUNT "$count" 'a whole number from 1'
  check_setting TABLE_NAME '^[A-Za-z0-9_.-]{3,255}$' 'letters, digits, _ . - (3 to 255)'
  check_setting ALERTS_TABLE_NAME '^[A-Za-z0-9_.-]{3,255}$' 'letters, digits, _ . - (3 to 255)'
  check_setting BUCKET_NAME '^[a-z0-9{][a-z0-9{}-]{1,100}[a-z0-9}]$' 'lower-case letters, digits and hyphens'
  check_setting TOPIC_NAME '^[A-Za-z0-9_-]{1,256}$' 'letters, digits, _ - (up to 256)'
  check_setting ALERT_EMAIL '^([^[:space:]@]+@[^[:space:]@]+[.][^[:space:]@]+)?$' 'an e-mail address, or empty'
  check_setting ALERT_PHONE '^([+][1-9][0-9]{6,14})?$' 'a number such as +15551234567, or empty'
  check_setting ALERT_PHONE_SIGNALS "^$signals(,$signals)*\$" 'ANOMALY, BUY, SELL, RULE, comma-separated, without spaces'
  check_setting SMA_SHORT "$count" 'a whole number from 1'
  check_setting SMA_LONG "$count" 'a whole number from 2'
  check_setting ANOMALY_PERCENT '^[0-9]{1,4}([.][0-9]{1,4})?$' 'a number of percent'
  check_setting ALERT_MAX_AGE_MINUTES "$number" 'a whole number of minutes'
  check_setting ALERT_COOLDOWN_MINUTES "$number" 'a whole number of minutes'
  check_setting ALERT_DIGEST_ABOVE "$number" 'a whole number of alerts'
  check_setting ALERT_RULES '^[^"\\[:cntrl:]]*$' 'rules such as AAPL price > 300, without quotes and backslashes'
  # AWS takes 0 only for batches of up to 10 records, and the mappings ask for 500:
  # https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
  check_setting BATCH_WINDOW_SECONDS '^([1-9]|[1-9][0-9]|[12][0-9][0-9]|300)$' 'a whole number of seconds from 1 to 300'
  check_setting RETENTION_DAYS "$count" 'a whole number of days from 1'
  check_setting PERMISSIONS_BOUNDARY '^(arn:aws:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+)?$' \
    'the ARN of a policy, or empty'
  # The producer reads these two, by the same rules.
  check_setting DELAY_SECONDS '^([0-9]*[.])?[0-9]*[1-9][0-9]*$|^[0-9]*[1-9][0-9]*[.][0-9]+$' 'a number of seconds above 0'
  check_setting STOCK_SYMBOLS "^[, ]*$symbol([, ]+$symbol)*[, ]*\$" 'symbols as Yahoo writes them, comma-separated'
  # It is a secret, so it is not shown.
  (LC_ALL=C && [[ $HEARTBEAT_URL =~ ^(https?://[[:graph:]]+)?$ ]]) ||
    complain 'HEARTBEAT_URL: expected an address such as https://hc-ping.com/your-check, or nothing'
  [[ $TABLE_NAME != "$ALERTS_TABLE_NAME" ]] || complain "TABLE_NAME and ALERTS_TABLE_NAME are the same: $TABLE_NAME"
  refuse_bad_settings
  ((SMA_SHORT < SMA_LONG)) || die "SMA_SHORT ($SMA_SHORT) has to be smaller than SMA_LONG ($SMA_LONG)"
}
