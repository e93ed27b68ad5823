# shellcheck shell=bash
# The Lambda functions and their log groups.
require_lib state/inventory state/survey resources/roles

ensure_processor() { ensure_log_group "/aws/lambda/$PROCESSOR" && ensure_function "$PROCESSOR" process_stock_data; }
ensure_analyst() { ensure_log_group "/aws/lambda/$ANALYST" && ensure_function "$ANALYST" stock_trend_analysis; }

# ensure_function NAME BASENAME: from lambdas/BASENAME.py and scripts/resources/BASENAME.json. Their MemorySize is 1,769 MB,
# though 128 would do: a function's share of a CPU grows with its memory, and 1,769 MB is a whole one, the most that one
# Python can use (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html). 500 symbols need half a second
# of it, and 3.4 s at 256 MB, which is 0.145 of one. CPU time costs the same either way: seven times the price for a
# seventh of the time. Waiting for other services costs more, 2 cents a month at a poll every 30 s (docs/latency.md).
ensure_function() {
  local wanted role='"Role": "[^"]*/([^"/]+)"'
  wanted=$(render "$SCRIPTS/resources/$2.json")
  if ! exists function "$1"; then
    zip_handler "$2" >/dev/null
    [[ $wanted =~ $role ]]
    set -- "$1" "$2" "${BASH_REMATCH[1]}" lambda create-function --cli-input-json "$wanted" \
      --zip-file "fileb://$(zip_of "$2")" --tags "project=$PROJECT" --architectures
    if ! with_role "${@:3}" arm64; then
      log "function $1: on x86_64, which costs a quarter more: there is no arm64 in $AWS_REGION"
      with_role "${@:3}" x86_64
    fi
    created function "$1"
    call lambda wait function-active-v2 --function-name "$1"
    return
  fi
  log "function $1: already exists"
  update_function "$1" "$2" "$wanted"
}

# update_function NAME BASENAME SETTINGS: its settings and its code, each if it differs.
update_function() {
  local hash='"CodeSha256": "([^"]+)"'
  REPLY=$(description_of function "$1")
  [[ $REPLY != *'"State": "Pending"'* ]] || call lambda wait function-active-v2 --function-name "$1"
  if ! is_set function "$1" "$3"; then
    call lambda update-function-configuration --cli-input-json "$3"
    call lambda wait function-updated-v2 --function-name "$1"
    log "function $1: settings updated"
  fi
  [[ $(description_of function "$1") =~ $hash ]]
  deploy_code "$1" "$2" "${BASH_REMATCH[1]}"
}

# deploy_code NAME BASENAME HASH: uploads the handler, unless its hash is HASH, that of the code that runs.
deploy_code() {
  if [[ $(zip_handler "$2") == "$3" ]]; then
    log "function $1: code is up to date"
  else
    call lambda update-function-code --function-name "$1" --zip-file "fileb://$(zip_of "$2")"
    call lambda wait function-updated-v2 --function-name "$1"
    log "function $1: code updated"
  fi
}

# The zip file stays, so that you can run what a dry run prints.
zip_of() { printf '%s' "$ROOT/.local/$1.zip"; }

# zip_handler BASENAME: makes the zip file, and prints its hash as Lambda shows it.
zip_handler() {
  mkdir -p "$ROOT/.local"
  python3 -IS "$SCRIPTS/lib/resources/lambda_zip.py" "$ROOT/lambdas/$1.py" "$(zip_of "$1")"
}

delete_function() {
  delete_unless ResourceNotFoundException lambda delete-function --function-name "$1" || true
  log "function $1: deleted"
}

# ensure_log_group NAME: the roles may not create log groups, so that one that cleanup.sh deleted stays deleted.
ensure_log_group() {
  local days
  days=$(log_retention)
  if exists log-group "$1"; then
    call logs describe-log-groups --log-group-name-prefix "$1" --output text \
      --query "logGroups[?logGroupName=='$1'].retentionInDays | [0]"
    [[ $REPLY != "$days" ]] || return 0
    log "log-group $1: kept for $days days"
  else
    call logs create-log-group --log-group-name "$1" --tags "project=$PROJECT"
    created log-group "$1"
  fi
  call logs put-retention-policy --log-group-name "$1" --retention-in-days "$days"
}

# Prints RETENTION_DAYS, rounded up to a value that CloudWatch Logs takes.
log_retention() {
  local days
  for days in 1 3 5 7 14 30 60 90 120 150 180 365 400 545 731 1096 1827 2192 2557 2922 3288 3653; do
    ((days < RETENTION_DAYS)) || break
  done
  printf '%s' "$days"
}

delete_log_group() {
  delete_unless ResourceNotFoundException logs delete-log-group --log-group-name "$1" || true
  log "log-group $1: deleted"
}
