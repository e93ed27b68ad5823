"""StockTrendAnalysis: every crossover and anomaly alerted once, whatever the batches and failures."""

from __future__ import annotations

import csv
import json
import logging
import random
import threading
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from types import ModuleType, SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.aws_faults import FaultyAws, Killed, seeded
from helpers.checkout import ROOT, load_module
from helpers.crossings import crossings, prices_around
from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.mocked_aws import Table, Topic, resource
from helpers.parts import parts
from helpers.stream_driver import EventSourceMapping, dynamodb_record, sequence_number
from helpers.trend import (
    MACHINES,
    START,
    SUCCESS,
    deliver_in_batches,
    failure,
    heard,
    invoke,
    make_item,
    make_records,
    make_series,
    published,
    put_all,
    statuses,
)
from stream_stock_data import format_timestamp


@pytest.fixture
def now(clock) -> None:
    """A moment at which no tick of the first hour is too old to be published."""
    clock.move_to(START + timedelta(minutes=10))


# The averages cross at these minutes: up at 20 and 28, down at 23.
UP_DOWN_UP = [100] * 20 + [101, 101, 101, 95, 95, 95, 95, 110, 110]


def expected_ids(prices: list, items: list[dict]) -> dict[str, int]:
    """The alert_ids of the crossovers, and their positions."""
    return {f"{items[at]['timestamp']['S']}#{signal}": at for at, signal in crossings(prices).items()}


# --- Crossovers ------------------------------------------------------------------------------------


