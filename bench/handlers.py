#!/usr/bin/env python3
"""Both Lambda handlers against a plain re-creation of the tutorial's: speed, calls, cost, CPU and memory.

usage: python bench/handlers.py

The same ticks (20 symbols × 60, and 1 × 780 for the trend analysis) go through each handler under moto, every
call delayed as on AWS (DynamoDB 5 ms, S3 30 ms, SNS 20 ms). Much of that time is moto's own, so our handlers
also run with the recorded answers: with the delays for the duration that Lambda would bill, without them and
in a process of its own for CPU and memory. It takes some five minutes, nearly all of them in the tutorial's
handlers. Exit status 1 if a goal is missed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import pickle
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "TABLE_NAME": "ticks",
    "ALERTS_TABLE_NAME": "alerts",
    "BUCKET_NAME": "archive",
    "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:alerts",
    "ALERT_MAX_AGE_MINUTES": "0",
}
os.environ.pop("AWS_ENDPOINT_URL", None)
os.environ.update(SETTINGS)

import boto3  # noqa: E402
import tutorial  # noqa: E402
from botocore.awsrequest import AWSResponse  # noqa: E402
from moto import mock_aws  # noqa: E402
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse  # noqa: E402

from helpers.stream_driver import dynamodb_record, kinesis_record  # noqa: E402
from stream_stock_data import build_tick, format_timestamp  # noqa: E402

LATENCY = {"dynamodb": 0.005, "s3": 0.030, "sns": 0.020}  # seconds a call
BATCH, TUTORIAL_BATCH = 500, 2
ROUNDS = 5  # of what takes less than a second; the best counts, for other work on the machine only slows it

# us-east-1, US dollars; SNS is left out: it costs the same for both, by the message
A_WRITE, A_READ, AN_S3_PUT, AN_INVOCATION, A_GB_SECOND = 0.625e-6, 0.125e-6, 5e-6, 0.2e-6, 0.0000166667
MEMORY_GB = {"ours": 0.25, "tutorial": 0.125}

CHILD = """
import io, json, pickle, resource, sys, time
from contextlib import redirect_stdout
path, batches, answers = pickle.load(sys.stdin.buffer)
sys.path.insert(0, path.rpartition("/")[0])
handler = __import__(path.rpartition("/")[2])
from botocore.awsrequest import AWSResponse

class Body(io.BytesIO):
    def stream(self, **_):
        yield self.read()

def answer(request, event_name, **_):
    url, body = request.url, request.body if isinstance(request.body, bytes) else b""
    return AWSResponse(url, *answers[event_name, url, body][:2], Body(answers[event_name, url, body][2]))

for name in ("dynamodb", "s3", "sns"):
    if client := getattr(handler, name, None):
        client.meta.events.register_first("before-send", answer)
events = [json.loads(batch) for batch in batches]
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:  # not Linux: macOS counts bytes, and not those of the process that forked this one
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

seconds = []
with redirect_stdout(io.StringIO()):
    for _ in range(4):
        start = time.process_time()
        for event in events:
            assert handler.lambda_handler(event, None) == {"batchItemFailures": []}
        seconds.append(time.process_time() - start)
records = sum(len(event["Records"]) for event in events)
print(json.dumps([min(seconds) / records, peak()]))
"""
IMPORT = """
import sys, time
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""


class Wire:
    """Between botocore and moto: counts and delays the calls, records the answers and can give them again."""

    def __init__(self) -> None:
        self.latency: dict[str, float] = {}
        self.is_canned = self.is_paused = False
        self.answers: dict[tuple, tuple] = {}
        self.reset()

    def reset(self) -> None:
        self.calls: Counter[str] = Counter()
        self.writes = self.reads = self.moto_seconds = 0.0

    @contextmanager
    def installed(self) -> Iterator[None]:
        moto = BotocoreStubber.__call__

        def call(stubber: BotocoreStubber, event_name: str, request, **rest) -> AWSResponse:
            if self.is_paused:
                return moto(stubber, event_name, request, **rest)
            service, operation = event_name.split(".")[1:]
            self.calls[operation] += 1
            time.sleep(self.latency.get(service, 0))
            key = event_name, request.url, request.body if isinstance(request.body, bytes) else b""
            if not self.is_canned:
                start = time.perf_counter()
                response = moto(stubber, event_name, request, **rest)
                self.moto_seconds += time.perf_counter() - start
                self.answers[key] = response.status_code, dict(response.headers), response.content
            status, headers, body = self.answers[key]
            if service == "dynamodb":
                self._count_units(operation, json.loads(request.body), json.loads(body))
            return AWSResponse(request.url, status, headers, MockRawResponse(body))

        BotocoreStubber.__call__ = call
        try:
            yield
        finally:
            BotocoreStubber.__call__ = moto

    def _count_units(self, operation: str, request: dict, answer: dict) -> None:
        """Units as DynamoDB bills them: 1 KB a write, 4 KB a consistent read, 8 KB one that is not."""
        if operation == "BatchWriteItem":
            self.writes += sum(len(puts) for puts in request["RequestItems"].values())
        elif operation == "Query":
            read = answer["ScannedCount"] * ITEM_BYTES
            self.reads += math.ceil(read / 4096) * (1 if request.get("ConsistentRead") else 0.5)
        else:
            self.writes += 1


