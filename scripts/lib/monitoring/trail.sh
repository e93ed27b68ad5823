# shellcheck shell=bash
# The trail and the budget, which concern the account and are made on request.
require_lib state/leftovers

# The account's management events in this region. That it may write to the bucket is in policies/bucket.json, so that
# setup.sh keeps it so, and that its files expire in resources/bucket_lifecycle.json.
ensure_trail() {
  local name bucket mine='' cost='nothing for the events'
  call cloudtrail describe-trails --query 'trailList[].[Name,S3BucketName]' --output text
  while read -r name bucket; do
    case $name in
      '') ;;
      "$TRAIL") mine=$bucket ;;
      *) cost="\$2 per 100,000 events, for there is the trail $name already" ;;
    esac
  done <<<"$REPLY"
  if [[ -z $mine ]]; then
    log "trail $TRAIL: $cost; its files as S3 storage"
    call_unless InsufficientS3BucketPolicyException cloudtrail create-trail --name "$TRAIL" \
      --s3-bucket-name "$BUCKET_NAME" --s3-key-prefix cloudtrail --no-is-multi-region-trail \
      --enable-log-file-validation --tags-list "Key=project,Value=$PROJECT" ||
      die "trail $TRAIL: may not write to the bucket $BUCKET_NAME yet: run scripts/setup.sh, which allows it, then this again"
    log "trail $TRAIL: created"
  elif [[ $mine == "$BUCKET_NAME" ]]; then
    log "trail $TRAIL: already exists"
  else
    die "trail $TRAIL: there is one that writes to the bucket $mine, not to $BUCKET_NAME: delete it yourself, if it is yours"
  fi
  # It takes a second call to set it going.
  call cloudtrail get-trail-status --name "$TRAIL" --query IsLogging --output text
  [[ $REPLY == True ]] || call cloudtrail start-logging --name "$TRAIL"
}

# ensure_budget USD: AWS gives it back with decimals.
ensure_budget() {
  # shellcheck disable=SC2034 # BUDGET_USD is for render
  local BUDGET_USD=$1 wanted
  wanted=$(render "$SCRIPTS/resources/budget.json")
  if ! call_unless NotFoundException budgets describe-budget --account-id "$ACCOUNT_ID" --budget-name "$BUDGET" \
    --query Budget.BudgetLimit.Amount --output text; then
    log "budget $BUDGET: free; it counts what the whole account costs"
    call budgets create-budget --account-id "$ACCOUNT_ID" --budget "$wanted" \
      --notifications-with-subscribers "$(render "$SCRIPTS/resources/budget_notifications.json")"
    log "budget $BUDGET: created, \$$1 a month"
  elif [[ $(without_zeros "$REPLY") == $(without_zeros "$1") ]]; then
    log "budget $BUDGET: already exists, \$$1 a month"
  else
    call budgets update-budget --account-id "$ACCOUNT_ID" --new-budget "$wanted"
    log "budget $BUDGET: \$$1 a month from now on"
  fi
}

# 20.0, 20.00 and 20 are the same amount.
without_zeros() {
  local amount=$1
  while [[ $amount == *.*0 || $amount == *. ]]; do
    amount=${amount%?}
  done
  printf '%s' "$amount"
}

delete_trail() {
  call_unless TrailNotFoundException cloudtrail delete-trail --name "$1" || true
  log "trail $1: deleted"
}

delete_budget() {
  call_unless NotFoundException budgets delete-budget --account-id "$ACCOUNT_ID" --budget-name "$1" || true
  log "budget $1: deleted"
}
