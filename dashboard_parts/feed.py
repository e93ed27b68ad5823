"""What this server has read from AWS, and when to read what."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pandas as pd

from dashboard_parts import reading
from dashboard_parts.ticks import (
    CHART_FIELDS,
    FIRST_TICKS,
    TICK_FIELDS,
    Series,
    format_timestamp,
)

REFRESH_SECONDS = 3
KEPT_TICKS = 1_000  # kept of a symbol that no chart shows
CHART_TICKS = 20_000  # kept of a symbol in a chart: five days at one tick every 10 s are 11,700
FIRST_ALERTS, CHART_ALERTS = 50, 1_000
# How many of the newest ticks and signals are read again, to find what came late between them. With a new
# tick, they are within the 4 KB that DynamoDB charges for at least.
READ_AGAIN = 8
IDLE_SECONDS = 600  # a symbol that no page shows for this long is forgotten
ALERT_FIELDS = dict.fromkeys(("alert_id", "symbol", "timestamp", "signal", "status"), "S")
ALERT_FIELDS |= dict.fromkeys(("price", "sma_short", "sma_long", "change_percent"), "N")


class Feed:
    """What this server has read. All pages share it, so ten open pages cost as much as one."""

    def __init__(self, settings: reading.Settings) -> None:
        self.settings = settings
        # Of reading the "ticks" or "alerts" of a symbol, until that works again.
        self.failures: dict[tuple[str, str], Exception] = {}
        self.ticks_read_at: datetime | None = None
        self._pool = ThreadPoolExecutor(max_workers=reading.CALLS_AT_ONCE)
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._series: dict[str, Series] = {}
        self._results: dict[str, tuple[float, Any]] = {}  # of `_recent`: when, and what
        self._jobs: dict[tuple[str, str], Future] = {}
        self._failed_at = -math.inf

    def client(self, service: str) -> Any:
        """The client of a service, made at its first use, and again after AWS refused the credentials."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = reading.make_client(service, region=self.settings.region)
            return self._clients[service]

    def series(self, symbol: str) -> Series:
        """What is known of a symbol. It is empty at first."""
        with self._lock:
            return self._series.setdefault(symbol, Series(symbol))

    def are_read(self, symbols: Sequence[str]) -> bool:
        """Whether DynamoDB has answered for all of these symbols."""
        return all(self.series(symbol).is_read for symbol in symbols)

    def failure(self, symbols: Sequence[str]) -> Exception | None:
        """The error of one of these symbols that has lasted since its last read, if there is one."""
        with self._lock:
            return next((error for (_, symbol), error in self.failures.items() if symbol in symbols), None)

    def forget_old_series(self) -> None:
        """Forget each symbol whose first read is over a minute ago, so that ticks of any age are read."""
        with self._lock:
            oldest = time.monotonic() - 60
            self._series = {s: series for s, series in self._series.items() if series.first_read_at > oldest}

    def refresh(self, symbols: Sequence[str], *, timeout: float) -> None:
        """Read what is new of these symbols, with one Query each.

        A read that takes longer than the timeout goes on. One of the next refreshes finds its result.

        Args:
            symbols: the symbols on the page, the most urgent first.
            timeout: how long to wait for the answers, in seconds.
        """
        now = time.monotonic()
        wait([self._submit(("new", symbol), self._read_new, symbol, now) for symbol in symbols], timeout)
        with self._lock:
            for symbol, series in list(self._series.items()):
                if symbol not in symbols and now - series.refreshed_at > IDLE_SECONDS:
                    del self._series[symbol]

    def read_back_to(self, symbol: str, start: datetime, *, timeout: float) -> Series:
        """Read the ticks and alerts of a symbol back to a time, except those that are known.

        Args:
            timeout: how long to wait for the answers, in seconds.
        """
        series, since = self.series(symbol), format_timestamp(start)
        series.charted_at = time.monotonic()
        if series.ticks and (lacks_ticks(series, since) or lacks_alerts(series, since)):
            wait([self._submit(("older", symbol), self._read_older, series, since)], timeout)
        return series

    def alerted_symbols(self) -> list[str]:
        """The symbols that have alerts. None of them while the table cannot be read."""
        table = self.settings.alerts_table
        found = self._recent(
            "symbols", 600, lambda: reading.read_alerted_symbols(self.client("dynamodb"), table=table)
        )
        return found if isinstance(found, list) else []

    def count_in_bucket(self, what: str) -> int | Exception | None:
        """Count objects in the bucket, once a minute.

        Args:
            what: "rejects" (those of today and yesterday) or "failed batches".

        Returns:
            The number, or the error. None until there is a first result.
        """
        days = [datetime.now(UTC).date() - timedelta(days=age) for age in (0, 1)]
        prefixes = [f"rejected-data/dt={day}/" for day in days] if what == "rejects" else ["aws/lambda/"]

        def count() -> int:
            s3 = self.client("s3")
            return sum(reading.count_objects(s3, bucket=self._bucket, prefix=prefix) for prefix in prefixes)

        return self._recent(what, 60, count)

    @cached_property
    def _bucket(self) -> str:
        bucket = self.settings.bucket.replace("{region}", self.settings.region)
        if "{account}" in bucket:
            bucket = bucket.replace("{account}", self.client("sts").get_caller_identity()["Account"])
        return bucket

    def _recent(self, name: str, seconds: float, read: Callable[[], Any]) -> Any:
        """The last result of `read`, or the error that it raised. None until there is one.

        A result that is too old is still returned, while a new read runs in the background. Streamlit's own
        cache cannot do this: the page would wait for the first read, and again for each one that fails.

        Args:
            seconds: the age at which a result is too old. An error is too old after 10 s.
        """
        at, result = self._results.get(name, (-math.inf, None))

        def job() -> None:
            try:
                new = read()
            except Exception as error:  # whatever it is, the page says it
                new = error
            self._results[name] = time.monotonic(), new

        if time.monotonic() - at > (10 if isinstance(result, Exception) else seconds):
            self._submit(("recent", name), job)
        return result

    def _submit(self, key: tuple[str, str], job: Callable[..., None], *arguments: Any) -> Future:
        """Run a job in the background, unless the last one with this key still runs."""
        with self._lock:
            if key not in self._jobs or self._jobs[key].done():
                self._jobs[key] = self._pool.submit(job, *arguments)
            return self._jobs[key]

    @contextmanager
    def _recording_failure(self, what: str, symbol: str) -> Iterator[None]:
        """Keep the error of a read in `failures`, until a read of the same kind and symbol works."""
        try:
            yield
        except Exception as error:  # whatever it is, the page says it
            with self._lock:
                self.failures[what, symbol] = error
                if reading.error_code(error) != "ValidationException":  # that is the symbol's alone
                    self._failed_at = time.monotonic()
                if reading.is_credentials_error(error):
                    self._clients.clear()  # new clients find new credentials
                if reading.error_code(error) == "ResourceNotFoundException":
                    self._series.clear()  # if somebody makes the tables again, they hold other ticks
        else:
            with self._lock:
                self.failures.pop((what, symbol), None)

    def _read_new(self, symbol: str, asked_at: float) -> None:
        """Read the new ticks of a symbol or, in turn with them, its new alerts. The first time, read both."""
        series = self.series(symbol)
        # Skip the call if another one of this refresh has failed, or if another page has just refreshed.
        if self._failed_at > asked_at or asked_at - series.refreshed_at < 0.8 * REFRESH_SECONDS:
            return
        with series.lock:
            is_first = not series.is_read
            is_turn_of_alerts = series.due and series.alerts_read_at < series.refreshed_at
            if not is_turn_of_alerts:
                with self._recording_failure("ticks", symbol):
                    self._read_new_ticks(series)
                    self.ticks_read_at = datetime.now(UTC)
                    series.first_read_at = asked_at if is_first else series.first_read_at
            if is_turn_of_alerts or (is_first and series.is_read):
                with self._recording_failure("alerts", symbol):
                    self._read_new_alerts(series)
            series.refreshed_at = asked_at

    def _read_older(self, series: Series, since: str) -> None:
        with series.lock, self._recording_failure("ticks", series.symbol):
            if lacks_ticks(series, since):
                last, limit = series.ticks[0].timestamp, CHART_TICKS - len(series.ticks) + 1
                items, complete = self._query(series, CHART_FIELDS, since, last, limit)
                series.put_ticks(items, since, last, complete=complete)
            if lacks_alerts(series, since):
                days = pd.date_range(*map(series.date_of, (since, series.newest["timestamp"])))
                days = list(days.strftime("%Y-%m-%d"))
                self._read_older_alerts(series, min(since, f"{days[0]}#"), days, CHART_ALERTS)

    def _read_new_ticks(self, series: Series) -> None:
        first = series.ticks[-READ_AGAIN:][0].timestamp if series.ticks else "0"
        limit = CHART_TICKS if series.ticks else FIRST_TICKS
        items, complete = self._query(series, TICK_FIELDS, first, "~", limit)
        has_new = series.put_ticks(items, first, "~", complete=complete)
        now = time.monotonic()
        series.trim_ticks(CHART_TICKS if now - series.charted_at < IDLE_SECONDS else KEPT_TICKS)
        days = series.unsettled_days()
        if has_new or days or now - series.alerts_read_at > 60:
            series.due = list(dict.fromkeys([*series.due, "", *days]))

    def _read_new_alerts(self, series: Series) -> None:
        """Read the new signals or, in turn with them, a day's anomalies that may have come or changed."""
        series.alerts_read_at = time.monotonic()
        if series.alerts_complete_from == "~":
            today = [series.date_of(series.newest["timestamp"])] if series.newest else []
            self._read_older_alerts(series, "0", today, FIRST_ALERTS)
        elif series.due[0]:
            self._read_anomalies(series, series.due[0])
        else:
            signals = series.signals()
            # Start at the oldest signal that was not sent yet, to see when its status changes.
            first = min([*filter(series.is_pending, signals), *signals[-READ_AGAIN:]], default="0")
            items, _ = self._query(series, ALERT_FIELDS, first, "~", CHART_ALERTS)
            series.put_alerts(items)
        series.trim_alerts(CHART_ALERTS)
        series.due = series.due[1:]

    def _read_older_alerts(self, series: Series, first: str, days: list[str], limit: int) -> None:
        """Read the alerts from a key on that are not known.

        The key of an anomaly begins with the date alone. It sorts before all signals of its day, so where
        there are too many to read them all, the anomalies of these days are read by themselves.
        """
        items, complete = self._query(series, ALERT_FIELDS, first, series.alerts_complete_from, limit)
        series.put_alerts(items)
        series.alerts_complete_from = first if complete else items[-1]["alert_id"]
        for day in days:
            if f"{day}#" < series.alerts_complete_from:
                self._read_anomalies(series, day)

    def _read_anomalies(self, series: Series, day: str) -> None:
        items, _ = self._query(series, ALERT_FIELDS, f"{day}#", f"{day}#~", CHART_ALERTS)
        series.put_alerts(items)

    def _query(
        self, series: Series, fields: dict[str, str], first: str, last: str, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Query the table of these fields, as `read_items` does."""
        table = self.settings.alerts_table if fields is ALERT_FIELDS else self.settings.table
        dynamodb, symbol = self.client("dynamodb"), series.symbol
        return reading.read_items(
            dynamodb, table=table, symbol=symbol, fields=fields, between=(first, last), limit=limit
        )


def lacks_ticks(series: Series, since: str) -> bool:
    """Whether a chart that starts at this timestamp needs older ticks, and there is room for them."""
    return since < series.complete_from and len(series.ticks) < CHART_TICKS


def lacks_alerts(series: Series, since: str) -> bool:
    """Whether a chart that starts at this timestamp needs older alerts, and there is room for them."""
    return since < series.alerts_complete_from and len(series.alerts) < CHART_ALERTS