wire = Wire()


def make_ticks(*, symbols: int, ticks: int) -> list[dict]:
    """Ticks of random walks, one a symbol and 30 s."""
    rng = random.Random(4)
    prices = dict.fromkeys((f"SYM{number:02d}" for number in range(symbols)), 100.0)
    start = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    result = []
    for step in range(ticks):
        for symbol in prices:
            prices[symbol] *= 1 + rng.gauss(0, 0.0006)
            price = prices[symbol]
            now = start + timedelta(seconds=30 * step)
            quote = {"symbol": symbol, "open": 100, "high": price * 1.01, "low": price * 0.99, "price": price}
            quote |= {"previous_close": 99.5, "volume": 1000 * step, "timestamp": format_timestamp(now)}
            quote |= {"currency": "USD", "exchange_timezone": "America/New_York", "market_state": "REGULAR"}
            result.append(build_tick(quote, source="yahoo", fetched_at=now))
    return result


def load(path: Path) -> ModuleType:
    """A handler's file as a fresh module, its clients made inside moto."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_resources() -> None:
    """The tables, the bucket and the topic, empty."""
    for name, sort_key in (("ticks", "timestamp"), ("alerts", "alert_id")):
        keys = {"symbol": "HASH", sort_key: "RANGE"}
        boto3.client("dynamodb").create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            BillingMode="PAY_PER_REQUEST",
        )
    boto3.client("s3").create_bucket(Bucket="archive")
    boto3.client("sns").create_topic(Name="alerts")


def store(items: list[dict]) -> None:
    """Put items on the ticks table, as fast as moto can."""
    client = boto3.client("dynamodb")
    for start in range(0, len(items), 25):
        puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        client.batch_write_item(RequestItems={"ticks": puts})


def run(handler: Callable, batches: list[dict], *, before_each: Callable[[dict], None] | None) -> float:
    """Seconds that the handler took for the batches; `before_each` is neither timed nor counted."""
    wire.reset()
    seconds = 0.0
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
        for event in batches:
            if before_each:
                wire.is_paused = True
                before_each(event)
                wire.is_paused = False
            start = time.perf_counter()
            handler(event, None)
            seconds += time.perf_counter() - start
    return seconds


def measure(path: Path | ModuleType, records: list[dict], *, of_trend: bool) -> dict[str, float]:
    """Run one handler over the records with moto, and for what Lambda would bill without moto's own time."""
    is_ours = isinstance(path, Path)
    size = BATCH if is_ours else TUTORIAL_BATCH
    batches = [{"Records": records[start : start + size]} for start in range(0, len(records), size)]

    def before_each(event: dict) -> None:
        store([record["dynamodb"]["NewImage"] for record in event["Records"]])

    wire.answers.clear()
    with mock_aws(), wire.installed():
        wire.latency, wire.is_canned = LATENCY, False
        wire.is_paused = True
        make_resources()
        wire.is_paused = False
        if is_ours:
            handler = load(path).lambda_handler
        else:
            handler = path.StockTrendAnalysis() if of_trend else path.ProcessStockData()
        seconds = run(handler, batches, before_each=before_each if of_trend else None)
        calls, writes, reads = wire.calls, wire.writes, wire.reads
        billed = seconds - wire.moto_seconds  # one call after the other
        if is_ours:  # several at a time: once more, with the answers that moto gave
            wire.is_canned = True
            billed = run(handler, batches, before_each=None)
    cost = writes * A_WRITE + reads * A_READ + calls["PutObject"] * AN_S3_PUT + len(batches) * AN_INVOCATION
    cost += billed * MEMORY_GB["ours" if is_ours else "tutorial"] * A_GB_SECOND
    return {
        "rate": len(records) / seconds,
        "cost": cost / len(records) * 1e6,
        "calls": {name: count / len(records) * 1000 for name, count in sorted(calls.items())},
        "alerts": calls["Publish"],
        "batches": batches,
        "answers": dict(wire.answers),
    }


def measure_alone(path: Path, result: dict) -> tuple[float, float]:
    """CPU seconds a record with canned answers, and MiB of peak memory, in a process without moto."""
    given = str(path.with_suffix("")), [json.dumps(batch) for batch in result["batches"]], result["answers"]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", CHILD], input=pickle.dumps(given), capture_output=True, check=True
        ).stdout
        for _ in range(ROUNDS)
    ]
    cpu, memory = zip(*map(json.loads, outputs), strict=True)
    return min(cpu), max(memory)


def measure_import(path: Path, services: list[str]) -> float:
    """Seconds that importing the handler takes beyond importing boto3 and creating its clients."""
    clients = "; ".join(f"boto3.client({service!r}, config=config)" for service in services)
    baseline = (
        f"import boto3; from botocore.config import Config; config = Config(connect_timeout=2); {clients}"
    )
    whole = f"sys.path.insert(0, {str(path.parent)!r}); import {path.stem}"
    seconds = {baseline: [], whole: []}
    for _ in range(2 * ROUNDS):
        for code, measured in seconds.items():
            command = [sys.executable, "-c", IMPORT.format(code)]
            measured.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    return min(seconds[whole]) - min(seconds[baseline])


