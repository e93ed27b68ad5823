"""What the server has read, shared by all pages."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dashboard_parts.reading import (
    CALLS_AT_ONCE,
    CREDENTIALS,
    Settings,
    count_objects,
    error_code,
    make_client,
    read_alerted_symbols,
    read_items,
)
from dashboard_parts.ticks import CHART_ALERTS, CHART_TICKS, FIRST_ALERTS, TICK_NUMBERS, Series, parse_tick

REFRESH_SECONDS = 3
FIRST_TICKS = 120  # read when a symbol comes on the page: an hour at a tick every 30 s
KEPT_TICKS = 1_000  # of a symbol without a chart
IDLE_SECONDS = 600  # after which a symbol that no page shows is forgotten
TICK_TEXTS = ("timestamp", "source", "market_state", "exchange_timezone", "replayed_from")
TICK_FIELDS = (*TICK_NUMBERS, *TICK_TEXTS, "anomaly")
ALERT_FIELDS = (
    "alert_id",
    "timestamp",
    "signal",
    "price",
    "sma_short",
    "sma_long",
    "change_percent",
    "status",
)


class Feed:
    """What this server has read, shared by all pages: ten that are open cost what one does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._pool = ThreadPoolExecutor(max_workers=CALLS_AT_ONCE)
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._series: dict[str, Series] = {}
        self._cached: dict[str, tuple[float, Any]] = {}
        self._jobs: dict[tuple[str, str], Future] = {}
        self._account = ""
        self._failed_at = -math.inf
        self.failures: dict[str, Exception] = {}  # of reading "ticks", "alerts", while it fails
        self.read_at: datetime | None = None  # when ticks were read last

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = make_client(service, region=self.settings.region)
            return self._clients[service]

    def series(self, symbol: str) -> Series:
        with self._lock:
            return self._series.setdefault(symbol, Series(symbol))

    def reread(self) -> None:
        """Forget what was read more than a minute ago: a page is opened, and late ticks are to be seen."""
        with self._lock:
            now = time.monotonic()
            self._series = {s: series for s, series in self._series.items() if now - series.read_at < 60}

    def refresh(self, symbols: Sequence[str], *, patience: float) -> None:
        """Ask for what is new of these symbols, one Query each, and wait for the answers for so many seconds.

        What takes longer goes on, and is there at one of the next refreshes. `failures` says what went wrong.
        """
        now = time.monotonic()
        wait([self._start(("ticks", symbol), self._read, symbol, now) for symbol in symbols], patience)
        with self._lock:
            for symbol in [s for s, series in self._series.items() if now - series.asked_at > IDLE_SECONDS]:
                if symbol not in symbols:
                    del self._series[symbol]

    def reach(self, symbol: str, since: str, *, patience: float) -> Series:
        """A symbol's ticks and alerts from a time on: what is missing at the old end is read, once."""
        series = self.series(symbol)
        series.charted_at = time.monotonic()
        if series.ticks and series.lacks(since):
            wait([self._start(("range", symbol), self._read_range, series, since)], patience)
        return series

    def cached(self, name: str, seconds: float, read: Callable[[], Any]) -> Any:
        """The last result of `read`, or the error it raised, made anew when it is older; None at first."""
        at, value = self._cached.get(name, (-math.inf, None))

        def job() -> None:
            try:
                result = read()
            except (ClientError, BotoCoreError) as error:
                result = error
            self._cached[name] = time.monotonic(), result

        if time.monotonic() - at > (10 if isinstance(value, Exception) else seconds):
            self._start(("cached", name), job)
        return value

    def alerted_symbols(self) -> list[str]:
        """The symbols that have alerts; none while that cannot be read."""
        table = self.settings.alerts_table
        found = self.cached(
            "symbols", 600, lambda: read_alerted_symbols(self.client("dynamodb"), table=table)
        )
        return found if isinstance(found, list) else []

    def waiting(self, what: str) -> tuple[int, bool] | Exception | None:
        """The "rejects" (of today and yesterday) or "failed batches" in the bucket, counted once a minute."""

        def count() -> tuple[int, bool]:
            today = datetime.now(UTC).date()
            days = (today, today - timedelta(days=1))
            prefixes = [f"rejected-data/dt={day}/" for day in days] if what == "rejects" else ["aws/lambda/"]
            counts = [count_objects(self.client("s3"), bucket=self._bucket(), prefix=p) for p in prefixes]
            return sum(number for number, _ in counts), any(more for _, more in counts)

        return self.cached(what, 60, count)

    def _bucket(self) -> str:
        if "{account}" in self.settings.bucket and not self._account:
            self._account = self.client("sts").get_caller_identity()["Account"]
        return self.settings.bucket.replace("{region}", self.settings.region).replace(
            "{account}", self._account
        )

    def _start(self, key: tuple[str, str], job: Callable[..., None], *arguments: Any) -> Future:
        """Have a job done, unless the one of that name is still at it."""
        with self._lock:
            if key not in self._jobs or self._jobs[key].done():
                self._jobs[key] = self._pool.submit(job, *arguments)
            return self._jobs[key]

    @contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        """Keep the error of a read, until one of the same kind succeeds."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            code = error_code(error)
            with self._lock:
                self.failures[what], self._failed_at = error, time.monotonic()
                if CREDENTIALS.search(code):
                    self._clients.clear()  # the next ones find new credentials
                if code == "ResourceNotFoundException":
                    self._series.clear()  # tables made anew have other ticks
        else:
            with self._lock:
                self.failures.pop(what, None)

    def _read(self, symbol: str, asked_at: float) -> None:
        series = self.series(symbol)
        # Where one call has failed the others would; and another page may just have asked.
        if self._failed_at > asked_at or asked_at - series.asked_at < 0.8 * REFRESH_SECONDS:
            return
        with series.lock:
            is_first = series.read_at == -math.inf
            news = series.has_news or series.expected or asked_at - series.alerts_asked_at > 60
            if is_first or not news or series.alerts_asked_at > series.asked_at:
                with self._attempt("ticks"):
                    self._read_ticks(series)
                    self.read_at = datetime.now(UTC)
                    if is_first:
                        series.read_at = asked_at
            if series.read_at > -math.inf and (
                is_first or (news and series.alerts_asked_at < series.asked_at)
            ):
                with self._attempt("alerts"):
                    self._read_alerts(series)
            series.asked_at = asked_at

    def _read_range(self, series: Series, since: str) -> None:
        with series.lock, self._attempt("ticks"):
            if since < series.since and len(series.ticks) < CHART_TICKS:
                self._reach_ticks(series, since)
            if since < series.alerts_since and len(series.alerts) < CHART_ALERTS:
                self._reach_alerts(series, since)

    def _read_ticks(self, series: Series) -> None:
        last = series.ticks[-1].timestamp if series.ticks else ""
        items, complete = read_items(
            self.client("dynamodb"),
            table=self.settings.table,
            symbol=series.symbol,
            key="timestamp",
            fields=TICK_FIELDS,
            after=last,
            limit=CHART_TICKS if last else FIRST_TICKS,
        )
        series.add_ticks(items, complete=complete)
        has_chart = time.monotonic() - series.charted_at < IDLE_SECONDS
        series.trim(CHART_TICKS if has_chart else KEPT_TICKS)

    def _reach_ticks(self, series: Series, since: str) -> None:
        oldest = series.ticks[0].timestamp
        items, complete = read_items(
            self.client("dynamodb"),
            table=self.settings.table,
            symbol=series.symbol,
            key="timestamp",
            fields=("timestamp", "price", "volume"),
            between=(since, oldest),
            limit=CHART_TICKS - len(series.ticks) + 1,
        )
        older = [tick for tick in map(parse_tick, reversed(items)) if tick and tick.timestamp < oldest]
        series.ticks = older + series.ticks
        series.since = since if complete else series.ticks[0].timestamp

    def _read_alerts(self, series: Series) -> None:
        """The new signals, or an anomaly to come: its key has a date only, which sorts before them."""
        now = series.alerts_asked_at = time.monotonic()
        series.alerts_asked += 1
        series.expected = {
            key: until for key, until in series.expected.items() if key not in series.alerts and until > now
        }
        request: dict[str, Any] = {"limit": CHART_ALERTS}
        signals = [key for key, alert in series.alerts.items() if alert.get("signal") != "ANOMALY"]
        is_anomaly = bool(series.expected) and (series.alerts_asked % 2 == 0 or not series.has_news)
        series.has_news = series.has_news and is_anomaly
        if is_anomaly:
            request["between"] = (min(series.expected), max(series.expected))
        elif signals:
            # From the oldest that was not sent yet, so that its status comes right.
            pending = [key for key in signals if series.alerts[key].get("status") == "pending"]
            request["between"] = (min(pending, default=max(signals)), "~")
        else:
            request["limit"] = FIRST_ALERTS
        items, complete = self._alerts(series, **request)
        if "between" not in request:
            series.alerts_since = "" if complete else items[-1]["alert_id"]
        series.alerts = series.alerts | {item["alert_id"]: item for item in items}
        if len(series.alerts) > 2 * CHART_ALERTS:
            kept = sorted(series.alerts)[-CHART_ALERTS:]
            series.alerts, series.alerts_since = {key: series.alerts[key] for key in kept}, kept[0]

    def _reach_alerts(self, series: Series, since: str) -> None:
        items, complete = self._alerts(series, between=(since, series.alerts_since), limit=CHART_ALERTS)
        series.alerts = series.alerts | {item["alert_id"]: item for item in items}
        series.alerts_since = since if complete else items[-1]["alert_id"]

    def _alerts(self, series: Series, **request: Any) -> tuple[list[dict[str, Any]], bool]:
        return read_items(
            self.client("dynamodb"),
            table=self.settings.alerts_table,
            symbol=series.symbol,
            key="alert_id",
            fields=ALERT_FIELDS,
            **request,
        )
