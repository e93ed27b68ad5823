# shellcheck shell=bash
# Whom a message is for: single alerts, each of many at once, or their sum.
require_lib state/survey resources/subscriptions

# with_audience PROTOCOL FILTER_POLICY: prints the policy with the audience for this protocol.
with_audience() { python3 -IS "$SCRIPTS/lib/resources/audience.py" "$@"; }

# Gives an audience to each subscription of the alerts that was made before messages had one.
ensure_audiences() {
  local protocol endpoint arn jobs=()
  exists topic "$TOPIC_NAME" || return 0
  list_subscriptions "$SNS_TOPIC_ARN"
  while read -r protocol endpoint arn; do
    case $protocol-$arn in
      email-arn:* | email-json-arn:* | sms-arn:* | sqs-arn:*) jobs+=("ensure_audience $protocol $endpoint $arn") ;;
    esac
  done <<<"$REPLY"
  ((${#jobs[@]} == 0)) || in_parallel "${jobs[@]}" || exit 1
}

# ensure_audience PROTOCOL ENDPOINT ARN: a filter on the body of the messages stays as it is.
ensure_audience() {
  local scope filter
  call sns get-subscription-attributes --subscription-arn "$3" --output text \
    --query '[Attributes.FilterPolicyScope, Attributes.FilterPolicy]'
  read -r scope filter <<<"${REPLY//[$'\n\t']/ }"
  [[ $scope != MessageBody && $filter != *'"audience"'* ]] || return 0
  set_filter "$1" "$2" "$3" "$(with_audience "$1" "${filter/#None/{\}}")"
}
