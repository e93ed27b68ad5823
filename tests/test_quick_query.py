"""scripts/lib/local/quick_query.py: MiniStack answers Queries as before, but sorts and parses once."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from unittest import mock

import pytest

from helpers.checkout import load_module

with mock.patch("threading.Thread.start"):  # a thread that sleeps would move the clock of other tests
    from ministack.services import dynamodb

quick_query = load_module("scripts/lib/local/quick_query.py")
original, original_query = dynamodb._evaluate_condition, dynamodb._query
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


@pytest.fixture
def table():
    """An empty table of MiniStack with text keys."""
    table = {"TableName": "ticks", "pk_name": "symbol", "sk_name": "sk", "items": defaultdict(dict)}
    table["AttributeDefinitions"] = [
        {"AttributeName": name, "AttributeType": "S"} for name in ("symbol", "sk")
    ]
    dynamodb._tables["ticks"] = table
    yield table
    dynamodb._tables.pop("ticks")


@pytest.fixture
def quick(monkeypatch, table):
    """MiniStack's Query with the patches, and its changes of items, which the patches follow."""
    for name in (
        "_evaluate_condition",
        "_project_item",
        "_number_size_bytes",
        "_set_item",
        "_remove_item",
        "_query",
    ):
        monkeypatch.setattr(dynamodb, name, getattr(dynamodb, name))
    quick_query.make_queries_quick(dynamodb)
    return dynamodb


def body_of(answer):
    status, _, body = answer
    return status, json.loads(body)


def change_at_random(rng, table):
    symbol, sk = rng.choice("AB"), f"{rng.randrange(60):02}"
    if rng.random() < 0.25:
        dynamodb._remove_item(table, symbol, sk)
    else:
        item = {
            "symbol": {"S": symbol},
            "sk": {"S": sk},
            "price": {"N": str(rng.random())},
            "name": {"M": {}},
        }
        dynamodb._set_item(table, symbol, sk, item | {"note": {"S": "x" * rng.choice([1, 100_000])}})


def random_query(rng):
    bounds = sorted(f"{rng.randrange(60):02}" for _ in range(2))
    query = {
        "TableName": "ticks",
        "KeyConditionExpression": rng.choice(CONDITIONS[:10] * 3 + CONDITIONS),
        "ExpressionAttributeValues": {
            ":a": {"S": rng.choice("ABC")},
            ":b": {"S": bounds[0]},
            ":c": {"S": bounds[1]},
        },
        "ExpressionAttributeNames": {"#pk": "symbol", "#sk": "sk", "#p": "price"},
    }
    projection = rng.choice(["", "", "#p", "symbol, #sk,#p", "#p, #p", "name.x, #sk", "price, absent"])
    for field in ("ExpressionAttributeValues", "ExpressionAttributeNames"):
        text = query["KeyConditionExpression"] + projection
        query[field] = {name: value for name, value in query[field].items() if name in text}
    optional = {  # and how often
        "ProjectionExpression": (projection, 1 if projection else 0),
        "Limit": (rng.choice([1, 2, 7, 100]), 0.6),
        "ScanIndexForward": (False, 0.5),
        "ExclusiveStartKey": ({"symbol": {"S": "A"}, "sk": {"S": rng.choice(bounds)}}, 0.3),
        "Select": (rng.choice(["COUNT", "ALL_ATTRIBUTES"]), 0.1),
    }
    return query | {name: value for name, (value, share) in optional.items() if rng.random() < share}


@pytest.mark.parametrize("seed", range(4))
def test_query_of_a_random_table_gives_what_ministack_gives(quick, table, seed):
    rng = random.Random(seed)
    answers = Counter()
    for _ in range(200):
        for _ in range(rng.randrange(4)):
            change_at_random(rng, table)
        query = random_query(rng)
        answer = body_of(quick._query(query))
        assert answer == body_of(original_query(query)), query
        answers[answer[0], bool(answer[1].get("Items"))] += 1
    assert min(answers[200, True], answers[400, False]) > 20  # both kinds were compared


def test_query_page_by_page_reads_each_item_once(quick, table):
    for number in range(50):
        dynamodb._set_item(table, "A", f"{number:02}", {"symbol": {"S": "A"}, "sk": {"S": f"{number:02}"}})
    query = {
        "TableName": "ticks",
        "KeyConditionExpression": "symbol = :a",
        "Limit": 7,
        "ScanIndexForward": False,
    }
    query["ExpressionAttributeValues"] = {":a": {"S": "A"}}
    read = []
    while True:
        _, page = body_of(quick._query(query))
        read += [item["sk"]["S"] for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        query["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    assert read == [f"{number:02}" for number in reversed(range(50))]


def test_query_looks_at_no_more_items_than_its_limit(quick, table):
    looked_at = []
    for number in range(1000):
        item = {"symbol": {"S": "A"}, "sk": {"S": f"{number:03}"}}
        dynamodb._set_item(table, "A", f"{number:03}", item)
    partition = table["items"]["A"] = CountingDict(table["items"]["A"], looked_at)
    query = {"TableName": "ticks", "KeyConditionExpression": "symbol = :a AND sk <= :b", "Limit": 5}
    query["ExpressionAttributeValues"] = {":a": {"S": "A"}, ":b": {"S": "500"}}
    _, page = body_of(quick._query(query | {"ScanIndexForward": False}))
    assert [item["sk"]["S"] for item in page["Items"]] == ["500", "499", "498", "497", "496"]
    assert len(looked_at) == 5
    assert len(partition) == 1000


class CountingDict(dict):
    """A dict that notes which keys are looked up."""

    def __init__(self, items, looked_at):
        super().__init__(items)
        self._looked_at = looked_at

    def __getitem__(self, key):
        self._looked_at.append(key)
        return super().__getitem__(key)
