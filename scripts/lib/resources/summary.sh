# shellcheck shell=bash
# What setup.sh says at the end: what there is, and what it costs (us-east-1, in US dollars).
require_lib state/inventory resources/functions

HOURS_A_MONTH=730
SHARD_HOUR=15     # thousandths of a dollar
ON_DEMAND_HOUR=40 # thousandths of a dollar

print_summary() {
  local thousandths=$ON_DEMAND_HOUR capacity=on-demand
  if [[ $STREAM_MODE == PROVISIONED ]]; then
    thousandths=$((SHARD_HOUR * SHARD_COUNT))
    capacity="$SHARD_COUNT shard(s)"
  fi
  row RESOURCE NAME 'USD/HOUR' 'USD/MONTH'
  row "Kinesis stream, $capacity" "$STREAM_NAME" "$(dollars $thousandths)" "$(dollars $((thousandths * HOURS_A_MONTH)))"
  row 'DynamoDB tables' "$TABLE_NAME, $ALERTS_TABLE_NAME" 0 'storage'
  row 'S3 bucket' "$BUCKET_NAME" 0 'storage'
  row 'SNS topic' "$TOPIC_NAME" 0 0
  row 'Lambda functions' "$PROCESSOR, $ANALYST" 0 0
  row 'IAM roles' "$PROCESSOR_ROLE, $ANALYST_ROLE" 0 0
  row 'CloudWatch log groups' "/aws/lambda/… ($(log_retention) days)" 0 'storage'
  row 'Glue table' "$DATABASE.$GLUE_TABLE" 0 0
  row 'Athena workgroup' "$WORKGROUP" 0 0
  printf '%s\n' "Idle, in us-east-1: \$$(dollars $thousandths) an hour. Storage costs cents a GB and month, each tick about" \
    "a millionth of a dollar. The emulator charges nothing. scripts/cleanup.sh removes it all." ''
  [[ -z $ALERT_EMAIL ]] || printf '%s\n' "Alerts reach $ALERT_EMAIL after you open the link in the confirmation mail."
  printf '%s\n' 'Next: python stream_stock_data.py'
}

row() { printf '%-26s %-52s %9s %10s\n' "$@"; }

# dollars THOUSANDTHS: 15 becomes 0.015, and 10950 becomes 10.950.
dollars() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }
