# shellcheck shell=bash
# What keeps a phone from getting text messages. A new account is in the SMS sandbox: it can text only numbers that it
# has verified. Outside the sandbox, carriers in the USA drop what does not come from an origination number of the
# account, and no error says so. AWS also stops at a spending limit, one dollar a month until you ask for more.
# https://docs.aws.amazon.com/sns/latest/dg/channels-sms-originating-identities-origination-numbers.html

US_NUMBERS='a US number gets text messages only from an origination number (10DLC, toll-free or short code)'

# phone_obstacle NUMBER IN_SANDBOX: why this number gets nothing, and what to do, in REPLY; empty when it gets them.
phone_obstacle() {
  REPLY=''
  case $2$1 in
    True*) sandbox_obstacle "$1" ;;
    False+1*) origination_obstacle ;;
  esac
}

# Of a US number. Where we may not look, or the region does not have this service, no origination number is seen.
origination_obstacle() {
  REPLY=$(aws pinpoint-sms-voice-v2 describe-phone-numbers --no-paginate --query 'length(PhoneNumbers)' --output text \
    --filters Name=iso-country-code,Values=US Name=number-capability,Values=SMS Name=status,Values=ACTIVE \
    2>"$CLI_ERRORS") || REPLY=0
  if [[ $REPLY == 0 ]]; then
    REPLY="$US_NUMBERS, and aws pinpoint-sms-voice-v2 describe-phone-numbers shows no active one:"
    REPLY+=' request one at https://console.aws.amazon.com/sms-voice/'
  else
    REPLY=''
  fi
}

# sandbox_obstacle NUMBER: of an account in the sandbox.
sandbox_obstacle() {
  call sns list-sms-sandbox-phone-numbers --query "PhoneNumbers[?PhoneNumber=='$1'].Status | [0]" --output text
  if [[ $REPLY == Verified ]]; then
    REPLY=''
  else
    REPLY='the account is in the SMS sandbox, and the number is not verified:'
    REPLY+=" aws sns create-sms-sandbox-phone-number --phone-number $1, then"
    REPLY+=" aws sns verify-sms-sandbox-phone-number --phone-number $1 --one-time-password CODE"
  fi
}

# sms_obstacle NUMBER: as phone_obstacle. The emulator has no sandbox.
sms_obstacle() {
  call_unless InvalidAction sns get-sms-sandbox-account-status --query IsInSandbox --output text || REPLY=''
  phone_obstacle "$1" "$REPLY"
}

print_sms_limit() {
  if call_unless InvalidAction sns get-sms-attributes --attributes MonthlySpendLimit \
    --query attributes.MonthlySpendLimit --output text; then
    log "Text messages stop at \$${REPLY/None/1} a month in this account."
  fi
}
