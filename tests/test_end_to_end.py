"""The whole pipeline on a real MiniStack under IAM: from the producer's process to a message in a queue."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers.checkout import ROOT
from helpers.emulator import ACCOUNT_ID, aws_environment, emulator_client, ministack
from helpers.yahoo import YahooStandIn

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("end_to_end")]

BUCKET = f"stock-market-data-bucket-{ACCOUNT_ID}-us-east-1"
TOPIC_ARN = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:Stock_Trend_Alerts"


@dataclass
class Stack:
    """A MiniStack with the project set up in it, and a queue subscribed to its alerts."""

    endpoint: str
    directory: Path
    queue_url: str = ""

    def client(self, service: str) -> Any:
        return emulator_client(self.endpoint, service)

    def items(self, table: str, symbol: str) -> list[dict[str, dict]]:
        """All items of a symbol, oldest first."""
        pages = (
            self.client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=table,
                ConsistentRead=True,
                KeyConditionExpression="symbol = :symbol",
                ExpressionAttributeValues={":symbol": {"S": symbol}},
            )
        )
        return [item for page in pages for item in page["Items"]]

    def produce(self, *flags: str, state: str, **environment: str) -> subprocess.CompletedProcess:
        """Run the producer as a user does and wait for its end."""
        return subprocess.run(
            [sys.executable, ROOT / "stream_stock_data.py", *flags],
            env=aws_environment(self.endpoint) | environment | {"STATE_DIR": str(self.directory / state)},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    def messages(self) -> list[dict[str, Any]]:
        """Take all messages that wait in the queue."""
        sqs, bodies = self.client("sqs"), []
        while batch := sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(json.loads(message["Body"]))
        return bodies


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, quick_cli: Path) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("end_to_end")
    with ministack(directory / "ministack") as endpoint:
        stack = Stack(endpoint, directory)
        environment = aws_environment(endpoint)
        environment["PATH"] = f"{quick_cli}{os.pathsep}{environment['PATH']}"
        subprocess.run([ROOT / "scripts/setup.sh"], env=environment, check=True, stdin=subprocess.DEVNULL)
        sqs = stack.client("sqs")
        stack.queue_url = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        queue_arn = f"arn:aws:sqs:us-east-1:{ACCOUNT_ID}:alerts"
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": queue_arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC_ARN}},
                }
            ],
        }
        sqs.set_queue_attributes(QueueUrl=stack.queue_url, Attributes={"Policy": json.dumps(policy)})
        machines = {"FilterPolicy": json.dumps({"audience": ["all", "each"]})}
        stack.client("sns").subscribe(
            TopicArn=TOPIC_ARN, Protocol="sqs", Endpoint=queue_arn, Attributes=machines
        )
        yield stack


def eventually(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    """The first true result of the condition; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s: {condition()!r}")


def crossovers(prices: pd.Series) -> list[tuple[str, str]]:
    """(timestamp, BUY or SELL) of each SMA-5/SMA-20 crossover of prices indexed by timestamp, by pandas."""
    spread = (prices.rolling(5).mean() - prices.rolling(20).mean()).round(9)
    side = spread.dropna().map(lambda value: (value > 0) - (value < 0))
    side = side[side != 0]
    crossed = side[(side != side.shift()) & side.shift().notna()]
    return [(timestamp, "BUY" if value > 0 else "SELL") for timestamp, value in crossed.items()]


def archived_ticks(stack: Stack, symbol: str) -> list[dict[str, Any]]:
    """The ticks of a symbol in the archive, in the order of their objects."""
    s3 = stack.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="raw-data/")
    ticks = []
    for entry in (entry for page in pages for entry in page.get("Contents", [])):
        lines = gzip.decompress(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()).splitlines()
        ticks += [
            tick | {"dt": entry["Key"].split("/")[1].removeprefix("dt=")} for tick in map(json.loads, lines)
        ]
    return [tick for tick in ticks if tick["symbol"] == symbol]


