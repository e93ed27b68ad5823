"""What the page knows of one symbol, and what it computes from the symbol's ticks."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from stream_stock_data import amount, format_timestamp, parse_timestamp

SESSION_GAP = 2 * 3600  # in seconds: a longer time without a tick ends a session
FIRST_TICKS = 120  # the first read of a symbol: an hour at one tick every 30 s
BAR = ("open", "high", "low")
# The attributes that the page reads, with their types in DynamoDB.
CHART_FIELDS = dict.fromkeys(("timestamp", "replayed_from"), "S")
CHART_FIELDS |= {"history": "BOOL"} | dict.fromkeys(("price", "volume", *BAR), "N")
TICK_FIELDS = CHART_FIELDS | dict.fromkeys(("source", "market_state", "exchange_timezone"), "S")
TICK_FIELDS |= {"anomaly": "BOOL"} | dict.fromkeys(("change", "change_percent", "delay_minutes"), "N")
SIGNALS = {"BUY": "▲ BUY", "SELL": "▼ SELL", "ANOMALY": "◆ ANOMALY", "RULE": "● RULE"}
MAX_CANDLES, MAX_POINTS = 75, 300
WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # of a candle, in seconds


class Tick(NamedTuple):
    """A tick in memory. Times are in seconds since 1970."""

    timestamp: str
    time: float
    price: Decimal
    volume: float  # NaN if it is unknown
    bar: tuple[float, ...] | None = None  # open, high and low of its own bar, if it is of the past
    replayed_at: float | None = None  # when a replayed bar happened
    anomaly_id: str | None = None  # the alert_id of its anomaly, if it is one


timestamp_of = attrgetter("timestamp")


@dataclass
class Series:
    """What is known of one symbol: its newest ticks, oldest first and with no gap, and its alerts."""

    symbol: str
    ticks: list[Tick] = field(default_factory=list)
    complete_from: str = "~"  # no tick is missing from this timestamp on
    newest: dict[str, Any] = field(default_factory=dict)  # the fields of the newest tick
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by alert_id
    alerts_complete_from: str = "~"  # the same for alerts, an alert_id
    # What to ask of the alerts table: "" for the new signals, or a date for its anomalies.
    due: list[str] = field(default_factory=list)
    # These are in monotonic seconds.
    first_read_at: float = -math.inf
    refreshed_at: float = -math.inf
    alerts_read_at: float = -math.inf
    charted_at: float = -math.inf
    lock: Any = field(default_factory=threading.Lock)

    @property
    def is_read(self) -> bool:
        """Whether DynamoDB has answered for this symbol."""
        return self.first_read_at > -math.inf

    def put_ticks(self, items: list[dict[str, Any]], first: str, last: str, *, complete: bool) -> bool:
        """Put what was read in the place of what is known between two timestamps.

        Args:
            items: items of the table, newest first.
            complete: they are all that lie between. Otherwise, what is known of before is dropped.

        Returns:
            Whether there are other ticks now.
        """
        found = [(tick, item) for item in reversed(items) if (tick := parse_tick(item))]
        start = bisect_left(self.ticks, first, key=timestamp_of) if complete else 0
        end = bisect_right(self.ticks, last, key=timestamp_of)
        count = len(self.ticks)
        # A new list, because a page may be drawing the old one.
        self.ticks = [*self.ticks[:start], *(tick for tick, _ in found), *self.ticks[end:]]
        self.complete_from = min(self.complete_from, first) if complete else items[-1]["timestamp"]
        if found and last == "~":
            self.newest = found[-1][1]
        return not complete or len(self.ticks) != count

    def trim_ticks(self, length: int) -> None:
        """Drop the oldest ticks when there are clearly more than `length`."""
        if len(self.ticks) > 1.2 * length:
            self.ticks = self.ticks[-length:]
            self.complete_from = self.ticks[0].timestamp

    def put_alerts(self, items: Iterable[dict[str, Any]]) -> None:
        """Add items of the alerts table, or put them in the place of what was known of them."""
        known = {"timestamp", "signal", "price"}
        whole = (item for item in items if known <= item.keys() and item["signal"] in SIGNALS)
        self.alerts = self.alerts | {item["alert_id"]: item for item in whole}

    def trim_alerts(self, length: int) -> None:
        """Drop the oldest signals, and no anomaly, when there are more than twice `length`."""
        signals = self.signals()
        if len(signals) > 2 * length:
            self.alerts_complete_from = signals[-length]
            older = set(signals[:-length])
            self.alerts = {key: alert for key, alert in self.alerts.items() if key not in older}

    def signals(self) -> list[str]:
        """The alert_ids of the signals, oldest first."""
        return sorted(key for key in self.alerts if not is_anomaly_id(key))

    def is_pending(self, alert_id: str) -> bool:
        """Whether an alert waits to be sent."""
        return self.alerts[alert_id].get("status") == "pending"

    def unsettled_days(self) -> list[str]:
        """The dates at the exchange whose anomalies may still come or change.

        These are the days of the pending ones, and of the newest ticks' if their alert is not known yet. A
        historical one may still be sent, for a live tick.
        """
        expected = {tick.anomaly_id for tick in self.ticks[-FIRST_TICKS:]} - {None}
        unsent = {key for key in expected if self.alerts.get(key, {}).get("status") in (None, "historical")}
        pending = {key for key in self.alerts if is_anomaly_id(key) and self.is_pending(key)}
        return sorted({key[:10] for key in unsent | pending})

    def is_complete_from(self, start: datetime) -> bool:
        """Whether no tick is missing from a time on."""
        return self.complete_from <= format_timestamp(start)

    def date_of(self, timestamp: str) -> str:
        """The date of a timestamp at the symbol's exchange."""
        return exchange_date(timestamp, self.newest.get("exchange_timezone"))


