# shellcheck shell=bash
# The doctor on this machine: tools, settings, region and credentials.
require_lib doctor/findings

check_cli() {
  local version
  version=$("$AWS_CLI" --version 2>&1) || {
    wrong "AWS CLI: $AWS_CLI does not run (${version%%$'\n'*}): install it anew"
    return
  }
  version=${version#aws-cli/}
  version=${version%% *}
  case $version in
    1.?.* | 1.1?.* | 1.2[0-6].* | 2.[0-8].*)
      wrong "AWS CLI $version is too old: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
      ;;
    *) ok "AWS CLI $version" ;;
  esac
}

# The Python that runs the producer.
check_python() {
  local python=$ROOT/.venv/bin/python
  [[ -x $python ]] || python=python3
  report_output_of "$python" "$SCRIPTS/lib/doctor/python.py" "$ROOT/requirements.txt"
}

check_env() {
  local line
  if (load_settings) 2>"$TEMPORARY/bad"; then
    ok "settings: $([[ -f $ROOT/.env ]] && printf '.env' || printf 'no .env, so the defaults')"
  fi
  while read -r line; do
    wrong "settings: ${line#error: }"
  done <"$TEMPORARY/bad"
  [[ ! -f $ROOT/.env ]] || report_output_of python3 "$SCRIPTS/lib/doctor/env.py" "$ROOT/.env" "$ROOT/.env.example"
}

# An aws command without --region goes to the region of the environment or of the profile.
check_region() {
  local theirs
  theirs=$("$AWS_CLI" configure get region 2>/dev/null || true)
  theirs=${AWS_DEFAULT_REGION:-$theirs}
  (load_settings) 2>/dev/null || return 0
  load_settings
  if [[ -z $theirs || $theirs == "$AWS_REGION" ]]; then
    ok "region $AWS_REGION"
  else
    note "region $AWS_REGION; your own aws commands go to $theirs, unless they have --region $AWS_REGION"
  fi
}

# Looks at the identity, and at the time when the credentials expire, but at no secret.
check_credentials() {
  local arn expires left
  arn=$(cut -f 2 "$TEMPORARY/identity")
  ok "account $ACCOUNT_ID, as ${arn##*:}${AWS_ENDPOINT_URL:+, at $AWS_ENDPOINT_URL}"
  [[ $arn != *:root ]] || is_local ||
    note 'these are the root user'\''s credentials: make an IAM user or role for daily work'
  expires=$("$AWS_CLI" configure export-credentials --format process 2>/dev/null |
    sed -n 's/.*"Expiration": "\([^"]*\)".*/\1/p') || true
  if [[ -n $expires ]]; then
    left=$(python3 "$SCRIPTS/lib/doctor/minutes_until.py" "$expires")
    if ((left < 15)); then
      wrong "credentials: they expire in $left minutes: log in again (aws sso login, or new keys)"
    else
      ok "credentials: they expire in $left minutes"
    fi
  elif [[ $arn == *:assumed-role/* ]]; then
    note 'credentials: they are temporary, and this AWS CLI does not tell when they expire'
  fi
}
