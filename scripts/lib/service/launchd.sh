# shellcheck shell=bash
# The service on macOS: a launchd agent. systemd.sh has the same functions for Linux.

LABEL=$PROJECT
SERVICE_LOG=~/Library/Logs/$LABEL.log
STOP_SECONDS=30

launchd_file() { printf '%s' "$HOME/Library/LaunchAgents/$LABEL.plist"; }

launchd_require() {
  DOMAIN=gui/$(id -u)
  launchctl print "$DOMAIN" >/dev/null 2>&1 ||
    die 'no session of launchd: log in on the screen of this Mac as this user (not only by ssh), and try again'
}

launchd_is_running() { launchctl print "$DOMAIN/$LABEL" >/dev/null 2>&1; }

launchd_start() {
  launchd_stop
  mkdir -p "${SERVICE_LOG%/*}"
  touch "$SERVICE_LOG"
  launchctl enable "$DOMAIN/$LABEL"
  launchctl bootstrap "$DOMAIN" "$(launchd_file)"
  log 'it starts when you log in. For a Mac that starts by itself, turn on automatic login: System Settings, Users & Groups'
}

# launchd answers before the service has ended, and starts none that has not.
launchd_stop() {
  local deadline=$((SECONDS + STOP_SECONDS))
  launchctl bootout "$DOMAIN/$LABEL" 2>/dev/null || true
  while launchd_is_running; do
    ((SECONDS < deadline)) || die "launchd does not end the service: see launchctl print $DOMAIN/$LABEL"
    sleep 0.2
  done
}

launchd_forget() { :; }

launchd_status() { launchctl print "$DOMAIN/$LABEL"; }
launchd_logs() { tail -n 100 "$@" "$SERVICE_LOG"; }
