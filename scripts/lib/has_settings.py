"""Exit status 0 when the second JSON document holds everything that the first one names, 1 when it does not.

    has_settings.py WANTED CURRENT

AWS describes a resource with more than was asked for (dates, defaults), so the two are never simply equal.
Objects are compared key by key, lists item by item.
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
        return all(holds(have, want) for have, want in zip(current, wanted, strict=True))
    return current == wanted


if __name__ == "__main__":
    sys.exit(not holds(json.loads(sys.argv[2]), json.loads(sys.argv[1])))