def test_pipeline_simulated_quotes_become_items_objects_rows_and_messages(stack: Stack) -> None:
    symbols = ("AAPL", "MSFT")
    stack.messages()
    stack.produce(
        *("--source", "simulated", "--symbols", ",".join(symbols), "--seed", "7"),
        *("--delay", "0.1", "--count", "90", "--backfill", "60"),
        state="simulated",
    )
    expected = 60 + 90

    for symbol in symbols:
        eventually(lambda symbol=symbol: len(stack.items("stock-market-data", symbol)) == expected)
        items = stack.items("stock-market-data", symbol)
        prices = pd.Series({item["timestamp"]["S"]: float(item["price"]["N"]) for item in items})
        signals = crossovers(prices)
        eventually(
            lambda symbol=symbol, signals=signals: (
                {
                    (alert["timestamp"]["S"], alert["signal"]["S"])
                    for alert in stack.items("stock-trend-alerts", symbol)
                    if alert["signal"]["S"] != "ANOMALY" and alert["status"]["S"] != "pending"
                }
                == set(signals)
            )
        )
        history = {item["timestamp"]["S"] for item in items if "history" in item}
        alerts = stack.items("stock-trend-alerts", symbol)
        assert len(history) == 60
        assert any(timestamp not in history for timestamp, _ in signals)
        assert {alert["status"]["S"] for alert in alerts if alert["timestamp"]["S"] in history} <= {
            "historical"
        }
        assert {alert["status"]["S"] for alert in alerts if alert["timestamp"]["S"] not in history} == {
            "sent"
        }

        archived = eventually(
            lambda symbol=symbol: (
                (found := archived_ticks(stack, symbol)) and len(found) >= expected and found
            )
        )
        assert {tick["timestamp"] for tick in archived} == set(prices.index)
        assert all(tick["dt"] == tick["timestamp"][:10] for tick in archived)

    sent = {
        (alert["symbol"]["S"], alert["alert_id"]["S"])
        for symbol in symbols
        for alert in stack.items("stock-trend-alerts", symbol)
        if alert["status"]["S"] == "sent"
    }
    received: list[dict[str, Any]] = []
    eventually(lambda: received.extend(stack.messages()) or len(received) >= len(sent))
    alerts = [json.loads(envelope["Message"]) for envelope in received]
    assert sorted((alert["symbol"], alert["alert_id"]) for alert in alerts) == sorted(sent)
    assert all(
        envelope["MessageAttributes"]["symbol"]["Value"] == alert["symbol"]
        and envelope["MessageAttributes"]["signal"]["Value"] == alert["signal"]
        for envelope, alert in zip(received, alerts, strict=True)
    )

    rows = athena(
        stack,
        "SELECT symbol, count(*), min(price) FROM stock_data_table WHERE source = 'simulated' GROUP BY 1",
    )
    lowest = {
        symbol: min(float(item["price"]["N"]) for item in stack.items("stock-market-data", symbol))
        for symbol in symbols
    }
    assert sorted((symbol, int(count), float(low)) for symbol, count, low in rows) == sorted(
        (symbol, expected, lowest[symbol]) for symbol in symbols
    )


def athena(stack: Stack, sql: str) -> list[list[str]]:
    """The rows that a query gives in the project's workgroup, without the header."""
    client = stack.client("athena")
    query = client.start_query_execution(
        QueryString=sql,
        QueryExecutionContext={"Database": "stock_data_db"},
        WorkGroup="stock-market-analytics",
    )["QueryExecutionId"]

    def state() -> str | None:
        status = client.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
        assert status["State"] != "FAILED", status
        return status["State"] == "SUCCEEDED"

    eventually(state)
    rows = client.get_query_results(QueryExecutionId=query)["ResultSet"]["Rows"]
    return [[cell.get("VarCharValue", "") for cell in row["Data"]] for row in rows[1:]]


def test_pipeline_quotes_of_the_yahoo_client_are_stored_as_yahoo_gave_them(
    stack: Stack, tmp_path: Path
) -> None:
    with YahooStandIn(tmp_path) as yahoo:
        stack.produce(
            "--symbols",
            "IBM,^GSPC,BTC-USD",
            "--delay",
            "1.1",
            "--count",
            "3",
            state="yahoo",
            **yahoo.environment,
        )
    for symbol in ("IBM", "^GSPC", "BTC-USD"):
        items = eventually(
            lambda symbol=symbol: (found := stack.items("stock-market-data", symbol))[1:] and found
        )
        assert {item["source"]["S"] for item in items} == {"yahoo"}
        assert all(item["exchange_timezone"]["S"] == "America/New_York" for item in items)
        assert not any("history" in item for item in items)


def test_pipeline_poison_on_the_stream_goes_to_rejected_data_and_blocks_nothing(stack: Stack) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    tick = {
        **dict.fromkeys(("open", "high", "low", "price", "previous_close"), 10),
        **{"symbol": "AFTER", "change": 0, "change_percent": 0, "volume": 1},
        **{"timestamp": now, "fetched_at": now, "source": "simulated"},
    }
    kinesis = stack.client("kinesis")
    poison = kinesis.put_record(StreamName="Stock-market-stream", Data=b"not a tick", PartitionKey="AFTER")
    kinesis.put_record(StreamName="Stock-market-stream", Data=json.dumps(tick), PartitionKey="AFTER")

    eventually(lambda: stack.items("stock-market-data", "AFTER"))
    s3 = stack.client("s3")
    keys = [
        entry["Key"]
        for entry in eventually(
            lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="rejected-data/").get("Contents")
        )
    ]
    assert [key.rsplit("-", 1)[1] for key in keys] == [f"{poison['SequenceNumber']}.json"]
    reject = json.loads(s3.get_object(Bucket=BUCKET, Key=keys[0])["Body"].read())
    assert base64.b64decode(reject["payload"]) == b"not a tick"
    assert reject["reason"].startswith("not JSON")
    assert reject["sequence_number"] == poison["SequenceNumber"]
