# shellcheck shell=bash
# The files of athena/ in Athena: the view, and the saved queries that its console offers.
require_lib state/inventory archive/athena archive/queries

# Saves the queries whose files have changed, and makes the view when it is absent or its file has changed.
ensure_queries() {
  local ids=() name id changed jobs=()
  if is_local; then
    log 'saved queries and the view stock_ticks: left out, the emulator has no console and no views'
    return
  fi
  call athena list-named-queries --work-group "$WORKGROUP" --query 'NamedQueryIds[]' --output text
  read -r -a ids <<<"${REPLY//$'\n'/ }"
  [[ ${ids[0]-None} != None ]] || ids=()
  : >"$TEMPORARY/saved"
  while ((${#ids[@]} > 0)); do # a call takes 50 at most
    call athena batch-get-named-query --named-query-ids "${ids[@]:0:50}" --output json
    printf '%s\n' "$REPLY" >>"$TEMPORARY/saved"
    ids=("${ids[@]:50}")
  done
  changed=$(python3 "$SCRIPTS/lib/resources/changed_queries.py" "$ROOT/athena" <"$TEMPORARY/saved")
  if [[ $'\n'$changed == *$'\n'"stock_ticks "* ]] ||
    ! call_unless EntityNotFoundException glue get-table --database-name "$DATABASE" --name stock_ticks; then
    create_view "$ROOT/athena/stock_ticks.sql"
  fi
  while read -r name id; do
    [[ -z $name ]] || jobs+=("save_query $name $id")
  done <<<"$changed"
  ((${#jobs[@]} > 0)) || log 'saved queries: already exist'
  while ((${#jobs[@]} > 0)); do
    in_parallel "${jobs[@]:0:4}"
    jobs=("${jobs[@]:4}")
  done
}

# create_view FILE
create_view() {
  local file=$ROOT/.local/${1##*/} # stays, so that you can run what a dry run prints
  mkdir -p "$ROOT/.local"
  sed '/^--/d' "$1" >"$file" # Athena does not always take comments in front of DDL
  run_query "$file"
  log 'view stock_ticks: created'
}

# save_query NAME [ID]: saves it, in place of the older version that has this id.
save_query() {
  local file=$ROOT/athena/$1.sql
  [[ -z ${2-} ]] || call athena delete-named-query --named-query-id "$2"
  call athena create-named-query --name "$1" --description "$(description "$file")" --database "$DATABASE" \
    --work-group "$WORKGROUP" --query-string "file://$file"
  log "saved query $1: ${2:+re}created"
}
