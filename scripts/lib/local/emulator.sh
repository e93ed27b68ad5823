# shellcheck shell=bash
# MiniStack, the AWS emulator, on 127.0.0.1 with IAM enforced.
require_lib local/venv state/untagged

DEFAULT_PORT=4566
START_SECONDS=60

# start_emulator DIRECTORY: its files go there; sets emulator (its process group) and AWS_ENDPOINT_URL. When there is a
# file DIRECTORY/kept, it goes on from the state there.
start_emulator() {
  local port
  port=$(free_port "$DEFAULT_PORT")
  ((port == DEFAULT_PORT)) || log "port $DEFAULT_PORT is taken: using $port"
  until launch "$1" "$port"; do
    grep -q 'in use' "$1/ministack.log" || die "MiniStack did not start: $(tail -n 1 "$1/ministack.log")"
    log "another program just took port $port: trying another port"
    port=$(free_port 0)
  done
  export AWS_ENDPOINT_URL=http://127.0.0.1:$port
  if [[ -e $1/kept ]]; then
    forget_table_mapping
  else
    forget_untagged
  fi
}

# launch DIRECTORY PORT: status 1 when it ended at once.
launch() {
  local deadline=$((SECONDS + START_SECONDS))
  mkdir -p "$1"
  "$VENV/bin/python" -X "run=$1" "$SCRIPTS/lib/local/emulator.py" "$1" "$2" >"$1/ministack.log" 2>&1 </dev/null &
  emulator=$!
  # Only its own log tells that it runs: another program may have taken the port first, and answer there.
  until grep -q 'Running on http' "$1/ministack.log"; do
    kill -0 "$emulator" 2>/dev/null || return 1
    ((SECONDS < deadline)) || die "MiniStack does not answer after $START_SECONDS s: see $1/ministack.log"
    sleep 0.2
  done
}

# free_port PORT: prints PORT, or a free port when something listens there.
free_port() {
  "$VENV/bin/python" - "$1" <<'PYTHON'
import socket
import sys

port = int(sys.argv[1])
with socket.socket() as probe, socket.socket() as free:
    if not port or probe.connect_ex(("127.0.0.1", port)) == 0:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
print(port)
PYTHON
}

# MiniStack keeps how many records of the table's stream a mapping has read, but not the records, and would skip as many
# new ones. Without the mapping, setup.sh makes a new one, which reads from the beginning.
forget_table_mapping() {
  local uuid
  for uuid in $(aws lambda list-event-source-mappings --output text \
    --query "EventSourceMappings[?contains(EventSourceArn, ':dynamodb:')].UUID"); do
    aws lambda delete-event-source-mapping --uuid "$uuid" >/dev/null
  done
}

# Removes the user's own AWS settings, which could lead to the real AWS.
use_no_other_aws() {
  local name
  for name in "${!AWS_@}"; do
    [[ $name == AWS_REGION ]] || unset "$name"
  done
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=$AWS_REGION AWS_PAGER='' \
    AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
  export HEARTBEAT_URL='' # it tells that the producer on AWS works
  export PATH=$VENV/bin:$PATH NO_PROXY=127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY} no_proxy=127.0.0.1,localhost
  # shellcheck disable=SC2034 # common.sh uses it
  AWS_CLI=$VENV/bin/aws
}
