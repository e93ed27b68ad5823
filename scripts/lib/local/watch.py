"""Runs the producer on the local stack, and prints what comes out at the other end.

    watch.py LOG_DIRECTORY PRODUCER_COMMAND…

Prints each tick once it is in the table (it reads the table's stream, as the analysis does), and each alert
once it is in an SQS queue that is subscribed to the topic. After the producer has ended, or at SIGINT,
SIGTERM or SIGHUP, it waits until both functions have dealt with all ticks, prints a summary and ends.

Environment: AWS_ENDPOINT_URL, STREAM_NAME, TABLE_NAME, TOPIC_NAME. In LOG_DIRECTORY it reads ministack.log,
writes the producer's output to producer.log, and makes the file first_tick at the first tick.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

sys.path.append(str(Path(__file__).resolve().parents[3]))
from stream_stock_data import amount

QUEUE_NAME = "stock-alerts-printed"
ROUND_SECONDS = 0.25
STALL_SECONDS = 60  # after the producer has ended: how long without progress is too long
LAST_CALL_SECONDS = 10  # after Ctrl-C: how long to wait for ticks on their way
LINES_UP_TO = 20  # with more symbols, a tick does not get a line of its own
CONFIG = Config(retries={"total_max_attempts": 2}, connect_timeout=5, read_timeout=30)


class StreamReader:
    """All new records of a Kinesis data stream or of a DynamoDB table's stream."""

    def __init__(self, client: Any, stream: dict[str, str], start: str) -> None:
        self._client = client
        shards = client.describe_stream(**stream)["StreamDescription"]["Shards"]
        self._iterators = [
            client.get_shard_iterator(**stream, ShardId=shard["ShardId"], ShardIteratorType=start)[
                "ShardIterator"
            ]
            for shard in shards
        ]

    def read(self) -> Iterator[dict[str, Any]]:
        """The records since the last call, shard by shard."""
        for number in range(len(self._iterators)):
            records = [{}]
            while records:
                answer = self._client.get_records(ShardIterator=self._iterators[number], Limit=1000)
                self._iterators[number] = answer["NextShardIterator"]
                yield from (records := answer["Records"])


class Queue:
    """An SQS queue that is subscribed to the topic: alerts arrive in it as at any subscriber."""

    def __init__(self, topic_name: str) -> None:
        self._client = boto3.client("sqs", config=CONFIG)
        tags = {"project": "stock-market-streaming"}
        self._url = self._client.create_queue(QueueName=QUEUE_NAME, tags=tags)["QueueUrl"]
        attributes = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        topic_arn = ":".join(["arn:aws:sns", *arn.split(":")[3:5], topic_name])
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._client.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        one_by_one = json.dumps({"audience": ["all", "each"]})  # without the digests that people get
        settings = {"RawMessageDelivery": "true", "FilterPolicy": one_by_one}
        boto3.client("sns", config=CONFIG).subscribe(
            TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, Attributes=settings
        )

    def receive(self) -> Iterator[dict[str, Any]]:
        """The waiting alerts; each is deleted after it was handled."""
        while messages := self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                yield json.loads(message["Body"])
                self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


class Screen:
    """The terminal: alerts have a colour, and the page's address stays in sight. Elsewhere, plain lines."""

    def __init__(self, directory: Path) -> None:
        self._address = directory / "page_address"
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._since_address = 0

    def show(self, line: str, *, is_alert: bool = False) -> None:
        """Print a line."""
        if not self._console.is_terminal:
            print(line, flush=True)
            return
        self._console.print(line, style="yellow" if is_alert else None)
        self._since_address += 1
        if self._since_address >= self._console.height - 2 and self._address.exists():
            self._console.print(f"page    {self._address.read_text()}", style="cyan")
            self._since_address = 0


