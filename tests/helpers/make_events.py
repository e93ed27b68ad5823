#!/usr/bin/env python3
"""Write tests/events/*.json: test events for the Lambda console, one for each handler.

usage: python tests/helpers/make_events.py

Both are of the same 21 ticks, the last of which is a crossover and an anomaly. They are made by the
producer's own build_tick and, for the stream of the table, ProcessStockData's own build_item. Symbol and
source say that they are made up, because who tries them on AWS stores them there (docs/console.md).
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from helpers.checkout import load_module  # noqa: E402
from helpers.stream_driver import dynamodb_record, kinesis_record  # noqa: E402
from stream_stock_data import build_tick, format_timestamp  # noqa: E402

OPENED_AT = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
SYMBOL = "TEST"
PRICES = [190.25, 190.5, 190.4, 190.1, 189.8] * 4 + [202.75]


def make_ticks() -> list[dict]:
    """One tick every 30 s, starting when the market opens."""
    ticks = []
    for number, price in enumerate(PRICES):
        moment = OPENED_AT + timedelta(seconds=30 * number)
        quote = {
            "symbol": SYMBOL,
            "open": 190.25,
            "high": max(PRICES[: number + 1]),
            "low": min(PRICES[: number + 1]),
            "price": price,
            "previous_close": 190,
            "volume": 40_000 * (number + 1),
            "timestamp": format_timestamp(moment),
            "currency": "USD",
            "exchange_timezone": "America/New_York",
            "market_state": "REGULAR",
        }
        ticks.append(build_tick(quote, source="simulated", fetched_at=moment + timedelta(seconds=1)))
    return ticks


def make_events() -> dict[str, dict]:
    """The events by the names of their files."""
    for name in ("TABLE_NAME", "BUCKET_NAME", "AWS_DEFAULT_REGION"):
        os.environ.setdefault(name, "us-east-1")
    handler = load_module("lambdas/process_stock_data.py")
    kinesis, dynamodb = [], []
    for number, tick in enumerate(make_ticks()):
        arrived_at = OPENED_AT.timestamp() + 30 * number + 2
        kinesis.append(kinesis_record(json.dumps(tick).encode(), number, arrived_at=arrived_at))
        kinesis[-1]["kinesis"]["partitionKey"] = SYMBOL
        fields, _ = handler.parse_tick(kinesis[-1]["kinesis"]["data"])
        dynamodb.append(dynamodb_record(handler.build_item(fields), number, arrived_at=arrived_at + 1))
    return {"kinesis_batch.json": {"Records": kinesis}, "dynamodb_batch.json": {"Records": dynamodb}}


if __name__ == "__main__":
    for file_name, event in make_events().items():
        (TESTS / "events" / file_name).write_text(json.dumps(event, indent=2) + "\n")
