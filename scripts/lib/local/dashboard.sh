# shellcheck shell=bash
# What comes after the first tick, because that does not need it: the page dashboard.py, and packages for queries.
require_lib local/venv local/pip local/emulator

DASHBOARD_PORT=8501

# after_first_tick DIRECTORY DASHBOARD: installs packages while the rest runs; DASHBOARD=yes then starts the page.
after_first_tick() {
  trap 'exit 0' TERM # so that bash prints nothing about it
  until [[ -e $1/first_tick ]]; do
    kill -0 $$ 2>/dev/null || exit 0 # the run was killed
    sleep 0.5
  done
  # In a subshell, because queries do not need the page.
  if [[ $2 == yes ]] && (ensure_packages requirements/dashboard.txt --upgrade-strategy only-if-needed) && kill -0 $$; then
    launch_dashboard "$1" &
  fi
  ensure_packages requirements/athena.txt --ignore-installed --no-deps
  wait
}

# launch_dashboard DIRECTORY: runs the page, with the symbols that the producer has sent, until it is ended.
launch_dashboard() {
  local log=$1/dashboard.log page port symbols
  port=$(free_port "$DASHBOARD_PORT")
  symbols=$(python -c 'import json, sys; print(*dict.fromkeys(s for f in sys.argv[1:] for s in json.load(open(f))["newest"]))' \
    "$1"/producer/*/state.json)
  cd "$ROOT" || return
  STOCK_SYMBOLS=$symbols "$VENV/bin/python" -X "run=$1" -m streamlit run dashboard.py --server.address 127.0.0.1 \
    --server.port "$port" --server.headless true --server.fileWatcherType none --browser.gatherUsageStats false \
    >"$log" 2>&1 </dev/null &
  page=$!
  until grep -q 'URL: http' "$log"; do
    kill -0 "$page" 2>/dev/null || die "the dashboard did not start: $(tail -n 1 "$log")"
    sleep 0.2
  done
  log "The dashboard is at http://127.0.0.1:$port"
  printf '%s' "http://127.0.0.1:$port" >"$1/page_address"
  wait "$page"
}
