#!/usr/bin/env python3
"""Measure how fast the dashboard is and what an open page costs. Needs no account.

    .venv/bin/python bench/dashboard.py [--beside COMMIT]

1. It fills a MiniStack with a day of ticks, one every 10 s, of 50 symbols.
2. It opens the page in Chromium and measures the time until prices and chart are drawn, without the start of
   the server and the browser.
3. It leaves a page of 25 symbols open. The symbol of the chart gets a new tick before each refresh. It counts
   the bytes that a refresh brings to the browser, and measures how long the browser's main thread works. The
   same page without a chart tells how much of that is the chart's.
4. It runs the page without a browser, with 25 of 500 symbols on it. Each symbol gets a new tick before every
   second refresh. It measures the time of the refreshes, and counts the calls of each one. Read units follow
   DynamoDB's rules, from the size of the items.

With --beside, it first measures the page of another commit in the same way. The exit status is 1 if a goal is
missed. It takes five minutes, two of them to fill the table, and needs chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path.cwd()), str(ROOT), str(ROOT / "bench"), str(ROOT / "tests")]

import botocore.client  # noqa: E402
from prices import USD  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

from helpers.dashboard_page import Page, Tables, dashboard, eventually  # noqa: E402
from helpers.emulator import aws_environment, ministack  # noqa: E402

SYMBOLS, TICKS, LISTED, ON_PAGE = 50, 2340, 500, 25
NAMES = [f"S{number:03}" for number in range(LISTED)]
OPENINGS, REFRESHES, REFRESH_SECONDS = 3, 10, 3
A_READ_UNIT, A_LIST = USD["dynamodb_million_reads"] / 1e6, USD["s3_million_puts"] / 1e6
# A page of before lightweight-charts drew an SVG.
CHART_IS_DRAWN = (
    "return document.querySelectorAll('[data-testid=stVegaLiteChart] .mark-rect path').length > 9"
)


def fill(tables: Tables) -> None:
    """Put a day of ticks for each symbol."""
    prices = [100 + place % 50 / 100 for place in range(TICKS)]
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda symbol: tables.put_ticks(symbol, prices, every=10, source="simulated"), NAMES[:SYMBOLS]
            )
        )


def put_new_ticks(tables: Tables, symbols: list[str]) -> None:
    for symbol in symbols:
        tables.put_ticks(symbol, [101.0], newest=datetime.now(UTC), source="simulated")


def seconds_to_picture(address: str) -> float:
    """The time from the request of the page to prices in the table and candles in the chart."""
    page = Page()
    try:
        began = time.perf_counter()
        page.driver.get(address)
        eventually(
            lambda: (
                page.row("S000")[1:2]
                and (page.view("view.price.data().length > 9") or page.run(CHART_IS_DRAWN))
            )
        )
        return time.perf_counter() - began
    finally:
        page.driver.quit()


def measure_browser(address: str, tables: Tables) -> tuple[float, float]:
    """The bytes of a refresh, and the seconds for which the browser's main thread works in it."""

    def busy() -> float:
        metrics = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    page = Page()
    try:
        page.driver.execute_cdp_cmd("Performance.enable", {})
        page.driver.get(address)
        eventually(lambda: page.row("S000")[1:2])
        time.sleep(3 * REFRESH_SECONDS)  # until all has been read
        page.driver.get_log("performance")
        began = busy()
        for _ in range(REFRESHES):
            put_new_ticks(tables, NAMES[:1])
            time.sleep(REFRESH_SECONDS)
        seconds = busy() - began
        events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    finally:
        page.driver.quit()
    frames = Counter(event["method"] for event in events)
    received = sum(
        len(base64.b64decode(event["params"]["response"]["payloadData"]))
        for event in events
        if event["method"] == "Network.webSocketFrameReceived"
    )
    refreshes = frames["Network.webSocketFrameSent"]  # each asks for one
    return received / refreshes, seconds / refreshes


