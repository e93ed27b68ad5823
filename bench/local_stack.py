"""The project on an emulator of its own, with a subscriber: what end_to_end.py, soak.py and chaos.py share.

It needs Linux, whose /proc tells the memory and the descriptors of a process.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from botocore.config import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

from accounting import Found, Key, Signal, Tick, Verdict, judge  # noqa: E402

from helpers.emulator import ACCOUNT_ID, aws_environment, emulator_client, free_port, wait_until_it_answers  # noqa: E402

STREAM, TABLE, ALERTS = "Stock-market-stream", "stock-market-data", "stock-trend-alerts"
BUCKET = f"stock-market-data-bucket-{ACCOUNT_ID}-us-east-1"
QUEUE = "bench-alerts"
QUIET_SECONDS = 4  # when the emulator has logged nothing for so long, all functions are through

# What tells a process of the stack from another, in its command line
NAMES = {
    "emulator.py": "emulator",
    "ProcessStockData": "ProcessStockData",
    "StockTrendAnalysis": "StockTrendAnalysis",
    "watch.py": "watcher",
    "stream_stock_data": "producer",
}


class Usage(NamedTuple):
    """What a process uses."""

    megabytes: float  # resident
    descriptors: int
    cpu_seconds: float


class LocalStack:
    """An emulator with its files in `folder`, the project set up in it, and a queue that gets the alerts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = aws_environment(self.endpoint)
        self.emulator: subprocess.Popen | None = None
        self.processes: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> LocalStack:
        try:
            self.start()
            self.script("setup.sh")
            self.script("alerts.sh", "subscribe", "sqs", QUEUE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.stop()

    def start(self) -> None:
        """Start the emulator. It goes on from the state that `stop` has left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "ministack.log"
        command = [sys.executable, ROOT / "scripts/lib/local/emulator.py", self.folder, str(self.port)]
        with log.open("a") as output:
            self.emulator = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder
            )
        wait_until_it_answers(f"{self.endpoint}/_ministack/health", self.emulator, log)

    def stop(self) -> None:
        """End the emulator; its state stays."""
        if self.emulator:
            self.emulator.terminate()
            self.emulator.wait(timeout=120)

    def script(self, name: str, *arguments: str) -> str:
        """Run a script of the project. Returns its output, or raises RuntimeError with what it said."""
        done = subprocess.run(
            [ROOT / "scripts" / name, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise RuntimeError(f"scripts/{name} ended with status {done.returncode}:\n{done.stderr}")
        return done.stdout

    def client(self, service: str) -> Any:
        """A client that waits while the emulator is being restarted."""
        config = Config(retries={"mode": "standard", "total_max_attempts": 8})
        return emulator_client(self.endpoint, service, config=config)

    def run(
        self, name: str, command: list[str], on_line: Callable[[str], object], **environment: str
    ) -> subprocess.Popen:
        """Start a process with the settings of the stack. Each line that it prints goes to `on_line`."""
        process = subprocess.Popen(
            command,
            env=self.environment
            | {"STATE_DIR": str(self.folder / name), "TOPIC_NAME": "Stock_Trend_Alerts"}
            | {"STREAM_NAME": STREAM, "TABLE_NAME": TABLE}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=lambda: [on_line(line) for line in process.stdout], daemon=True).start()
        self.processes[name] = process
        return process

    def usage(self) -> dict[str, Usage]:
        """What each process of the stack uses now, by its name in NAMES."""
        parents = {pid: int(stat[1]) for pid in processes() if (stat := stat_of(pid))}
        ours, found = {os.getpid()}, {}
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        for pid in ours - {os.getpid()}:
            name = next((name for part, name in NAMES.items() if part in command_of(pid)), None)
            if name and (usage := usage_of(pid)):
                found[name] = usage
        return found

    def settle(self, *, seconds: float = 300) -> None:
        """Wait until the functions are through with everything. Raises RuntimeError when they never are."""
        log, deadline = self.folder / "ministack.log", time.monotonic() + seconds
        size, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            if log.stat().st_size != size:
                size, since = log.stat().st_size, time.monotonic()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the functions are still busy after {seconds:.0f} s: see {log}")
            time.sleep(0.2)

    # What is there

    def sent(self, stream: str = STREAM) -> list[dict[str, Any]]:
        """The ticks on the stream, in its order; `arrived` is when each came, in epoch seconds."""
        client, ticks = self.client("kinesis"), []
        for shard in client.describe_stream(StreamName=stream)["StreamDescription"]["Shards"]:
            iterator = client.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while (answer := client.get_records(ShardIterator=iterator, Limit=10_000))["Records"]:
                iterator = answer["NextShardIterator"]
                ticks += [
                    json.loads(record["Data"])
                    | {"arrived": record["ApproximateArrivalTimestamp"].timestamp()}
                    for record in answer["Records"]
                ]
        return ticks

    def items(self, table: str, symbols: list[str]) -> Iterator[dict[str, Any]]:
        """The items of these symbols, as plain values."""
        pages = self.client("dynamodb").get_paginator("query")
        for symbol in symbols:
            values = {":symbol": {"S": symbol}}
            for page in pages.paginate(
                TableName=table, KeyConditionExpression="symbol = :symbol", ExpressionAttributeValues=values
            ):
                for item in page["Items"]:
                    yield {name: next(iter(value.values())) for name, value in item.items()}

    def archived(self) -> Counter[Key]:
        """How often each tick stands in the archive."""
        client, lines = self.client("s3"), Counter()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="raw-data/"):
            for found in page.get("Contents", []):
                body = client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
                ticks = map(json.loads, gzip.decompress(body).splitlines())
                lines.update((tick["symbol"], tick["timestamp"]) for tick in ticks)
        return lines

    def counted(self) -> int:
        """How many ticks Athena counts."""
        query = self.folder / "count.sql"
        query.write_text("SELECT count(*) AS ticks FROM stock_ticks\n")
        return int(self.script("query.sh", str(query), "--csv").split()[-1].strip('"'))

    def messages(self, queue: str = QUEUE) -> list[dict[str, Any]]:
        """Take the alerts that wait in the queue; `received` is when each came, in epoch seconds.

        An alert that is no JSON is a dict with its `text`.
        """
        client, alerts = self.client("sqs"), []
        url = client.get_queue_url(QueueName=queue)["QueueUrl"]
        while batch := client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["SentTimestamp"]
        ).get("Messages"):
            handles = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(batch)]
            client.delete_message_batch(QueueUrl=url, Entries=handles)
            for message in batch:
                body = json.loads(message["Body"])
                text = body.get("Message", message["Body"])
                alert = json.loads(text) if text.startswith("{") else {"text": text}
                alerts.append(alert | {"received": int(message["Attributes"]["SentTimestamp"]) / 1000})
        return alerts


def processes() -> list[int]:
    """The ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: state, parent, … Empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def command_of(pid: int) -> str:
    """The command line of a process, its words apart by NUL."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def usage_of(pid: int) -> Usage | None:
    """What a process uses now. None when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    ticks = sum(map(int, stat_of(pid)[11:13])) / os.sysconf("SC_CLK_TCK")
    return Usage(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, descriptors, ticks)


def books(stack: LocalStack, fetched: Iterable[Key] | None = None) -> Verdict:
    """Wait until everything is through, and judge what there is. Without `fetched`, what was sent counts."""
    stack.settle()
    sent = [Tick(tick["symbol"], tick["timestamp"], tick["price"]) for tick in stack.sent()]
    symbols = sorted({tick.symbol for tick in sent})
    stored = [
        Tick(item["symbol"], item["timestamp"], float(item["price"])) for item in stack.items(TABLE, symbols)
    ]
    alerts = {signal_of(item): item["status"] for item in stack.items(ALERTS, symbols) if is_crossover(item)}
    received = Counter(signal_of(message) for message in stack.messages() if is_crossover(message))
    keys = [(tick.symbol, tick.timestamp) for tick in sent] if fetched is None else fetched
    return judge(Found(keys, sent, stored, stack.archived(), stack.counted(), alerts, received))


def is_crossover(alert: dict[str, Any]) -> bool:
    """Whether it is one crossover: not an anomaly, and not the digest of several alerts."""
    return "alert_id" in alert and alert["signal"] in ("BUY", "SELL")


def signal_of(alert: dict[str, Any]) -> Signal:
    return Signal(alert["symbol"], alert["timestamp"], alert["signal"])


def print_verdict(verdict: Verdict) -> None:
    """Print the counts, and the first faults of each kind."""
    print(", ".join(f"{count} {what}" for what, count in verdict.counts.items()))
    for kind, faults in (("lost", verdict.lost), ("wrong", verdict.wrong)):
        print(f"{kind} = {len(faults)}")
        for fault in faults[:10]:
            print(f"  {fault}")
