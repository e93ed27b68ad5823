# shellcheck shell=bash
# The service on macOS: a launchd agent. systemd.sh has the same functions for Linux.

LABEL=$PROJECT
SERVICE_FILE=$HOME/Library/LaunchAgents/$LABEL.plist
SERVICE_LOG=$HOME/Library/Logs/$LABEL.log
STOP_SECONDS=30

require_service_manager() {
  DOMAIN=gui/$(id -u)
  launchctl print "$DOMAIN" >/dev/null 2>&1 ||
    die 'no session of launchd: log in on the screen of this Mac as this user (not only by ssh), and try again'
}

is_service_running() { launchctl print "$DOMAIN/$LABEL" >/dev/null 2>&1; }

start_service() {
  stop_service
  mkdir -p "${SERVICE_LOG%/*}"
  touch "$SERVICE_LOG"
  launchctl enable "$DOMAIN/$LABEL"
  launchctl bootstrap "$DOMAIN" "$SERVICE_FILE"
  log 'it starts when you log in. For a Mac that starts by itself, turn on automatic login: System Settings, Users & Groups'
}

# launchd answers before the service has ended, and starts none that has not.
stop_service() {
  local deadline=$((SECONDS + STOP_SECONDS))
  launchctl bootout "$DOMAIN/$LABEL" 2>/dev/null || true
  while is_service_running; do
    ((SECONDS < deadline)) || die "launchd does not end the service: see launchctl print $DOMAIN/$LABEL"
    sleep 0.2
  done
}

forget_service() { :; }

print_service() { launchctl print "$DOMAIN/$LABEL"; }
print_log() { tail -n 100 "$@" "$SERVICE_LOG"; }
