# shellcheck shell=bash
# The frame of a run: settings, account, a temporary folder, and what an interruption says.

start_session() {
  prepare_session
  load_settings
  get_identity
  use_account "$REPLY"
  log "account $ACCOUNT_ID, region $AWS_REGION${AWS_ENDPOINT_URL:+, $AWS_ENDPOINT_URL}"
  [[ -n $is_region_chosen ]] || name_configured_region
}

# Finds the tools, and makes the temporary folder.
prepare_session() {
  AWS_CLI=$(type -P aws || true)
  AWS_CLI=${AWS_CLI:-$ROOT/.venv/bin/aws}
  [[ -x $AWS_CLI ]] ||
    die "the AWS CLI is missing: pip install awscli, or see https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
  require_command python3 'install Python 3.11 or newer'
  TEMPORARY=$(mktemp -d)
  # shellcheck disable=SC2034 # core/calls.sh writes there what the CLI says to the last call
  CLI_ERRORS=$TEMPORARY/errors
  trap 'rm -rf "$TEMPORARY"' EXIT
  trap 'interrupted' INT TERM HUP
  choose_stack
}

# Where nobody set AWS_REGION: a region of `aws configure` does not count, so that all parts agree on one.
name_configured_region() {
  local theirs
  theirs=$("$AWS_CLI" configure get region 2>/dev/null || true)
  [[ -z $theirs || $theirs == "$AWS_REGION" ]] ||
    log "aws configure names the region $theirs, which does not count here: set AWS_REGION=$theirs in .env if you mean it"
}

# The account's ID and the user's ARN, in REPLY.
get_identity() {
  call sts get-caller-identity --query '[Account,Arn]' --output text --cli-connect-timeout 10
  [[ $REPLY == *$'\t'arn:aws:* ]] ||
    die "these credentials are for the partition $(cut -d : -f 2 <<<"$REPLY") (China, GovCloud or another); these scripts" \
      'are for the partition aws, with all other regions'
}

# use_account IDENTITY: sets what depends on the account; IDENTITY is that of get_identity.
use_account() {
  ACCOUNT_ID=${1%%$'\t'*}
  BUCKET_NAME=${BUCKET_NAME//\{account\}/$ACCOUNT_ID}
  BUCKET_NAME=${BUCKET_NAME//\{region\}/$AWS_REGION}
  check_setting BUCKET_NAME '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$' 'lower-case letters, digits and hyphens (3 to 63)'
  refuse_bad_settings
  # shellcheck disable=SC2034 # for render and the topic
  SNS_TOPIC_ARN=arn:aws:sns:$AWS_REGION:$ACCOUNT_ID:$TOPIC_NAME
}

interrupted() {
  trap - INT TERM HUP
  stop_jobs
  printf 'interrupted: %s\n' "$(what_now)" >&2
  exit 130
}

# What to do after an interruption. A script that knows more defines this function again.
what_now() { printf 'run the same command again, it goes on from here'; }