class Watch:
    """Counts what was sent, stored, judged and alerted in this run, and prints it."""

    def __init__(self, directory: Path) -> None:
        streams = boto3.client("dynamodbstreams", config=CONFIG)
        table = boto3.client("dynamodb", config=CONFIG).describe_table(TableName=os.environ["TABLE_NAME"])
        kinesis = boto3.client("kinesis", config=CONFIG)
        self._table = StreamReader(streams, {"StreamArn": table["Table"]["LatestStreamArn"]}, "TRIM_HORIZON")
        self._stream = StreamReader(kinesis, {"StreamName": os.environ["STREAM_NAME"]}, "LATEST")
        self._queue = Queue(os.environ["TOPIC_NAME"])
        self._directory = directory
        self._show = Screen(directory).show
        self._log = (directory / "ministack.log").open(encoding="utf-8", errors="replace")
        self.totals: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self._history: Counter[str] = Counter()
        self._bars: dict[tuple[str, str], str] = {}

    def round(self) -> bool:
        """Prints what is new; returns whether anything was."""
        before = self.totals.copy()
        self.totals["sent"] += sum(1 for _ in self._stream.read())
        self._count_processed()
        live = []
        for record in self._table.read():
            if record["eventName"] == "INSERT":
                self.totals["stored"] += 1
                tick = {
                    name: next(iter(value.values())) for name, value in record["dynamodb"]["NewImage"].items()
                }
                if "replayed_from" in tick:
                    self._bars[tick["symbol"], tick["timestamp"]] = tick["replayed_from"]
                if tick.get("history"):
                    self._history[tick["symbol"]] += 1
                else:
                    live.append(tick)
        if live:
            self._print_history()
            (self._directory / "first_tick").touch()
        if len({tick["symbol"] for tick in live}) <= LINES_UP_TO:
            for tick in live:
                self._show(describe(tick))
        else:
            self._show(f"stored  {counted(len(live), 'tick')}, the newest of {live[-1]['timestamp']}")
        for alert in self._queue.receive():
            self.totals["alerts"] += 1
            self.alerts[alert["signal"]] += 1
            bar = self._bars.get((alert["symbol"], alert["timestamp"]))
            self._show(f"ALERT   {alert['timestamp'][11:23]}  {alert['message']}{of_bar(bar)}", is_alert=True)
        return self.totals != before

    def is_through(self) -> bool:
        """Whether both functions have handled everything that was sent so far."""
        return (
            self.totals["ProcessStockData"] >= self.totals["sent"]
            and self.totals["StockTrendAnalysis"] >= self.totals["stored"]
        )

    def summary(self) -> str:
        """The last line of the run."""
        self._print_history()
        kinds = ", ".join(f"{count} {signal}" for signal, count in sorted(self.alerts.items()))
        return (
            f"{counted(self.totals['stored'], 'tick')} stored, {counted(self.totals['alerts'], 'alert')}"
            + (f" ({kinds})" if kinds else "")
        )

    def _print_history(self) -> None:
        if self._history:
            symbols = ", ".join(list(self._history)[:LINES_UP_TO]) + (
                "…" * (len(self._history) > LINES_UP_TO)
            )
            self._show(f"stored  {counted(self._history.total(), 'tick')} of history: {symbols}")
            self._history.clear()

    def _count_processed(self) -> None:
        # No AWS call tells how far an event source mapping has read, but MiniStack logs it.
        for line in self._log:
            if found := re.search(r"ESM: Lambda (\w+) processed (\d+) ", line):
                self.totals[found[1]] += int(found[2])


def describe(tick: dict[str, str]) -> str:
    """One line for a tick in the table."""
    price = amount(float(tick["price"]))
    volume = f"  volume {int(tick['volume']):,}" if "volume" in tick else ""
    return (
        f"stored  {tick['timestamp'][11:23]}  {tick['symbol']:<8} {price:>10} {tick.get('currency', ''):<3}"
        f" {float(tick['change_percent']):+7.2f} %{volume}{of_bar(tick.get('replayed_from'))}"
        f"{'  (made up)' * (tick.get('source') == 'simulated')}"
    )


def counted(number: int, noun: str) -> str:
    """For example 1 alert, 2 alerts."""
    return f"{number} {noun}{'s' * (number != 1)}"


def of_bar(replayed_from: str | None) -> str:
    """The end of the line of a replayed tick: the date of its bar."""
    return f"  (bar of {replayed_from})" if replayed_from else ""


def main(directory: Path, command: list[str]) -> int:
    """Runs the producer and watches; returns the exit status."""
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopping.append(number))
    watch = Watch(directory)
    with (directory / "producer.log").open("a") as output:
        producer = subprocess.Popen(command, stdout=output)
    try:
        return follow(watch, producer, stopping)
    finally:
        if producer.poll() is None:
            producer.kill()
        producer.wait()


def follow(watch: Watch, producer: subprocess.Popen, stopping: list[int]) -> int:
    """Prints until the producer has ended, by itself or stopped, and its ticks have come through."""
    deadline = None
    while True:
        ended = producer.poll() is not None  # asked first: the round then sees its last ticks
        if watch.round() and not stopping:
            deadline = None
        if ended and watch.is_through():
            break
        if stopping and producer.poll() is None and deadline is None:
            producer.terminate()
        if (stopping or ended) and deadline is None:
            deadline = time.monotonic() + (LAST_CALL_SECONDS if stopping else STALL_SECONDS)
        if deadline and time.monotonic() > deadline:
            print(f"{watch.summary()}; the last ticks did not come through: see ministack.log", flush=True)
            return 0 if stopping else 1
        time.sleep(ROUND_SECONDS)
    print(watch.summary(), flush=True)
    return 0 if stopping else producer.returncode


if __name__ == "__main__":
    try:
        status = main(Path(sys.argv[1]), sys.argv[2:])
    except (ClientError, BotoCoreError) as error:
        print(f"error: the local stack does not answer: {error}", file=sys.stderr)
        status = 1
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
