#!/usr/bin/env python3
"""How fast, how frugal and how steady the producer is: one command, no account, no network.

    .venv/bin/python bench/producer.py

Runs the producer against a local stand-in for Yahoo that answers each request after 150 ms, and a stream of a
local MiniStack. For 1, 50, 500 and 5,000 symbols it prints the median warm poll (fetched, built, spooled and
delivered), Yahoo requests and connections, CPU seconds and memory, next to the plain loop that most examples
show, `Ticker(symbol).history(period="2d")` for one symbol after another. Then the time from start to first
record, and the memory over 1,000 polls. Ends with status 1 if a target is missed. Takes about three minutes
and needs Linux, whose /proc tells the memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.emulator import aws_environment, ministack  # noqa: E402
from helpers.yahoo import YahooStandIn, market  # noqa: E402

LATENCY = 0.15
SIZES = {1: 1, 50: 1, 500: 1, 5000: 5}  # symbols: shards
POLLS = 12
PLAIN_SYMBOLS = 50  # the plain loop is measured on so many and scaled: it costs the same for each
ENDURANCE_SYMBOLS, ENDURANCE_POLLS = 500, 1000

MEASURED_PRODUCER = """
import json, os, sys, time
import stream_stock_data as producer

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

cycle = producer.Producer.cycle

def measured(self, deadline):
    wall, cpu = time.perf_counter(), time.process_time()
    cycle(self, deadline)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "mb": resident_bytes() / 1e6}), file=sys.stderr)

