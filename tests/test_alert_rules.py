"""ALERT_RULES in StockTrendAnalysis: parsed with clear errors, judged exactly, told once a crossing."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import ModuleType

import pytest

from helpers.checkout import load_module
from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.mocked_aws import Table, resource
from helpers.parts import parts
from helpers.trend import (
    START,
    SUCCESS,
    deliver_in_batches,
    invoke,
    make_item,
    make_series,
    published,
    put_all,
    statuses,
)

RECORDED = {"history": {"BOOL": True}}  # ticks whose alerts are stored and not published


@pytest.fixture(scope="module")
def parse_rules() -> Callable[[str], list]:
    """The function of the handler, which calls nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for variable, value in resource("stock_trend_analysis")["Environment"]["Variables"].items():
            patch.setenv(variable, value)
        return load_module("lambdas/stock_trend_analysis.py").parse_rules


def set_rules(handler: ModuleType, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(handler, "RULES", handler.parse_rules(text))


def judge(handler: ModuleType, table: MemoryDynamoDB, items: list[dict]) -> list[tuple[int, str]]:
    """Store and judge ticks in one batch; the rules that came true: the place of the tick, and the rule."""
    for item in items:
        table.put_tick(item)
    assert invoke(handler, items) == SUCCESS
    places = {item["timestamp"]["S"]: place for place, item in enumerate(items)}
    ids = [alert_id.partition("#RULE#") for _, alert_id in table.alerts if "#RULE#" in alert_id]
    return sorted((places[timestamp], rule) for timestamp, _, rule in ids)


# --- The parser ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "AAPL price > 300",
        "* move15 < -2",
        "BTC-USD,ETH-USD rsi14 < 30; MSFT price < sma50;",
        "^GSPC change_percent>1.5 ; BRK-B , M&M.NS , EURUSD=X volume < 0.0001",
        "aapl sma2 > sma200;;; AAPL rsi200 > 70",
        "",
        " ; ",
    ],
)
def test_parse_rules_takes_every_form(parse_rules, text):
    rules = parse_rules(text)
    expected = ["RULE#" + "".join(rule.split()) for rule in text.split(";") if rule.strip()]
    assert list(rules) == expected


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ("AAPL price >> 3", 12),
        ("price > 3", 6),
        ("AAPL", 4),
        ("AAPL price", 10),
        ("AAPL price >", 12),
        ("* sma1 > 2", 2),
        ("* sma201 > 2", 2),
        ("* sma > 2", 2),
        ("AAPL rsi500 < 3", 5),
        ("AAPL rsi14.5 < 3", 5),
        ("AAPL price50 < 3", 5),
        ("AAPL price > rsi14", 13),
        ("AAPL price > sma1", 13),
        ("AAPL price >= 3", 12),
        ("AAPL price = 3", 11),
        ("AAPL price > 1,000", 14),
        ("AAPL price > 3%", 14),
        ("AAPL price > 3 4", 15),
        ("AAPL price > 1e5", 14),
        ("AAPL price > NaN", 13),
        ("AAPL,, price > 3", 4),
        ("* * price > 3", 2),
        ("> 3", 0),
        ("AAPL\u00a0price > 3", 4),
    ],
)
def test_parse_rules_marks_the_place_of_a_mistake(parse_rules, rule, place):
    with pytest.raises(ValueError, match="ALERT_RULES") as error:
        parse_rules(f"MSFT price > 1; {rule}; IBM price > 2")
    message, shown, mark = str(error.value).splitlines()
    assert "LEFT > or < RIGHT" in message
    assert shown == rule
    assert mark == " " * place + "^"


def test_parse_rules_a_rule_twice_is_named(parse_rules):
    with pytest.raises(ValueError, match="twice: AAPL  price>3"):
        parse_rules("AAPL price > 3; IBM price > 3; AAPL  price>3")


def test_parse_rules_takes_100_rules_and_no_more(parse_rules):
    rules = [f"AAPL price > {number}" for number in range(101)]
    assert len(parse_rules(";".join(rules[:100]))) == 100
    with pytest.raises(ValueError, match="more than 100 rules"):
        parse_rules(";".join(rules))


def test_parse_rules_the_longest_rule_makes_a_key_that_dynamodb_takes(parse_rules):
    symbols = [f"{number:032}" for number in range(26)]
    (key,) = parse_rules(f"{','.join(symbols[:25])} change_percent > -{'9' * 20}.{'9' * 20}")
    assert len(f"2026-11-20T14:30:00.000Z#{key}".encode()) <= 1024
    with pytest.raises(ValueError, match="ALERT_RULES"):
        parse_rules(f"{','.join(symbols)} price > 3")


