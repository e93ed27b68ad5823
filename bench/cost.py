#!/usr/bin/env python3
"""What the pipeline costs, in US dollars a day and a month, by service, next to the tutorial's.

    .venv/bin/python bench/cost.py [--symbols N] [--delay S] [--hours H]

    --symbols N   how many symbols are polled (default: 100)
    --delay S     seconds from poll to poll, 1 or more (default: 30)
    --hours H     hours a day in which quotes change (default: 6.5, a trading day in New York). A month has 21
                  such days; with 24 hours a day it has 30.4

It counts the calls and units of both handlers in a batch, as bench/handlers.py does, and takes the prices
from scripts/resources/prices.json and the functions' seconds from bench/latency.py. Each figure is of
us-east-1, without any free tier, and with what a month of ticks takes to store. Left out, because they cost
the same for both: SNS, Athena, the machine of the producer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType

import handlers  # first: it makes the imports of the tests' helpers work
import latency
import tutorial
from prices import USD
from wire import Market, size_of

from helpers.mocked_aws import quick_moto
from helpers.stream_driver import dynamodb_record, kinesis_record

FIXED_HOURS = 730  # a month, day and night
TRADING_DAYS, ALL_DAYS = 21, 365 / 12
SHARD_RECORDS = 1000  # a second: https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
KMS_CALLS_AN_HOUR = 12  # of the stream, of the producer, and of the function that reads it
PAST = 60  # ticks of each symbol in our table: more than any Query of ours reads
TUTORIAL_PAST = 60  # the tutorial's Query reads the whole day so far; so its units are scaled from this
# A page at most: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html
QUERY_BYTES = 2**20
TUTORIAL_LOG_BYTES = 500  # Lambda's own lines START, END and REPORT of both functions: an estimate
TUTORIAL_CPU = 0.001  # seconds of a whole CPU for each call of AWS: an estimate in its favour
INDEX_BYTES = 100  # DynamoDB bills so many more for each item


@dataclass(frozen=True)
class Usage:
    """What one batch takes, in both functions together."""

    ticks: int
    puts: float  # of S3
    writes: float  # units of DynamoDB
    reads: float  # units of DynamoDB
    archived: float  # bytes in S3
    stored: float  # bytes in the table
    gb_seconds: float
    log_bytes: float


@cache
def our_handlers() -> tuple[ModuleType, ModuleType]:
    """ProcessStockData and StockTrendAnalysis."""
    with quick_moto():
        return handlers.load(handlers.PROCESS), handlers.load(handlers.TREND)


def make_market(symbols: int, ticks: int) -> Market:
    """A market with items as our handler makes them."""
    process, _ = our_handlers()

    def build_item(tick: dict) -> dict[str, dict]:
        return process.build_item(process.parse_tick(kinesis_record(encode(tick), 0)["kinesis"]["data"])[0])

    return Market(build_item, symbols=symbols, ticks=ticks)


def encode(tick: dict) -> bytes:
    return json.dumps(tick).encode()


def count(handler: Callable, batch: dict) -> tuple[float, float, float, float]:
    """S3 puts, write units, read units and archived bytes of one call of a handler."""
    wire = handlers.wire
    wire.answers.clear()
    handlers.run(handler, [batch])
    return wire.calls["PutObject"], wire.writes, wire.reads, wire.archived


@cache
def ours(ticks: int) -> Usage:
    """A batch with one tick each of so many symbols, through our handlers."""
    market = make_market(ticks, PAST)
    now = [market.tick(symbol, PAST - 1) for symbol in market.symbols]
    items = [market.item(symbol, PAST - 1) for symbol in market.symbols]
    wire = handlers.wire
    wire.item_bytes = size_of(items[0])
    with quick_moto(), wire.installed():
        wire.market, wire.latency, wire.is_canned = market, {}, False
        process, trend = (handler.lambda_handler for handler in our_handlers())
        kinesis = {"Records": [kinesis_record(encode(tick), n) for n, tick in enumerate(now)]}
        stream = {"Records": [dynamodb_record(item, n) for n, item in enumerate(items)]}
        counted = [sum(pair) for pair in zip(count(process, kinesis), count(trend, stream), strict=True)]
    wire.market = None
    seconds = sum(
        latency.duration(at_size(function, ticks)) for function in (latency.PROCESSOR, latency.ANALYST)
    )
    return Usage(
        ticks,
        *counted,
        stored=sum(map(size_of, items)) + INDEX_BYTES * ticks,
        gb_seconds=seconds * latency.MEMORY / 1024,
        log_bytes=latency.LOG_BYTES,
    )


def at_size(function: dict[int, tuple[float, float]], ticks: int) -> tuple[float, float]:
    """CPU and waiting seconds of a batch, on the line through the two sizes that were measured."""
    (small, low), (large, high) = sorted(function.items())
    part = (ticks - small) / (large - small)
    return tuple(a + part * (b - a) for a, b in zip(low, high, strict=True))


@cache
def theirs(ticks: int) -> Usage:
    """A batch of the tutorial's, with a day of TUTORIAL_PAST ticks of each symbol in the table."""
    market = make_market(ticks, TUTORIAL_PAST)
    now = [market.tick(symbol, TUTORIAL_PAST - 1) for symbol in market.symbols]
    items = [market.item(symbol, TUTORIAL_PAST - 1) for symbol in market.symbols]
    wire = handlers.wire
    wire.item_bytes = size_of(items[0])
    with quick_moto(), wire.installed():
        wire.market, wire.latency, wire.is_canned = None, {}, False
        wire.is_paused = True
        handlers.make_resources()
        handlers.store(
            [market.item(symbol, step) for symbol in market.symbols for step in range(TUTORIAL_PAST)]
        )
        process, trend = tutorial.ProcessStockData(), tutorial.StockTrendAnalysis()
        wire.is_paused = False
        stored = count(process, {"Records": [kinesis_record(encode(tick), n) for n, tick in enumerate(now)]})
        calls = wire.calls.copy()
        judged = count(trend, {"Records": [dynamodb_record(item, n) for n, item in enumerate(items)]})
        calls.update(wire.calls)
    puts, writes, reads, archived = map(sum, zip(stored, judged, strict=True))
    waiting = {"PutObject": handlers.LATENCY["s3"], "Publish": handlers.LATENCY["sns"]}
    seconds = sum(
        number * (waiting.get(call, handlers.LATENCY["dynamodb"]) + TUTORIAL_CPU / latency.share_of_cpu(128))
        for call, number in calls.items()
    )
    return Usage(
        ticks,
        puts,
        writes,
        reads,
        archived,
        stored=sum(map(size_of, items)) + INDEX_BYTES * ticks,
        gb_seconds=seconds * 128 / 1024,
        log_bytes=TUTORIAL_LOG_BYTES,
    )


