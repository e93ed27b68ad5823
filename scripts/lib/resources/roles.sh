# shellcheck shell=bash
# The execution roles, each with one inline policy.
require_lib state/inventory state/survey state/regions state/comparison

ensure_processor_role() { ensure_role "$PROCESSOR_ROLE" process_stock_data.json; }
ensure_analyst_role() { ensure_role "$ANALYST_ROLE" stock_trend_analysis.json; }

# ensure_role NAME POLICY: POLICY is a file of scripts/policies/.
ensure_role() {
  local trust policy
  trust=$(render "$SCRIPTS/policies/lambda_trust.json")
  policy=$(render "$SCRIPTS/policies/$2")
  if ! exists role "$1"; then
    call iam create-role --role-name "$1" --assume-role-policy-document "$trust" \
      ${PERMISSIONS_BOUNDARY:+--permissions-boundary "$PERMISSIONS_BOUNDARY"} --description 'Execution role of a function of stock-market-streaming' --tags "Key=project,Value=$PROJECT"
    created role "$1"
  else
    log "role $1: already exists"
    if [[ -n $PERMISSIONS_BOUNDARY ]] &&
      ! is_set role "$1" "{\"PermissionsBoundary\": {\"PermissionsBoundaryArn\": \"$PERMISSIONS_BOUNDARY\"}}"; then
      call iam put-role-permissions-boundary --role-name "$1" --permissions-boundary "$PERMISSIONS_BOUNDARY"
      log "role $1: permissions boundary set"
    fi
    if ! is_set role "$1" "{\"AssumeRolePolicyDocument\": $trust}"; then
      if trusts_any_account "$1"; then
        log "role $1: trusts Lambda without the condition aws:SourceAccount, which AWS has refused"
      else
        call iam update-assume-role-policy --role-name "$1" --policy-document "$trust"
        log "role $1: trust policy set"
      fi
    fi
    ! role_policy "$1" || ! is_same "$policy" "$REPLY" || return 0
    log "role $1: policy set"
  fi
  call iam put-role-policy --role-name "$1" --policy-name "$1" --policy-document "$policy"
}

# trusts_any_account ROLE: whether the condition was dropped. The Sid of the trust policy tells.
trusts_any_account() {
  is_set role "$1" "{\"AssumeRolePolicyDocument\": $(<"$SCRIPTS/policies/lambda_trust_any_account.json")}"
}

# with_role ROLE ARGUMENTS…: makes what uses the role; status 1 when Lambda has no arm64 in this region. AWS does not know a
# new role for its first moments, so a refused call is repeated, for a minute. Who still cannot assume the role then may
# be refused by the condition aws:SourceAccount of its trust policy, which no page of Lambda's promises to meet: without
# it there is one more minute.
with_role() {
  local role=$1 tries=0
  shift
  until call_unless InvalidParameterValueException "$@"; do
    ! grep -q arm64 "$CLI_ERRORS" || return 1
    tries=$((tries + 1))
    if ((tries == 30)) && grep -q assume "$CLI_ERRORS"; then
      trust_any_account "$role"
    elif ((tries % 30 == 0)); then
      refused "$@"
    fi
    sleep 2
  done
}

# trust_any_account ROLE
trust_any_account() {
  call iam update-assume-role-policy --role-name "$1" \
    --policy-document "$(<"$SCRIPTS/policies/lambda_trust_any_account.json")"
  log "role $1: AWS refuses the condition aws:SourceAccount in its trust policy; from now on it trusts Lambda without it"
}

delete_role() {
  delete_unless NoSuchEntity iam delete-role-policy --role-name "$1" --policy-name "$1" || true
  if ! delete_unless 'DeleteConflict|NoSuchEntity' iam delete-role --role-name "$1" && [[ $REPLY == DeleteConflict ]]; then
    strip_role "$1"
    delete_unless NoSuchEntity iam delete-role --role-name "$1" || true
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
