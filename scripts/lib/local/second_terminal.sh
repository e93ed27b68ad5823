# shellcheck shell=bash
# The local stack from another terminal.
require_lib local/run_folder

# offer_stack SOURCE SYMBOLS: tells what to do there, and writes what it needs to the file that core/stack.sh reads.
offer_stack() {
  local name
  {
    printf '# --source %s\nunset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE\n' "$1"
    for name in AWS_ENDPOINT_URL AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_CONFIG_FILE \
      AWS_SHARED_CREDENTIALS_FILE AWS_EC2_METADATA_DISABLED PATH NO_PROXY no_proxy; do
      printf 'export %s=%q\n' "$name" "${!name}"
    done
    [[ -z $2 ]] || printf 'export STOCK_SYMBOLS=%q\n' "$2"
  } >"$LOCAL_STACK"
  cat >&2 <<TEXT
The stack is up at $AWS_ENDPOINT_URL. To look around from another terminal:

  scripts/doctor.sh --local             (alerts.sh, query.sh and the others take --local too)
  source .local/env                     (then your own commands go there, such as the next one)
  aws dynamodb query --table-name $ALERTS_TABLE_NAME --key-condition-expression 'symbol = :s' \\
    --expression-attribute-values '{":s": {"S": "AAPL"}}' --no-scan-index-forward --max-items 5

Logs: $RUN_FOLDER/{ministack,producer,setup}.log
TEXT
}
