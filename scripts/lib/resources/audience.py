"""Prints a subscription's filter policy with the audience that it needs, unless it has one.

    audience.py PROTOCOL FILTER

A message's attribute audience is "all" for a single alert. When there are many at once, each of them has
"each", and one more message that sums them up has "digest". So people get at most one message at a time, but
who asked for some symbols only gets those alerts, because a digest has no symbol. Machines get each alert.
"""

import json
import sys

PEOPLE = ("email", "email-json", "sms", "chat")


def with_audience(protocol: str, policy: dict) -> dict:
    """The filter policy of a subscription of this protocol, or "chat", with an audience."""
    is_summed_up = protocol in PEOPLE and "symbol" not in policy
    return {"audience": ["all", "digest" if is_summed_up else "each"]} | policy


if __name__ == "__main__":
    print(json.dumps(with_audience(sys.argv[1], json.loads(sys.argv[2]))))
