#!/usr/bin/env python3
"""How long a quote takes to become an alert on AWS, and what a batching window saves: arithmetic, no account.

    .venv/bin/python bench/latency.py

Prints the tables of docs/latency.md. The delays between services were measured and published by a user of
AWS; nothing of ours can shorten them. The functions' seconds are those of bench/handlers.py, at a whole CPU.
The exit status is 1 if a goal is missed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from prices import USD

ROOT = Path(__file__).resolve().parents[1]
MEMORY = json.loads((ROOT / "scripts/resources/process_stock_data.json").read_text())["MemorySize"]  # MB
CPU_MEMORY = 1769  # MB with which a function has a whole CPU
MONTH = 21 * 6.5 * 3600  # seconds in which New York trades
GOALS = 3, 6  # seconds from the fetched quote to SNS: median, 99th percentile

# A batch with one tick each of so many symbols: CPU seconds and seconds of waiting for other services.
PROCESSOR = {1: (0.003, 0.036), 500: (0.075, 0.045)}
ANALYST = {1: (0.002, 0.030), 500: (0.403, 0.068)}
LOG_BYTES = 1700  # of both functions and of Lambda itself, a batch
READ_UNITS = 2  # of the Query of 22 ticks
SLOW = 2  # how many times its usual seconds a function takes at the 99th percentile: an estimate
# (median, 99th percentile) in seconds. The first is an estimate, others measured the rest in Ireland in 2022:
# https://bitesizedserverless.com/bite/serverless-messaging-latency-compared/
PUT_RECORDS = 0.02, 0.1
KINESIS_TO_LAMBDA = 0.627, 1.580
TABLE_TO_LAMBDA = 0.213, 0.552
SNS_TO_SUBSCRIBER = 0.073, 0.225
TOTAL = "**to SNS**"


def share_of_cpu(memory: int) -> float:
    """The part of one CPU that a function with so many MB has; a Python program uses one at most."""
    return min(memory / CPU_MEMORY, 1)


def duration(batch: tuple[float, float], *, memory: int = MEMORY) -> float:
    """Seconds that a function takes for a batch."""
    cpu, waiting = batch
    return cpu / share_of_cpu(memory) + waiting


def cost_of_batch(symbols: int, *, memory: int = MEMORY) -> float:
    """US dollars of what both functions' invocations for a batch cost, whatever is in it."""
    seconds = duration(PROCESSOR[symbols], memory=memory) + duration(ANALYST[symbols], memory=memory)
    calls = (USD["s3_million_puts"] + 2 * USD["lambda_million_calls"]) / 1e6
    logs = LOG_BYTES / 1e9 * USD["cloudwatch_log_gb"]
    return calls + logs + seconds * memory / 1024 * USD["lambda_arm64_gb_second"]


def cost_of_tick(symbols: int) -> float:
    """US dollars of one tick, when a poll has one of each of so many symbols."""
    own = USD["kinesis_million_puts"] + USD["dynamodb_million_writes"]
    own += READ_UNITS * USD["dynamodb_million_reads"]
    return own / 1e6 + cost_of_batch(symbols) / symbols


def hops(symbols: int, window: float = 1) -> dict[str, tuple[float, float]]:
    """Median and 99th percentile of each step from the fetched quote to SNS, in seconds."""
    # A batch of 500 is full at once, as a rule; what is smaller waits for the whole window.
    waited = (0 if symbols >= 500 else window), window
    steps = {
        "producer: PutRecords": PUT_RECORDS,
        "Kinesis → Lambda": KINESIS_TO_LAMBDA,
        "batching window of the stream": waited,
        "ProcessStockData": (duration(PROCESSOR[symbols]), SLOW * duration(PROCESSOR[symbols])),
        "DynamoDB stream → Lambda": TABLE_TO_LAMBDA,
        "batching window of the table": waited,
        "StockTrendAnalysis": (duration(ANALYST[symbols]), SLOW * duration(ANALYST[symbols])),
    }
    return steps | {TOTAL: tuple(map(sum, zip(*steps.values(), strict=True)))}


def batches(poll: float, window: float) -> float:
    """How many batches a month has: a window that is open takes in the polls that follow."""
    return MONTH / max(poll, window)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def tables() -> list[str]:
    """The lines of the tables."""
    one, many = hops(1), hops(500)
    lines = [row("seconds", "1 symbol, median", "99 %", "500 symbols, median", "99 %"), row(*["---"] * 5)]
    for name in one:
        lines.append(row(name, *(f"{seconds:.2f}" for seconds in (*one[name], *many[name]))))
    lines.append(row("SNS → subscriber", *(f"{seconds:.2f}" for seconds in SNS_TO_SUBSCRIBER * 2)))
    polls = "1 s polls: batches", "a month", "30 s polls: batches", "a month"
    lines += ["", row("BATCH_WINDOW_SECONDS", "to SNS, median", *polls), row(*["---"] * 6)]
    for window in (1, 2, 5, 30, 300):
        cells = [window, f"{hops(1, window)[TOTAL][0]:.1f} s"]
        for poll in (1, 30):
            count = batches(poll, window)
            cells += [f"{count:,.0f}", f"${count * cost_of_batch(1):.2f}"]
        lines.append(row(*cells))
    cells = []
    for poll in (1, 30):  # without a window, a batch has 10 records at most
        count = batches(poll, 0) * 500 / 10
        cells += [f"{count:,.0f}", f"${count * cost_of_batch(1):.2f}"]
    lines += ["", row("without a window, 500 symbols", *polls), row(*["---"] * 5), row("0", *cells)]
    head = "memory", "share of a CPU", "500 symbols, both functions", "1 symbol, 1 s polls", "30 s polls"
    lines += ["", row(*head), row(*["---"] * 5)]
    for memory in (256, 512, 1024, 1769):
        seconds = duration(PROCESSOR[500], memory=memory) + duration(ANALYST[500], memory=memory)
        cost = cost_of_batch(1, memory=memory)
        months = (f"${batches(poll, 1) * cost:.2f} a month" for poll in (1, 30))
        lines.append(row(f"{memory} MB", f"{share_of_cpu(memory):.3f}", f"{seconds:.2f} s", *months))
    lines += ["", row("symbols a poll", "a tick costs"), row("---", "---")]
    lines += [
        row(symbols, f"{cost_of_tick(symbols) * 1e6:.1f} millionths of a dollar") for symbols in (1, 500)
    ]
    return lines


def main() -> int:
    """Print the tables, and compare with the goals; returns the exit status."""
    print("\n".join(tables()), end="\n\n")
    missed = 0
    for symbols in (1, 500):
        for name, seconds, goal in zip(("median", "99 %"), hops(symbols)[TOTAL], GOALS, strict=True):
            missed += seconds > goal
            verdict = "ok" if seconds <= goal else "MISSED"
            print(f"{verdict:6}  {symbols} symbols, {name}: {seconds:.2f} s to SNS, at most {goal} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
