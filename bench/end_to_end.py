#!/usr/bin/env python3
"""How long a quote takes to be stored and to be alerted on the local stack, next to the classic tutorial.

usage: python bench/end_to_end.py [--seconds N]
       python bench/end_to_end.py --symbols N --delay S [--history TICKS] [--seconds N]

On one emulator, for 1, 50, 100 and 500 symbols, first our producer and functions run, then the tutorial's
(bench/tutorial.py). All have --history ticks a symbol already in their table. The clock starts when the
producer has the quote: Yahoo's own time is left out (bench/producer.py). A tick is stored when a reader of
the table's stream sees it, which looks ten times a second. An alert is received when it is in a queue that is
subscribed. The second form runs one of our cases alone. The exit status is 1 if one of our goals is missed:
from 5 s after the start, 95 % are stored within 1 s and alerted within 2 s, at the end as at the beginning.
Needs Linux. Other work on the machine makes all figures worse.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from local_stack import QUEUE, ROOT, STREAM, TABLE, Key, LocalStack
from prefill import prefill
from tutorial_stack import TutorialStack

SIZES = {1: 1.0, 50: 1.0, 100: 1.0, 500: 5.0}  # symbols: seconds from poll to poll
GOALS = {"stored": 1.0, "alerted": 2.0}  # seconds, for 95 %
WARM_SECONDS = 5
LOOKS_SECONDS = 0.1
DRAIN_SECONDS = 10  # what is stored and alerted later than that does not count
STAGES = ("on the stream", "stored", "alerted")


class Run(NamedTuple):
    """One case: what came when, in epoch seconds, by tick."""

    fetched: dict[Key, float]
    moments: dict[str, dict[Key, float]]  # by stage
    cpu_seconds: float  # of all processes
    seconds: float


class Follower(threading.Thread):
    """Notes when each new tick of a table is there."""

    def __init__(self, stack: LocalStack, table: str) -> None:
        super().__init__(daemon=True)
        self._client = stack.client("dynamodbstreams")
        stream = stack.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
        (shard,) = self._client.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
        self._iterator = self._client.get_shard_iterator(
            StreamArn=stream, ShardId=shard["ShardId"], ShardIteratorType="LATEST"
        )["ShardIterator"]
        self.stored: dict[Key, float] = {}
        self.is_done = False

    def run(self) -> None:
        while not self.is_done:
            answer = self._client.get_records(ShardIterator=self._iterator)
            self._iterator, now = answer["NextShardIterator"], time.time()
            for record in answer["Records"]:
                keys = record["dynamodb"]["Keys"]
                self.stored.setdefault((keys["symbol"]["S"], keys["timestamp"]["S"]), now)
            time.sleep(0 if answer["Records"] else LOOKS_SECONDS)


def measure(
    stack: LocalStack, table: str, stream: str, queue: str, command: list[str], seconds: float
) -> Run:
    """Run a producer for so long, and note what comes out at each stage."""
    stack.messages(queue)  # those of an earlier case
    follower = Follower(stack, table)
    follower.start()
    start, cpu = time.time(), sum(use.cpu_seconds for use in stack.usage().values())
    process = stack.run("producer", command, lambda line: None, STREAM_NAME=stream)
    time.sleep(seconds)
    process.terminate()
    process.wait(timeout=60)
    time.sleep(DRAIN_SECONDS)
    cpu = sum(use.cpu_seconds for use in stack.usage().values()) - cpu
    follower.is_done = True
    follower.join()
    ticks = {
        (tick["symbol"], tick["timestamp"]): tick for tick in stack.sent(stream) if tick["arrived"] >= start
    }
    fetched = {key: datetime.fromisoformat(tick["fetched_at"]).timestamp() for key, tick in ticks.items()}
    alerted = {}
    for alert in stack.messages(queue):
        key = next((key for key in candidates(alert, ticks) if key in ticks), None)
        if key:
            alerted.setdefault(key, alert["received"])
    arrived = {key: tick["arrived"] for key, tick in ticks.items()}
    moments = dict(zip(STAGES, (arrived, follower.stored, alerted), strict=True))
    return Run(fetched, moments, cpu, seconds + DRAIN_SECONDS)


def candidates(alert: dict[str, Any], ticks: dict[Key, dict[str, Any]]) -> Iterator[Key]:
    """The tick of an alert. The tutorial's does not tell its time, only its symbol and price."""
    if "alert_id" in alert:
        yield alert["symbol"], alert["timestamp"]
    elif "text" in alert:
        symbol, _, rest = alert["text"].partition(": ")
        price = float(rest.rpartition(" at ")[2])
        yield from (key for key in reversed(ticks) if key[0] == symbol and ticks[key]["price"] == price)