def test_import_a_rule_that_does_not_parse_is_named(load_handler):
    with pytest.raises(ValueError, match="AAPL price >> 3"):
        load_handler("stock_trend_analysis", ALERT_RULES="AAPL price >> 3")


# --- Judging ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "prices", "places"),
    [
        ("AAPL price > 100", [99, 101, 102, 100, 101], [1, 4]),
        ("AAPL price < 100", [101, 99, 98, 100, 99], [1, 4]),
        ("* price > 100", [101, 102], []),  # the tick before the first one is not known
        ("IBM price > 100", [99, 101], []),
        ("ibm,aapl price > 100", [99, 101], [1]),
        ("AAPL price > 100", [100, 100.0001], [1]),
        ("AAPL sma2 > 100", [100, 100, 101, 90, 120], [2, 4]),
        ("AAPL price > sma3", [1, 1, 1, 2], [3]),
        ("AAPL sma2 > sma3", [3, 3, 3, 3, 4], [4]),
        ("AAPL rsi2 < 30", [1, 2, 1, 0.5, 2, 1, 0.9], [3, 6]),
        ("AAPL rsi2 > 60", [5, 5, 5, 6], []),  # without any change it is not known
        ("AAPL rsi2 > 60", [5, 6, 5, 6, 8], [4]),
        ("AAPL move2 < -2", [100, 100, 100, 97, 96], [3]),
        ("AAPL move3 > 1", [100, 100, 100, 102], []),  # so far back there is nothing for the tick before
    ],
)
def test_lambda_handler_a_rule_alerts_where_it_comes_true(
    stock_trend_analysis, monkeypatch, memory, rule, prices, places
):
    set_rules(stock_trend_analysis, monkeypatch, rule)
    found = judge(stock_trend_analysis, memory, make_series(prices))
    assert found == [(place, rule.replace(" ", "")) for place in places]


def test_lambda_handler_rules_read_change_and_volume_of_the_tick(stock_trend_analysis, monkeypatch, memory):
    set_rules(stock_trend_analysis, monkeypatch, "AAPL change_percent < -1.5; AAPL volume > 1000")
    values = [(0, 900), (-1.5, 1000), (-1.5001, 1001), (0, None), (-2, 2000)]
    items = [
        make_item(minute=minute, change=change, volume=volume and {"N": str(volume)})
        for minute, (change, volume) in enumerate(values)
    ]
    found = judge(stock_trend_analysis, memory, items)
    # before the last tick the volume is not known
    assert found == [(2, "AAPLchange_percent<-1.5"), (2, "AAPLvolume>1000"), (4, "AAPLchange_percent<-1.5")]


def test_lambda_handler_move_reaches_back_over_a_gap(stock_trend_analysis, monkeypatch, memory):
    set_rules(stock_trend_analysis, monkeypatch, "AAPL move15 > 4")
    items = [
        make_item(minute=minute, price=price)
        for minute, price in [(-900, 99), (-880, 100), (0, 101), (1, 105)]
    ]
    assert judge(stock_trend_analysis, memory, items) == [(3, "AAPLmove15>4")]


def test_lambda_handler_move_finds_its_tick_behind_several_pages(stock_trend_analysis, monkeypatch, memory):
    set_rules(stock_trend_analysis, monkeypatch, "AAPL move20 > 4")
    items = [make_item(minute=second / 60, price=100) for second in range(1500)]
    items.append(make_item(minute=25, price=105))
    for item in items:
        memory.put_tick(item)
    assert invoke(stock_trend_analysis, items[-1:]) == SUCCESS
    assert [alert_id.partition("#RULE#")[2] for _, alert_id in memory.alerts if "#RULE#" in alert_id] == [
        "AAPLmove20>4"
    ]


SIDES = ["price", "change_percent", "volume"] + [
    f"{name}{n}" for name in ("sma", "move", "rsi") for n in (2, 3, 5, 14, 20, 30)
]


def random_rules(rng: random.Random, prices: list[float]) -> list[str]:
    """50 rules that differ, with limits among the values that a series takes."""
    rules = set()
    while len(rules) < 50:
        left, middle = rng.choice(SIDES), Decimal(str(rng.choice(prices)))
        numbers = {
            "price": middle,
            "sma": middle,
            "volume": Decimal(5),
            "rsi": Decimal(rng.choice([30, 50, 70])),
        }
        number = next((value for name, value in numbers.items() if left.startswith(name)), None)
        number = Decimal(rng.choice(["0", "-1", "0.5", "0.01"])) if number is None else number
        right = f"sma{rng.choice([2, 3, 20, 30])}" if rng.random() < 0.3 else f"{number:f}"
        rules.add(f"{rng.choice(['*', 'AAPL', 'IBM,AAPL'])} {left} {rng.choice('<>')} {right}")
    return sorted(rules)


