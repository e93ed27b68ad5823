"""What this server has read from AWS, and when to read what."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard_parts import reading
from dashboard_parts.ticks import (
    CHART_FIELDS,
    TICK_FIELDS,
    Series,
    exchange_date,
    format_timestamp,
    is_anomaly_id,
    parse_tick,
)

REFRESH_SECONDS = 3
FIRST_TICKS = 120  # the first read of a symbol: an hour at one tick every 30 s
KEPT_TICKS = 1_000  # kept of a symbol that no chart shows
CHART_TICKS = 20_000  # kept of a symbol in a chart: five days at one tick every 10 s are 11,700
FIRST_ALERTS, CHART_ALERTS = 50, 1_000
IDLE_SECONDS = 600  # a symbol that no page shows for this long is forgotten
ALERT_NUMBERS = ("price", "sma_short", "sma_long", "change_percent")
ALERT_FIELDS = ("alert_id", "timestamp", "signal", "status", *ALERT_NUMBERS)


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
        self._account = ""
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

    def is_reading(self, symbols: Sequence[str]) -> bool:
        """Whether a read of one of these symbols is under way."""
        with self._lock:
            jobs = [self._jobs.get((kind, symbol)) for kind in ("new", "older") for symbol in symbols]
        return any(job and not job.done() for job in jobs)

    def failure(self, symbols: Sequence[str]) -> Exception | None:
        """The error of one of these symbols that has lasted since its last read, if there is one."""
        with self._lock:
            return next((error for (_, symbol), error in self.failures.items() if symbol in symbols), None)

    def forget_old_series(self) -> None:
        """Forget each symbol whose first read is over a minute ago, so that late ticks are read, too."""
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
        lacks = lacks_ticks(series, since) or lacks_alerts(series, since) or lacks_anomalies(series, since)
        if series.ticks and lacks:
            wait([self._submit(("older", symbol), self._read_older, series, since)], timeout)
        return series

    def alerted_symbols(self) -> list[str]:
        """The symbols that have alerts. None of them while the table cannot be read."""
        table = self.settings.alerts_table
        found = self._recent(
            "symbols", 600, lambda: reading.read_alerted_symbols(self.client("dynamodb"), table=table)
        )
        return found if isinstance(found, list) else []

    def count_in_bucket(self, what: str) -> tuple[int, bool] | Exception | None:
        """Count objects in the bucket, once a minute.

        Args:
            what: "rejects" (those of today and yesterday) or "failed batches".

        Returns:
            The number and whether there are more, or the error. None until there is a first result.
        """

        def count() -> tuple[int, bool]:
            today = datetime.now(UTC).date()
            days = (today, today - timedelta(days=1))
            prefixes = [f"rejected-data/dt={day}/" for day in days] if what == "rejects" else ["aws/lambda/"]
            counts = [
                reading.count_objects(self.client("s3"), bucket=self._bucket(), prefix=p) for p in prefixes
            ]
            return sum(number for number, _ in counts), any(more for _, more in counts)

        return self._recent(what, 60, count)

    def _bucket(self) -> str:
        bucket = self.settings.bucket.replace("{region}", self.settings.region)
        if "{account}" in bucket and not self._account:
            self._account = self.client("sts").get_caller_identity()["Account"]
        return bucket.replace("{account}", self._account)

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
            wants_alerts = (
                series.has_new_ticks or series.expected_anomalies or asked_at - series.alerts_read_at > 60
            )
            alerts_were_last = series.alerts_read_at > series.refreshed_at
            is_turn_of_alerts = not is_first and wants_alerts and not alerts_were_last
            if not is_turn_of_alerts:
                with self._recording_failure("ticks", series.symbol):
                    self._read_new_ticks(series)
                    self.ticks_read_at = datetime.now(UTC)
                    if is_first:
                        series.first_read_at = asked_at
            if is_turn_of_alerts or (is_first and series.is_read):
                with self._recording_failure("alerts", series.symbol):
                    self._read_new_alerts(series)
            series.refreshed_at = asked_at

    def _read_older(self, series: Series, since: str) -> None:
        with series.lock, self._recording_failure("ticks", series.symbol):
            if lacks_ticks(series, since):
                self._read_older_ticks(series, since)
            if lacks_alerts(series, since):
                self._read_older_alerts(series, since)
            for day in lacks_anomalies(series, since):
                self._read_anomalies(series, day)

    def _read_new_ticks(self, series: Series) -> None:
        last = series.ticks[-1].timestamp if series.ticks else ""
        limit = CHART_TICKS if last else FIRST_TICKS
        items, complete = self._query(series, "timestamp", fields=TICK_FIELDS, after=last, limit=limit)
        series.add_ticks(items, complete=complete)
        has_chart = time.monotonic() - series.charted_at < IDLE_SECONDS
        series.trim(CHART_TICKS if has_chart else KEPT_TICKS)

    def _read_older_ticks(self, series: Series, since: str) -> None:
        oldest = series.ticks[0].timestamp
        items, complete = self._query(
            series,
            "timestamp",
            fields=CHART_FIELDS,
            between=(since, oldest),
            limit=CHART_TICKS - len(series.ticks) + 1,
        )
        older = [tick for tick in map(parse_tick, reversed(items)) if tick and tick.timestamp < oldest]
        series.ticks = older + series.ticks
        series.complete_from = since if complete else series.ticks[0].timestamp

    def _read_new_alerts(self, series: Series) -> None:
        """Read the new signals or, in turn with them, the anomalies that may have come or changed."""
        now = series.alerts_read_at = time.monotonic()
        series.alert_reads += 1
        series.expected_anomalies = {
            alert_id: until
            for alert_id, until in series.expected_anomalies.items()
            if series.may_change(alert_id) and until > now
        }
        expected = series.expected_anomalies
        pending = [key for key, alert in series.alerts.items() if alert.get("status") == "pending"]
        days = sorted({key[:10] for key in [*expected, *filter(is_anomaly_id, pending)]})
        is_their_turn = series.alert_reads % 2 == 0 or bool(expected and not series.has_new_ticks)
        if days and is_their_turn:
            self._read_anomalies(series, days[series.alert_reads // 2 % len(days)])
            return
        series.has_new_ticks = False
        signals = [key for key in series.alerts if not is_anomaly_id(key)]
        if signals:
            # Start at the oldest alert that was not sent yet, to see when its status changes.
            first = min((key for key in pending if not is_anomaly_id(key)), default=max(signals))
            items, _ = self._query(
                series, "alert_id", fields=ALERT_FIELDS, between=(first, "~"), limit=CHART_ALERTS
            )
        else:
            items, complete = self._query(series, "alert_id", fields=ALERT_FIELDS, limit=FIRST_ALERTS)
            series.alerts_complete_from = "" if complete else items[-1]["alert_id"]
            for day in lacks_anomalies(series, series.newest.get("timestamp", "")):
                self._read_anomalies(series, day)
        series.add_alerts(items)
        if len(series.alerts) > 2 * CHART_ALERTS:
            signals = sorted(key for key in series.alerts if not is_anomaly_id(key))
            series.alerts_complete_from = signals[-CHART_ALERTS]
            older = set(signals[:-CHART_ALERTS])
            series.alerts = {key: alert for key, alert in series.alerts.items() if key not in older}

    def _read_anomalies(self, series: Series, day: str) -> None:
        """Read a day's anomalies.

        Their keys begin with the date alone. They sort before all signals of the day, so a read of the newest
        keys does not find them.
        """
        items, _ = self._query(
            series, "alert_id", fields=ALERT_FIELDS, between=(f"{day}#", f"{day}#~"), limit=CHART_ALERTS
        )
        series.add_alerts(items)
        series.anomaly_days.add(day)

    def _read_older_alerts(self, series: Series, since: str) -> None:
        between = (since, series.alerts_complete_from)
        items, complete = self._query(
            series, "alert_id", fields=ALERT_FIELDS, between=between, limit=CHART_ALERTS
        )
        series.add_alerts(items)
        series.alerts_complete_from = since if complete else items[-1]["alert_id"]

    def _query(self, series: Series, key: str, **request: Any) -> tuple[list[dict[str, Any]], bool]:
        """Query the table that has this sort key, as `read_items` does."""
        table = self.settings.table if key == "timestamp" else self.settings.alerts_table
        return reading.read_items(
            self.client("dynamodb"), table=table, symbol=series.symbol, key=key, **request
        )


def lacks_ticks(series: Series, since: str) -> bool:
    """Whether a chart that starts at this timestamp needs older ticks, and there is room for them."""
    return since < series.complete_from and len(series.ticks) < CHART_TICKS


def lacks_alerts(series: Series, since: str) -> bool:
    """Whether a chart that starts at this timestamp needs older alerts, and there is room for them."""
    return since < series.alerts_complete_from and len(series.alerts) < CHART_ALERTS


def lacks_anomalies(series: Series, since: str) -> list[str]:
    """The exchange's days from a timestamp on whose anomalies were not read, newest first."""
    if not (since and series.newest and series.alerts_complete_from):  # with "" all alerts are known
        return []
    zone = series.newest.get("exchange_timezone")
    first, last = (exchange_date(timestamp, zone) for timestamp in (since, series.newest["timestamp"]))
    days = [str(last - timedelta(days=age)) for age in range((last - first).days + 1)]
    return [day for day in days if day not in series.anomaly_days]