def lags(run: Run, stage: str) -> list[float]:
    """Seconds from the fetch to a stage, in the order of the fetches, without the first seconds."""
    warm = min(run.fetched.values(), default=0) + WARM_SECONDS
    reached = run.moments[stage]
    in_order = sorted(
        (at, reached[key] - at) for key, at in run.fetched.items() if key in reached and at >= warm
    )
    return [lag for _, lag in in_order]


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def show(name: str, run: Run) -> list[str]:
    """Print a case. Returns the goals that it misses."""
    stored, due = len(run.fetched.keys() & run.moments["stored"].keys()), len(run.fetched)
    cpu = run.cpu_seconds / max(1, stored) * 1000
    print(f"\n{name}: {stored} of {due} ticks stored, {cpu:.1f} ms CPU a tick", flush=True)
    missed = []
    for stage in STAGES:
        if not (values := lags(run, stage)):
            print(f"  {stage:<15} none")
            continue
        third = max(1, len(values) // 3)
        first, last = percentile(values[:third], 95), percentile(values[-third:], 95)
        figures = "  ".join(f"p{percent} {percentile(values, percent):7.2f}" for percent in (50, 95, 99))
        print(f"  {stage:<15} {figures} s   p95 of the first third {first:.2f}, of the last {last:.2f}")
        goal = GOALS.get(stage)
        if goal and (percentile(values, 95) > goal or last > max(goal, 1.5 * first)):
            missed.append(f"{name}: {stage} within {goal:.0f} s, flat")
    if stored < due:
        missed.append(f"{name}: all ticks stored")
    return missed


def main() -> int:
    """Measure, print, compare with the goals; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--symbols", type=int)
    parser.add_argument("--delay", type=float, default=1.0)
    parser.add_argument("--history", type=int, default=60, help="ticks a symbol in the table at the start")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    sizes = {arguments.symbols: arguments.delay} if arguments.symbols else SIZES
    cases = {count: [f"N{count}-{number}" for number in range(count)] for count in sizes}
    missed = []
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder)) as stack:
        tutorial = None if arguments.symbols else TutorialStack(stack)
        everyone = [symbol for symbols in cases.values() for symbol in symbols]
        prefill(stack, [TABLE, *([tutorial.table] if tutorial else [])], everyone, arguments.history)
        for count, symbols in cases.items():
            flags = ["--symbols", ",".join(symbols), "--delay", str(sizes[count])]
            ours = [sys.executable, str(ROOT / "stream_stock_data.py"), "--source", "simulated", *flags]
            run = measure(stack, TABLE, STREAM, QUEUE, ours, arguments.seconds)
            missed += show(f"{count} symbol{'s' * (count > 1)} every {sizes[count]:g} s", run)
        for count, symbols in cases.items() if tutorial else ():
            with tutorial.mappings():
                command = tutorial.producer(symbols, sizes[count])
                run = measure(
                    stack, tutorial.table, tutorial.stream, tutorial.queue, command, arguments.seconds
                )
            show(f"the tutorial's, {count} symbol{'s' * (count > 1)} every {sizes[count]:g} s", run)
    print("\n" + "\n".join(f"MISSED: {goal}" for goal in missed) if missed else "\nall goals are met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
