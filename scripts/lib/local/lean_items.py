"""Makes the items in MiniStack lean: what is equal in many of them is kept once.

MiniStack 1.5.33 keeps each item as it came, some 6 KB for a tick, with names, currency, previous close and so
on again and again. An hour of 100 symbols at 1 s would fill 2 GB.
"""

from collections.abc import Callable
from sys import intern
from typing import Any

KEPT_VALUES = 20_000  # then the search for equal ones begins anew, because many values come only once


def make_items_lean(dynamodb: Any) -> None:
    """Replace `_set_item` of `ministack.services.dynamodb`."""
    dynamodb._set_item = share_values(dynamodb._set_item)


def share_values(set_item: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `_set_item`, which puts every item into its table.

    Texts, numbers and booleans are never changed in place: MiniStack updates a deep copy of an item.
    """
    known: dict[tuple[str, Any], dict[str, Any]] = {}

    def set_lean_item(table: dict, partition_key: str, sort_key: str, item: dict[str, dict[str, Any]]) -> Any:
        if len(known) > KEPT_VALUES:
            known.clear()
        fields = list(item.items())
        item.clear()  # the same object goes into the table's stream
        for name, value in fields:
            ((kind, content),) = value.items()
            is_plain = kind in ("S", "N", "BOOL")
            item[intern(name)] = known.setdefault((kind, content), value) if is_plain else value
        return set_item(table, partition_key, sort_key, item)

    return set_lean_item
