# shellcheck shell=bash
# The doctor on resources: is each one as the settings want it?
require_lib state/{inventory,regions,survey} resources/{analytics,roles,saved_queries,tables} doctor/{findings,not_ours}

ensure_workgroup_and_queries() {
  ensure_workgroup
  ensure_queries
}

# check_resource KIND NAME ENSURE…: ENSURE is the command by which setup.sh makes it.
check_resource() {
  local changes
  [[ -n $(state_of "$1" "$2") ]] || record_state "$1" "$2"
  case $(state_of "$1" "$2") in
    absent) wrong "$1 $2: does not exist$(near_miss "$1" "$2"): run scripts/setup.sh" ;;
    foreign) wrong "$1 $2: does not have the tag project=$PROJECT, so it is not ours: choose another name in .env" ;;
    elsewhere) wrong "$1 $2: is that of the stack in $(other_region): correct AWS_REGION, or remove one of the two stacks" ;;
    hidden) explain_hidden "$1" "$2" ;;
    ours)
      changes=$("${@:3}") || exit 1
      report_changes "$1 $2" "$changes"
      ;;
  esac
}

# report_changes NAME COMMANDS: COMMANDS are what setup.sh would run.
report_changes() {
  if [[ -n $2 ]]; then
    wrong "$1: is not as .env and the scripts want it: run scripts/setup.sh (${2//$'\n'/, })"
  else
    ok "$1"
  fi
}

# check_role NAME ENSURE: also looks for policies that somebody added later.
check_role() {
  local policy
  check_resource role "$1" "$2"
  exists role "$1" || return 0
  ! trusts_any_account "$1" || note "role $1: trusts Lambda without the condition aws:SourceAccount, because AWS refused it"
  call iam list-role-policies --role-name "$1" --query 'PolicyNames[]' --output text
  for policy in $REPLY; do
    [[ $policy == "$1" || $policy == None ]] ||
      wrong "role $1: also has the policy $policy: aws iam delete-role-policy --role-name $1 --policy-name $policy"
  done
  call iam list-attached-role-policies --role-name "$1" --query 'AttachedPolicies[].PolicyArn' --output text
  for policy in $REPLY; do
    [[ $policy == None ]] ||
      wrong "role $1: also has $policy: aws iam detach-role-policy --role-name $1 --policy-arn $policy"
  done
}

# check_mapping FUNCTION ENSURE
check_mapping() {
  local changes source state result uuid
  changes=$("$2") || exit 1
  if [[ -n $changes ]]; then
    report_changes "mapping of $1" "$changes"
    return
  fi
  source=$(arn_of stream "$STREAM_NAME")
  [[ $1 == "$PROCESSOR" ]] || source=$(table_stream "$TABLE_NAME")
  call lambda list-event-source-mappings --function-name "$1" --event-source-arn "$source" --output text \
    --query 'EventSourceMappings[0].[State,UUID,LastProcessingResult]'
  IFS=$'\t' read -r state uuid result <<<"$REPLY"
  if [[ $state == Disabl* ]]; then
    wrong "mapping of $1: $state: aws lambda update-event-source-mapping --enabled --uuid $uuid"
  elif [[ $result == *PROBLEM* || $result == *FAILED* || $result == *rror* ]]; then
    wrong "mapping of $1: $state, but $result: aws logs filter-log-events --log-group-name /aws/lambda/$1" \
      '--filter-pattern ERROR'
  else
    ok "mapping of $1: $state, last result: $result"
  fi
}
