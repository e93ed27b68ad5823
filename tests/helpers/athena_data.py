"""An archive as the producer and the functions make it, and an Athena to query it, in MiniStack."""

from __future__ import annotations

import gzip
import json
import random
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from string import Template
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pytest

from helpers.checkout import ROOT, load_module
from helpers.emulator import emulator_client
from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.mocked_aws import SETTINGS, Bucket, quick_moto, resource
from helpers.stream_driver import dynamodb_record, kinesis_record
from stream_stock_data import build_tick, format_timestamp

sys.path.append(str(ROOT / "scripts/lib/archive"))
from local_query import translate

DATABASE, WORKGROUP = "stock_data_db", "stock-market-analytics"
BUCKET = SETTINGS["BUCKET_NAME"]
GLUE_TABLE = json.loads(
    Template((ROOT / "athena/stock_data_table.json").read_text()).safe_substitute(SETTINGS)
)


@dataclass
class Archive:
    """What the functions made of the quotes."""

    objects: dict[str, bytes]  # below raw-data/
    ticks: pd.DataFrame  # each once, oldest first a symbol
    alerts: list[dict[str, dict]]


def session(symbol: str, day: date, *, rng: random.Random, zone: str | None, opens: time) -> list[dict]:
    """100 quotes of a symbol at 30 s, with a gap of ten minutes; the first 30 at one price."""
    start = datetime.combine(day, opens, ZoneInfo(zone or "UTC")).astimezone(UTC)
    price, volume, quotes = 100.0, 0, []
    previous_close = {"MSFT": 90.0}.get(symbol, 99.0)  # MSFT: an anomaly all day
    prices = []
    for number in range(100):
        at = start + timedelta(seconds=30 * number + (600 if number > 60 else 0))
        if number >= 30:
            price = round(price + rng.choice((-0.25, -0.1, 0, 0.1, 0.25)), 2)
        prices.append(price)
        volume += rng.randint(0, 500)
        quotes.append(
            {
                **{"symbol": symbol, "open": prices[0], "high": max(prices), "low": min(prices)},
                **{"price": price, "previous_close": previous_close, "timestamp": format_timestamp(at)},
                **{"volume": volume if zone else None},
                **({"exchange_timezone": zone, "currency": "USD"} if zone else {}),
            }
        )
    return quotes


def quotes_of_two_days() -> list[dict]:
    """Four symbols, of which Sydney's day goes past midnight in UTC, and one has neither volume nor zone."""
    rng, today = random.Random(6), datetime.now(UTC).date()
    quotes = []
    for days_ago in (4, 3):
        day = today - timedelta(days=days_ago)
        for symbol, zone, opens in (
            ("AAPL", "America/New_York", time(9, 30)),
            ("MSFT", "America/New_York", time(9, 30)),
            ("BHP.AX", "Australia/Sydney", time(10, 30)),
            ("EURUSD=X", None, time(8)),
        ):
            quotes += session(symbol, day, rng=rng, zone=zone, opens=opens)
    return sorted(quotes, key=lambda quote: quote["timestamp"])


def make_archive() -> Archive:
    """Run the quotes through build_tick and both handlers; some batches come again, with other borders."""
    ticks = []
    for quote in quotes_of_two_days():
        fetched_at = datetime.fromisoformat(quote["timestamp"]) + timedelta(seconds=1)
        ticks.append(build_tick(quote, source="yahoo", fetched_at=fetched_at))
    later = [tick | {"fetched_at": tick["timestamp"].replace("Z", "")[:-3] + "999Z"} for tick in ticks[40:90]]
    records = [kinesis_record(json.dumps(tick).encode(), number) for number, tick in enumerate(ticks)]
    second_producer = [kinesis_record(json.dumps(tick).encode(), 9000 + n) for n, tick in enumerate(later)]
    with pytest.MonkeyPatch.context() as patch, quick_moto():
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("process_stock_data", "stock_trend_analysis"):
            for variable, value in resource(name)["Environment"]["Variables"].items():
                patch.setenv(variable, value)
        bucket, memory = Bucket(), MemoryDynamoDB()
        processor, analyst = (
            load_module("lambdas/process_stock_data.py"),
            load_module("lambdas/stock_trend_analysis.py"),
        )
        processor.dynamodb = analyst.dynamodb = memory
        analyst.sns = SimpleNamespace(publish=memory.publish)
        batches = [records[start : start + 150] for start in range(0, len(records), 150)]
        for batch in (*batches, records[70:200], records[:33], second_producer):
            assert processor.lambda_handler({"Records": batch}, None) == {"batchItemFailures": []}
        items = sorted(memory.inserted, key=lambda item: item["timestamp"]["S"])
        changes = [dynamodb_record(item, number) for number, item in enumerate(items)]
        for start in range(0, len(changes), 90):
            answer = analyst.lambda_handler({"Records": changes[start : start + 90]}, None)
            assert answer == {"batchItemFailures": []}
        return Archive(bucket.objects("raw-data/"), as_frame(ticks), list(memory.alerts.values()))