def measure_refreshes(folder: Path, tables: Tables) -> tuple[list[float], list[Counter]]:
    """The seconds of each refresh, and the calls from each refresh to the next."""
    item = tables.dynamodb.scan(TableName="stock-market-data", Limit=1)["Items"][0]
    item_bytes = sum(len(name) + len(str(*value.values())) for name, value in item.items())
    calls: Counter[str] = Counter()
    call = botocore.client.BaseClient._make_api_call

    def counted(client: Any, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = call(client, operation, parameters)
        calls[operation] += 1
        if operation in ("Query", "Scan"):
            calls["read units"] += max(math.ceil(answer["ScannedCount"] * item_bytes / 4096), 1) / 2
        return answer

    page = AppTest.from_file(str(folder / "dashboard.py"), default_timeout=60)
    botocore.client.BaseClient._make_api_call = counted
    seconds, refreshes = [], []
    try:
        page.run()
        for number in range(REFRESHES):
            time.sleep(REFRESH_SECONDS)
            if number % 2 == 0:
                put_new_ticks(tables, NAMES[:ON_PAGE])
            calls.clear()
            began = time.perf_counter()
            page.run()
            seconds.append(time.perf_counter() - began)
            time.sleep(1)  # a read that takes longer than the page waits for it counts, too
            refreshes.append(calls.copy())
            assert not page.exception
            assert len(page.dataframe[0].value) == ON_PAGE
    finally:
        botocore.client.BaseClient._make_api_call = call
    return seconds, refreshes


def measure(folder: Path, endpoint: str) -> dict[str, float]:
    """All figures of the page of a project. This process has started in its folder."""
    tables = Tables(endpoint)
    pictures, shared = [], ",".join([*NAMES[: ON_PAGE - 1], "EMPTY"])
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(OPENINGS):  # each with a new server, which has read nothing
            settings = {"STOCK_SYMBOLS": ",".join(NAMES[:SYMBOLS])}
            with dashboard(Path(directory), endpoint, folder=folder, **settings) as address:
                pictures.append(seconds_to_picture(address))
        with dashboard(Path(directory), endpoint, folder=folder, STOCK_SYMBOLS=shared) as address:
            received, busy = measure_browser(f"{address}/?symbol=S000", tables)
            _, busy_without_chart = measure_browser(f"{address}/?symbol=EMPTY", tables)
    os.environ |= aws_environment(endpoint) | {"STOCK_SYMBOLS": ",".join(NAMES)}
    seconds, refreshes = measure_refreshes(folder, tables)
    units = statistics.mean(calls["read units"] for calls in refreshes)
    return {
        "first picture, s": statistics.median(pictures),
        "refresh, ms": statistics.median(seconds) * 1000,
        "Queries a symbol and refresh": statistics.mean(calls["Query"] for calls in refreshes) / ON_PAGE,
        "kB a refresh": received / 1000,
        "main thread a refresh, ms": busy * 1000,
        "of that for the chart, ms": (busy - busy_without_chart) * 1000,
        "USD an hour, with the lists of S3": 3600 / REFRESH_SECONDS * units * A_READ_UNIT + 60 * 3 * A_LIST,
    }


def measured(folder: Path, endpoint: str) -> dict[str, float]:
    """`measure` in a process of its own, which imports the modules of that folder."""
    command = [sys.executable, __file__, "--measure", endpoint]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for name, value in found.items():
        print(f"  {value:10.4g}  {name}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", metavar="COMMIT", help="measure the page of this commit, too")
    parser.add_argument("--measure", metavar="ENDPOINT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(Path.cwd(), arguments.measure)))
        return 0
    goals = {
        "first picture, s": 2.6,
        "refresh, ms": 210,
        "Queries a symbol and refresh": 1,
        "kB a refresh": 54,
    }
    with tempfile.TemporaryDirectory() as directory, ministack(Path(directory) / "ministack") as endpoint:
        tables = Tables(endpoint)
        tables.create()
        print(f"filling the table with {SYMBOLS * TICKS:,} ticks", flush=True)
        fill(tables)
        if arguments.beside:
            other = Path(directory) / "other"
            other.mkdir()
            archive = subprocess.run(
                ["git", "archive", arguments.beside], cwd=ROOT, stdout=subprocess.PIPE, check=True
            )
            subprocess.run(["tar", "-x", "-C", other], input=archive.stdout, check=True)
            print(f"\nthe page of {arguments.beside}", flush=True)
            before = measured(other, endpoint)
            goals["first picture, s"] = before["first picture, s"]
            goals["of that for the chart, ms"] = 0.6 * before["of that for the chart, ms"]
        print("\nthe page", flush=True)
        found = measured(ROOT, endpoint)
    print("\nGoals")
    missed = [name for name, limit in goals.items() if found[name] > limit]
    for name, limit in goals.items():
        print(f"  {'MISSED' if name in missed else 'ok    '}  {name}: {found[name]:.3g}, at most {limit:.3g}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
