# shellcheck shell=bash
# What setup.sh says at the end: what there is, and what it costs (us-east-1, in US dollars).
require_lib state/inventory resources/functions alerts/sms

HOURS_A_MONTH=730
# Kinesis asks KMS for a new data key about every five minutes. Each user of the stream with credentials of its own asks
# as often while it sends or reads: https://docs.aws.amazon.com/streams/latest/dev/costs-performance.html
KMS_CALLS_AN_HOUR=12

print_summary() {
  local an_hour capacity=on-demand
  an_hour=$(price kinesis_on_demand_hour)
  if [[ $STREAM_MODE == PROVISIONED ]]; then
    an_hour=$(dollars 3 "$(price kinesis_shard_hour)" "$SHARD_COUNT")
    capacity="$SHARD_COUNT shard(s)"
  fi
  row RESOURCE NAME 'USD/HOUR' 'USD/MONTH'
  row "Kinesis stream, $capacity" "$STREAM_NAME" "$an_hour" "$(dollars 3 "$an_hour" $HOURS_A_MONTH)"
  row 'KMS calls of the stream' 'alias/aws/kinesis (the key itself is free)' 0 \
    "$(dollars 3 "$(price kms_million_calls)" 0.000001 $KMS_CALLS_AN_HOUR $HOURS_A_MONTH)"
  row 'DynamoDB tables' "$TABLE_NAME, $ALERTS_TABLE_NAME" 0 'storage'
  row 'S3 bucket' "$BUCKET_NAME" 0 'storage'
  row 'SNS topic' "$TOPIC_NAME" 0 0
  row 'Lambda functions' "$PROCESSOR, $ANALYST" 0 0
  row 'IAM roles' "$PROCESSOR_ROLE, $ANALYST_ROLE" 0 0
  row 'CloudWatch log groups' "/aws/lambda/* ($(log_retention) days)" 0 'storage'
  row 'Glue table' "$DATABASE.$GLUE_TABLE" 0 0
  row 'Athena workgroup' "$WORKGROUP" 0 0
  printf '%s\n' "Idle, in us-east-1: \$$an_hour an hour. Storage costs cents a GB and month. A tick costs about 9 millionths of a" \
    "dollar with one symbol, and 1 millionth with hundreds. While ticks flow, the functions make $METRICS CloudWatch metrics:" \
    "\$$(price cloudwatch_metric_month) a month for each one beyond an account's 10 free ones. The emulator charges nothing." \
    'scripts/cleanup.sh removes it all. Each deleted table leaves a backup that AWS keeps for 35 days, free of charge.' ''
  [[ -z $ALERT_EMAIL ]] || printf '%s\n' "Alerts reach $ALERT_EMAIL after you open the link in the confirmation mail."
  [[ $ALERT_PHONE != +1* ]] || printf '%s\n' "Alerts to $ALERT_PHONE: $US_NUMBERS, the SMS sandbox aside."
  is_local || print_next_steps
}

# The very commands that work here.
print_next_steps() {
  local symbol=${STOCK_SYMBOLS%%[, ]*}
  printf '%s\n' '' 'Next, in this folder:'
  compgen -G "$ROOT/.venv/lib/python*/site-packages/yfinance" >/dev/null ||
    printf '%s\n' '  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt'
  printf '%s\n' '  .venv/bin/python stream_stock_data.py --backfill 60' '' 'See in another terminal that it works:' \
    '  scripts/doctor.sh' \
    "  aws dynamodb query --region $AWS_REGION --table-name $TABLE_NAME --no-scan-index-forward --max-items 1 \\" \
    "    --key-condition-expression 'symbol = :s' --expression-attribute-values '{\":s\": {\"S\": \"$symbol\"}}'" \
    "  aws logs filter-log-events --region $AWS_REGION --log-group-name /aws/lambda/$PROCESSOR --max-items 5" \
    '  .venv/bin/pip install -r requirements/dashboard.txt && .venv/bin/streamlit run dashboard.py'
}

row() { printf '%-26s %-52s %9s %10s\n' "$@"; }
