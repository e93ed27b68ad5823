#!/usr/bin/env python3
"""What has to be there, and what it costs, from 1 symbol to 100,000: the tables of docs/scaling.md.

    .venv/bin/python bench/scaling.py

Arithmetic and a simulation, no account: the functions' seconds are those of bench/latency.py, dollars and
shards those of bench/cost.py.
"""

from __future__ import annotations

import math

import cost  # first: it makes the imports of the project work
import latency

from stream_stock_data import BATCH_SYMBOLS

STEPS = [
    (1, 30),
    (100, 30),
    (500, 30),
    (5000, 30),
    (100_000, 30),
    (100, 1),
    (500, 1),
    (5000, 1),
    (100_000, 1),
]


def at_once(function: dict[int, tuple[float, float]], symbols: int, delay: float) -> float:
    """How many invocations of a function run at a time, on average over a poll."""
    batches = math.ceil(symbols / cost.handlers.BATCH)
    return batches * latency.duration(cost.at_size(function, math.ceil(symbols / batches))) / delay


def needs() -> list[str]:
    """The lines of the table: what each step needs."""
    head = "symbols", "every", "ticks a second", "requests to Yahoo a poll", "shards"
    lines = [
        latency.row(*head, "ProcessStockData at once", "StockTrendAnalysis at once"),
        latency.row(*["---"] * 7),
    ]
    for symbols, delay in STEPS:
        rate = symbols / delay
        lines.append(
            latency.row(
                f"{symbols:,}",
                f"{delay} s",
                f"{rate:,.0f}" if rate >= 100 else f"{rate:.2g}",
                f"{math.ceil(symbols / BATCH_SYMBOLS):,}",
                cost.shards(symbols, delay),
                f"{at_once(latency.PROCESSOR, symbols, delay):,.2g}",
                f"{at_once(latency.ANALYST, symbols, delay):,.2g}",
            )
        )
    return lines


def costs() -> list[str]:
    """The lines of the table: dollars a month at each step, with quotes in New York's trading hours."""
    head = (
        "symbols",
        "every",
        "fixed",
        "variable",
        "a month",
        "a million ticks",
        "as in the tutorial, a month",
    )
    lines = [latency.row(*head), latency.row(*["---"] * 7)]
    for symbols, delay in STEPS:
        ours, theirs = (cost.cost_of(symbols, delay, 6.5, is_ours=is_ours) for is_ours in (True, False))
        fixed, variable = sum(ours.fixed.values()), sum(ours.variable.values())
        ticks = symbols * ours.days * 6.5 * 3600 / delay
        sums = fixed, variable, ours.total(), ours.total() / ticks * 1e6, theirs.total()
        lines.append(latency.row(f"{symbols:,}", f"{delay} s", *map(cost.dollars, sums)))
    return lines


def main() -> None:
    """Print both tables."""
    print(*needs(), "", *costs(), sep="\n")


if __name__ == "__main__":
    main()
