"""scripts/lib/local/quick_query.py: MiniStack decides key conditions as before, but parses each only once."""

from __future__ import annotations

import random
from collections import Counter
from unittest import mock

import pytest

from helpers.checkout import load_module

with mock.patch("threading.Thread.start"):  # a thread that sleeps would move the clock of other tests
    from ministack.services import dynamodb

quick_query = load_module("scripts/lib/local/quick_query.py")
original = dynamodb._evaluate_condition
SLOT = "KeyConditionExpression"


@pytest.fixture
def calls() -> Counter[str]:
    """How often the original parsed each condition."""
    return Counter()


@pytest.fixture
def evaluate(calls):
    """The evaluation with the patch."""

    def count(text, *arguments, **slot):
        calls[text] += 1
        return original(text, *arguments, **slot)

    return quick_query.remember_conditions(count)


def outcomes(evaluate, text, items, values, names):
    """What a Query makes of each item: a bool, or the text of the error."""
    results = []
    for item in items:
        try:
            results.append(evaluate(text, item, values, names, slot=SLOT))
        except ValueError as error:
            results.append(str(error))
    return results


def random_value(rng):
    text = rng.choice(["", "A", "B", "a", "É", "2026-11-20T15:00:00.000Z"])
    return rng.choice([{"S": text}] * 8 + [{"N": "1"}, {"BOOL": True}])


CONDITIONS = [
    "symbol = :a",
    "#pk=:a",
    "  symbol = :a AND #sk <= :b ",
    "symbol = :a AND #sk < :b",
    "symbol = :a AND sk >= :b",
    "symbol = :a AND #sk>:b",
    "symbol = :a AND #sk = :b",
    "symbol = :a AND #sk BETWEEN :b AND :c",
    "symbol = :a AND begins_with(#sk, :b)",
    "#sk < :b AND symbol = :a",
    "(symbol = :a) AND (#sk < :b)",
    "timestamp = :a",  # a reserved word
    "symbol = :a AND",
    "symbol == :a",
    "symbol = :a and #sk < :b",
]


@pytest.mark.parametrize("text", CONDITIONS)
def test_evaluate_any_condition_and_item_gives_what_ministack_gives(evaluate, text):
    rng = random.Random(text)
    for _ in range(200):
        items = [
            {name: random_value(rng) for name in ("symbol", "sk", "timestamp") if rng.random() < 0.9}
            for _ in range(12)
        ]
        values = {name: random_value(rng) for name in (":a", ":b", ":c")}
        names = {"#pk": "symbol", "#sk": "sk"}
        assert outcomes(evaluate, text, items, values, names) == outcomes(
            original, text, items, values, names
        )


def test_evaluate_plain_condition_is_parsed_once_a_query(evaluate, calls):
    text, values, names = (
        "symbol = :s AND #t <= :u",
        {":s": {"S": "A"}, ":u": {"S": "5"}},
        {"#t": "timestamp"},
    )
    items = [{"symbol": {"S": "A"}, "timestamp": {"S": str(n)}} for n in range(10)]
    assert outcomes(evaluate, text, items, values, names) == [n <= 5 for n in range(10)]
    assert calls == {text: 1}
    again = values | {":u": {"S": "3"}}
    assert outcomes(evaluate, text, items, again, names) == [n <= 3 for n in range(10)]
    assert calls == {text: 2}


def test_make_queries_quick_patches_the_tested_version_only(monkeypatch, capsys):
    monkeypatch.setattr(dynamodb, "_evaluate_condition", original)
    monkeypatch.setattr(quick_query, "version", lambda name: "9.9")
    quick_query.make_queries_quick()
    assert dynamodb._evaluate_condition is original
    assert "only MiniStack 1.5.33" in capsys.readouterr().err
    monkeypatch.setattr(quick_query, "version", lambda name: quick_query.TESTED_VERSION)
    quick_query.make_queries_quick()
    assert dynamodb._evaluate_condition is not original


def test_tested_version_is_the_one_that_is_installed():
    assert quick_query.version("ministack") == quick_query.TESTED_VERSION
