"""scripts/lib/local/lean_items.py: items in MiniStack are as before; what is equal in them is kept once."""

from __future__ import annotations

import json

from helpers.checkout import load_module

lean_items = load_module("scripts/lib/local/lean_items.py")


def item_of(number):
    """An item as it comes in a request: nothing in it is shared."""
    fields = {
        "symbol": {"S": "AAPL"},
        "n": {"N": str(number)},
        "currency": {"S": "USD"},
        "anomaly": {"BOOL": False},
    }
    return json.loads(json.dumps(fields | {"many": {"L": [{"S": "USD"}]}}))


def test_set_item_gets_equal_items_with_shared_parts():
    stored = {}
    set_item = lean_items.share_values(lambda table, pk, sk, item: table.setdefault(sk, item))
    given = [item_of(number) for number in (1, 2)]
    for number, item in enumerate(given, 1):
        assert set_item(stored, "AAPL", str(number), item) is item
    assert stored == {"1": item_of(1), "2": item_of(2)}
    first, second = stored.values()
    shared = [name for name in first if first[name] is second[name]]
    assert shared == ["symbol", "currency", "anomaly"]
    assert [a is b for a, b in zip(first, second, strict=True)] == [True] * 5  # the names


def test_set_item_number_and_text_that_look_alike_stay_apart():
    stored = {}
    set_item = lean_items.share_values(lambda table, pk, sk, item: table.setdefault(sk, item))
    items = [{"a": {"S": "1"}}, {"a": {"N": "1"}}, {"a": {"BOOL": True}}]
    for number, item in enumerate(items):
        set_item(stored, "A", str(number), dict(item))
    assert list(stored.values()) == items


def test_set_item_forgets_values_that_come_once(monkeypatch):
    monkeypatch.setattr(lean_items, "KEPT_VALUES", 3)
    seen = []
    set_item = lean_items.share_values(lambda table, pk, sk, item: seen.append(item["a"]))
    for text in ("x", "1", "2", "3", "4", "x"):
        set_item({}, "A", text, {"a": {"S": text}})
    assert seen[0] == seen[-1]
    assert seen[0] is not seen[-1]
