# shellcheck shell=bash
# Which stack a script works on: the one in AWS, or the one of scripts/run_local.sh.
require_lib local/lock

# run_local.sh writes this file while its stack is up, for the scripts and for a shell that sources it.
LOCAL_STACK=$ROOT/.local/env

# choose_stack: AWS_ENDPOINT_URL decides, then --local or --aws. Without any, a running local stack is taken only where
# there are no AWS credentials: a script never goes to AWS, or away from it, by a guess.
choose_stack() {
  [[ -z ${AWS_ENDPOINT_URL:-} && $stack != aws ]] || return 0
  if ! is_local_stack_up; then
    [[ $stack != local ]] || die 'no local stack is up: start scripts/run_local.sh in another terminal, and wait for its first tick'
    return 0
  fi
  if [[ -z $stack ]]; then
    if has_credentials; then
      ask_for_stack
    else
      stack=local
      log "there are no AWS credentials, so this is about the local stack (--local)"
    fi
  fi
  # shellcheck source=/dev/null
  [[ $stack == aws ]] || source "$LOCAL_STACK"
}

# The file outlives a run that was killed.
is_local_stack_up() {
  local source
  source=$(sed -n 's/^# --source //p' "$LOCAL_STACK" 2>/dev/null) && [[ -n $source ]] && is_locked "$source"
}

# Whether the AWS CLI finds any. It looks in the environment, the files in ~/.aws, and the machine's role.
has_credentials() { ! "$AWS_CLI" configure list 2>&1 | grep -q 'access_key *<not set>'; }

ask_for_stack() {
  local both='scripts/run_local.sh is running, and there are AWS credentials too'
  [[ -t 0 && -t 2 ]] || die "$both: say which stack you mean, --local or --aws"
  until [[ $stack == local || $stack == aws ]]; do
    printf '%s. Which stack, local or aws? ' "$both" >&2
    read -r stack || die 'no answer: nothing was done'
  done
}
