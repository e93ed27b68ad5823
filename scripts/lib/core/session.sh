# shellcheck shell=bash
# The frame of a run: settings, account, a temporary folder, what an interruption leaves.

start_session() {
  prepare
  load_settings
  call sts get-caller-identity --query Account --output text --cli-connect-timeout 10
  use_account "$REPLY"
  log "account $ACCOUNT_ID, region $AWS_REGION${AWS_ENDPOINT_URL:+, $AWS_ENDPOINT_URL}"
}

prepare() {
  AWS_CLI=$(type -P aws || true)
  AWS_CLI=${AWS_CLI:-$ROOT/.venv/bin/aws}
  [[ -x $AWS_CLI ]] ||
    die "the AWS CLI is missing: pip install awscli, or see https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
  require_command python3 'install Python 3.11 or newer'
  TEMPORARY=$(mktemp -d)
  # shellcheck disable=SC2034 # what the CLI says to the last call; for lib/calls.sh
  CLI_ERRORS=$TEMPORARY/errors
  trap 'rm -rf "$TEMPORARY"' EXIT
  trap 'interrupted' INT TERM HUP
}

# use_account ID: sets what depends on the account.
use_account() {
  ACCOUNT_ID=$1
  BUCKET_NAME=${BUCKET_NAME//\{account\}/$ACCOUNT_ID}
  BUCKET_NAME=${BUCKET_NAME//\{region\}/$AWS_REGION}
  check BUCKET_NAME '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$' 'lower-case letters, digits and hyphens (3 to 63)'
  refuse_bad_settings
  # shellcheck disable=SC2034 # for render and lib/resources/topic.sh
  SNS_TOPIC_ARN=arn:aws:sns:$AWS_REGION:$ACCOUNT_ID:$TOPIC_NAME
}

interrupted() {
  trap - INT TERM HUP
  stop_jobs
  printf 'interrupted: %s\n' "$(what_now)" >&2
  exit 130
}

# What a run that stopped half-way leaves, and what to do; scripts that know more define it anew.
what_now() { printf 'run the same command again, it goes on from here'; }

# Kinesis and S3 tag in a second call. This mark, made before the first and taken away after it, tells the next
# run that an untagged one was left by an interrupted run and is no one else's.
unfinished() {
  local account=$ACCOUNT_ID-$AWS_REGION${AWS_ENDPOINT_URL:+-${AWS_ENDPOINT_URL##*/}}
  printf '%s' "$ROOT/.local/unfinished/$account-$1-$2"
}
begin() { [[ -n $dry_run ]] || { mkdir -p "$ROOT/.local/unfinished" && touch "$(unfinished "$1" "$2")"; }; }
finish() { [[ -n $dry_run ]] || rm -f "$(unfinished "$1" "$2")"; }
is_unfinished() { [[ -e $(unfinished "$1" "$2") ]]; }