def parse_tick(item: dict[str, Any]) -> Tick | None:
    """Make a tick of an item. None if the item is not one of the pipeline's ticks."""
    try:
        timestamp, price = item["timestamp"], item["price"]
        time = parse_timestamp(timestamp).timestamp()
    except (KeyError, ValueError):
        return None
    if price <= 0:
        return None
    bar = replayed_at = anomaly_id = None
    with suppress(KeyError, ValueError):
        moment = datetime.fromisoformat(item["replayed_from"])
        replayed_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if ("replayed_from" in item or item.get("history")) and all(name in item for name in BAR):
        bar = tuple(float(item[name]) for name in BAR)
    if item.get("anomaly"):
        direction = "up" if item.get("change_percent", 0) > 0 else "down"
        anomaly_id = f"{exchange_date(timestamp, item.get('exchange_timezone'))}#ANOMALY#{direction}"
    return Tick(timestamp, time, price, float(item.get("volume", math.nan)), bar, replayed_at, anomaly_id)


def index_from(ticks: Sequence[Tick], start: datetime) -> int:
    """The index of the first tick at or after a time."""
    return bisect_left(ticks, format_timestamp(start), key=timestamp_of)


def time_zone(name: str | None) -> ZoneInfo:
    """The time zone of this name, or UTC if there is no such zone."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def exchange_date(timestamp: str, zone: str | None) -> str:
    """The date of a timestamp at an exchange in this time zone."""
    return str(datetime.fromisoformat(timestamp).astimezone(time_zone(zone)).date())


def is_anomaly_id(alert_id: str) -> bool:
    """Whether an alert_id begins with a date alone, as an anomaly's does, and not with a time."""
    return alert_id[10:11] == "#"


def has_anomaly_today(series: Series) -> bool:
    """Whether the newest tick's day, at its exchange, has an anomaly. A replayed bar is a day of its own."""
    if series.newest.get("anomaly") or "replayed_from" in series.newest:
        return bool(series.newest.get("anomaly"))
    day = series.date_of(series.newest["timestamp"])
    return any(key.startswith(f"{day}#") for key in series.alerts)


def average(ticks: Sequence[Tick], length: int, end: int | None = None) -> Decimal | None:
    """The mean price of the last ticks before an index, the newest ones by default.

    None if there are too few. Equal means are rounded alike, so what is equal here is equal in
    StockTrendAnalysis.
    """
    end = len(ticks) if end is None else end
    return sum(tick.price for tick in ticks[end - length : end]) / length if end >= length else None


def market_state(newest: dict[str, Any], now: datetime) -> str:
    """Whether a symbol's market is "open", "closed" or "unknown", judged by its newest tick and the clock."""
    age = now - datetime.fromisoformat(newest["timestamp"])
    is_fresh = age < timedelta(minutes=10 + float(newest.get("delay_minutes", 0)))
    if is_fresh and newest.get("market_state"):
        return "open" if newest["market_state"] == "REGULAR" else "closed"
    if newest.get("exchange_timezone") == "America/New_York" and newest.get("source") != "simulated":
        there = now.astimezone(time_zone("America/New_York"))  # this does not know the exchange's holidays
        in_hours = (9, 30) <= (there.hour, there.minute) < (16, 0)
        return "open" if there.weekday() < 5 and in_hours else "closed"
    return "open" if is_fresh else "unknown"


