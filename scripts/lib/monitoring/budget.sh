# shellcheck shell=bash
# The budget, which counts what the whole account costs and is made on request.
require_lib monitoring/search

# ensure_budget USD: a month.
ensure_budget() {
  # shellcheck disable=SC2034 # render reads BUDGET_USD
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

# without_zeros AMOUNT: AWS answers 20.0 where 20 or 20.00 was asked for.
without_zeros() {
  local amount=$1
  while [[ $amount == *.*0 || $amount == *. ]]; do
    amount=${amount%?}
  done
  printf '%s' "$amount"
}

delete_budget() {
  call_unless NotFoundException budgets delete-budget --account-id "$ACCOUNT_ID" --budget-name "$1" || true
  log "budget $1: deleted"
}
