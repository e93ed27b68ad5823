"""An outage of three hours of each store: nothing is lost, order stays, and every alert is told.

DynamoDB failed for 2 h 52 min in us-east-1 on 2025-10-20 (https://aws.amazon.com/message/101925/). The
mappings run as they are deployed, in the driver of Lambda's stream semantics.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from helpers.aws_faults import FaultyAws
from helpers.crossings import crossings, prices_around
from helpers.mocked_aws import Bucket, Table, Topic, resource
from helpers.stream_driver import EventSourceMapping, dynamodb_record, kinesis_record
from stream_stock_data import build_tick, format_timestamp

START = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
TICKS, STEP = 60, timedelta(minutes=5)  # of each symbol
SYMBOLS = ("AAPL", "MSFT")
OUTAGE = [(START + timedelta(minutes=minutes)).timestamp() for minutes in (75, 75 + 180)]
STORES = {
    "ticks table": {"BatchWriteItem", "Query"},
    "alerts table": {"PutItem", "UpdateItem"},
    "bucket": {"PutObject"},
    "topic": {"Publish"},
}
PRICES = {symbol: prices_around(100, TICKS, rng=random.Random(symbol)) for symbol in SYMBOLS}


def make_ticks() -> list[dict]:
    """What the producer sends, oldest first."""
    ticks = []
    for number in range(TICKS):
        at = START + number * STEP
        for symbol in SYMBOLS:
            quote = {"symbol": symbol, "price": PRICES[symbol][number], "previous_close": 100}
            quote |= {"timestamp": format_timestamp(at), "volume": 1}
            ticks.append(build_tick(quote, source="yahoo", fetched_at=at))
    return ticks


class Pipeline:
    """Both functions behind their mappings; the operations of one store fail during the outage."""

    def __init__(self, store: str, faults: FaultyAws, clock, load_handler: Callable, max_age: str) -> None:
        self.table, self.alerts = Table("ticks_table"), Table("alerts_table")
        self.bucket, self.topic = Bucket(), Topic()
        self.discarded: dict[str, bytes] = {}
        self.written: dict[tuple[str, str], tuple[float, dict]] = {}  # in the order of the first writes
        self.clock, self.store, self.failures = clock, store, 0
        self.processor = load_handler("process_stock_data")
        self.analyst = load_handler("stock_trend_analysis", ALERT_MAX_AGE_MINUTES=max_age)
        faults.plan = self.plan

    def plan(self, operation: str, body: bytes, count: int) -> str | None:
        if operation in STORES[self.store] and OUTAGE[0] <= time.time() < OUTAGE[1]:
            self.failures += 1
            return "error"
        if operation == "BatchWriteItem":
            for put in json.loads(body)["RequestItems"][self.table.definition["TableName"]]:
                item = put["PutRequest"]["Item"]
                key = item["symbol"]["S"], item["timestamp"]["S"]
                self.written.setdefault(key, (time.time(), item))
        return None

    def run(self, ticks: list[dict]) -> None:
        """First the one function, then, at the times of its writes, the other."""
        self.clock.move_to(START)
        records = [
            kinesis_record(
                json.dumps(tick).encode(),
                number,
                arrived_at=datetime.fromisoformat(tick["fetched_at"]).timestamp(),
            )
            for number, tick in enumerate(ticks)
        ]
        self.mapping("kinesis_mapping", self.processor).run(records)
        self.clock.move_to(START)
        changes = [
            dynamodb_record(item, number, arrived_at=at)
            for number, (at, item) in enumerate(self.written.values())
        ]
        self.mapping("dynamodb_mapping", self.analyst).run(changes)

    def mapping(self, name: str, function) -> EventSourceMapping:
        return EventSourceMapping(
            resource(name),
            function.lambda_handler,
            sleep=self.clock.shift,
            discard=self.discarded.__setitem__,
        )

    def told(self) -> list[tuple[str, str]]:
        """Symbol and alert_id of each message that is of one alert."""
        messages = [json.loads(envelope["Message"]) for envelope in self.topic.messages()]
        alerts = [message for message in messages if "count" not in message]  # and no digests
        return sorted((alert["symbol"], alert["alert_id"]) for alert in alerts)


def expected_alerts() -> list[tuple[str, str]]:
    return sorted(
        (symbol, f"{format_timestamp(START + number * STEP)}#{signal}")
        for symbol in SYMBOLS
        for number, signal in crossings(PRICES[symbol]).items()
    )


@pytest.mark.parametrize("store", STORES)
def test_outage_of_three_hours_loses_nothing_keeps_order_and_tells_every_alert(
    mocked_aws, load_handler, faults, clock, store
):
    pipeline, ticks = Pipeline(store, faults, clock, load_handler, max_age="0"), make_ticks()
    pipeline.run(ticks)

    assert pipeline.failures > 30
    assert pipeline.discarded == {}
    keys = {(tick["symbol"], tick["timestamp"]) for tick in ticks}
    assert {(item["symbol"]["S"], item["timestamp"]["S"]) for item in pipeline.table.items()} == keys
    for symbol in SYMBOLS:
        timestamps = [timestamp for each, timestamp in pipeline.written if each == symbol]
        assert timestamps == sorted(timestamps)
    lines = [
        json.loads(line)
        for body in pipeline.bucket.objects("raw-data/").values()
        for line in gzip.decompress(body).splitlines()
    ]
    assert {(line["symbol"], line["timestamp"]) for line in lines} == keys
    assert len(expected_alerts()) > 10
    assert pipeline.told() == expected_alerts()
    assert {alert["status"]["S"] for alert in pipeline.alerts.items()} == {"sent"}


def test_outage_longer_than_the_age_of_an_alert_leaves_each_alert_recorded_and_none_pending(
    mocked_aws, load_handler, faults, clock
):
    pipeline = Pipeline("topic", faults, clock, load_handler, max_age="15")
    pipeline.run(make_ticks())

    alerts = {(item["symbol"]["S"], item["alert_id"]["S"]): item for item in pipeline.alerts.items()}
    assert sorted(alerts) == expected_alerts()
    sent = sorted(key for key, item in alerts.items() if item["status"]["S"] == "sent")
    assert {item["status"]["S"] for item in alerts.values()} == {"sent", "historical"}
    assert pipeline.told() == sent
