# shellcheck shell=bash
# The two execution roles, each with one inline policy.
require_lib state/inventory state/survey state/comparison

ensure_processor_role() { ensure_role "$PROCESSOR_ROLE" process_stock_data.json; }
ensure_analyst_role() { ensure_role "$ANALYST_ROLE" stock_trend_analysis.json; }

# ensure_role NAME POLICY: POLICY is a file of scripts/policies/.
ensure_role() {
  local trust policy
  trust=$(render "$SCRIPTS/policies/lambda_trust.json")
  policy=$(render "$SCRIPTS/policies/$2")
  if ! exists role "$1"; then
    call iam create-role --role-name "$1" --assume-role-policy-document "$trust" \
      --description 'Execution role of a function of stock-market-streaming' --tags "Key=project,Value=$PROJECT"
    created role "$1"
  else
    log "role $1: already exists"
    if ! is_set role "$1" "{\"AssumeRolePolicyDocument\": $trust}"; then
      call iam update-assume-role-policy --role-name "$1" --policy-document "$trust"
      log "role $1: trust policy set"
    fi
    ! call_unless NoSuchEntity iam get-role-policy --role-name "$1" --policy-name "$1" --query PolicyDocument \
      --output json || ! is_same "$policy" "$REPLY" || return 0
    log "role $1: policy set"
  fi
  call iam put-role-policy --role-name "$1" --policy-name "$1" --policy-document "$policy"
}

delete_role() {
  call_unless NoSuchEntity iam delete-role-policy --role-name "$1" --policy-name "$1" || true
  if ! call_unless 'DeleteConflict|NoSuchEntity' iam delete-role --role-name "$1" && [[ $REPLY == DeleteConflict ]]; then
    strip_role "$1"
    call iam delete-role --role-name "$1"
  fi
  log "role $1: deleted"
}

# strip_role NAME: removes the policies that somebody added later, because IAM deletes only a role without policies.
strip_role() {
  local policy
  call iam list-role-policies --role-name "$1" --query 'PolicyNames[]' --output text
  for policy in $REPLY; do
    call iam delete-role-policy --role-name "$1" --policy-name "$policy"
  done
  call iam list-attached-role-policies --role-name "$1" --query 'AttachedPolicies[].PolicyArn' --output text
  for policy in $REPLY; do
    call iam detach-role-policy --role-name "$1" --policy-arn "$policy"
  done
}
