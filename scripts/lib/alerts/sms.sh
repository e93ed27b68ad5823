# shellcheck shell=bash
# What keeps a phone from getting text messages. A new account is in the SMS sandbox: it can text only numbers that it
# has verified. AWS also stops at a spending limit, one dollar a month until you ask for more.

# sandbox_obstacle NUMBER IN_SANDBOX: why this number gets nothing, and what to do, in REPLY; empty when it gets them.
sandbox_obstacle() {
  REPLY=''
  [[ $2 == True ]] || return 0
  call sns list-sms-sandbox-phone-numbers --query "PhoneNumbers[?PhoneNumber=='$1'].Status | [0]" --output text
  if [[ $REPLY == Verified ]]; then
    REPLY=''
  else
    REPLY='the account is in the SMS sandbox, and the number is not verified:'
    REPLY+=" aws sns create-sms-sandbox-phone-number --phone-number $1, then"
    REPLY+=" aws sns verify-sms-sandbox-phone-number --phone-number $1 --one-time-password CODE"
  fi
}

# sms_obstacle NUMBER: as sandbox_obstacle. The emulator has no sandbox.
sms_obstacle() {
  call_unless InvalidAction sns get-sms-sandbox-account-status --query IsInSandbox --output text || REPLY=''
  sandbox_obstacle "$1" "$REPLY"
}

print_sms_limit() {
  if call_unless InvalidAction sns get-sms-attributes --attributes MonthlySpendLimit \
    --query attributes.MonthlySpendLimit --output text; then
    log "Text messages stop at \$${REPLY/None/1} a month in this account."
  fi
}
