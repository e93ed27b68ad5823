# shellcheck shell=bash
# Compares what AWS describes with what the scripts want.

# has_settings WANTED CURRENT (both JSON): whether CURRENT holds everything that WANTED names. The same text needs no
# Python, which starts slowly (-IS: without packages, so a little faster).
has_settings() {
  [[ ${1//[[:space:]]/} == "${2//[[:space:]]/}" ]] || python3 -IS "$SCRIPTS/lib/state/has_settings.py" "$@"
}

# is_same POLICY POLICY: whether neither holds anything that the other does not.
is_same() { has_settings "$1" "$2" --same; }
