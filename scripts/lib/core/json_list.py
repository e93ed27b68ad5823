"""Adds an item to a list in a JSON object, or removes it, and prints the object.

    json_list.py add|remove LIST ITEM DOCUMENT

An empty DOCUMENT stands for an object without lists. Two items are the same when their Ids are the same, or,
without Ids, when they are equal.
"""

import json
import sys


def change(document: dict, name: str, item: dict, *, add: bool) -> dict:
    """The document with `item` at the end of its list `name`, or, with add=False, without it."""
    key = item.get("Id", item)
    items = document.get(name, [])
    items = [items] if isinstance(items, dict) else items  # a policy may have one statement without a list
    items = [other for other in items if other.get("Id", other) != key]
    return document | {name: items + [item] * add}


if __name__ == "__main__":
    action, name, item, document = sys.argv[1:]
    print(json.dumps(change(json.loads(document or "{}"), name, json.loads(item), add=action == "add")))