def main() -> None:
    """Measure, print, compare with the goals."""
    logging.disable(logging.CRITICAL)
    process, trend = ROOT / "lambdas/process_stock_data.py", ROOT / "lambdas/stock_trend_analysis.py"
    many, day = make_ticks(symbols=20, ticks=60), make_ticks(symbols=1, ticks=780)
    with mock_aws():
        build_item, parse_tick = (getattr(load(process), name) for name in ("build_item", "parse_tick"))
    kinesis = [kinesis_record(json.dumps(tick).encode(), number) for number, tick in enumerate(many)]

    def stream(ticks: list[dict]) -> list[dict]:
        fields = [
            parse_tick(kinesis_record(json.dumps(tick).encode(), 0)["kinesis"]["data"])[0] for tick in ticks
        ]
        return [dynamodb_record(build_item(tick), number) for number, tick in enumerate(fields)]

    global ITEM_BYTES
    item = stream(day[-1:])[0]["dynamodb"]["NewImage"]
    ITEM_BYTES = sum(len(name) + len(str(*value.values())) for name, value in item.items())

    runs = {
        "ProcessStockData, 20 × 60": (process, kinesis, False),
        "StockTrendAnalysis, 20 × 60": (trend, stream(many), True),
        "StockTrendAnalysis, 1 × 780": (trend, stream(day), True),
    }
    results = {}
    for name, (path, records, of_trend) in runs.items():
        attempts = [measure(path, records, of_trend=of_trend) for _ in range(ROUNDS)]
        ours = max(attempts, key=lambda attempt: attempt["rate"])
        theirs = measure(tutorial, records, of_trend=of_trend)
        cpu, memory = measure_alone(path, ours)
        results[name] = ours, theirs, cpu, memory
        for who, result in (("ours", ours), ("tutorial", theirs)):
            calls = ", ".join(f"{count:.1f} {operation}" for operation, count in result["calls"].items())
            print(f"{name}, {who}: {result['rate']:,.0f} records/s, ${result['cost']:.3f} a million records")
            print(f"    {result['alerts']} alerts; calls per 1,000 records: {calls}")
        print(f"    ours alone: {cpu * 1e3:.3f} ms CPU a record, {memory:.0f} MiB at most")

    stored, judged, judged_day = results.values()
    queries_allowed = 20 * len(judged[0]["batches"])
    queries = judged[0]["calls"]["Query"] * len(runs["StockTrendAnalysis, 20 × 60"][1]) / 1000
    imports = [measure_import(process, ["dynamodb", "s3"]), measure_import(trend, ["dynamodb", "sns"])]
    goals = [
        ("ProcessStockData: times the tutorial's records/s", stored[0]["rate"] / stored[1]["rate"], ">=", 80),
        ("ProcessStockData: AWS calls per 1,000 records", sum(stored[0]["calls"].values()), "<=", 45),
        ("ProcessStockData: own CPU, ms a record", stored[2] * 1e3, "<=", 0.15),
        ("StockTrendAnalysis: Queries a symbol and batch", queries / queries_allowed, "<=", 1),
        ("StockTrendAnalysis: calls an alert", calls_an_alert(judged[0]), "<=", 3),
        (
            "StockTrendAnalysis: times the tutorial's records/s",
            judged[0]["rate"] / judged[1]["rate"],
            ">=",
            10,
        ),
        ("  on one symbol's day", judged_day[0]["rate"] / judged_day[1]["rate"], ">=", 150),
        ("StockTrendAnalysis: own CPU, ms a record", judged[2] * 1e3, "<=", 0.1),
        ("  on one symbol's day", judged_day[2] * 1e3, "<=", 0.1),
        ("both: US dollars a million records", stored[0]["cost"] + judged[0]["cost"], "<=", 0.80),
        ("both: import beyond boto3 and clients, ms", max(imports) * 1e3, "<=", 60),
        ("both: peak memory, MiB", max(result[3] for result in results.values()), "<=", 128),
    ]
    print()
    is_met = {">=": lambda value, goal: value >= goal, "<=": lambda value, goal: value <= goal}
    missed = 0
    for name, value, relation, goal in goals:
        missed += not is_met[relation](round(value, 4), goal)
        verdict = "" if is_met[relation](round(value, 4), goal) else "  MISSED"
        print(f"{name:<55}{value:>10.3f}  {relation} {goal}{verdict}")
    print(f"tutorial: ${stored[1]['cost'] + judged[1]['cost']:.2f} a million records", end="")
    print(f", ${stored[1]['cost'] + judged_day[1]['cost']:.2f} over one symbol's day")
    sys.exit(1 if missed else 0)


def calls_an_alert(result: dict) -> float:
    """AWS calls, Queries aside, for each message published."""
    calls = sum(count for name, count in result["calls"].items() if name != "Query")
    return calls / result["calls"]["Publish"]


if __name__ == "__main__":
    main()
