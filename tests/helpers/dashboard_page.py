"""The dashboard as a user has it: a Streamlit server over a MiniStack, and a real Chromium on the page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from helpers.checkout import ROOT, rendered
from helpers.emulator import ACCOUNT_ID, aws_environment, free_port
from stream_stock_data import build_tick, format_timestamp

SETTINGS = {
    "ACCOUNT_ID": ACCOUNT_ID,
    "AWS_REGION": "us-east-1",
    "TABLE_NAME": "stock-market-data",
    "ALERTS_TABLE_NAME": "stock-trend-alerts",
    "BUCKET_NAME": f"stock-market-data-bucket-{ACCOUNT_ID}-us-east-1",
}


class Tables:
    """The tables and the bucket that the page reads, on a MiniStack or in a mock of AWS."""

    def __init__(self, endpoint: str | None = None) -> None:
        session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        self.endpoint = endpoint
        self.client = lambda service: session.client(service, endpoint_url=endpoint)
        self.dynamodb = self.client("dynamodb")

    def create(self) -> None:
        for table in ("ticks_table", "alerts_table"):
            self.dynamodb.create_table(**rendered(f"scripts/resources/{table}.json", SETTINGS))
        self.client("s3").create_bucket(Bucket=SETTINGS["BUCKET_NAME"])

    def user(self, name: str, policy: dict[str, Any]) -> dict[str, str]:
        """Make a user who has only this policy. Returns the user's credentials."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def put(self, table: str, items: list[dict[str, Any]]) -> None:
        for start in range(0, len(items), 25):
            puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            self.dynamodb.batch_write_item(RequestItems={table: puts})

    def put_ticks(
        self,
        symbol: str,
        prices: list[float],
        *,
        newest: datetime | None = None,
        every: float = 30,
        **more: Any,
    ) -> list[str]:
        """Put ticks as the pipeline stores them, by default up to now. Returns their timestamps."""
        items = self.tick_items(symbol, prices, newest=newest or datetime.now(UTC), every=every, **more)
        self.put(SETTINGS["TABLE_NAME"], items)
        return [item["timestamp"]["S"] for item in items]

    def tick_items(
        self, symbol: str, prices: list[float], *, newest: datetime, every: float = 30, **more: Any
    ) -> list[dict[str, Any]]:
        """Ticks as the pipeline stores them."""
        items = []
        for number, price in enumerate(prices):
            at = newest - timedelta(seconds=every * (len(prices) - 1 - number))
            quote = dict.fromkeys(("open", "high", "low", "price"), price)
            quote |= {"symbol": symbol, "previous_close": 100.0, "volume": 1000 * number, "currency": "USD"}
            quote |= {"timestamp": format_timestamp(at), **more}
            tick = build_tick(quote, source=more.get("source", "yahoo"), fetched_at=at)
            tick["anomaly"] = abs(tick["change_percent"]) > 5
            items.append({name: attribute(value) for name, value in tick.items() if value is not None})
        return items

    def put_alert(self, symbol: str, timestamp: str, signal: str, price: str, status: str = "sent") -> str:
        """Put an alert as StockTrendAnalysis stores it. Returns its alert_id."""
        alert_id = f"{timestamp[:10]}#ANOMALY#up" if signal == "ANOMALY" else f"{timestamp}#{signal}"
        if signal == "RULE":
            alert_id += f"#{symbol} price > 1"
        item = {"symbol": symbol, "alert_id": alert_id, "timestamp": timestamp, "signal": signal}
        item = {name: {"S": value} for name, value in (item | {"status": status}).items()}
        item |= {name: {"N": price} for name in ("price", "sma_short", "sma_long", "change_percent")}
        self.put(SETTINGS["ALERTS_TABLE_NAME"], [item])
        return alert_id


def attribute(value: Any) -> dict[str, Any]:
    """A value in DynamoDB's own form."""
    if isinstance(value, bool | str):
        return {"S" if isinstance(value, str) else "BOOL": value}
    return {"N": str(value)}


# As `streamlit run dashboard.py`, with another time between two refreshes.
SERVE = """
import sys
from streamlit.web.cli import main
from dashboard_parts import feed
feed.REFRESH_SECONDS = float(sys.argv.pop(1))
main()
"""