@dataclass(frozen=True)
class Cost:
    """US dollars a month, by what they are for."""

    fixed: dict[str, float]
    variable: dict[str, float]
    days: float  # a month on which quotes change

    def total(self) -> float:
        return sum(self.fixed.values()) + sum(self.variable.values())


def cost_of(symbols: int, delay: float, hours: float, *, is_ours: bool = True) -> Cost:
    """A month of polls: fixed, whatever comes, and variable, by what comes."""
    days = ALL_DAYS if hours == 24 else TRADING_DAYS
    polls = days * hours * 3600 / delay
    if is_ours:
        batches = math.ceil(symbols / handlers.BATCH)
        use = ours(math.ceil(symbols / batches))
    else:
        use = theirs(min(symbols, handlers.TUTORIAL_BATCH))
        # At noon half of the day's ticks are in the table. It never asks for a second page.
        read = min(hours * 3600 / delay / 2, QUERY_BYTES / use.stored * use.ticks)
        use = replace(use, reads=use.reads * read / TUTORIAL_PAST)
    ticks = polls * symbols
    calls = ticks / use.ticks  # of each function
    architecture = "arm64" if is_ours else "x86_64"
    millions = {
        "Kinesis: puts": (ticks, "kinesis_million_puts"),
        "DynamoDB: writes": (calls * use.writes, "dynamodb_million_writes"),
        "DynamoDB: reads": (calls * use.reads, "dynamodb_million_reads"),
        "S3: puts": (calls * use.puts, "s3_million_puts"),
        "Lambda: calls": (2 * calls, "lambda_million_calls"),
    }
    variable = {name: number / 1e6 * USD[price] for name, (number, price) in millions.items()}
    variable["Lambda: GB-seconds"] = calls * use.gb_seconds * USD[f"lambda_{architecture}_gb_second"]
    variable["CloudWatch: logs"] = calls * use.log_bytes / 1e9 * USD["cloudwatch_log_gb"]
    table = USD["dynamodb_storage_gb_month"] + is_ours * USD["dynamodb_backup_gb_month"]
    variable["a month of ticks in DynamoDB"] = calls * use.stored / 1e9 * table
    variable["a month of ticks in S3"] = calls * use.archived / 1e9 * USD["s3_storage_gb_month"]
    count = shards(symbols, delay)
    fixed = {f"Kinesis: {count} shard(s)": count * FIXED_HOURS * USD["kinesis_shard_hour"]}
    kms_calls = KMS_CALLS_AN_HOUR * (FIXED_HOURS + 2 * days * hours)
    fixed["KMS: the stream's encryption"] = is_ours * kms_calls / 1e6 * USD["kms_million_calls"]
    return Cost(fixed, variable, days)