def as_frame(ticks: list[dict[str, Any]]) -> pd.DataFrame:
    """Ticks with the columns that the view adds: naive times in UTC and of the exchange, and its date."""
    frame = pd.DataFrame(ticks)
    instants = pd.to_datetime(frame["timestamp"], utc=True)
    frame["timestamp"] = instants.dt.tz_localize(None)
    zones = frame["exchange_timezone"].fillna("UTC")
    frame["exchange_time"] = pd.to_datetime(
        [instant.tz_convert(zone).tz_localize(None) for instant, zone in zip(instants, zones, strict=True)]
    )
    frame["exchange_date"] = frame["exchange_time"].dt.normalize()
    return frame.sort_values(["symbol", "timestamp"], ignore_index=True)


def query_with_duckdb(name: str, ticks: list[dict[str, Any]], folder: Path, *parameters: str) -> pd.DataFrame:
    """The result of athena/NAME.sql over these ticks. It is quick, because it needs no emulator."""
    days: dict[str, list[str]] = {}
    for tick in ticks:
        days.setdefault(tick["timestamp"][:10], []).append(json.dumps(tick) + "\n")
    for day, lines in days.items():
        (folder / f"dt={day}").mkdir()
        (folder / f"dt={day}/lines.json.gz").write_bytes(gzip.compress("".join(lines).encode()))
    files = f"read_json_auto('{folder}/*/*.gz', union_by_name = true, hive_types = {{'dt': VARCHAR}})"
    sql = translate((ROOT / "athena" / f"{name}.sql").read_text(), list(parameters))
    with duckdb.connect() as connection:
        return connection.execute(sql.replace("FROM stock_data_table ", f"FROM {files} ")).df()


class Athena:
    """The workgroup and the table of the project on a MiniStack."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.s3, self.glue, self.athena = map(self.client, ("s3", "glue", "athena"))
        self.s3.create_bucket(Bucket=BUCKET)
        self.glue.create_database(DatabaseInput={"Name": DATABASE})
        self.glue.create_table(DatabaseName=DATABASE, TableInput=GLUE_TABLE)
        self.athena.create_work_group(Name=WORKGROUP, Configuration=resource("workgroup"))

    def client(self, service: str) -> Any:
        return emulator_client(self.endpoint, service)

    def fill(self, objects: dict[str, bytes]) -> None:
        """Put objects into the bucket."""
        for key, body in objects.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def rows(self, sql: str, *parameters: str) -> pd.DataFrame:
        """The result of a query in Athena's SQL, as text. An empty cell is an empty text."""
        started = self.athena.start_query_execution(
            QueryString=translate(sql, list(parameters)),
            QueryExecutionContext={"Database": DATABASE},
            WorkGroup=WORKGROUP,
        )["QueryExecutionId"]
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        state = "QUEUED"
        while state in ("QUEUED", "RUNNING") and datetime.now(UTC) < deadline:
            execution = self.athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]
            state = execution["Status"]["State"]
        assert state == "SUCCEEDED", execution["Status"]
        pages = self.athena.get_paginator("get_query_results").paginate(QueryExecutionId=started)
        cells = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
        header, *rows = [[cell.get("VarCharValue", "") for cell in row] for row in cells]
        return pd.DataFrame(rows, columns=header, dtype=str)

    def query(self, name: str, *parameters: str) -> pd.DataFrame:
        """The result of athena/NAME.sql."""
        return self.rows((ROOT / "athena" / f"{name}.sql").read_text(), *parameters)