@contextmanager
def dashboard(
    directory: Path, endpoint: str, *, refresh_seconds: float = 0, folder: Path = ROOT, **settings: str
) -> Iterator[str]:
    """Run the page's server and yield its address.

    Args:
        directory: for its log.
        refresh_seconds: the time between two refreshes. 0: as the page has it.
        folder: the project whose page it is.
    """
    port = free_port()
    streamlit = ["-c", SERVE, str(refresh_seconds)] if refresh_seconds else ["-m", "streamlit"]
    command = [sys.executable, *streamlit, "run", "dashboard.py", "--server.port", str(port)]
    command += ["--server.headless", "true", "--server.fileWatcherType", "none"]
    with (directory / "dashboard.log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=aws_environment(endpoint) | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            eventually(lambda: answers(f"{address}/_stcore/health"))
            yield address
        finally:
            server.terminate()
            server.wait(timeout=20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def eventually(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Wait until the condition is true, and return its result. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
    return result


def settled(read: Callable[[], Any]) -> Any:
    """Read until two reads, a moment apart, give the same, and return that."""
    seen = [None]
    return eventually(lambda: seen.append(read()) or (seen[-1] == seen[-2] and seen[-1]))


class Page:
    """The page in a headless Chromium."""

    def __init__(
        self, *, width: int = 1280, height: int = 1000, dark: bool = False, zone: str = "UTC"
    ) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.resize(width, height)
        self.choose_theme("dark" if dark else "light")
        self.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def table(self, number: int) -> list[list[str]]:
        """The cells of a table as a screen reader gets them. 0 is the watchlist, 1 the alerts."""
        return self.run(
            "const t = document.querySelectorAll('[data-testid=stDataFrame]')[arguments[0]];"
            "return t ? [...t.querySelectorAll('tbody [role=row]')].map("
            "r => [...r.querySelectorAll('[role=gridcell]')].map(c => c.textContent)) : []",
            number,
        )

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def choose_theme(self, name: str) -> None:
        scheme = {"name": "prefers-color-scheme", "value": name}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def focused(self) -> str:
        """What has the focus, for a screen reader."""
        return self.run(
            "let e = document.activeElement;"
            "while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
            "return e.ariaLabel ?? e.dataset.testid ?? e.textContent"
        )

    def row(self, symbol: str) -> list[str]:
        return next((row for row in self.table(0) if row[0] == symbol), [])

    def text(self, selector: str) -> str:
        """The text of all elements that match a selector."""
        return self.run(
            "const found = [...document.querySelectorAll(arguments[0])];"
            "return found.map(e => e.innerText ?? e.textContent).join('\\n')",
            selector,
        )

    def select(self, place: int) -> None:
        """Click on a row of the watchlist."""
        grid = self.driver.find_element("css selector", "canvas[data-testid=data-grid-canvas]")
        actions = webdriver.ActionChains(self.driver)
        x, y = 16 - grid.size["width"] // 2, 36 + 35 * place + 17 - grid.size["height"] // 2
        actions.move_to_element_with_offset(grid, x, y).click().perform()

    def press(self, key: str) -> None:
        """Press a key in the element that has the focus."""
        webdriver.ActionChains(self.driver).send_keys(key).perform()

    def view(self, expression: str) -> Any:
        """A JavaScript expression about the chart, `view` of chart.js. None while there is no chart."""
        return self.run(
            "const box = [...document.querySelectorAll('[data-testid=stMain] div')]"
            ".map(e => e.shadowRoot).find(r => r?.querySelector('.chart'));"
            "const view = box?.view, label = box?.querySelector('.chart').ariaLabel, root = box;"
            f"return view ? {expression} : null"
        )

    def chart(self) -> str:
        """The name of the chart for a screen reader."""
        return self.view("label") or ""

    def zoom(self) -> None:
        """Turn the mouse wheel over the chart while Ctrl is held down."""
        self.view(
            "(() => { const e = root.querySelector('.chart canvas'), r = e.getBoundingClientRect();"
            "const at = {clientX: r.x + r.width / 2, clientY: r.y + r.height / 3};"
            "for (let i = 0; i < 6; i++) e.dispatchEvent(new WheelEvent('wheel', "
            "{deltaY: -200, ctrlKey: true, bubbles: true, cancelable: true, composed: true, ...at})) })()"
        )

    def range(self) -> dict[str, float]:
        """The places of the candles in view, from and to. The newest candle moves them."""
        return self.view("view.chart.timeScale().getVisibleRange()")

    def complaints(self) -> list[str]:
        """The errors on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts(self) -> set[str]:
        """The hosts to which the page has sent requests since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        requests = [
            e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
        ]
        requests += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        return {url.split("/")[2].split(":")[0] for url in requests if "://" in url}


def need_browser() -> None:
    """Skip the test if there is no Chromium. In continuous integration this is a failure."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{' and '.join(missing)} missing: apt-get install chromium chromium-driver")
    assert not missing, f"{missing} missing: .ci/run installs chromium and chromium-driver"
