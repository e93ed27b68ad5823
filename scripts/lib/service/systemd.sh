# shellcheck shell=bash
# The service on Linux: a systemd user unit. launchd.sh has the same functions for macOS.

UNIT=$PROJECT.service
# shellcheck disable=SC2034 # for service.sh
SERVICE_FILE=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/$UNIT

require_service_manager() {
  require_command systemctl 'systemd runs services on Linux; without it, start the producer by what your system has'
  # A session that sudo or su has opened has no user manager of its own.
  systemctl --user show-environment >/dev/null 2>&1 ||
    die 'no systemd user session: log in as this user, on the console or by ssh (not by su or sudo), and try again'
}

is_service_running() { systemctl --user --quiet is-active "$UNIT"; }

start_service() {
  systemctl --user daemon-reload
  systemctl --user --quiet enable "$UNIT"
  systemctl --user restart "$UNIT"
  # Lets a user's services start at boot, and stay when the user logs out.
  loginctl enable-linger "$(id -un)" 2>/dev/null ||
    log "it ends when you log out, and does not start at boot, until you run: sudo loginctl enable-linger $(id -un)"
}

stop_service() {
  systemctl --user --quiet disable --now "$UNIT"
}

# Once its file is gone.
forget_service() {
  systemctl --user daemon-reload
  systemctl --user reset-failed "$UNIT" 2>/dev/null || true
}

print_service() { systemctl --user --no-pager status "$UNIT"; }
print_log() { journalctl --user --unit "$UNIT" --lines 100 "$@"; }
