# shellcheck shell=bash
# What the first tick can do without: the dashboard, and packages for queries.
require_lib local/emulator local/venv

DASHBOARD_PORT=8501

# after_first_tick DIRECTORY DASHBOARD: installs packages beside what runs; with DASHBOARD=yes the page runs then.
after_first_tick() {
  trap 'exit 0' TERM # and no word of bash on it
  until [[ -e $1/first_tick ]]; do
    sleep 0.5
  done
  # In a subshell: queries do not need the page.
  if [[ $2 == yes ]] && (ensure_venv requirements/dashboard.txt --upgrade-strategy only-if-needed); then
    launch_dashboard "$1" &
  fi
  ensure_venv requirements/athena.txt --ignore-installed --no-deps
  wait
}

# launch_dashboard DIRECTORY: runs until it is ended. Its symbols are those that the producer has sent.
launch_dashboard() {
  local log=$1/dashboard.log page port symbols
  port=$(free_port "$DASHBOARD_PORT")
  symbols=$(python -c 'import json, sys; print(*dict.fromkeys(s for f in sys.argv[1:] for s in json.load(open(f))["newest"]))' \
    "$1"/producer/*/state.json)
  cd "$ROOT" || return
  STOCK_SYMBOLS=$symbols "$VENV/bin/python" -m streamlit run dashboard.py --server.address 127.0.0.1 \
    --server.port "$port" --server.headless true --server.fileWatcherType none --browser.gatherUsageStats false \
    >"$log" 2>&1 </dev/null &
  page=$!
  until grep -q 'URL: http' "$log"; do
    kill -0 "$page" 2>/dev/null || die "the dashboard did not start: $(tail -n 1 "$log")"
    sleep 0.2
  done
  log "The dashboard is at http://127.0.0.1:$port"
  wait "$page"
}
