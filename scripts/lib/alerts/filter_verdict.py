"""Prints whether a subscription's filter lets an alert through: yes, no, or unknown.

    filter_verdict.py FILTER_POLICY SYMBOL SIGNAL

Unknown: it has what scripts/alerts.sh does not make, such as prefixes, numbers or other attributes.
"""

import json
import sys


def verdict(policy: dict, attributes: dict[str, str]) -> str:
    """For a filter policy on message attributes; every one that it names has to have one of the values."""
    listed = [
        isinstance(rules, list) and all(isinstance(rule, str) for rule in rules) for rules in policy.values()
    ]
    if not all(listed) or not policy.keys() <= attributes.keys():
        return "unknown"
    return "yes" if all(attributes[name] in rules for name, rules in policy.items()) else "no"


if __name__ == "__main__":
    print(verdict(json.loads(sys.argv[1]), {"symbol": sys.argv[2], "signal": sys.argv[3]}))
