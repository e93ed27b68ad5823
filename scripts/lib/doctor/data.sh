# shellcheck shell=bash
# The doctor on data: does it come?
require_lib state/inventory state/survey doctor/findings

MAX_SYMBOLS=10
MAX_AGE=300000 # milliseconds, of the oldest record that a function has not read yet

# In this order: the records of the last hour tell how old the newest tick should be.
check_flow() {
  run_check check_metrics
  run_check check_ticks
}

check_metrics() {
  local id sum max who function lag='' rejects=0
  call cloudwatch get-metric-data --start-time "$(($(date +%s) - 3600))" --end-time "$(date +%s)" \
    --metric-data-queries "$(render "$SCRIPTS/resources/last_hour.json")" --output text \
    --query 'MetricDataResults[].[Id,sum(Values),max(Values)]'
  while read -r id sum max; do
    sum=${sum%%.*} max=${max%%.*} who=${id#*_} function=$PROCESSOR
    case $who in
      analyst) function=$ANALYST ;;
      forwarder) function=$FORWARDER ;;
    esac
    case $id in
      incoming) printf '%s' "$sum" >"$TEMPORARY/incoming" ;;
      lag_analyst) [[ $max == None ]] || lag=", at most $((max / 1000)) s from quote to verdict" ;;
      rejects) rejects=$sum ;;
      alerts)
        if is_local && [[ $(<"$TEMPORARY/incoming") == 0 ]]; then
          note 'last hour: not known how many records came in, because the emulator does not count them'
        else
          ok "last hour: $(<"$TEMPORARY/incoming") records came in, $rejects rejected, $sum alerts went out$lag"
        fi
        ;;
      refused)
        ((sum == 0)) || wrong "stream $STREAM_NAME: $sum records were refused in the last hour:" \
          'raise SHARD_COUNT in .env and run scripts/setup.sh'
        ;;
      errors_*)
        ((sum == 0)) || wrong "function $function: $sum errors in the last hour: aws logs filter-log-events" \
          "--log-group-name /aws/lambda/$function --filter-pattern ERROR"
        ;;
      throttles_*)
        ((sum == 0)) || wrong "function $function: throttled $sum times in the last hour: see ConcurrentExecutions" \
          'in aws lambda get-account-settings'
        ;;
      age_*)
        [[ $max == None ]] || ((max < MAX_AGE)) || wrong "function $function: up to $((max / 1000)) s behind in the" \
          'last hour: mend its errors, or raise SHARD_COUNT in .env and run scripts/setup.sh'
        ;;
    esac
  done <<<"$REPLY"
}

# Looks at the first few symbols, which it reads as the producer does.
check_ticks() {
  local symbol all symbols=() jobs=() incoming=0
  exists table "$TABLE_NAME" || return 0
  all=$(tr '[:lower:]' '[:upper:]' <<<"$STOCK_SYMBOLS")
  IFS=', ' read -r -a symbols <<<"$all"
  for symbol in "${symbols[@]:0:MAX_SYMBOLS}"; do
    jobs+=("newest_tick $symbol")
  done
  in_parallel "${jobs[@]}" >"$TEMPORARY/ticks" || exit 1
  [[ ! -s $TEMPORARY/incoming ]] || incoming=$(<"$TEMPORARY/incoming")
  report_output_of python3 "$SCRIPTS/lib/doctor/tick_age.py" "$incoming" "$DELAY_SECONDS" <"$TEMPORARY/ticks"
}

# newest_tick SYMBOL: prints symbol, timestamp and fetched_at.
newest_tick() {
  call dynamodb query --table-name "$TABLE_NAME" --key-condition-expression 'symbol = :s' --no-scan-index-forward \
    --expression-attribute-values "{\":s\": {\"S\": \"$1\"}}" --limit 1 --no-paginate --output text \
    --query '[Items[0].timestamp.S,Items[0].fetched_at.S]'
  printf '%s %s\n' "$1" "$REPLY"
}
