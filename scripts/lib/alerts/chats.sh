# shellcheck shell=bash
# Chats and web hooks that get the alerts. Their addresses are secrets, kept in one SSM parameter, which is free. Here they
# are handed on as standard input only: every user of a machine can see the arguments of a process.
require_lib state/{inventory,regions,survey} resources/forwarder

# edit_addresses COMMAND ARGUMENTS…: see addresses.py.
edit_addresses() { python3 "$SCRIPTS/lib/alerts/addresses.py" "$@"; }

# read_secret VALUE WORDS: the value in $secret; a - stands for what is typed, or comes on standard input.
read_secret() {
  secret=$1
  [[ $secret == - ]] || return 0
  [[ ! -t 0 ]] || printf '%s (it is not shown): ' "$2" >&2
  IFS= read -rs secret || true
  [[ ! -t 0 ]] || printf '\n' >&2
}

# check_chat KIND ENDPOINT: reads the URL, or the token of the telegram bot, and ends the run when it is wrong. Telegram's
# chat is no secret: $chat.
check_chat() {
  chat=''
  if [[ $1 == telegram ]]; then
    chat=$2
    read_secret "${TELEGRAM_TOKEN:--}" "Token of the telegram bot"
    unset TELEGRAM_TOKEN # the commands that follow inherit the environment
  else
    read_secret "$2" "URL of $1"
  fi
  edit_addresses check "$1" "$chat" <<<"$secret" || exit 1
}

# read_addresses: the list in $addresses; status 1 when there is none.
read_addresses() {
  call_unless ParameterNotFound ssm get-parameter --name "$ADDRESSES_PARAMETER" --with-decryption \
    --query Parameter.Value --output text || REPLY=''
  addresses=$REPLY
  [[ -n $addresses ]]
}

# put_addresses FLAG…: a new parameter takes tags, one that exists takes --overwrite. Not --cli-input-json, because the CLI
# reads its file twice.
put_addresses() {
  call ssm put-parameter --name "$ADDRESSES_PARAMETER" --type SecureString --tier Standard \
    --value file:///dev/stdin "$@" <<<"$addresses"
}

# list_chats STATE FILTER: a line for each chat, as read_subscribers has them: kind, host and id, state, filter.
list_chats() {
  local kind host id
  read_addresses || return 0
  while IFS=$'\t' read -r kind host id; do
    [[ -z $kind ]] || printf '%s\t%s %s\t%s\t%s\n' "$kind" "$host" "$id" "$1" "$2"
  done < <(edit_addresses list <<<"$addresses")
}

# subscribe_chat KIND: after check_chat.
subscribe_chat() {
  local flags=(--overwrite)
  look_at_forwarding
  read_addresses || flags=(--tags "Key=project,Value=$PROJECT")
  addresses=$(edit_addresses add "$1" "$chat" <<<"$secret"$'\n'"$addresses") || exit 1
  put_addresses "${flags[@]}"
  log "$1: subscribed"
  ensure_forwarder
}

# unsubscribe_chat KIND NAME: NAME is an id, a URL or a telegram chat. The last one takes the function away.
unsubscribe_chat() {
  read_secret "$2" "Id or URL of $1"
  look_at_forwarding
  read_addresses || addresses='[]'
  addresses=$(edit_addresses remove "$1" <<<"$secret"$'\n'"$addresses") || exit 1
  if [[ $addresses == '[]' ]]; then
    delete_forwarder
  else
    put_addresses --overwrite
  fi
  log "$1: unsubscribed"
}

look_at_forwarding() {
  local kind name
  look_at forwarding
  while read -r kind name; do
    case $(state_of "$kind" "$name") in
      foreign | hidden) die "$kind $name: in this account already, without the tag project=$PROJECT: nothing was changed" ;;
      elsewhere) die "$kind $name: is that of the stack in $(other_region): correct AWS_REGION; nothing was changed" ;;
    esac
  done < <(forwarding)
}
