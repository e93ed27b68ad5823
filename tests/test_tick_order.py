"""Both handlers in a row: whatever DynamoDB does with the puts of a batch, the alerts stay the same."""

from __future__ import annotations

import json
import logging
import random
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace

import pytest

from helpers.crossings import crossings
from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.mocked_aws import resource
from helpers.parts import parts
from helpers.stream_driver import EventSourceMapping, dynamodb_record, kinesis_record
from stream_stock_data import build_tick, format_timestamp

START = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
PATIENT = {"MaximumRecordAgeInSeconds": 86_400}


@pytest.fixture
def handlers(load_handler, monkeypatch, clock, caplog) -> tuple[ModuleType, ModuleType]:
    """ProcessStockData, whose bucket takes all, and StockTrendAnalysis, for which no tick is too old."""
    caplog.set_level(logging.CRITICAL)
    clock.move_to(START + timedelta(hours=3))
    processor = load_handler("process_stock_data")
    monkeypatch.setattr(processor, "s3", SimpleNamespace(put_object=lambda **_: {}))
    return processor, load_handler("stock_trend_analysis", ALERT_MAX_AGE_MINUTES="0")


def make_ticks(prices: dict[str, list[float]], *, history: int) -> list[dict]:
    """A tick a minute of each symbol; the first ones are history."""
    ticks = []
    for minute in range(max(map(len, prices.values()))):
        at = START + timedelta(minutes=minute)
        for symbol, series in prices.items():
            quote = {"symbol": symbol, "price": series[minute], "previous_close": series[0]}
            quote |= {"timestamp": format_timestamp(at), "history": True if minute < history else None}
            ticks.append(build_tick(quote, source="yahoo", fetched_at=at))
    return ticks


def store(processor: ModuleType, ticks: list[dict], *, refusals: float, rng: random.Random, sleep) -> list:
    """The items in the order in which a table with whims stored them."""
    table = processor.dynamodb = MemoryDynamoDB(rng, refusals=refusals)
    records = [kinesis_record(json.dumps(tick).encode(), number) for number, tick in enumerate(ticks)]
    settings = resource("kinesis_mapping") | {"BatchSize": rng.randint(5, 120)} | PATIENT
    handler = processor.lambda_handler
    EventSourceMapping(settings, handler, sleep=sleep, discard=pytest.fail, rng=rng).run(records)
    return table.inserted


def judge(analyst: ModuleType, items: list[dict], *, rng: random.Random, sleep) -> set[tuple[str, str]]:
    """The keys of the alerts on items that come one after the other, into a table that is ahead at times."""
    table = analyst.dynamodb = MemoryDynamoDB()
    analyst.sns = SimpleNamespace(publish=table.publish)

    def handler(event: dict, context: object) -> dict:
        last = int(event["Records"][-1]["dynamodb"]["SequenceNumber"])
        for item in items[len(table.inserted) : last + 1 + rng.choice([0, 0, 7])]:
            table.put_tick(item)
        return analyst.lambda_handler(event, context)

    records = [dynamodb_record(item, number) for number, item in enumerate(items)]
    settings = resource("dynamodb_mapping") | {"BatchSize": rng.randint(5, 120)} | PATIENT
    EventSourceMapping(settings, handler, sleep=sleep, discard=pytest.fail, rng=rng).run(records)
    return set(table.alerts)


@pytest.mark.parametrize("part", parts(10))
@pytest.mark.parametrize("refusals", [0, 0.05, 0.4])
def test_alerts_are_the_same_whatever_puts_are_refused_and_in_which_order_they_run(
    handlers, clock, capsys, part, refusals
):
    processor, analyst = handlers
    found = 0
    for seed in range(part * 2, part * 2 + 2):
        rng = random.Random(seed)
        symbols, count = [f"S{number}" for number in range(rng.randint(1, 30))], rng.randint(25, 60)
        prices = {symbol: [rng.choice([99.9, 100, 100, 100.1]) for _ in range(count)] for symbol in symbols}
        ticks = make_ticks(prices, history=rng.choice([0, 0, 22]))
        live = {tick["timestamp"] for tick in ticks if not tick.get("history")}
        expected = {
            (symbol, f"{timestamp}#{signal}")
            for symbol, series in prices.items()
            for minute, signal in crossings(series).items()
            if (timestamp := format_timestamp(START + timedelta(minutes=minute))) in live
        }
        for number in sorted(rng.sample(range(len(ticks)), 5), reverse=True):  # some records come twice
            ticks.insert(number + rng.randint(1, 40), ticks[number])
        items = store(processor, ticks, refusals=refusals, rng=rng, sleep=clock.shift)
        alerts = judge(analyst, items, rng=rng, sleep=clock.shift)
        assert {key for key in alerts if key[1].partition("#")[0] in live} == expected, f"seed {seed}"
        found += len(expected)
    assert found > 20