@cache
def shards(symbols: int, delay: float) -> int:
    """The fewest shards of which the busiest one takes its part of a poll before the next one.

    Simulated: a shard has an equal part of the MD5 hashes of the partition keys, which are the symbols.
    https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html
    """
    hashes = [int(hashlib.md5(b"SYM%03d" % number).hexdigest(), 16) for number in range(symbols)]
    count = math.ceil(symbols / delay / SHARD_RECORDS)
    while max(Counter(value * count >> 128 for value in hashes).values()) > SHARD_RECORDS * delay:
        count += 1
    return count


def dollars(value: float) -> str:
    """With cents; what is less, with one digit that counts."""
    return f"${value:,.2f}" if value >= 0.005 or not value else f"${float(f'{value:.1g}'):f}".rstrip("0")


def table(symbols: int, delay: float, hours: float) -> list[str]:
    """The lines of the table: each service, fixed and variable, ours and the tutorial's."""
    costs = [cost_of(symbols, delay, hours, is_ours=is_ours) for is_ours in (True, False)]
    head = f"{symbols:,} symbols, every {delay:g} s, {hours:g} h a day"
    lines = [latency.row(head, "a day", "a month", "as in the tutorial: a day", "a month")]
    lines.append(latency.row(*["---"] * 5))

    def line(name: str, months: list[float], days: list[float]) -> None:
        cells = [
            dollars(month / day) if part else dollars(month)
            for month, day in zip(months, days, strict=True)
            for part in (1, 0)
        ]
        lines.append(latency.row(name, *cells))

    for part, name in (("fixed", "**fixed**"), ("variable", "**variable**")):
        parts = [getattr(cost, part) for cost in costs]
        days = [ALL_DAYS if part == "fixed" else cost.days for cost in costs]
        for service in parts[0]:
            line(service, [each[service] for each in parts], days)
        line(name, [sum(each.values()) for each in parts], days)
    lines.append(
        latency.row(
            "**together**", *(cell for cost in costs for cell in ("", f"**{dollars(cost.total())}**"))
        )
    )
    return lines


def number_from(least: float, kind: type) -> Callable[[str], float]:
    """A parser for a flag: a number of at least this much."""

    def parse(text: str) -> float:
        if not (value := kind(text)) >= least:
            raise ValueError
        return value

    parse.__name__ = f"number of at least {least}"
    return parse


def main() -> None:
    """Print the table that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=number_from(1, int), default=100, metavar="N")
    parser.add_argument("--delay", type=number_from(1, float), default=30.0, metavar="S")
    parser.add_argument("--hours", type=number_from(0.1, float), default=6.5, metavar="H")
    arguments = parser.parse_args()
    if arguments.hours > 24:
        parser.error("a day has 24 hours")
    print("\n".join(table(arguments.symbols, arguments.delay, arguments.hours)))


if __name__ == "__main__":
    main()
