#!/usr/bin/env python3
"""Measure how fast the dashboard is and what an open page costs. Needs no account.

    .venv/bin/python bench/dashboard.py

1. It fills a MiniStack with a day of ticks, one every 10 s, of 50 symbols.
2. It opens the page in Chromium and measures the time until prices and chart are drawn, without the start of
   the server and the browser.
3. It runs the page in this process, with 25 of 500 symbols on it. Each symbol gets a new tick before every
   second refresh. It measures the time and counts the calls of the refreshes. Read units follow DynamoDB's
   rules, from the size of the items.

The exit status is 1 if a goal is missed. It takes two minutes, most of them to fill the table, and needs
chromium and chromedriver.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench"), str(ROOT / "tests")]

import botocore.client  # noqa: E402
from prices import USD  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

from helpers.dashboard_page import Page, Tables, dashboard, eventually  # noqa: E402
from helpers.emulator import aws_environment, ministack  # noqa: E402

SYMBOLS, TICKS, LISTED, ON_PAGE = 50, 2340, 500, 25
OPENINGS, REFRESHES, REFRESH_SECONDS = 3, 9, 3
A_READ_UNIT, A_LIST = USD["dynamodb_million_reads"] / 1e6, USD["s3_million_puts"] / 1e6


def fill(tables: Tables, symbols: list[str]) -> int:
    """Put a day of ticks for each symbol. Returns the size of an item in bytes."""
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda symbol: tables.put_ticks(
                    symbol, [100 + place % 50 / 100 for place in range(TICKS)], every=10, source="simulated"
                ),
                symbols,
            )
        )
    item = tables.dynamodb.scan(TableName="stock-market-data", Limit=1)["Items"][0]
    return sum(len(name) + len(str(*value.values())) for name, value in item.items())


def seconds_to_picture(address: str) -> float:
    """The time from the request of the page to prices in the table and candles in the chart."""
    page = Page()
    try:
        began = time.perf_counter()
        page.driver.get(address)
        eventually(lambda: page.row("S000")[1:2] and page.view("view.price.data().length > 9"))
        return time.perf_counter() - began
    finally:
        page.driver.quit()


def measure_refreshes(tables: Tables, item_bytes: int) -> tuple[list[float], list[Counter], Counter]:
    """The seconds of each refresh, the calls of each refresh, and the calls when the page was opened."""
    calls: Counter[str] = Counter()
    call = botocore.client.BaseClient._make_api_call

    def counted(client: Any, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = call(client, operation, parameters)
        calls[operation] += 1
        if operation in ("Query", "Scan"):
            calls["read units"] += max(math.ceil(answer["ScannedCount"] * item_bytes / 4096), 1) / 2
        return answer

    page = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=60)
    botocore.client.BaseClient._make_api_call = counted
    try:
        page.run()
        opening, seconds, refreshes = calls.copy(), [], []
        for number in range(REFRESHES):
            time.sleep(REFRESH_SECONDS)
            botocore.client.BaseClient._make_api_call = call
            if number % 2 == 0:
                for symbol in range(ON_PAGE):
                    tables.put_ticks(f"S{symbol:03}", [101.0], newest=datetime.now(UTC), source="simulated")
            botocore.client.BaseClient._make_api_call = counted
            calls.clear()
            began = time.perf_counter()
            page.run()
            seconds.append(time.perf_counter() - began)
            refreshes.append(calls.copy())
            assert not page.exception
            assert len(page.dataframe[0].value) == ON_PAGE
    finally:
        botocore.client.BaseClient._make_api_call = call
    return seconds, refreshes, opening


def main() -> int:
    missed = []

    def check(what: str, value: float, limit: float, unit: str) -> None:
        if value > limit:
            missed.append(what)
        print(f"  {'ok    ' if value <= limit else 'MISSED'}  {what}: {value:.3g} {unit}, at most {limit:g}")

    names = [f"S{number:03}" for number in range(LISTED)]
    with tempfile.TemporaryDirectory() as directory, ministack(Path(directory) / "ministack") as endpoint:
        tables = Tables(endpoint)
        tables.create()
        print(f"filling the table with {SYMBOLS * TICKS:,} ticks", flush=True)
        item_bytes = fill(tables, names[:SYMBOLS])
        pictures = []
        for _ in range(OPENINGS):  # each with a new server, which has read nothing
            settings = {"STOCK_SYMBOLS": ",".join(names[:SYMBOLS])}
            with dashboard(Path(directory), endpoint, **settings) as address:
                pictures.append(seconds_to_picture(address))
        os.environ |= aws_environment(endpoint) | {"STOCK_SYMBOLS": ",".join(names)}
        seconds, refreshes, opening = measure_refreshes(tables, item_bytes)

    queries = statistics.mean(calls["Query"] for calls in refreshes)
    units = statistics.mean(calls["read units"] for calls in refreshes)
    hour = 3600 / REFRESH_SECONDS * units * A_READ_UNIT + 60 * 3 * A_LIST
    print(f"pictures {', '.join(f'{value:.2f}' for value in pictures)} s")
    print(f"refreshes {', '.join(f'{value * 1000:.0f}' for value in seconds)} ms")
    print(f"opening: {json.dumps(opening)}; an item has {item_bytes} bytes")
    print(f"refresh: {json.dumps(refreshes[-1])}, {units:.1f} read units")
    print(f"an open page: ${hour:.4f} an hour, with the lists of S3")
    print("\nGoals")
    check("first picture", statistics.median(pictures), 3, "s")
    check("refresh", statistics.median(seconds) * 1000, 300, "ms")
    check("Queries a symbol and refresh", queries / ON_PAGE, 1, "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
