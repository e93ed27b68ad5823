# shellcheck shell=bash
# The service on Linux: a systemd user unit. launchd.sh has the same functions for macOS.

UNIT=$PROJECT.service

systemd_file() { printf '%s' "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/$UNIT"; }

systemd_require() {
  require_command systemctl 'systemd runs services on Linux; without it, start the producer by what your system has'
  # A session that sudo or su has opened has no user manager of its own.
  systemctl --user show-environment >/dev/null 2>&1 ||
    die 'no systemd user session: log in as this user, on the console or by ssh (not by su or sudo), and try again'
}

systemd_is_running() { systemctl --user --quiet is-active "$UNIT"; }

systemd_start() {
  systemctl --user daemon-reload
  systemctl --user --quiet enable "$UNIT"
  systemctl --user restart "$UNIT"
  # Lets a user's services start at boot, and stay when the user logs out.
  loginctl enable-linger "$(id -un)" 2>/dev/null ||
    log "it ends when you log out, and does not start at boot, until you run: sudo loginctl enable-linger $(id -un)"
}

systemd_stop() {
  systemctl --user --quiet disable --now "$UNIT"
}

# Once its file is gone.
systemd_forget() {
  systemctl --user daemon-reload
  systemctl --user reset-failed "$UNIT" 2>/dev/null || true
}

systemd_status() { systemctl --user --no-pager status "$UNIT"; }
systemd_logs() { journalctl --user --unit "$UNIT" --lines 100 "$@"; }
