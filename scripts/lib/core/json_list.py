"""Prints a JSON object with an item in one of its lists, or without it.

    json_list.py add|remove LIST ITEM [DOCUMENT]

Without a document it begins with an empty object. Items are the same when their Ids are, or else when all is.
"""

import json
import sys


def change(document: dict, name: str, item: dict, *, add: bool) -> dict:
    """The document with `item` as the last one of its list `name`, or, with add=False, without it."""
    key = item.get("Id", item)
    items = document.get(name, [])
    items = [items] if isinstance(items, dict) else items  # as policies may have it
    items = [other for other in items if other.get("Id", other) != key]
    return document | {name: items + [item] * add}


if __name__ == "__main__":
    action, name, item = sys.argv[1:4]
    document = json.loads(sys.argv[4] if sys.argv[4:] and sys.argv[4] else "{}")
    print(json.dumps(change(document, name, json.loads(item), add=action == "add")))
