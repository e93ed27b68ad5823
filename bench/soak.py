#!/usr/bin/env python3
"""Runs the local stack for a long time, as run_local.sh does, and looks whether it tires, leaks or loses.

usage: python bench/soak.py [--minutes N] [--symbols N] [--delay S]

Prints once a minute (of a short run, ten times) how late the ticks are, and memory and descriptors of each
process. At the end the books must be right: the ticks that were sent are those in the table, in the archive
and in Athena's count, and the alerts are the crossovers that pandas finds, each received once. The memory of
producer and watcher must stay within 3 MB of what it was after the first minute. Exit status 1 otherwise.
Needs Linux, and takes a minute more than it runs.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from local_stack import ROOT, LocalStack, Usage, books, print_verdict

WARM_SECONDS = 60
FLAT_MEGABYTES = 3
FLAT = ("producer", "watcher")
LAG = re.compile(r'\{"_aws".*"FunctionName": "StockTrendAnalysis".*\}')


class Lags:
    """How late the ticks were judged, from what the function logs."""

    def __init__(self, log: Path) -> None:
        self._log = log.open(encoding="utf-8", errors="replace")
        self._log.read()

    def new(self) -> list[float]:
        """Seconds from the oldest quote of each batch to its alerts, for the batches since the last call."""
        lines = [json.loads(found[0]) for line in self._log if (found := LAG.search(line))]
        return [line["Lag"] / 1000 for line in lines if line["Lag"]]


def growth(samples: list[float]) -> float:
    """How far the samples get away from the first one."""
    return max(samples) - samples[0] if samples else 0.0


def row(seconds: float, lags: list[float], usage: dict[str, Usage]) -> str:
    """A line of the report."""
    late = f"{statistics.median(lags):6.2f} {max(lags):6.2f}" if lags else "     -      -"
    parts = [f"{name} {use.megabytes:.1f} MB {use.descriptors}" for name, use in sorted(usage.items())]
    return f"{seconds:6.0f} s  {late}  " + ", ".join(parts)


def main() -> int:
    """Run, print, judge; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--symbols", type=int, default=10)
    parser.add_argument("--delay", type=float, default=1.0, help="seconds from poll to poll")
    arguments = parser.parse_args()
    symbols = ",".join(f"S{number:03}" for number in range(arguments.symbols))
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder)) as stack:
        flags = ["--source", "simulated", "--symbols", symbols, "--delay", str(arguments.delay)]
        flags += ["--count", str(int(arguments.minutes * 60 / arguments.delay))]
        producer = [sys.executable, str(ROOT / "stream_stock_data.py"), *flags]
        watch = [sys.executable, str(ROOT / "scripts/lib/local/watch.py"), folder, *producer]
        said: list[str] = []
        lags = Lags(stack.folder / "ministack.log")
        process = stack.run("watcher", watch, said.append)
        start, every = time.monotonic(), min(60, arguments.minutes * 6)
        memory: dict[str, list[float]] = {name: [] for name in FLAT}
        print("  time    late: median, worst (s)  memory and descriptors")
        while process.poll() is None:
            time.sleep(every)
            seconds, usage = time.monotonic() - start, stack.usage()
            print(row(seconds, lags.new(), usage), flush=True)
            for name in FLAT:
                if seconds >= WARM_SECONDS and name in usage:
                    memory[name].append(usage[name].megabytes)
        print("".join(said[-1:]).strip())
        verdict = books(stack)
    print_verdict(verdict)
    grown = {name: growth(samples) for name, samples in memory.items()}
    for name, megabytes in grown.items():
        print(f"{name}: {megabytes:+.1f} MB after the first minute, at most {FLAT_MEGABYTES}")
    is_good = not verdict.lost and not verdict.wrong and not verdict.counts["repeated alerts"]
    is_good = is_good and process.returncode == 0 and max(grown.values()) <= FLAT_MEGABYTES
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
