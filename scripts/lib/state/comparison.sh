# shellcheck shell=bash
# Is what AWS describes what the scripts want?

# has_settings WANTED CURRENT (both JSON): does CURRENT hold all that WANTED names?
has_settings() {
  python3 -IS "$SCRIPTS/lib/state/has_settings.py" "$@" # starts without what only other programs need
}

# is_same POLICY POLICY: neither holds anything that the other one does not.
is_same() { has_settings --same "$1" "$2"; }