def candle_seconds(ticks: Sequence[Tick], most: int = MAX_CANDLES) -> float:
    """The length of a chart's candles: the smallest of WIDTHS that gives no more of them than `most`.

    It is no finer than the ticks are apart. Where bars of the past and live ticks mix, the wider spacing
    counts: narrow candles would make a row of dashes of the sparse part. A replay has one candle a bar, as
    long as its closest bars are apart.
    """
    times = np.array([tick.time if tick.replayed_at is None else tick.replayed_at for tick in ticks])
    steps = np.diff(times)
    if ticks[-1].replayed_at is not None:
        return min(steps[steps > 0], default=86_400)
    is_past = np.array([tick.bar is not None for tick in ticks[1:]], dtype=bool)
    spacing = max((np.median(part) for part in (steps[is_past], steps[~is_past]) if len(part)), default=0)
    for seconds in WIDTHS:
        # An outage takes its place on the axis, and a night does not.
        places = np.where(steps > SESSION_GAP, 1, np.diff(times // seconds))
        if seconds >= 0.9 * spacing and places.sum() < most:  # quotes do not come to the second
            return seconds
    return WIDTHS[-1]


def candle_start(tick: Tick, width: float) -> float:
    """When the candle that takes a tick begins. All times are in seconds."""
    return tick.time // width * width if tick.replayed_at is None else tick.replayed_at


def make_candles(
    series: Series, *, start: datetime, seconds: float, short: int, long: int
) -> list[dict[str, Any]]:
    """Make the candles of a chart, oldest first, with averages, volume and signals.

    Within a session, a candle opens at the price of the tick before. A tick of the past brings the open, high
    and low of its own bar. A replayed bar has its own candle, at the time when it happened.

    The averages are those at the candle's last tick. A tick's volume counts from the start of the session,
    so a candle's volume is the sum of the increases. Only a replayed tick brings the volume of its own bar.

    Args:
        start: a time in the first candle.
        seconds: the length of a candle.
        short, long: the number of ticks in each average.
    """
    ticks = series.ticks
    first = index_from(ticks, start)
    if first < len(ticks) and ticks[first].replayed_at is None:  # the first candle is whole
        first = bisect_left(ticks, candle_start(ticks[first], seconds), key=lambda tick: tick.time)
    candles: dict[float, dict[str, Any]] = {}
    ends: dict[float, int] = {}  # where the ticks of each candle end
    for index, tick in enumerate(ticks[first:], first):
        price, before = float(tick.price), ticks[index - 1] if index else None
        opened, high, low = tick.bar or (price, price, price)
        if before and not tick.bar and tick.time - before.time <= SESSION_GAP:
            opened = float(before.price)
        at = candle_start(tick, seconds)
        if candles and at < next(reversed(candles)):  # another replay has begun
            candles.clear()
            first = index
        if at not in candles:
            candles[at] = {"time": at, "open": opened, "high": opened, "low": opened, "volume": 0.0}
        candle = candles[at]
        candle["high"], candle["low"] = max(candle["high"], high, price), min(candle["low"], low, price)
        candle["close"] = price
        volume_before = 0 if tick.replayed_at is not None else before.volume if before else math.nan
        candle["volume"] += max(0, tick.volume - volume_before)  # 0 when one of them is NaN
        ends[at] = index + 1
    for at, candle in candles.items():
        for name, length in (("short", short), ("long", long)):
            if mean := average(ticks, length, ends[at]):
                candle[name] = float(mean)
    add_signals(candles, series, first=first, width=seconds)
    limit_wicks(list(candles.values()))
    return list(candles.values())


def add_signals(candles: dict[float, dict[str, Any]], series: Series, *, first: int, width: float) -> None:
    """Put the alerts into the candles of their ticks: for each kind their number, and a text.

    Args:
        candles: by their start, in seconds since 1970.
        first: the index of the first tick in the candles.
        width: of a candle, in seconds.
    """
    ticks = series.ticks
    for alert in sorted(series.alerts.values(), key=lambda alert: alert["timestamp"]):
        index = bisect_right(ticks, alert["timestamp"], key=timestamp_of) - 1
        if index >= first and (candle := candles.get(candle_start(ticks[index], width))):
            signal, text = alert["signal"], f"{signal_text(alert)} {amount(alert['price'])}"
            candle[signal] = candle.get(signal, 0) + 1
            candle["alerts"] = f"{candle['alerts']}, {text}" if "alerts" in candle else text


def signal_text(alert: dict[str, Any]) -> str:
    """An alert's signal with its mark; that of a rule with the rule, which ends its alert_id."""
    return f"{SIGNALS[alert['signal']]} {alert['alert_id'].partition('#RULE#')[2]}".strip()


def limit_wicks(candles: list[dict[str, Any]]) -> None:
    """Cut the wicks that the price scale does not show, with "top" and "bottom". It shows all bodies.

    The scale leaves out the wildest twelfth of the wicks: one shock would flatten everything else.
    """

    def wick(candle: dict[str, Any]) -> float:
        return candle["high"] - candle["low"] - abs(candle["close"] - candle["open"])

    calm = sorted(candles, key=wick)[: len(candles) - len(candles) // 12]
    ends = [candle[name] for candle in candles for name in ("open", "close")]
    ends += [candle[name] for candle in calm for name in ("low", "high")]
    bottom, top = min(ends, default=0), max(ends, default=0)
    for candle in candles:
        if candle["low"] < bottom:
            candle["bottom"] = bottom
        if candle["high"] > top:
            candle["top"] = top


def age_text(seconds: float) -> str:
    """An age in words: "45 s", "3 h"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def arrow(value: float) -> str:
    """The arrow that says which way a value went."""
    return "▲" if value > 0 else "▼" if value < 0 else "▬"
