#!/usr/bin/env python3
"""Both Lambda handlers against a plain re-creation of the tutorial's: speed, calls, cost, CPU and memory.

usage: python bench/handlers.py

First comes the shape of every day, with our handlers alone: 500 symbols, one tick each a batch, and a day of
ticks in the table. bench/wire.py plays AWS there, with the delays that AWS has (DynamoDB 5 ms, S3 30 ms, SNS
20 ms).

Then come the tutorial's handlers beside ours: the same ticks (20 symbols × 60, and 1 × 780 for the trend
analysis) go through each under moto, with the same delays. Much of that time is moto's own, so our handlers
also run with the recorded answers: with the delays for the duration that Lambda would bill, without them and
in a process of its own for CPU and memory. It takes some five minutes, nearly all of them in the tutorial's
handlers. The exit status is 1 if a goal is missed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
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
from moto import mock_aws  # noqa: E402
from prices import USD  # noqa: E402
from wire import Market, Wire, size_of  # noqa: E402

from helpers.stream_driver import dynamodb_record, kinesis_record  # noqa: E402

PROCESS, TREND = ROOT / "lambdas/process_stock_data.py", ROOT / "lambdas/stock_trend_analysis.py"
LATENCY = {"dynamodb": 0.005, "s3": 0.030, "sns": 0.020}  # seconds a call
BATCH, TUTORIAL_BATCH = 500, 2
DAY, POLLS = 780, 4  # ticks of a symbol: a trading day, one each 30 s; the last of them, a batch each
RULES = "SYM003 price > 300; * move15 < -2; * rsi14 < 30; * price < sma50; * change_percent > 3"
ROUNDS = 5  # of each short measurement; the best counts, because other work on the machine can only slow it

# US dollars; SNS is left out: it costs the same for both, by the message
A_WRITE, A_READ = USD["dynamodb_million_writes"] / 1e6, USD["dynamodb_million_reads"] / 1e6
AN_S3_PUT, AN_INVOCATION = USD["s3_million_puts"] / 1e6, USD["lambda_million_calls"] / 1e6
A_GB_SECOND = {"ours": USD["lambda_arm64_gb_second"], "tutorial": USD["lambda_x86_64_gb_second"]}
# Lambda gives one CPU to this much memory, and a share of one to less. So CPU time always costs the same.
A_CPU_GB = 1769 / 1024
MEMORY_GB = {"ours": A_CPU_GB, "tutorial": 0.125}

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
    except OSError:  # macOS: it counts bytes, and without those of the parent process
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


wire = Wire()


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


def run(
    handler: Callable, batches: list[dict], *, before_each: Callable[[dict], None] | None = None
) -> tuple[float, float]:
    """Seconds and CPU seconds of the handler for the batches; `before_each` is neither timed nor counted."""
    wire.reset()
    seconds = cpu_seconds = 0.0
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
        for event in batches:
            if before_each:
                wire.is_paused = True
                before_each(event)
                wire.is_paused = False
            start, cpu_start = time.perf_counter(), time.process_time()
            handler(event, None)
            seconds += time.perf_counter() - start
            cpu_seconds += time.process_time() - cpu_start
    return seconds, cpu_seconds


def result_of(batches: list[dict], calls: Counter, units: tuple[float, float], compute: float) -> dict:
    """What a run comes to, by the record; `compute` is what its GB-seconds cost."""
    records = sum(len(batch["Records"]) for batch in batches)
    writes, reads = units
    cost = writes * A_WRITE + reads * A_READ + calls["PutObject"] * AN_S3_PUT + len(batches) * AN_INVOCATION
    return {
        "cost": (cost + compute) / records * 1e6,
        "calls": {name: count / records * 1000 for name, count in sorted(calls.items())},
        "reads": reads / records,
        "alerts": calls["Publish"],
        "batches": batches,
        "answers": dict(wire.answers),
    }


def measure_market(path: Path, market: Market, batches: list[dict]) -> dict:
    """Run one of our handlers over batches of a market."""
    wire.answers.clear()
    with mock_aws(), wire.installed():
        wire.market, wire.latency, wire.is_canned = market, {}, False
        handler = load(path).lambda_handler
        run(handler, batches)
        calls, units = wire.calls, (wire.writes, wire.reads)
        wire.latency, wire.is_canned = LATENCY, True
        seconds, cpu = min(run(handler, batches) for _ in range(ROUNDS))
    wire.market = None
    gb_seconds = cpu * A_CPU_GB + max(seconds - cpu, 0) * MEMORY_GB["ours"]
    records = sum(len(batch["Records"]) for batch in batches)
    compute = gb_seconds * A_GB_SECOND["ours"]
    return result_of(batches, calls, units, compute) | {"rate": records / seconds}


def measure(path: Path | ModuleType, records: list[dict], *, of_trend: bool) -> dict:
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
        seconds, _ = run(handler, batches, before_each=before_each if of_trend else None)
        calls, units = wire.calls, (wire.writes, wire.reads)
        billed, cpu = seconds - wire.moto_seconds, 0.0  # one call after the other; CPU at no extra charge
        if is_ours:  # makes several calls at a time: run it again with moto's recorded answers
            wire.is_canned = True
            billed, cpu = run(handler, batches)
    whose = "ours" if is_ours else "tutorial"
    compute = (cpu * A_CPU_GB + max(billed - cpu, 0) * MEMORY_GB[whose]) * A_GB_SECOND[whose]
    return result_of(batches, calls, units, compute) | {"rate": len(records) / seconds}


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


def show(name: str, result: dict) -> None:
    print(f"{name}: {result['rate']:,.0f} records/s, ${result['cost']:.3f} a million records")
    calls = ", ".join(f"{count:.1f} {operation}" for operation, count in result["calls"].items())
    print(
        f"    {result['alerts']} alerts, {result['reads']:.2f} read units a record; calls per 1,000: {calls}"
    )


def main() -> None:
    """Measure, print, compare with the goals."""
    logging.disable(logging.CRITICAL)
    with mock_aws():
        handler = load(PROCESS)

    def build_item(tick: dict) -> dict[str, dict]:
        data = kinesis_record(json.dumps(tick).encode(), 0)["kinesis"]["data"]
        return handler.build_item(handler.parse_tick(data)[0])

    def stream(ticks: list[dict]) -> list[dict]:
        return [dynamodb_record(build_item(tick), number) for number, tick in enumerate(ticks)]

    def put(ticks: list[dict]) -> list[dict]:
        return [kinesis_record(json.dumps(tick).encode(), number) for number, tick in enumerate(ticks)]

    everyday = Market(build_item, symbols=BATCH, ticks=DAY)
    many = Market(build_item, symbols=20, ticks=60).all_ticks()
    day = Market(build_item, symbols=1, ticks=DAY).all_ticks()
    wire.item_bytes = size_of(build_item(day[-1]))
    polls = [[everyday.tick(symbol, step) for symbol in everyday.symbols] for step in range(DAY - POLLS, DAY)]
    everyday_runs = {
        name: measure_market(path, everyday, [{"Records": records(poll)} for poll in polls])
        for name, path, records in (
            ("ProcessStockData, one tick each of 500 symbols", PROCESS, put),
            ("StockTrendAnalysis, one tick each of 500 symbols", TREND, stream),
        )
    }
    for name, result in everyday_runs.items():
        show(name, result)

    runs = {
        "ProcessStockData, 20 × 60": (PROCESS, put(many), False),
        "StockTrendAnalysis, 20 × 60": (TREND, stream(many), True),
        "StockTrendAnalysis, 1 × 780": (TREND, stream(day), True),
    }
    results = {}
    for name, (path, records, of_trend) in runs.items():
        attempts = [measure(path, records, of_trend=of_trend) for _ in range(ROUNDS)]
        ours = max(attempts, key=lambda attempt: attempt["rate"])
        theirs = measure(tutorial, records, of_trend=of_trend)
        cpu, memory = measure_alone(path, ours)
        results[name] = ours, theirs, cpu, memory
        show(f"{name}, ours", ours)
        print(f"    alone: {cpu * 1e3:.3f} ms CPU a record, {memory:.0f} MiB at most")
        show(f"{name}, tutorial", theirs)

    os.environ["ALERT_RULES"] = RULES
    ruled = measure(TREND, stream(many), of_trend=True)
    ruled_cpu, _ = measure_alone(TREND, ruled)
    show("StockTrendAnalysis, 20 × 60, with 5 rules", ruled)
    print(f"    alone: {ruled_cpu * 1e3:.3f} ms CPU a record")

    stored, judged, judged_day = results.values()
    queries_allowed = 20 * len(judged[0]["batches"])
    queries = judged[0]["calls"]["Query"] * len(runs["StockTrendAnalysis, 20 × 60"][1]) / 1000
    imports = [measure_import(PROCESS, ["dynamodb", "s3"]), measure_import(TREND, ["dynamodb", "sns"])]
    kept, analysed = everyday_runs.values()
    goals = [
        ("500 symbols: ProcessStockData, seconds a batch", BATCH / kept["rate"], "<=", 0.4),
        ("500 symbols: StockTrendAnalysis, seconds a batch", BATCH / analysed["rate"], "<=", 0.6),
        ("500 symbols: AWS calls to keep 1,000 records", sum(kept["calls"].values()), "<=", 45),
        ("500 symbols: both, US dollars a million records", kept["cost"] + analysed["cost"], "<=", 1.1),
        ("ProcessStockData: times the tutorial's records/s", kept["rate"] / stored[1]["rate"], ">=", 80),
        ("  with 25 ticks of each symbol a batch", stored[0]["rate"] / stored[1]["rate"], ">=", 30),
        ("ProcessStockData: AWS calls per 1,000 records", sum(stored[0]["calls"].values()), "<=", 55),
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
        ("  with 5 rules", ruled_cpu * 1e3, "<=", 0.12),
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
