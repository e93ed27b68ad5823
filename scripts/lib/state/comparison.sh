# shellcheck shell=bash
# Compares what AWS describes with what the scripts want.

# has_settings WANTED CURRENT (both JSON): whether CURRENT holds everything that WANTED names.
has_settings() {
  python3 -IS "$SCRIPTS/lib/state/has_settings.py" "$@" # -IS: a faster start, without packages
}

# is_same POLICY POLICY: whether neither holds anything that the other does not.
is_same() { has_settings --same "$1" "$2"; }