def test_lambda_handler_crossovers_are_stored_published_and_marked(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    items = make_series(UP_DOWN_UP, change=1.5)
    put_all(ticks_table, items)
    assert invoke(stock_trend_analysis, items) == SUCCESS
    at = [item["timestamp"]["S"] for item in items]
    ids = [f"{at[20]}#BUY", f"{at[23]}#SELL", f"{at[28]}#BUY"]
    assert statuses(alerts_table) == dict.fromkeys(ids, "sent")
    assert published(topic) == ids
    alert = next(item for item in alerts_table.items() if item["alert_id"]["S"] == ids[0])
    assert alert == {
        "symbol": {"S": "AAPL"},
        "alert_id": {"S": ids[0]},
        "timestamp": {"S": at[20]},
        "signal": {"S": "BUY"},
        "price": {"N": "101"},
        "sma_short": {"N": "100.2000"},
        "sma_long": {"N": "100.0500"},
        "change_percent": {"N": "1.5"},
        "message": {
            "S": "BUY AAPL at 101 (+1.50% since the previous close), SMA-5 100.2000, SMA-20 100.0500"
        },
        "status": {"S": "sent"},
        "expires_at": {"N": str(int(START.timestamp()) + 20 * 60 + 30 * 86_400)},
    }


def test_lambda_handler_message_reads_well_everywhere(
    stock_trend_analysis, ticks_table, topic, now, monkeypatch
):
    items = make_series(UP_DOWN_UP[:21], change=1.5)
    put_all(ticks_table, items)
    calls = []
    monkeypatch.setattr(stock_trend_analysis.sns, "publish", lambda **parameters: calls.append(parameters))
    invoke(stock_trend_analysis, items)
    (message,) = calls
    texts = json.loads(message["Message"])
    line = "BUY AAPL at 101 (+1.50% since the previous close), SMA-5 100.2000, SMA-20 100.0500"
    assert message["Subject"] == line
    assert texts["sms"] == texts["default"] == f"{line}. 2026-11-20 14:50 UTC. No investment advice."
    assert texts["email"].startswith(texts["sms"])
    assert "the average of 5 ticks rose above that of 20. SELL: it fell below." in texts["email"]
    for protocol in ("sqs", "lambda", "http", "https"):
        fields = json.loads(texts[protocol])
        assert fields["signal"] == "BUY"
        assert fields["price"] == 101
        assert fields["sma_short"] == 100.2
    assert message["MessageStructure"] == "json"
    assert {name: each["StringValue"] for name, each in message["MessageAttributes"].items()} == {
        "symbol": "AAPL",
        "signal": "BUY",
        "audience": "all",
    }


@pytest.mark.parametrize(("delay", "text"), [({"N": "15"}, ", 15 min delayed"), ({"N": "0"}, ""), (None, "")])
def test_lambda_handler_message_says_that_the_quote_is_delayed(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, delay, text
):
    item = make_item(change=6, delay_minutes=delay)
    put_all(ticks_table, [item])
    invoke(stock_trend_analysis, [item])
    (envelope,) = topic.messages()
    assert envelope["Subject"] == f"ANOMALY AAPL at 100 (+6.00% since the previous close){text}"


@pytest.mark.parametrize(
    ("ticks", "signals"),
    [
        ([100] * 20, {}),
        ([101], {20: "BUY"}),
        ([99], {20: "SELL"}),
        (UP_DOWN_UP[20:], {20: "BUY", 23: "SELL", 28: "BUY"}),
        ([101, 100, 99, 101], {20: "BUY"}),  # above, above, equal, above: a touch
        ([101, 100, 99, 98], {20: "BUY", 23: "SELL"}),  # above, above, equal, below
        ([101] + [100] * 24 + [101], {20: "BUY", 25: "SELL", 45: "BUY"}),  # equal from 40 to 44
        ([101] + [100] * 24 + [99], {20: "BUY", 25: "SELL"}),
    ],
)
def test_crossings_reference_on_series_worked_by_hand(ticks, signals):
    """The reference that other tests use: averages equal at 19, then these ticks."""
    assert crossings([100] * 20 + ticks) == signals


def test_crossings_reference_needs_a_tick_before_the_first_averages():
    assert crossings([100] * 19 + [101]) == {}


def random_prices(rng: random.Random) -> list[float]:
    """Prices of one character: a walk, coarse steps with many equalities, flat stretches, a few levels."""
    count, kind = rng.randint(15, 90), rng.randrange(4)
    price, prices = rng.choice([1.234e-05, 0.0007, 1.08, 30, 250, 60_000]), []
    while len(prices) < count:
        if kind == 0:
            price *= 1 + rng.gauss(0, 0.002)
        elif kind == 1:
            price *= 1 + rng.choice([-0.0001, 0, 0, 0, 0.0001])
        elif kind == 2 and rng.random() < 0.1:
            prices += [price] * rng.randint(5, 40)
            price *= 1 + rng.gauss(0, 0.01)
        elif kind == 3:
            price = rng.choice([100, 100, 101, 99, 102])
        prices.append(round(price, 4) if price >= 1000 else float(f"{price:.7g}"))
    return prices[:count]


@pytest.mark.parametrize("part", parts(4))
def test_lambda_handler_crossovers_of_1000_series_equal_the_reference(
    stock_trend_analysis, monkeypatch, capsys, caplog, part
):
    caplog.set_level(logging.CRITICAL)
    handler, total = stock_trend_analysis, 0
    monkeypatch.setattr(handler, "MAX_AGE_SECONDS", 0)
    for seed in range(part * 250, part * 250 + 250):
        rng, table = random.Random(seed), MemoryDynamoDB()
        monkeypatch.setattr(handler, "dynamodb", table)
        monkeypatch.setattr(handler, "sns", SimpleNamespace(publish=table.publish))
        prices = random_prices(rng)
        items = make_series(prices)
        deliver_in_batches(handler, table, items, rng)
        expected = expected_ids(prices, items)
        assert {key[1] for key in table.alerts} == set(expected), f"seed {seed}"
        ids = [alert["alert_id"] for alert in heard(table.messages, *MACHINES)]
        assert sorted(ids) == sorted(expected), f"seed {seed}"
        total += len(expected)
    assert total > 500


def sample_series() -> dict[str, list[str]]:
    """The closing prices of sample_data by symbol."""
    with (ROOT / "sample_data/four_stocks.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        symbol: [row["close"] for row in rows if row["symbol"] == symbol]
        for symbol in sorted({row["symbol"] for row in rows})
    }


@pytest.mark.parametrize(
    ("symbol", "price"), [("SHIB-USD", 1.234e-05), ("KRWUSD=X", 0.0007), ("EURUSD=X", 1.081234)]
)
def test_lambda_handler_averages_of_small_prices_have_seven_digits(
    stock_trend_analysis, memory, clock, symbol, price
):
    prices = prices_around(price, 120, rng=random.Random(symbol))
    clock.move_to(START + timedelta(minutes=120))
    now = {"S": format_timestamp(START + timedelta(minutes=120))}
    items = make_series([Decimal(str(price)) for price in prices], symbol, fetched_at=now)
    for item in items:
        memory.put_tick(item)
    assert invoke(stock_trend_analysis, items) == SUCCESS
    expected = expected_ids(prices, items)
    told = {key[1]: alert["status"]["S"] for key, alert in memory.alerts.items()}
    assert told == dict.fromkeys(expected, "sent")
    assert len(expected) > 10
    for alert in memory.alerts.values():
        place = expected[alert["alert_id"]["S"]]
        assert f"{symbol} at {Decimal(str(prices[place])):f} " in alert["message"]["S"]
        for name, length in (("sma_short", 5), ("sma_long", 20)):
            exact = sum(Decimal(str(price)) for price in prices[place + 1 - length : place + 1]) / length
            mean = Decimal(alert[name]["N"])
            assert abs(mean - exact) * 2 <= Decimal(1).scaleb(exact.adjusted() - 6)
            assert len(mean.as_tuple().digits) == 7
            assert f"SMA-{length} {mean:f}" in alert["message"]["S"]


@pytest.mark.parametrize("symbol", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_lambda_handler_crossovers_of_real_prices_equal_the_reference(
    stock_trend_analysis, memory, clock, symbol
):
    clock.move_to(START + timedelta(minutes=250))
    prices = sample_series()[symbol]
    items = make_series(prices, symbol, fetched_at={"S": format_timestamp(START + timedelta(minutes=250))})
    start = 0
    for size in (7, 100, 1, 33, 200):
        for item in items[start : start + size]:
            memory.put_tick(item)
        assert invoke(stock_trend_analysis, items[start : start + size]) == SUCCESS
        start += size
    expected = expected_ids(prices, items)
    assert len(expected) >= 10
    told = {key[1]: alert["status"]["S"] for key, alert in memory.alerts.items()}
    assert told == dict.fromkeys(expected, "sent")
    assert sorted(alert["alert_id"] for alert in heard(memory.messages, *MACHINES)) == sorted(expected)


def test_lambda_handler_lengths_of_the_averages_are_settings(
    load_handler, ticks_table, alerts_table, topic, now
):
    handler = load_handler("stock_trend_analysis", SMA_SHORT="1", SMA_LONG="3")
    items = make_series([100, 100, 100, 101])
    put_all(ticks_table, items)
    invoke(handler, items)
    assert statuses(alerts_table) == {f"{items[3]['timestamp']['S']}#BUY": "sent"}


@pytest.mark.parametrize(("flat", "signals"), [(60, 0), (400, 0), (499, 0), (500, 1), (600, 1)])
@pytest.mark.parametrize("size", [1, 50])
def test_lambda_handler_look_back_over_a_flat_market_is_500_ticks(
    stock_trend_analysis, monkeypatch, flat, signals, size
):
    """Above, equal for so many ticks, above again: a crossover if the side before is out of sight."""
    table = MemoryDynamoDB()
    monkeypatch.setattr(stock_trend_analysis, "dynamodb", table)
    prices = [100] * 20 + [110] + [120] * (19 + flat) + [130]
    items = make_series(prices, history={"BOOL": True})
    for item in items:
        table.put_tick(item)
    assert invoke(stock_trend_analysis, items[-size:]) == SUCCESS
    assert len(table.alerts) == signals
    assert len(crossings(prices)) == 1 + signals
    if size == 1:
        assert table.queries <= 6


def test_lambda_handler_fewer_than_21_ticks_says_so(
    stock_trend_analysis, ticks_table, alerts_table, now, caplog
):
    caplog.set_level(logging.INFO)
    items = make_series([100] * 12 + [200])
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items[-1:])
    assert "AAPL: 13 of 21 ticks" in caplog.messages
    assert statuses(alerts_table) == {}


def test_lambda_handler_with_21_ticks_says_nothing_and_judges(
    stock_trend_analysis, ticks_table, alerts_table, now, caplog
):
    caplog.set_level(logging.INFO)
    items = make_series([100] * 20 + [200])
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items[-1:])
    assert not any("of 21 ticks" in message for message in caplog.messages)
    assert statuses(alerts_table) == {f"{items[20]['timestamp']['S']}#BUY": "sent"}


