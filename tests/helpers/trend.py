"""What tests of StockTrendAnalysis share: items of the ticks table, batches, and what came of them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from types import ModuleType

from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.mocked_aws import Table, Topic
from helpers.stream_driver import dynamodb_record
from stream_stock_data import format_timestamp

START = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)  # 09:30 in New York
SUCCESS = {"batchItemFailures": []}
PEOPLE, MACHINES = ("all", "digest"), ("all", "each")  # the audiences that their subscriptions filter on


def make_item(
    symbol: str = "AAPL", minute: float = 0, *, price: object = 100, change: object = 0, **more
) -> dict:
    """An item of the ticks table, quoted so many minutes after START and fetched a second later."""
    moment = START + timedelta(minutes=minute)
    item = {
        "symbol": {"S": symbol},
        "timestamp": {"S": format_timestamp(moment)},
        "fetched_at": {"S": format_timestamp(moment + timedelta(seconds=1))},
        "price": {"N": str(price)},
        "change_percent": {"N": str(change)},
        "exchange_timezone": {"S": "America/New_York"},
    }
    return item | {name: value for name, value in more.items() if value is not None}


def make_series(prices: list, symbol: str = "AAPL", **more) -> list[dict]:
    """An item a minute."""
    return [make_item(symbol, minute, price=price, **more) for minute, price in enumerate(prices)]


def make_records(items: list[dict]) -> list[dict]:
    return [dynamodb_record(item, number) for number, item in enumerate(items)]


def invoke(handler: ModuleType, items: list[dict]) -> dict:
    return handler.lambda_handler({"Records": make_records(items)}, None)


def failure(number: int) -> dict:
    """The response that makes Lambda go on from the record with this number."""
    return {"batchItemFailures": [{"itemIdentifier": f"{number:021d}"}]}


def put_all(table: Table, items: list[dict]) -> None:
    for start in range(0, len(items), 25):
        table.put(*items[start : start + 25])


def statuses(table: Table) -> dict[str, str]:
    """The alerts of the table: alert_id and status."""
    return {item["alert_id"]["S"]: item["status"]["S"] for item in table.items()}


def published(topic: Topic) -> list[str]:
    """The alert_ids of the messages to machines since the last call."""
    envelopes = [
        each for each in topic.messages() if each["MessageAttributes"]["audience"]["Value"] != "digest"
    ]
    return sorted(json.loads(envelope["Message"])["alert_id"] for envelope in envelopes)


def heard(messages: list[dict], *audiences: str) -> list[dict]:
    """What those get who filter on these audiences: the alerts, or digests, as machines read them."""
    return [
        json.loads(json.loads(message["Message"])["sqs"])
        for message in messages
        if message["MessageAttributes"]["audience"]["StringValue"] in audiences
    ]


def deliver_in_batches(
    handler: ModuleType, table: MemoryDynamoDB, items: list[dict], rng: random.Random
) -> None:
    """Batches of any size; in some the table is ahead; some come twice or again from further back."""
    start = 0
    while start < len(items):
        end = start + rng.randint(1, 40)
        ahead = end + rng.choice([0, 0, 5])
        for item in items[:ahead]:
            if (
                not table.ticks.get(item["symbol"]["S"])
                or table.ticks[item["symbol"]["S"]][-1][0] < item["timestamp"]["S"]
            ):
                table.put_tick(item)
        first = max(start - rng.choice([0, 0, 0, 10]), 0)
        batch = items[first:end]
        if rng.random() < 0.2:
            rng.shuffle(batch)
        batch += rng.sample(batch, rng.choice([0, 0, 1]))
        assert invoke(handler, batch) == SUCCESS
        start = end
