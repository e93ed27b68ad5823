# shellcheck shell=bash
# The rules in ALERT_RULES: are they right, how far are they from an alert, and what would they have told?

MOST_SYMBOLS=25

# about_rules COMMAND ARGUMENTS…: see rules.py.
about_rules() {
  STOCK_SYMBOLS=$STOCK_SYMBOLS ALERT_RULES=$ALERT_RULES SMA_SHORT=$SMA_SHORT SMA_LONG=$SMA_LONG \
    python3 "$SCRIPTS/lib/alerts/rules.py" "$@"
}

# Ends the run when a rule is wrong.
check_rules() {
  local warning
  [[ -n $ALERT_RULES ]] || return 0
  warning=$(about_rules check "$(render "$SCRIPTS/resources/stock_trend_analysis.json")") || exit 1
  [[ -z $warning ]] || log "$warning"
}

# Each rule and symbol, with the values now. No rule looks back further than 401 ticks, at two a minute.
list_rules() {
  [[ -n $ALERT_RULES ]] || die 'there are no rules: set ALERT_RULES in .env, for example ALERT_RULES=AAPL price > 300'
  read_ticks 401
  about_rules list "$TEMPORARY/ticks" "${symbols[@]}"
}

# try_rule DAYS: reads four days more, because a rule on a Monday morning looks back to Friday.
try_rule() {
  read_ticks 200000 "$(python3 -c 'import datetime as d, sys
print((d.datetime.now(d.UTC) - d.timedelta(int(sys.argv[1]) + 4)).isoformat())' "$1")"
  about_rules try "$TEMPORARY/ticks" "$1" "${symbols[@]}"
}

# read_ticks COUNT [SINCE]: the newest ticks of each symbol of the rules, in $TEMPORARY/ticks; sets $symbols.
read_ticks() {
  local symbol jobs=()
  symbols=()
  while read -r symbol; do
    symbols+=("$symbol")
  done < <(about_rules symbols)
  if ((${#symbols[@]} > MOST_SYMBOLS)); then
    log "looking at the first $MOST_SYMBOLS of ${#symbols[@]} symbols"
    symbols=("${symbols[@]:0:MOST_SYMBOLS}")
  fi
  mkdir "$TEMPORARY/ticks"
  for symbol in "${symbols[@]}"; do
    jobs+=("read_ticks_of $symbol $1 ${2:-0}")
  done
  while ((${#jobs[@]} > 0)); do
    in_parallel "${jobs[@]:0:8}" || exit 1
    jobs=("${jobs[@]:8}")
  done
}

# read_ticks_of SYMBOL COUNT SINCE
read_ticks_of() {
  call_unless ResourceNotFoundException dynamodb query --table-name "$TABLE_NAME" --no-scan-index-forward --max-items "$2" \
    --key-condition-expression 'symbol = :s AND #t >= :t' --expression-attribute-names '{"#t": "timestamp"}' \
    --expression-attribute-values "{\":s\": {\"S\": \"$1\"}, \":t\": {\"S\": \"$3\"}}" --output json ||
    die "there is no table $TABLE_NAME yet: run scripts/setup.sh first"
  printf '%s' "$REPLY" >"$TEMPORARY/ticks/$1"
}
