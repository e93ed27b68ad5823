# shellcheck shell=bash
# The two Lambda functions and their log groups. Sourced.

ensure_processor() { ensure_function "$PROCESSOR" process_stock_data; }
ensure_analyst() { ensure_function "$ANALYST" stock_trend_analysis; }

# ensure_function NAME BASENAME: of lambdas/BASENAME.py and scripts/resources/BASENAME.json
ensure_function() {
  local wanted
  ensure_log_group "/aws/lambda/$1"
  wanted=$(render "$SCRIPTS/resources/$2.json")
  if exists function "$1"; then
    call lambda get-function-configuration --function-name "$1" --output json
    log "function $1: already exists"
    if ! has_settings "$wanted" "$REPLY"; then
      call lambda update-function-configuration --cli-input-json "$wanted"
      call lambda wait function-updated-v2 --function-name "$1"
      log "function $1: settings updated"
    fi
    deploy_code "$1" "$2"
  else
    zip_handler "$2" >/dev/null
    # A role that was made a moment ago is not known to Lambda yet.
    retry_while InvalidParameterValueException lambda create-function --cli-input-json "$wanted" \
      --architectures arm64 --zip-file "fileb://$TEMPORARY/$2.zip" --tags "project=$PROJECT"
    call lambda wait function-active-v2 --function-name "$1"
    log "function $1: created"
  fi
}

# deploy_code NAME BASENAME: uploads the handler when it is not what runs already.
deploy_code() {
  local hash
  hash=$(zip_handler "$2")
  call_unless ResourceNotFoundException lambda get-function-configuration --function-name "$1" \
    --query CodeSha256 --output text || die "function $1 does not exist: run scripts/setup.sh"
  if [[ $REPLY == "$hash" ]]; then
    log "function $1: code is up to date"
  else
    call lambda update-function-code --function-name "$1" --zip-file "fileb://$TEMPORARY/$2.zip"
    call lambda wait function-updated-v2 --function-name "$1"
    log "function $1: code updated"
  fi
}

# Writes $TEMPORARY/BASENAME.zip and prints its hash as Lambda shows it.
zip_handler() { python3 "$SCRIPTS/lib/lambda_zip.py" "$ROOT/lambdas/$1.py" "$TEMPORARY/$1.zip"; }

delete_function() {
  call_unless ResourceNotFoundException lambda delete-function --function-name "$1" || true
  log "function $1: deleted"
}

# The roles may not create log groups, so one that cleanup deleted stays deleted.
ensure_log_group() {
  exists log-group "$1" || call logs create-log-group --log-group-name "$1" --tags "project=$PROJECT"
  call logs put-retention-policy --log-group-name "$1" --retention-in-days "$(log_retention)"
}

# RETENTION_DAYS, rounded up to a value that CloudWatch Logs takes.
log_retention() {
  local days
  for days in 1 3 5 7 14 30 60 90 120 150 180 365 400 545 731 1096 1827 2192 2557 2922 3288 3653; do
    ((days < RETENTION_DAYS)) || break
  done
  printf '%s' "$days"
}

delete_log_group() {
  call_unless ResourceNotFoundException logs delete-log-group --log-group-name "$1" || true
  log "log-group $1: deleted"
}