def random_ticks(rng: random.Random) -> list[dict]:
    """A walk, or a few levels, with ticks at irregular times and some volumes missing."""
    price, minute, items = Fraction(rng.choice(["0.00001234", "1.08", "250"])), 0.0, []
    for _ in range(rng.randint(10, 70)):
        step = rng.choice(["0", "0", "0.01", "-0.01", "0.003", "-0.003"])
        price += price * Fraction(step)
        minute += rng.choice([0.5, 0.5, 1, 1.0005, 3, 15, 700])
        volume = rng.choice([None, {"N": "4"}, {"N": "5"}, {"N": "6"}])
        change = rng.choice(["0", "-1", "-1.0001", "0.5", "0.51"])
        items.append(
            make_item(minute=minute, price=f"{float(price):.10f}", change=change, volume=volume, **RECORDED)
        )
    return items


def value_of(side: str, ticks: list[dict], at: int) -> Fraction | None:
    """A side of a rule at a tick, straight from its definition."""
    prices = [tick["price"] for tick in ticks]
    name = side.rstrip("0123456789")
    if name not in ("sma", "rsi", "move"):
        return ticks[at].get(side) if side in ("price", "change_percent", "volume") else Fraction(side)
    n = int(side.removeprefix(name))
    if name == "sma":
        return sum(prices[at + 1 - n : at + 1]) / n if at + 1 >= n else None
    if name == "rsi":
        changes = [prices[k] - prices[k - 1] for k in range(at + 1 - n, at + 1)] if at >= n else []
        gain, loss = (sum(max(sign * change, 0) for change in changes) / n for sign in (1, -1))
        return 100 * gain / (gain + loss) if gain + loss else None
    before = [tick["price"] for tick in ticks[:at] if ticks[at]["time"] - tick["time"] >= n * 60_000]
    return (prices[at] / before[-1] - 1) * 100 if before else None


def expected_alerts(rules: list[str], items: list[dict]) -> set[str]:
    """The alert_ids of rules, found in another way: with fractions, over the whole series at once."""
    ticks, ids = [], set()
    for item in items:
        known = [name for name in ("price", "change_percent", "volume") if name in item]
        tick = {name: Fraction(item[name]["N"]) for name in known}
        since = datetime.fromisoformat(item["timestamp"]["S"]) - START
        tick["time"] = since // timedelta(milliseconds=1)
        ticks.append(tick)
    places, values = range(len(items)), {}
    for rule in rules:
        _, left, operator, right = rule.split()
        for side in (left, right):
            if side not in values:
                values[side] = [value_of(side, ticks, at) for at in places]
        before = None
        for at, sides in zip(places, zip(values[left], values[right], strict=True), strict=True):
            now = None
            if None not in sides:
                now = sides[0] > sides[1] if operator == ">" else sides[0] < sides[1]
            if now and before is False:
                ids.add(f"{items[at]['timestamp']['S']}#RULE#{rule.replace(' ', '')}")
            before = now
    return ids


@pytest.mark.parametrize("part", parts(50))
def test_lambda_handler_50_random_rules_on_1000_series_equal_the_reference(
    stock_trend_analysis, monkeypatch, capsys, caplog, part
):
    caplog.set_level(logging.CRITICAL)
    total = 0
    for seed in range(part * 20, part * 20 + 20):
        rng, table = random.Random(f"rules {seed}"), MemoryDynamoDB()
        monkeypatch.setattr(stock_trend_analysis, "dynamodb", table)
        items = random_ticks(rng)
        rules = random_rules(rng, [item["price"]["N"] for item in items])
        set_rules(stock_trend_analysis, monkeypatch, ";".join(rules))
        deliver_in_batches(stock_trend_analysis, table, items, rng)
        found = {alert_id for _, alert_id in table.alerts if "#RULE#" in alert_id}
        expected = expected_alerts(rules, items)
        assert found == expected, f"seed {seed}"
        total += len(expected)
    assert total > 500


# --- What an alert of a rule is ----------------------------------------------------------------------