def test_lambda_handler_late_tick_is_judged_at_its_own_place(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    items = make_series([100] * 20 + [99, 110] + [105] * 20)
    late = items.pop(21)
    put_all(ticks_table, items[:21])
    invoke(stock_trend_analysis, items[:21])
    assert published(topic) == [f"{items[20]['timestamp']['S']}#SELL"]
    put_all(ticks_table, items[21:])
    put_all(ticks_table, [late])
    assert invoke(stock_trend_analysis, [late]) == SUCCESS
    assert published(topic) == [f"{late['timestamp']['S']}#BUY"]


def test_lambda_handler_late_tick_beside_a_new_one_is_found_behind_several_pages(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    items = make_series([100] * 20 + [101] + [100 + minute % 3 / 10 for minute in range(200)])
    put_all(ticks_table, items)
    assert invoke(stock_trend_analysis, [items[-1], items[20]]) == SUCCESS
    assert f"{items[20]['timestamp']['S']}#BUY" in published(topic)


def test_lambda_handler_other_changes_are_ignored(
    stock_trend_analysis, ticks_table, alerts_table, now, faults
):
    items = make_series([100] * 20 + [200])
    put_all(ticks_table, items)
    faults.calls.clear()
    for kind in ("MODIFY", "REMOVE"):
        records = [dynamodb_record(item, number, event_name=kind) for number, item in enumerate(items)]
        assert stock_trend_analysis.lambda_handler({"Records": records}, None) == SUCCESS
    assert not faults.calls


def test_lambda_handler_symbols_do_not_mix(stock_trend_analysis, ticks_table, alerts_table, topic, now):
    items = [
        item
        for pair in zip(make_series([100] * 20 + [200], "NEW"), make_series([50] * 21, "^OLD"), strict=True)
        for item in pair
    ]
    put_all(ticks_table, items)
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert [(item["symbol"]["S"], item["signal"]["S"]) for item in alerts_table.items()] == [("NEW", "BUY")]


ODD_ITEMS = {
    "no price": make_item(minute=20, price=None) | {"price": {"NULL": True}},
    "price as a text": make_item(minute=20) | {"price": {"S": "100"}},
    "no change": {name: value for name, value in make_item(minute=20).items() if name != "change_percent"},
    "a timestamp of another form": make_item() | {"timestamp": {"S": "today"}},
    "no day": make_item() | {"timestamp": {"S": "2026-06-31T00:00:00.000Z"}},
    "the year 9999": make_item(change=9) | {"timestamp": {"S": "9999-12-31T23:59:59.999Z"}},
    "fetched at no time": make_item(minute=20, change=9) | {"fetched_at": {"S": "never"}},
    "fetched at a number": make_item(minute=20, change=9) | {"fetched_at": {"N": "0"}},
    "keys only": {name: make_item(minute=20)[name] for name in ("symbol", "timestamp")},
}


@pytest.mark.parametrize("odd", ODD_ITEMS.values(), ids=ODD_ITEMS)
def test_lambda_handler_item_put_by_hand_disturbs_nobody(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, caplog, odd
):
    items = make_series([100] * 20)
    last = make_item(minute=21, price=200)
    put_all(ticks_table, [*items, odd, last])
    assert invoke(stock_trend_analysis, [*items, odd, last]) == SUCCESS
    assert published(topic) == [f"{last['timestamp']['S']}#BUY"]
    assert any("not a tick" in message for message in caplog.messages)


def test_lambda_handler_tick_deleted_since_is_passed_over(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    items = make_series([100] * 20 + [150, 200])
    put_all(ticks_table, items[:20] + items[21:])
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert published(topic) == [f"{items[21]['timestamp']['S']}#BUY"]


# --- Anomalies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 10])
def test_lambda_handler_anomaly_alerts_once_a_symbol_date_and_direction(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, batch_size
):
    changes = [4, 5, 5.01, 6, 4.9, 5.5, -5.5, 6, 0, -7]
    items = [make_item(minute=minute, change=change) for minute, change in enumerate(changes)]
    put_all(ticks_table, items)
    for start in range(0, len(items), batch_size):
        assert invoke(stock_trend_analysis, items[start : start + batch_size]) == SUCCESS
    ids = ["2026-11-20#ANOMALY#down", "2026-11-20#ANOMALY#up"]
    assert published(topic) == ids
    alerts = {item["alert_id"]["S"]: item for item in alerts_table.items()}
    assert {key: alert["timestamp"]["S"] for key, alert in alerts.items()} == {
        ids[0]: items[6]["timestamp"]["S"],
        ids[1]: items[2]["timestamp"]["S"],
    }
    assert alerts[ids[1]]["message"]["S"] == "ANOMALY AAPL at 100 (+5.01% since the previous close)"


def test_lambda_handler_anomaly_that_lasts_costs_no_further_calls(
    stock_trend_analysis, ticks_table, alerts_table, now, faults
):
    items = [make_item(minute=minute, change=6) for minute in range(15)]
    put_all(ticks_table, items)
    faults.calls.clear()
    for start in range(0, 15, 5):
        invoke(stock_trend_analysis, items[start : start + 5])
    assert faults.calls["PutItem"] == 2  # the first tick, and the second one to make sure


def test_lambda_handler_anomaly_on_the_second_day_alerts_again(
    stock_trend_analysis, ticks_table, topic, clock
):
    clock.move_to(START + timedelta(days=1))
    days = [make_item(minute=minute, change=6) for minute in (0, 1, 24 * 60, 24 * 60 + 1)]
    put_all(ticks_table, days)
    for item in days:
        item["fetched_at"] = {"S": format_timestamp(START + timedelta(days=1))}
        invoke(stock_trend_analysis, [item])
    assert published(topic) == ["2026-11-20#ANOMALY#up", "2026-11-21#ANOMALY#up"]


@pytest.mark.parametrize(
    ("zone", "hour", "date"),
    [
        ("America/New_York", 1, "2026-11-19"),
        ("Asia/Tokyo", 23, "2026-11-21"),
        (None, 23, "2026-11-20"),
        ("Mars/Olympus", 23, "2026-11-20"),
        ("../etc/passwd", 23, "2026-11-20"),
        ("America", 23, "2026-11-20"),
    ],
)
def test_lambda_handler_anomaly_counts_by_the_date_at_the_exchange(
    stock_trend_analysis, ticks_table, topic, now, caplog, zone, hour, date
):
    item = make_item(change=-6, timestamp={"S": f"2026-11-20T{hour:02}:00:00.000Z"})
    del item["exchange_timezone"]
    if zone:
        item["exchange_timezone"] = {"S": zone}
    put_all(ticks_table, [item])
    assert invoke(stock_trend_analysis, [item]) == SUCCESS
    assert published(topic) == [f"{date}#ANOMALY#down"]
    assert any("unknown time zone" in message for message in caplog.messages) == (
        zone in ("Mars/Olympus", "../etc/passwd", "America")
    )


def test_lambda_handler_crossover_and_anomaly_of_one_tick_are_two_alerts(
    stock_trend_analysis, ticks_table, topic, now
):
    items = [*make_series([100] * 20), make_item(minute=20, price=110, change=10)]
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items)
    assert published(topic) == ["2026-11-20#ANOMALY#up", f"{items[-1]['timestamp']['S']}#BUY"]


@pytest.mark.parametrize(("threshold", "ids"), [("3", ["2026-11-20#ANOMALY#up"]), ("4", [])])
def test_lambda_handler_anomaly_threshold_is_a_setting(
    load_handler, ticks_table, alerts_table, topic, now, threshold, ids
):
    put_all(ticks_table, [make_item(change=4)])
    invoke(load_handler("stock_trend_analysis", ANOMALY_PERCENT=threshold), [make_item(change=4)])
    assert published(topic) == ids


def test_lambda_handler_largest_numbers_of_dynamodb_make_an_alert(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    items = make_series(["1E+125", "3E-130"] * 10 + ["9.9999999999999999999999999999999999999E+125"])
    put_all(ticks_table, items)
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert len(published(topic)) == 1
    (alert,) = alerts_table.items()
    for name in ("sma_short", "sma_long"):  # moto takes more than the 38 digits that DynamoDB takes
        assert len(Decimal(alert[name]["N"]).as_tuple().digits) <= 38


# --- Anomalies that were only recorded --------------------------------------------------------------

LONG_AGO = {"S": format_timestamp(START - timedelta(days=30))}
RECORDED_ONLY = {"history": {"history": {"BOOL": True}}, "too old": {"fetched_at": LONG_AGO}}


@pytest.mark.parametrize("recorded", RECORDED_ONLY.values(), ids=RECORDED_ONLY)
@pytest.mark.parametrize("size", [1, 3, 10])
def test_lambda_handler_anomaly_that_was_only_recorded_leaves_the_day_to_the_first_live_tick(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, recorded, size
):
    items = [make_item(minute=minute, price=107, change=7, **recorded) for minute in range(3)]
    items += [make_item(minute=minute, price=105 + minute, change=5 + minute) for minute in (3, 4, 5)]
    put_all(ticks_table, items)
    for start in range(0, len(items), size):
        assert invoke(stock_trend_analysis, items[start : start + size]) == SUCCESS
        for alert in alerts_table.items():
            assert alert["status"]["S"] == ("sent" if start + size > 3 else "historical")
    assert published(topic) == ["2026-11-20#ANOMALY#up"]
    (alert,) = alerts_table.items()
    assert alert["timestamp"] == items[3]["timestamp"]
    assert alert["price"] == {"N": "108"}
    assert alert["message"]["S"] == "ANOMALY AAPL at 108 (+8.00% since the previous close)"
    for batch in (items, items[:3], items[3:4], items[4:]):
        assert invoke(stock_trend_analysis, batch) == SUCCESS
    assert published(topic) == []
    assert alerts_table.items() == [alert]


def test_lambda_handler_late_history_beyond_the_threshold_changes_nothing_that_was_told(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    live = make_item(minute=5, change=8)
    put_all(ticks_table, [live])
    invoke(stock_trend_analysis, [live])
    told = alerts_table.items()
    late = [make_item(minute=minute, change=7, history={"BOOL": True}) for minute in range(3)]
    put_all(ticks_table, late)
    assert invoke(stock_trend_analysis, [*late, live]) == SUCCESS
    assert len(published(topic)) == 1
    assert alerts_table.items() == told


def test_lambda_handler_live_fetch_in_the_place_of_history_does_not_silence_the_day(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    """The table's stream has no INSERT of that fetch, so it is never judged itself."""
    history = [make_item(minute=minute, change=7, history={"BOOL": True}) for minute in (0, 1)]
    live = make_item(minute=2, change=7)
    put_all(ticks_table, history)
    invoke(stock_trend_analysis, history)
    put_all(ticks_table, [make_item(minute=1, change=7), live])
    assert invoke(stock_trend_analysis, [live]) == SUCCESS
    assert published(topic) == ["2026-11-20#ANOMALY#up"]


def test_lambda_handler_late_tick_before_a_pending_anomaly_does_not_silence_its_retry(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, faults
):
    first, late = make_item(minute=2, change=7), make_item(minute=1, change=7)
    put_all(ticks_table, [make_item(), first])
    faults.plan = lambda operation, body, count: "error" if operation == "Publish" else None
    assert invoke(stock_trend_analysis, [first]) == failure(0)
    faults.plan = lambda operation, body, count: None
    put_all(ticks_table, [late])
    for item in (first, late):
        assert invoke(stock_trend_analysis, [item]) == SUCCESS
    assert published(topic) == ["2026-11-20#ANOMALY#up"]


def test_lambda_handler_two_batches_at_a_time_tell_the_anomaly_once(stock_trend_analysis, monkeypatch, now):
    table, both_see_it = MemoryDynamoDB(), threading.Barrier(2)
    monkeypatch.setattr(stock_trend_analysis, "dynamodb", table)
    monkeypatch.setattr(stock_trend_analysis, "sns", SimpleNamespace(publish=table.publish))
    items = [make_item(minute=minute, change=change) for minute, change in enumerate([7, 7, 0, 7])]
    items[0]["history"] = {"BOOL": True}
    for item in items:
        table.put_tick(item)
    invoke(stock_trend_analysis, items[:1])
    assert [alert["status"]["S"] for alert in table.alerts.values()] == ["historical"]
    table.interrupt = lambda moment: both_see_it.wait(timeout=10) if moment == "PutItem" else None
    batches = [threading.Thread(target=invoke, args=(stock_trend_analysis, [items[n]])) for n in (1, 3)]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join()
    assert len(table.messages) == 1
    assert [alert["status"]["S"] for alert in table.alerts.values()] == ["sent"]


def test_lambda_handler_recorded_crossover_stays_recorded(
    load_handler, ticks_table, alerts_table, topic, clock
):
    items = make_series([100] * 20 + [101])
    put_all(ticks_table, items)
    clock.move_to(START + timedelta(minutes=60))
    invoke(load_handler("stock_trend_analysis"), items)
    assert invoke(load_handler("stock_trend_analysis", ALERT_MAX_AGE_MINUTES="0"), items) == SUCCESS
    assert list(statuses(alerts_table).values()) == ["historical"]
    assert published(topic) == []


def random_day(rng: random.Random) -> list[dict]:
    """A tick a minute, many beyond the threshold; the first ones may be history or fetched too long ago."""
    past = rng.randint(0, 20)
    return [
        make_item(
            minute=minute,
            change=rng.choice([0, 6, 6, 7, -6, 4.9]),
            price=100 + minute,  # it never crosses
            **(rng.choice([*RECORDED_ONLY.values(), {}]) if minute < past else {}),
        )
        for minute in range(rng.randint(1, 30))
    ]


def deliver_under_failures(
    handler: ModuleType, table: MemoryDynamoDB, items: list[dict], *, rng: random.Random, sleep
) -> int:
    """Batches as Lambda delivers them while calls fail; how often one failed between message and mark."""
    share, between = rng.choice([0, 0.1, 0.3]), []

    def interrupt(moment: str) -> None:
        if rng.random() < share:
            between.extend([moment] * (moment in ("after Publish", "UpdateItem")))
            raise EndpointConnectionError(endpoint_url=moment)

    def handle(event: dict, context: object) -> dict:
        last = int(sequence_number(event["Records"][-1]))
        for item in items[len(table.inserted) : last + 1 + rng.choice([0, 0, 3])]:
            table.put_tick(item)
        return handler.lambda_handler(event, context)

    table.interrupt = interrupt
    changes = {"MaximumRecordAgeInSeconds": 86_400, "BatchSize": rng.randint(1, 9)}
    mapping = EventSourceMapping(
        resource("dynamodb_mapping") | changes, handle, sleep=sleep, discard=pytest.fail, rng=rng
    )
    mapping.run(make_records(items))
    return len(between)


@pytest.mark.parametrize("part", parts(4))
def test_lambda_handler_anomalies_of_random_days_are_told_once_by_their_first_live_tick(
    stock_trend_analysis, monkeypatch, clock, capsys, caplog, part
):
    caplog.set_level(logging.CRITICAL)
    handler, told = stock_trend_analysis, Counter()
    monkeypatch.setattr(handler, "MAX_AGE_SECONDS", 20 * 86_400)
    for seed in range(part * 100, part * 100 + 100):
        rng, table = random.Random(seed), MemoryDynamoDB()
        monkeypatch.setattr(handler, "dynamodb", table)
        monkeypatch.setattr(handler, "sns", SimpleNamespace(publish=table.publish))
        clock.move_to(START)
        items = random_day(rng)
        repeats = deliver_under_failures(handler, table, items, rng=rng, sleep=clock.shift)
        messages = heard(table.messages, *MACHINES)
        expected, expected_messages = {}, set()
        for item in items:
            change = float(item["change_percent"]["N"])
            alert_id = f"2026-11-20#ANOMALY#{'up' if change > 0 else 'down'}"
            if abs(change) > 5 and expected.get(alert_id) != "sent":
                is_live = "history" not in item and item["fetched_at"] != LONG_AGO
                expected[alert_id] = "sent" if is_live else "historical"
                if is_live:
                    expected_messages.add((alert_id, item["timestamp"]["S"], float(item["price"]["N"])))
        found = {alert["alert_id"]["S"]: alert["status"]["S"] for alert in table.alerts.values()}
        assert found == expected, f"seed {seed}"
        sent = [(message["alert_id"], message["timestamp"], message["price"]) for message in messages]
        assert set(sent) == expected_messages, f"seed {seed}"
        assert len(sent) <= len(expected_messages) + repeats, f"seed {seed}"
        told.update(expected.values())
    assert told["sent"] > 50
    assert told["historical"] > 5


# --- What is muted -----------------------------------------------------------------------------------


def test_lambda_handler_history_is_recorded_and_not_published(
    stock_trend_analysis, ticks_table, alerts_table, topic, now
):
    items = make_series(UP_DOWN_UP, change=6, history={"BOOL": True})
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items)
    assert set(statuses(alerts_table).values()) == {"historical"}
    assert len(statuses(alerts_table)) == 4
    assert published(topic) == []


def test_lambda_handler_history_that_is_false_is_live(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, capsys
):
    items = make_series(UP_DOWN_UP[:21], change=6, history={"BOOL": False})
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items)
    assert published(topic) == ["2026-11-20#ANOMALY#up", f"{items[20]['timestamp']['S']}#BUY"]
    (line,) = metrics(capsys.readouterr().out)
    assert line["Lag"] != 0


@pytest.mark.parametrize(
    ("limit", "age", "status"),
    [
        ("15", 14, "sent"),
        ("15", 16, "historical"),
        ("60", 59, "sent"),
        ("0", 100_000, "sent"),
        ("", 16, "historical"),
    ],
)
def test_lambda_handler_signal_fetched_too_long_ago_is_recorded_only(
    load_handler, ticks_table, alerts_table, topic, clock, limit, age, status
):
    items = make_series(UP_DOWN_UP[:21])
    put_all(ticks_table, items)
    clock.move_to(START + timedelta(minutes=20, seconds=1) + timedelta(minutes=age))
    handler = load_handler("stock_trend_analysis", ALERT_MAX_AGE_MINUTES=limit)
    invoke(handler, items)
    assert statuses(alerts_table) == {f"{items[20]['timestamp']['S']}#BUY": status}
    assert bool(published(topic)) == (status == "sent")


def test_lambda_handler_old_quote_just_fetched_is_published(stock_trend_analysis, ticks_table, topic, clock):
    """A quote delayed by the exchange is as new as it can be."""
    clock.move_to(START + timedelta(hours=5))
    fetched_at = {"S": format_timestamp(START + timedelta(hours=5))}
    items = make_series([100] * 20 + [101], fetched_at=fetched_at)
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items)
    assert len(published(topic)) == 1


def test_lambda_handler_cooldown_mutes_crossovers_of_the_same_symbol(
    load_handler, ticks_table, alerts_table, topic, now
):
    handler = load_handler("stock_trend_analysis", ALERT_COOLDOWN_MINUTES="5")
    items = [*make_series(UP_DOWN_UP), make_item(minute=29, price=110, change=7)]
    items += make_series([100] * 22 + [101], "MSFT")
    put_all(ticks_table, items)
    for start in range(0, len(items), 22):
        invoke(handler, items[start : start + 22])
    alerts = {
        (item["symbol"]["S"], item["alert_id"]["S"]): item["status"]["S"] for item in alerts_table.items()
    }
    at = [item["timestamp"]["S"] for item in items]
    assert alerts == {
        ("AAPL", f"{at[20]}#BUY"): "sent",
        ("AAPL", f"{at[23]}#SELL"): "muted",
        ("AAPL", f"{at[28]}#BUY"): "sent",
        ("AAPL", "2026-11-20#ANOMALY#up"): "sent",
        ("MSFT", f"{at[22]}#BUY"): "sent",
    }
    assert len(published(topic)) == 4


def test_lambda_handler_anomaly_starts_no_cooldown(load_handler, ticks_table, alerts_table, topic, clock):
    """Over midnight, for that is where the key of an anomaly lies among those of crossovers."""
    handler = load_handler("stock_trend_analysis", ALERT_COOLDOWN_MINUTES="60")
    midnight = 9.5 * 60
    items = [make_item("BTC-USD", midnight - 21 + minute, change=0) for minute in range(20)]
    items += [make_item("BTC-USD", midnight + 1, change=7), make_item("BTC-USD", midnight + 2, price=120)]
    for item in items:
        item["exchange_timezone"] = {"S": "UTC"}
    clock.move_to(START + timedelta(minutes=midnight + 3))
    put_all(ticks_table, items)
    invoke(handler, items)
    assert statuses(alerts_table) == {
        "2026-11-21#ANOMALY#up": "sent",
        f"{items[-1]['timestamp']['S']}#BUY": "sent",
    }


def test_lambda_handler_muted_alerts_do_not_prolong_the_cooldown(
    load_handler, ticks_table, alerts_table, topic, now
):
    handler = load_handler("stock_trend_analysis", ALERT_COOLDOWN_MINUTES="5", SMA_SHORT="1", SMA_LONG="2")
    items = make_series([100, 101] * 6)
    put_all(ticks_table, items)
    invoke(handler, items)
    sent = [key for key, status in sorted(statuses(alerts_table).items()) if status == "sent"]
    at = [item["timestamp"]["S"] for item in items]
    assert [key.rpartition("#")[0] for key in sent] == [at[2], at[7]]


# --- Failures ----------------------------------------------------------------------------------------


def test_lambda_handler_redelivery_repeats_nothing(
    stock_trend_analysis, ticks_table, alerts_table, topic, clock
):
    clock.move_to(START + timedelta(minutes=10))
    items = make_series(UP_DOWN_UP, change=6)
    put_all(ticks_table, items)
    invoke(stock_trend_analysis, items)
    before = published(topic), statuses(alerts_table)
    clock.shift(3600)
    for batch in (items, items[10:], items[:25], items[::-1]):
        assert invoke(stock_trend_analysis, batch) == SUCCESS
    assert published(topic) == []
    assert statuses(alerts_table) == before[1]


@pytest.mark.parametrize("fault", ["throttled", "error", "unreachable"])
@pytest.mark.parametrize("operation", ["Query", "PutItem", "Publish"])
def test_lambda_handler_failed_call_is_reported_and_the_retry_alerts_once(
    stock_trend_analysis, ticks_table, alerts_table, topic, clock, faults, operation, fault
):
    clock.move_to(START + timedelta(minutes=10))
    items = make_series([100] * 20 + [101, 90])
    other = make_series([50] * 20 + [51], "MSFT")
    put_all(ticks_table, items + other)
    faults.plan = lambda called, body, count: fault if called == operation and b"AAPL" in body else None
    first = 0 if operation == "Query" else 20
    assert invoke(stock_trend_analysis, items + other) == failure(first)
    assert len(published(topic)) == 1  # MSFT's
    faults.plan = lambda called, body, count: None
    clock.shift(3600)  # a pending alert is published whatever its age
    assert invoke(stock_trend_analysis, (items + other)[first:]) == SUCCESS
    sent = [item for item in alerts_table.items() if item["status"]["S"] == "sent"]
    if operation == "Publish":
        assert len(published(topic)) == 2
        assert len(sent) == 3
    else:  # stored only now: too old
        assert published(topic) == []
        assert len(sent) == 1


@pytest.mark.parametrize("operation", ["Query", "PutItem", "UpdateItem"])
def test_lambda_handler_short_failure_of_dynamodb_is_ridden_out(
    stock_trend_analysis, ticks_table, topic, now, faults, operation
):
    items = make_series([100] * 20 + [101])
    put_all(ticks_table, items)
    faults.plan = lambda called, body, count: "lost" if called == operation and count <= 3 else None
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert len(published(topic)) == 1


@pytest.mark.parametrize(
    ("operation", "fault", "messages"),
    [
        ("PutItem", "killed", 1),
        ("PutItem", "killed_after", 1),
        ("Publish", "killed", 1),
        ("Publish", "killed_after", 2),
        ("Publish", "lost", 2),
        ("UpdateItem", "killed", 2),
        ("UpdateItem", "throttled", 2),
        ("UpdateItem", "killed_after", 1),
    ],
)
def test_lambda_handler_message_repeats_only_between_publish_and_mark(
    stock_trend_analysis, ticks_table, alerts_table, topic, now, faults, operation, fault, messages
):
    items = make_series([100] * 20 + [101])
    put_all(ticks_table, items)
    faults.plan = lambda called, body, count: fault if called == operation and not faults.is_over else None
    faults.is_over = False
    if fault.startswith("killed"):
        with pytest.raises(Killed):
            invoke(stock_trend_analysis, items)
    else:
        assert invoke(stock_trend_analysis, items) == failure(20)
        assert faults.calls["Publish"] == 1  # SNS may have sent it: only the status says whether to repeat it
    faults.revive()
    faults.is_over = True
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert len(published(topic)) == messages
    assert list(statuses(alerts_table).values()) == ["sent"]


@pytest.mark.parametrize("operation", ["Query", "PutItem", "Publish", "UpdateItem"])
def test_lambda_handler_error_that_no_retry_mends_is_raised(
    stock_trend_analysis, ticks_table, now, faults, operation
):
    items = make_series([100] * 20 + [101])
    put_all(ticks_table, items)
    faults.plan = lambda called, body, count: "denied" if called == operation else None
    with pytest.raises(ClientError, match="AccessDenied"):
        invoke(stock_trend_analysis, items)


def test_lambda_handler_alerts_table_with_other_keys_is_named_before_anything_is_published(
    stock_trend_analysis, ticks_table, topic, now
):
    """With the keys of the ticks table, only one alert of a tick would find room, and the next look known."""
    client, definition = boto3.client("dynamodb"), resource("alerts_table")
    client.delete_table(TableName=definition["TableName"])
    client.create_table(**resource("ticks_table") | {"TableName": definition["TableName"]})
    items = [*make_series([100] * 20), make_item(minute=20, price=110, change=10)]
    put_all(ticks_table, items)
    with pytest.raises(ValueError, match=f"{definition['TableName']}: the keys must be symbol and alert_id"):
        invoke(stock_trend_analysis, items)
    assert topic.messages() == []


FAULTS = ("throttled", "error", "unreachable", "lost", "denied", "killed", "killed_after")


@pytest.mark.parametrize("part", parts(5))
@settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a seed cannot be shrunk
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_lambda_handler_under_any_schedule_alerts_each_signal_at_least_once(
    stock_trend_analysis: ModuleType,
    ticks_table: Table,
    alerts_table: Table,
    topic: Topic,
    faults: FaultyAws,
    clock,
    caplog,
    part,
    seed,
):
    caplog.set_level(logging.CRITICAL)
    faults.revive()
    faults.plan = lambda operation, body, count: None
    clock.move_to(START + timedelta(minutes=60))
    ticks_table.empty()
    alerts_table.empty()
    topic.messages()
    rng = random.Random(f"{part}/{seed}")
    now, expected, shards = {"S": format_timestamp(START + timedelta(minutes=60))}, set(), []
    for symbol in ("AAPL", "MSFT", "IBM")[: rng.randint(1, 3)]:
        prices = [100 + rng.choice([-1, 0, 0, 1]) for _ in range(rng.randint(20, 35))]
        items = make_series(prices, symbol, fetched_at=now)
        put_all(ticks_table, items)
        shards.append(make_records(items))
        expected |= {(symbol, key) for key in expected_ids(prices, items)}
    worst = rng.choice([0, 0.2, 0.5])
    decide = seeded(rng.random(), {fault: worst * rng.random() / 3 for fault in FAULTS})
    repeats = []

    def plan(operation: str, body: bytes, count: int) -> str | None:
        fault = decide(operation, body, count)
        if operation in ("Publish", "UpdateItem") and fault:
            repeats.append(fault)
        return fault

    def handler(event: dict, context: object) -> dict:
        faults.revive()
        return stock_trend_analysis.lambda_handler(event, context)

    faults.plan = plan
    discarded = {}
    mapping = EventSourceMapping(
        resource("dynamodb_mapping") | {"BatchSize": rng.randint(1, 40)},
        handler,
        sleep=clock.shift,
        discard=discarded.__setitem__,
        rng=rng,
        halves_first_failure=rng.random() < 0.5,
    )
    mapping.run(*shards)
    faults.plan = lambda operation, body, count: None
    for body in discarded.values():
        assert handler(json.loads(json.loads(body)["payload"]), None) == SUCCESS

    alerts = {
        (item["symbol"]["S"], item["alert_id"]["S"]): item["status"]["S"] for item in alerts_table.items()
    }
    envelopes = [
        each for each in topic.messages() if each["MessageAttributes"]["audience"]["Value"] != "digest"
    ]
    messages = [json.loads(envelope["Message"]) for envelope in envelopes]
    sent = [(message["symbol"], message["alert_id"]) for message in messages]
    assert set(alerts) == expected
    assert set(alerts.values()) <= {"sent", "historical"}
    assert set(sent) == {key for key, status in alerts.items() if status == "sent"}
    if time.time() < (START + timedelta(minutes=75)).timestamp():
        assert "historical" not in alerts.values()
    if not repeats:
        assert len(sent) == len(set(sent))


# --- Calls, reports, settings, events ------------------------------------------------------------------


def test_lambda_handler_makes_one_query_a_symbol_and_three_calls_an_alert(
    stock_trend_analysis, ticks_table, now, faults
):
    symbols = ["AAPL", "MSFT", "IBM"]
    items = [item for symbol in symbols for item in make_series(UP_DOWN_UP[:23] + [101] * 100, symbol)]
    put_all(ticks_table, items)
    faults.calls.clear()
    invoke(stock_trend_analysis, items)
    count = len(crossings(UP_DOWN_UP[:23] + [101] * 100)) * 3
    assert count == 3
    assert faults.calls == {"Query": 3, "PutItem": count, "Publish": count, "UpdateItem": count}


def metrics(output: str) -> list[dict]:
    """The embedded-metric-format lines of what was printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"_aws"')]


def test_lambda_handler_reports_a_line_and_metrics_a_batch(
    stock_trend_analysis, ticks_table, clock, capsys, caplog
):
    caplog.set_level(logging.INFO)
    items = make_series([100] * 20 + [101])
    put_all(ticks_table, items)
    clock.move_to(START + timedelta(minutes=21))
    invoke(stock_trend_analysis, items[-2:])
    (line,) = metrics(capsys.readouterr().out)
    expected = {"Records": 2, "Alerts": 1, "Retries": 0, "Lag": 120_000}
    assert {name: line[name] for name in expected} == expected
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "StockMarketStreaming"
    assert line["FunctionName"] == "StockTrendAnalysis"
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert units == dict.fromkeys(("Records", "Alerts", "Retries"), "Count") | {"Lag": "Milliseconds"}
    assert line["_aws"]["Timestamp"] == int(time.time() * 1000)
    assert "Records 2, Alerts 1, Retries 0, Lag 120000" in caplog.messages
    assert any(message.startswith("pending: BUY AAPL at 101") for message in caplog.messages)


def test_lambda_handler_counts_what_lambda_will_send_again(
    stock_trend_analysis, ticks_table, now, faults, capsys
):
    items = make_series([100] * 20 + [101])
    put_all(ticks_table, items)
    faults.plan = lambda operation, body, count: "error" if operation == "Publish" else None
    invoke(stock_trend_analysis, items)
    (line,) = metrics(capsys.readouterr().out)
    assert (line["Alerts"], line["Retries"]) == (0, 1)


@pytest.mark.parametrize("name", ["TABLE_NAME", "ALERTS_TABLE_NAME", "SNS_TOPIC_ARN"])
def test_import_missing_variable_is_named(load_handler, monkeypatch, name):
    load_handler("stock_trend_analysis")
    monkeypatch.delenv(name)
    with pytest.raises(KeyError, match=name):
        load_module("lambdas/stock_trend_analysis.py")


@pytest.mark.parametrize(("short", "long"), [("20", "20"), ("0", "20"), ("30", "20")])
def test_import_averages_of_impossible_lengths_are_refused(load_handler, short, long):
    with pytest.raises(ValueError, match="SMA_SHORT must be above 0 and below SMA_LONG"):
        load_handler("stock_trend_analysis", SMA_SHORT=short, SMA_LONG=long)


@pytest.mark.parametrize(
    "event",
    [{"key1": "value1"}, {}, [], None, {"Records": None}, {"Records": [{"kinesis": {}}]}, {"Records": [1]}],
    ids=str,
)
def test_lambda_handler_other_event_says_which_trigger_it_expects(stock_trend_analysis, event):
    with pytest.raises(ValueError, match="add the ticks table as trigger"):
        stock_trend_analysis.lambda_handler(event, None)


def test_sequence_numbers_of_the_records_are_those_reported():
    assert failure(7)["batchItemFailures"][0]["itemIdentifier"] == sequence_number(
        make_records([make_item()] * 8)[7]
    )


def test_clients_have_a_connection_for_each_thread(stock_trend_analysis):
    for client in (stock_trend_analysis.dynamodb, stock_trend_analysis.sns):
        assert client.meta.config.max_pool_connections == stock_trend_analysis.THREADS
