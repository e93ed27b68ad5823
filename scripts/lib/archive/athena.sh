# shellcheck shell=bash
# Runs a query in Athena and shows its result.
require_lib state/inventory

# translate_query FILE [LITERAL…]: for the emulator, whose Athena is DuckDB. Writes $TEMPORARY/translated.sql, with the
# literals in place of the question marks.
translate_query() {
  local python=$ROOT/.venv/bin/python
  [[ -x $python ]] || python=python3
  "$python" -c 'import sqlglot' 2>/dev/null ||
    die 'a query on the emulator needs sqlglot: .venv/bin/pip install -r requirements/athena.txt'
  "$python" "$SCRIPTS/lib/archive/local_query.py" "$@" >"$TEMPORARY/translated.sql" || exit 1
}

# run_query FILE [LITERAL…]: runs it to its end. Sets $execution, $kind (DML, DDL) and $scanned (bytes).
run_query() {
  local state began=$SECONDS gone='InvalidRequestException|EntityNotFoundException|MetadataException'
  local parameters=()
  (($# == 1)) || parameters=(--execution-parameters "${@:2}")
  call_unless "$gone" athena start-query-execution --work-group "$WORKGROUP" --query-string "file://$1" \
    --query-execution-context "Database=$DATABASE" ${parameters[@]+"${parameters[@]}"} \
    --query QueryExecutionId --output text || refuse_query
  execution=$REPLY
  [[ -z $dry_run ]] || return 0
  trap 'stop_query' INT TERM HUP
  while
    call athena get-query-execution --query-execution-id "$execution" --output text --query \
      'QueryExecution.[Status.State,Statistics.DataScannedInBytes,StatementType,Status.StateChangeReason]'
    IFS=$'\t' read -r state scanned kind reason <<<"$REPLY"
    [[ $state == QUEUED || $state == RUNNING ]]
  do
    [[ ! -t 2 ]] || printf '\r%s %s s' "$state" $((SECONDS - began)) >&2
    sleep 0.3
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  [[ $state == SUCCEEDED ]] || die "the query failed: ${reason%%$'\n'*}$(remedy "$reason")"
}

# Athena refused to start the query: says why.
refuse_query() {
  local text
  text=$(<"$CLI_ERRORS")
  text=${text#*operation: }
  die "Athena refuses the query: ${text%%$'\n'*}$(remedy "$text")"
}

# remedy REASON: prints what to do about it, if we know.
remedy() {
  case $1 in
    *orkGroup* | *orkgroup* | *'output location'* | *NOT_FOUND* | *'does not exist'*)
      printf ' (is everything set up? run scripts/setup.sh)'
      ;;
    *'Bytes scanned limit'*) printf ' (ask for fewer days, or see athena/export_parquet.sql)' ;;
  esac
}

stop_query() {
  trap - INT TERM HUP
  call athena stop-query-execution --query-execution-id "$execution"
  log 'interrupted: the query is stopped'
  exit 130
}

# print_result table|csv PARAMETER…: of run_query, which had these parameters (NAME=VALUE).
print_result() {
  if [[ $kind != DML ]]; then
    log "done, $scanned bytes scanned"
    return
  fi
  call athena get-query-results --query-execution-id "$execution" --query ResultSet.Rows --output json
  ! is_local || scanned=unknown
  printf '%s' "$REPLY" | python3 "$SCRIPTS/lib/archive/print_rows.py" "$1" "$scanned" || explain_nothing "${@:2}"
}

# explain_nothing PARAMETER…: without rows: says whether the archive is empty, or nothing in it matches.
explain_nothing() {
  local parameter symbol
  call s3api list-objects-v2 --bucket "$BUCKET_NAME" --prefix raw-data/ --max-keys 1 --query KeyCount --output text
  [[ $REPLY != 0 && $REPLY != None ]] ||
    die "no data yet: start the producer, python stream_stock_data.py; ticks are here some seconds after they arrive"
  for parameter in "$@"; do
    symbol=$(tr '[:lower:]' '[:upper:]' <<<"${parameter#*=}")
    if [[ $parameter =~ ^symbol=[A-Za-z0-9^.=_-]+$ && $parameter != "symbol=$symbol" ]]; then
      log "nothing in the archive matches: symbols are in capitals, so try --param symbol=$symbol"
      return
    fi
  done
  log 'nothing in the archive matches: try more days, such as --param days=90, or scripts/query.sh latest_quotes'
}
