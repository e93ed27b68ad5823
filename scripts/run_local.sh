#!/usr/bin/env bash
# Runs the whole pipeline on this machine, without an AWS account: from quotes to alerts in this terminal.
#
# Usage: scripts/run_local.sh [--source yahoo|simulated|replay] [--symbols A,B] [--delay SECONDS] [--file CSV]
#        [--keep] [--no-dashboard]
#
#   --source   where quotes come from (default: Yahoo, or the simulated market when Yahoo has no fresh quote)
#   --symbols  what to stream (default: STOCK_SYMBOLS of .env, or AAPL; for a replay all symbols of the file)
#   --delay    seconds between polls (default: 1; for Yahoo DELAY_SECONDS of .env, or 30)
#   --file     the bars to replay, a CSV file (default: sample_data/AAPL.csv; sample_data/README.md lists more)
#   --keep     keep what is in the tables and the bucket for the next run with this source
#   --no-dashboard   do not start the page that shows it all in the browser
#
# Installs what it needs into .venv, starts the AWS emulator MiniStack on 127.0.0.1 with IAM enforced, runs
# scripts/setup.sh and the producer, and prints each tick once it is stored and each alert as a subscriber gets
# it. After the first tick it starts the page dashboard.py, also on 127.0.0.1. Ctrl-C stops everything. While it runs,
# its files are in .local/. If an earlier run was killed, it first ends what that left running.

# shellcheck source=scripts/common.sh
. "${0%/*}/common.sh"
set -euo pipefail
require_lib local/{venv,pip,leftovers,run_folder,emulator,second_terminal,dashboard,jobs}

source='' symbols='' delay='' file='' keep='' dashboard=yes arguments=()

main() {
  parse_flags "$@"
  load_settings
  start_jobs
  end_leftovers yahoo simulated replay
  log '1/4 Python packages'
  run ensure_packages requirements/local.txt
  use_no_other_aws
  choose_source
  open_run_folder "$source" "$keep"
  log '2/4 MiniStack, the AWS emulator'
  start_emulator "$RUN_FOLDER"
  log '3/4 scripts/setup.sh'
  IN_LOCAL_RUN=1 run "$SCRIPTS/setup.sh" >"$RUN_FOLDER/setup.log" </dev/null
  offer_stack "$source" "$symbols"
  log "4/4 streaming $source quotes, Ctrl-C stops"
  stream
}

parse_flags() {
  while (($# > 0)); do
    case $1 in
      -h | --help) usage 0 ;;
      --keep) keep=yes && shift && continue ;;
      --no-dashboard) dashboard='' && shift && continue ;;
      --source | --symbols | --delay | --file) (($# > 1)) || die "$1 needs a value: see scripts/run_local.sh --help" ;;
      *) die "$1 is unknown: see scripts/run_local.sh --help" ;;
    esac
    case $1 in
      --source) source=$2 ;;
      --symbols) symbols=$2 arguments+=(--symbols "$2") ;;
      --delay) delay=$2 ;;
      --file) file=$2 source=${source:-replay} ;;
    esac
    shift 2
  done
  [[ $source =~ ^(yahoo|simulated|replay)?$ ]] || die "--source $source: expected yahoo, simulated or replay"
  [[ $delay =~ ^[0-9]*[.]?[0-9]*$ && $delay =~ [1-9] || -z $delay ]] || die "--delay $delay: expected seconds above 0"
  [[ -z $file || $source == replay ]] || die '--file goes with --source replay'
}

# Chooses the source, and lets the producer check the other flags, before anything is started.
choose_source() {
  if [[ ${source:-yahoo} == yahoo ]]; then
    REPLY=$(python "$SCRIPTS/lib/local/probe_yahoo.py" ${arguments[@]+"${arguments[@]}"}) || exit 1
    source=${source:-${REPLY%%:*}}
    log "streaming $source quotes: ${REPLY#*: }"
  fi
  [[ $source == yahoo ]] || delay=${delay:-1}
  [[ $source != replay ]] || arguments+=(--file "${file:-$ROOT/sample_data/AAPL.csv}")
  arguments+=(--source "$source" ${delay:+--delay "$delay"})
  [[ $source == yahoo ]] || run python "$ROOT/stream_stock_data.py" "${arguments[@]}" --once --dry-run >/dev/null
}

stream() {
  # A replay needs no warm start: the file is its past.
  [[ $source == replay ]] || arguments+=(--backfill 60)
  export STREAM_NAME TABLE_NAME TOPIC_NAME STATE_DIR=$RUN_FOLDER/producer
  mark_run_folder "$keep"
  run_beside after_first_tick "$RUN_FOLDER" "$dashboard"
  run python -X "run=$RUN_FOLDER" "$SCRIPTS/lib/local/watch.py" "$RUN_FOLDER" \
    python -X "run=$RUN_FOLDER" "$ROOT/stream_stock_data.py" "${arguments[@]}"
  # A replay ends by itself. Who looks at its page decides when that goes.
  [[ $source != replay || -z $dashboard ]] || run stay 'The replay has ended. Its page stays until Ctrl-C.'
}

main "$@"
