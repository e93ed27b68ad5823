# shellcheck shell=bash
# What the AWS CLI's errors mean.

# aws_error_is 'CODE|CODE' TEXT: whether the AWS CLI's message carries one of these error codes. (Exit statuses differ
# between the versions of the CLI, codes do not.)
aws_error_is() {
  local pattern="An error occurred \(($1)\)"
  [[ $2 =~ $pattern ]]
}

# explain TEXT: the AWS CLI's message in one line, with what to do about it.
explain() {
  local last
  last=$(sed -n '/[^[:space:]]/p' <<<"$1" | tail -n 1)
  case $1 in
    *'locate credentials'* | *'Partial credentials'* | *'profile'*'could not be found'*)
      last='no AWS credentials: run aws configure or aws sso login (or, without an account, scripts/run_local.sh)'
      ;;
    *ExpiredToken* | *RequestExpired* | *'has expired'* | *'is expired'*)
      last='the AWS credentials have expired: log in again (aws sso login, or new keys)'
      ;;
    *InvalidClientTokenId* | *UnrecognizedClient* | *SignatureDoesNotMatch* | *InvalidAccessKeyId* | *AuthFailure*)
      last="AWS refuses these credentials: look at aws configure list (and whether $AWS_REGION is enabled for the account)"
      ;;
    *'connect to the endpoint'* | *'onnect timeout'* | *'Connection was closed'* | *'Invalid endpoint'*)
      last="cannot reach ${AWS_ENDPOINT_URL:-AWS in the region $AWS_REGION}: is there such a region (AWS_REGION)"
      last+="${AWS_ENDPOINT_URL:+, does it run (AWS_ENDPOINT_URL)}, is the network up?"
      ;;
    *'Lake Formation'*)
      last="Lake Formation governs the catalog of this account, and refuses: ${last#*operation: }. Let its administrator grant"
      last+=' you this (console of Lake Formation, Permissions), then run this again'
      ;;
    *'Max attempts exceeded'*)
      last='AWS is still at work: run this again in some minutes, it goes on from here'
      ;;
    *AccessDenied* | *'not authorized'*)
      last="not allowed: ${last#*operation: } (get this permission, then run this again)"
      ;;
  esac
  printf '%s' "$last"
}
