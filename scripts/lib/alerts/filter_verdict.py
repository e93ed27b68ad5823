"""Prints whether a subscription's filter lets an alert through: yes, no, or unknown.

    filter_verdict.py FILTER_POLICY SYMBOL SIGNAL

Unknown: the filter has parts that scripts/alerts.sh does not make, such as prefixes, numbers or other
attributes.
"""

import json
import sys


def verdict(policy: dict, attributes: dict[str, str]) -> str:
    """The answer for a filter policy on message attributes, each of which must have a listed value."""
    listed = [
        isinstance(rules, list) and all(isinstance(rule, str) for rule in rules) for rules in policy.values()
    ]
    if not all(listed) or not policy.keys() <= attributes.keys():
        return "unknown"
    return "yes" if all(attributes[name] in rules for name, rules in policy.items()) else "no"


if __name__ == "__main__":
    print(verdict(json.loads(sys.argv[1]), {"symbol": sys.argv[2], "signal": sys.argv[3], "audience": "all"}))
