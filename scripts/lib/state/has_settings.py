"""Exit status 0 when the second JSON document holds everything that the first one names, otherwise 1.

    has_settings.py WANTED CURRENT
    has_settings.py ONE OTHER --same     neither holds anything that the other does not

AWS describes a resource with more than we set (dates, defaults), so the two are never simply equal. This
compares objects key by key and lists item by item. In policies, AWS may also return a list of strings in
another order, one string instead of a list of one, or the whole policy as a string of JSON.
"""

import json
import sys


def holds(current: object, wanted: object) -> bool:
    """Whether `current` has every value that `wanted` names."""
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(
            name in current and holds(current[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(current, list) and len(wanted) == len(current):
        if all(isinstance(item, str) for item in [*wanted, *current]):
            return sorted(wanted) == sorted(current)
        return all(holds(have, want) for have, want in zip(current, wanted, strict=True))
    return wanted in (current, [current]) or current == [wanted]


def parse(text: str) -> object:
    """The JSON document in a text; when the document is only a string, the document in that."""
    document = json.loads(text)
    return json.loads(document) if isinstance(document, str) else document


if __name__ == "__main__":
    wanted, current = map(parse, sys.argv[1:3])
    sys.exit(not (holds(current, wanted) and ("--same" not in sys.argv or holds(wanted, current))))