def test_lambda_handler_alert_of_a_rule_says_the_rule_and_both_values(
    load_handler, ticks_table, alerts_table, topic, clock
):
    clock.move_to(START + timedelta(minutes=10))
    handler = load_handler("stock_trend_analysis", ALERT_RULES="MSFT,AAPL price <  sma3;AAPL price > 99")
    items = [
        *make_series([100, 100, 100]),
        make_item(minute=3, price=99.5, change=-1.25, delay_minutes={"N": "15"}),
    ]
    put_all(ticks_table, items)
    assert invoke(handler, items) == SUCCESS
    (envelope,) = topic.messages()
    line = (
        "RULE AAPL price <  sma3 (99.5 < 99.83333) at 99.5 (-1.25% since the previous close), 15 min delayed"
    )
    assert envelope["Subject"] == line[:99]
    attributes = {name: each["Value"] for name, each in envelope["MessageAttributes"].items()}
    assert attributes == {"symbol": "AAPL", "signal": "RULE", "audience": "all"}
    (alert,) = alerts_table.items()
    assert alert["alert_id"]["S"] == f"{items[3]['timestamp']['S']}#RULE#MSFT,AAPLprice<sma3"
    assert (alert["signal"]["S"], alert["status"]["S"], alert["message"]["S"]) == ("RULE", "sent", line)
    assert json.loads(envelope["Message"])["alert_id"] == alert["alert_id"]["S"]
    for batch in (items, items[2:], items[::-1]):
        assert invoke(handler, batch) == SUCCESS
    assert topic.messages() == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("AAPL volume > 1000", "volume > 1000 (48123456 > 1000)"),
        ("AAPL rsi2 > 60", "rsi2 > 60 (66.66667 > 60)"),
        ("AAPL move2 > 0.5", "move2 > 0.5 (1.000000 > 0.5)"),
    ],
)
def test_lambda_handler_alert_of_a_rule_shows_values_that_people_can_read(
    stock_trend_analysis, monkeypatch, memory, rule, words
):
    set_rules(stock_trend_analysis, monkeypatch, rule)
    volumes = [{"N": "1"}] * 3 + [{"N": "48123456"}]
    prices = [100, 100, 99, 101] if "rsi" in rule else [100, 100, 100, 101]
    prices = [99, 100, 99, 101] if "rsi" in rule else prices
    items = [make_item(minute=n, price=prices[n], volume=volumes[n]) for n in range(4)]
    judge(stock_trend_analysis, memory, items)
    assert [alert["message"]["S"] for alert in memory.alerts.values()] == [
        f"RULE AAPL {words} at 101 (+0.00% since the previous close)"
    ]


def test_lambda_handler_cooldown_counts_for_each_rule_by_itself(
    load_handler, ticks_table, alerts_table, topic, clock
):
    clock.move_to(START + timedelta(minutes=10))
    rules = "AAPL price > 100; AAPL price > 100.5"
    handler = load_handler(
        "stock_trend_analysis", ALERT_RULES=rules, ALERT_COOLDOWN_MINUTES="5", SMA_LONG="6"
    )
    items = make_series([100, 101, 100, 101, 100.2, 101, 100, 101, 101])
    put_all(ticks_table, items)
    for item in items:
        assert invoke(handler, [item]) == SUCCESS
    at = [item["timestamp"]["S"] for item in items]
    rule_statuses = {key: status for key, status in statuses(alerts_table).items() if "#RULE#" in key}
    low, high = "#RULE#AAPLprice>100", "#RULE#AAPLprice>100.5"
    assert rule_statuses == {
        at[1] + low: "sent",
        at[1] + high: "sent",
        at[3] + low: "muted",
        at[3] + high: "muted",
        at[5] + high: "muted",
        at[7] + low: "sent",
        at[7] + high: "sent",
    }


def test_lambda_handler_rule_on_history_is_recorded_and_not_published(
    load_handler, ticks_table, alerts_table, topic, clock
):
    handler = load_handler("stock_trend_analysis", ALERT_RULES="* price > 100")
    items = make_series([100, 101], **RECORDED)
    put_all(ticks_table, items)
    invoke(handler, items)
    assert list(statuses(alerts_table).values()) == ["historical"]
    assert published(topic) == []


# --- What it costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "rows"),
    [
        ("", 21),
        ("* price > 300; AAPL sma20 < sma2; AAPL rsi19 > 3; AAPL move9 > 2; IBM sma200 > 3", 21),
        ("AAPL rsi20 > 3", 22),
        ("AAPL price < sma200", 201),
        ("AAPL move15 < -2", 32),
    ],
)
def test_lambda_handler_reads_as_far_as_the_longest_rule_of_the_symbol_in_one_query(
    load_handler, ticks_table: Table, alerts_table, topic, clock, faults, rules, rows
):
    clock.move_to(START + timedelta(minutes=10))
    handler = load_handler("stock_trend_analysis", ALERT_RULES=rules)
    items = [make_item(minute=minute / 2, price=100 + minute % 3) for minute in range(220)]
    put_all(ticks_table, items)
    faults.calls.clear()
    limits = []
    query = handler.dynamodb.query
    handler.dynamodb.query = lambda **request: limits.append(request["Limit"]) or query(**request)
    assert invoke(handler, items[-1:]) == SUCCESS
    assert limits == [rows]