producer.Producer.cycle = measured
sys.exit(producer.main())
"""

PLAIN_LOOP = """
import json, sys, time, warnings
import yfinance
warnings.simplefilter("ignore")
for _ in range(2):  # the first time, the client also looks up each symbol's time zone
    wall, cpu = time.perf_counter(), time.process_time()
    for symbol in sys.argv[1].split(","):
        yfinance.Ticker(symbol).history(period="2d")
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))
"""


class MovingMarket:
    """Quotes that are new each time they are asked for, however soon."""

    def __init__(self) -> None:
        self.start = time.time() - 20_000
        self.asked: Counter[str] = Counter()

    def __call__(self, symbol: str, now: float) -> dict:
        self.asked[symbol] += 1
        return market(symbol, self.start + self.asked[symbol])


def symbols_of(count: int) -> str:
    return ",".join(f"S{n:04}" for n in range(count))


def measure(environment: dict[str, str], *, symbols: int, polls: int) -> list[dict]:
    """Seconds, CPU seconds and resident memory of each poll of a producer process."""
    with tempfile.TemporaryDirectory() as directory:
        names = Path(directory) / "symbols.txt"
        names.write_text(symbols_of(symbols))
        flags = ["--symbols-file", str(names), "--count", str(polls), "--delay", "0.001"]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED_PRODUCER, *flags],
            env=environment | {"STREAM_NAME": f"bench-{symbols}", "STATE_DIR": directory},
            capture_output=True,
            text=True,
        )
    if done.returncode or f"{symbols * polls} sent" not in done.stdout:
        raise SystemExit(f"the producer failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def seconds_to_first_record(environment: dict[str, str]) -> float:
    """From the start of a fresh process, nothing cached, to the line that confirms its first record."""
    with tempfile.TemporaryDirectory() as directory:
        fresh = {"STREAM_NAME": "bench-1", "STATE_DIR": directory, "XDG_CACHE_HOME": directory}
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "stream_stock_data.py"), "--once", "--symbols", "AAPL"],
            env=environment | fresh,
            stdout=subprocess.PIPE,
            text=True,
        )
        process.stdout.readline()
        seconds = time.perf_counter() - began
        process.communicate()
    return seconds


def main() -> int:
    missed = []

    def check(what: str, value: float, limit: float, unit: str, *, at_least: bool = False) -> None:
        good = value >= limit if at_least else value <= limit
        if not good:
            missed.append(what)
        bound = "at least" if at_least else "at most"
        print(f"  {'ok    ' if good else 'MISSED'}  {what}: {value:.3g} {unit}, {bound} {limit:g}")

    with (
        tempfile.TemporaryDirectory() as directory,
        YahooStandIn(Path(directory) / "yahoo", latency=LATENCY) as yahoo,
        ministack(Path(directory) / "ministack", enforce_iam=False) as endpoint,
    ):
        yahoo.quote = MovingMarket()
        environment = aws_environment(endpoint) | yahoo.environment | {"PYTHONPATH": str(ROOT)}
        client = boto3.client(
            "kinesis",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for symbols, shards in SIZES.items():
            client.create_stream(StreamName=f"bench-{symbols}", ShardCount=shards)

        print(f"Plain loop over {PLAIN_SYMBOLS} symbols, 150 ms a request …", flush=True)
        plain = json.loads(
            subprocess.run(
                [sys.executable, "-c", PLAIN_LOOP, symbols_of(PLAIN_SYMBOLS)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        print(f"  {plain['wall']:.2f} s, {plain['cpu']:.2f} CPU s\n")

        print("Median warm poll of the producer; the plain loop scaled to as many symbols")
        print("symbols  seconds  symbols/s  requests  connections  CPU s     MB  plain loop s  times faster")
        results = {}
        for symbols in SIZES:
            yahoo.requests.clear()
            yahoo.connections = 0
            polls = measure(environment, symbols=symbols, polls=POLLS)
            warm = polls[1:]
            seconds = statistics.median(poll["wall"] for poll in warm)
            loop = plain["wall"] * symbols / PLAIN_SYMBOLS
            results[symbols] = {
                "seconds": seconds,
                "requests": (yahoo.requests["batch"] + yahoo.requests["chart"]) / POLLS,
                "connections": yahoo.connections,
                "cpu": statistics.median(poll["cpu"] for poll in warm),
                "mb": polls[-1]["mb"],
                "faster": loop / seconds,
            }
            row = results[symbols]
            print(
                f"{symbols:7}  {seconds:7.3f}  {symbols / seconds:9.0f}  {row['requests']:8.0f}  "
                f"{row['connections']:11}  {row['cpu']:5.3f}  {row['mb']:5.0f}  {loop:12.1f}  "
                f"{row['faster']:12.0f}",
                flush=True,
            )

        first = seconds_to_first_record(environment)
        print(f"\n{ENDURANCE_POLLS} polls of {ENDURANCE_SYMBOLS} symbols without latency …", flush=True)
        yahoo.latency = 0
        polls = measure(environment, symbols=ENDURANCE_SYMBOLS, polls=ENDURANCE_POLLS)
        at_50, at_end = polls[49]["mb"], polls[-1]["mb"]
        print(f"  {at_50:.1f} MB at poll 50, {at_end:.1f} MB at poll {ENDURANCE_POLLS}\n")

    print(f"Targets ({os.cpu_count()} cores)")
    check("500 symbols, warm poll", results[500]["seconds"], 0.3, "s")
    check("500 symbols, Yahoo requests", results[500]["requests"], 8, "a poll")
    check("500 symbols, connections", results[500]["connections"], 10, "")
    check("500 symbols, faster than the plain loop", results[500]["faster"], 250, "times", at_least=True)
    check("500 symbols, CPU", results[500]["cpu"], 0.1, "s a poll")
    check("5,000 symbols, warm poll", results[5000]["seconds"], 2.5, "s")
    check("5,000 symbols, Yahoo requests", results[5000]["requests"], 60, "a poll")
    check("start to first record, less a round trip", first - LATENCY, 2, "s")
    check("500 symbols, memory", max(poll["mb"] for poll in polls), 160, "MB")
    check("memory gained from poll 50 to 1,000", abs(at_end - at_50), 2, "MB")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
