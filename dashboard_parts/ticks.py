"""What the page knows of one symbol, and what it computes from the symbol's ticks."""

from __future__ import annotations

import itertools
import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from stream_stock_data import amount, format_timestamp, parse_timestamp

ANOMALY_ALERT_SECONDS = 120  # how long the page looks for the alert of an anomalous tick
SESSION_GAP = 2 * 3_600_000  # in milliseconds: a longer time without a tick ends a session
BAR = ("open", "high", "low")
CHART_FIELDS = ("timestamp", "price", "volume", *BAR, "history", "replayed_from")
NUMBERS = ("price", "change", "change_percent", "volume", "delay_minutes", *BAR)
FLAGS = ("anomaly", "history")
TEXTS = ("timestamp", "source", "market_state", "exchange_timezone", "replayed_from")
TICK_FIELDS = (*NUMBERS, *TEXTS, *FLAGS)
SIGNALS = {"BUY": "▲ BUY", "SELL": "▼ SELL", "ANOMALY": "◆ ANOMALY", "RULE": "● RULE"}
MAX_CANDLES = 75
WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # of a candle, in seconds


class Tick(NamedTuple):
    """A tick in memory. Times are in milliseconds since 1970."""

    timestamp: str
    time: float
    price: Decimal
    volume: Decimal | None
    bar: tuple[float | None, ...] | None = None  # open, high and low of its own bar, if it is of the past
    replayed_at: float | None = None  # when a replayed bar happened


@dataclass
class Series:
    """What is known of one symbol: its newest ticks, oldest first and with no gap, and its alerts."""

    symbol: str
    ticks: list[Tick] = field(default_factory=list)
    complete_from: str = ""  # no tick is missing from this timestamp on
    newest: dict[str, Any] = field(default_factory=dict)  # the fields of the newest tick
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by alert_id
    alerts_complete_from: str = ""  # the same for alerts, an alert_id
    anomaly_days: set[str] = field(default_factory=set)  # the exchange's days whose anomalies were read
    expected_anomalies: dict[str, float] = field(default_factory=dict)  # alert_id: when to stop looking
    has_new_ticks: bool = True  # ticks came after the last read of alerts
    alert_reads: int = 0
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

    def add_ticks(self, items: list[dict[str, Any]], *, complete: bool) -> None:
        """Add items that are newer than the known ticks.

        Args:
            items: items of the table, newest first.
            complete: no tick lies between the known ones and these.
        """
        ticks = []
        for item in reversed(items):
            if (tick := parse_tick(item)) is None:
                continue
            ticks.append(tick)
            self.newest = {name: value for name, value in item.items() if has_right_type(name, value)}
            if self.newest.get("anomaly") and self.may_change(alert_id := anomaly_id(self.newest)):
                self.expected_anomalies[alert_id] = time.monotonic() + ANOMALY_ALERT_SECONDS
        if not self.ticks or not complete:
            self.ticks = []
            self.complete_from = "" if complete else ticks[0].timestamp if ticks else "~"
        self.ticks = self.ticks + ticks  # a new list, because a page may be drawing the old one
        self.has_new_ticks = self.has_new_ticks or bool(ticks)

    def add_alerts(self, items: Iterable[dict[str, Any]]) -> None:
        """Add items of the alerts table, or put them in the place of what was known of them."""
        self.alerts = self.alerts | {item["alert_id"]: item for item in items}

    def may_change(self, alert_id: str) -> bool:
        """Whether an alert is not known yet, waits to be sent, or may still be sent for a live tick."""
        return self.alerts.get(alert_id, {}).get("status") in (None, "pending", "historical")

    def is_complete_from(self, start: datetime) -> bool:
        """Whether no tick is missing from a time on."""
        return self.complete_from <= format_timestamp(start)

    def trim(self, length: int) -> None:
        """Drop the oldest ticks when there are clearly more than `length`."""
        if len(self.ticks) > 1.2 * length:
            self.ticks = self.ticks[-length:]
            self.complete_from = self.ticks[0].timestamp


def has_right_type(name: str, value: Any) -> bool:
    """Whether the page can use a field of an item. ProcessStockData does not check all of them."""
    return isinstance(value, bool if name in FLAGS else Decimal if name in NUMBERS else str)


def parse_tick(item: dict[str, Any]) -> Tick | None:
    """Make a tick of an item. None if the item is not one of the pipeline's ticks."""
    try:
        milliseconds = parse_timestamp(item["timestamp"]).timestamp() * 1000
        price, volume = item["price"], item.get("volume")
    except (KeyError, ValueError):
        return None
    if not isinstance(price, Decimal) or price <= 0:
        return None
    replayed_at, bar = None, None
    if isinstance(replayed_from := item.get("replayed_from"), str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(replayed_from)
            replayed_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
    if isinstance(replayed_from, str) or item.get("history") is True:
        bar = tuple(float(item[name]) if isinstance(item.get(name), Decimal) else None for name in BAR)
    volume = volume if isinstance(volume, Decimal) else None
    return Tick(item["timestamp"], milliseconds, price, volume, bar, replayed_at)


def index_from(ticks: Sequence[Tick], start: datetime) -> int:
    """The index of the first tick at or after a time."""
    return bisect_left(ticks, format_timestamp(start), key=lambda tick: tick.timestamp)


def time_zone(name: str | None) -> ZoneInfo:
    """The time zone of this name, or UTC if there is no such zone."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def exchange_date(timestamp: str, zone: str | None) -> date:
    """The date of a timestamp at an exchange in this time zone."""
    return datetime.fromisoformat(timestamp).astimezone(time_zone(zone)).date()


def anomaly_id(newest: dict[str, Any]) -> str:
    """The alert_id of a tick's anomaly: the date at its exchange, and the direction."""
    day = exchange_date(newest["timestamp"], newest.get("exchange_timezone"))
    return f"{day}#ANOMALY#{'up' if newest.get('change_percent', 0) > 0 else 'down'}"


def is_anomaly_id(alert_id: str) -> bool:
    """Whether an alert_id begins with a date alone, as an anomaly's does, and not with a time."""
    return alert_id[10:11] == "#"


def has_anomaly_today(series: Series) -> bool:
    """Whether the newest tick's day, at its exchange, has an anomaly. A replayed bar is a day of its own."""
    if series.newest.get("anomaly") or "replayed_from" in series.newest:
        return bool(series.newest.get("anomaly"))
    day = anomaly_id(series.newest)[:10]
    return any(is_anomaly_id(alert_id) and alert_id.startswith(day) for alert_id in list(series.alerts))


def averages(ticks: Sequence[Tick], *, short: int, long: int) -> tuple[Decimal, Decimal, str] | None:
    """Both averages of the newest ticks, and where the short one lies: "up", "down" or "flat".

    None if there are too few ticks. The comparison is exact, as in StockTrendAnalysis.
    """
    if len(ticks) < long:
        return None
    prices = [tick.price for tick in ticks[-long:]]
    short_sum, long_sum = sum(prices[-short:]), sum(prices)
    spread = long * short_sum - short * long_sum
    return short_sum / short, long_sum / long, "up" if spread > 0 else "down" if spread else "flat"


def market_state(newest: dict[str, Any], now: datetime) -> str:
    """Whether a symbol's market is "open", "closed" or "unknown", judged by its newest tick and the clock."""
    age = now - datetime.fromisoformat(newest["timestamp"])
    is_fresh = age < timedelta(minutes=10 + float(newest.get("delay_minutes") or 0))
    if is_fresh and newest.get("market_state"):
        return "open" if newest["market_state"] == "REGULAR" else "closed"
    if newest.get("exchange_timezone") == "America/New_York" and newest.get("source") != "simulated":
        there = now.astimezone(time_zone("America/New_York"))  # this does not know the exchange's holidays
        in_hours = (9, 30) <= (there.hour, there.minute) < (16, 0)
        return "open" if there.weekday() < 5 and in_hours else "closed"
    return "open" if is_fresh else "unknown"


def candle_seconds(ticks: Sequence[Tick]) -> float:
    """The length of a chart's candles: the smallest of WIDTHS that gives at most MAX_CANDLES.

    It is no finer than the ticks are apart. Where bars of the past and live ticks mix, the wider spacing
    counts: narrow candles would make a row of dashes of the sparse part. A replay has one candle a bar, as
    long as its closest bars are apart.
    """
    times = np.array([tick.time if tick.replayed_at is None else tick.replayed_at for tick in ticks])
    steps = np.diff(times)
    if ticks[-1].replayed_at is not None:
        return min(steps[steps > 0], default=86_400_000) / 1000
    is_past = np.array([tick.bar is not None for tick in ticks[1:]], dtype=bool)
    spacing = max((np.median(part) for part in (steps[is_past], steps[~is_past]) if len(part)), default=0)
    for seconds in WIDTHS:
        if seconds * 1000 < 0.9 * spacing:  # quotes do not come to the second
            continue
        # An outage takes its place on the axis, and a night does not.
        places = np.where(steps > SESSION_GAP, 1, np.diff(times // (seconds * 1000)))
        if places.sum() < MAX_CANDLES:
            return seconds
    return WIDTHS[-1]


def candle_start(tick: Tick, width: float) -> float:
    """When the candle that takes a tick begins. All times are in milliseconds."""
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
    ticks, width = series.ticks, seconds * 1000
    first = index_from(ticks, start)
    if first < len(ticks) and ticks[first].replayed_at is None:  # the first candle is whole
        first = bisect_left(ticks, candle_start(ticks[first], width), key=lambda tick: tick.time)
    offset = max(first - long, 0)
    sums = [0.0, *itertools.accumulate(float(tick.price) for tick in ticks[offset:])]
    candles: dict[float, dict[str, Any]] = {}
    candle: dict[str, Any] = {"t": -math.inf}
    for index in range(first, len(ticks)):
        tick, price, before = ticks[index], float(ticks[index].price), ticks[index - 1] if index else None
        opened, high, low = tick.bar or (None, None, None)
        if opened is None:
            is_in_session = before is not None and tick.time - before.time <= SESSION_GAP
            opened = float(before.price) if is_in_session else price
        at = candle_start(tick, width)
        if at < candle["t"]:  # another replay has begun
            candles = {}
        if at not in candles:
            candles[at] = {"t": at, "end": at + width, "open": opened, "volume": 0.0}
            candles[at] |= {"high": max(opened, price), "low": min(opened, price)}
        candle = candles[at]
        candle["high"] = max(candle["high"], high or price, price)
        candle["low"] = min(candle["low"], low or price, price)
        candle["close"] = price
        volume_before = 0 if tick.replayed_at is not None else before.volume if before else None
        if tick.volume is not None and volume_before is not None:
            candle["volume"] += max(float(tick.volume - volume_before), 0)
        end = index + 1 - offset
        for name, length in (("short", short), ("long", long)):
            if end >= length:
                candle[name] = (sums[end] - sums[end - length]) / length
    add_signals(candles, series, first=first, width=width)
    limit_wicks(list(candles.values()))
    return list(candles.values())


def add_signals(candles: dict[float, dict[str, Any]], series: Series, *, first: int, width: float) -> None:
    """Put the alerts into the candles of their ticks: for each kind their number, and a text.

    Args:
        candles: by their start, in milliseconds since 1970.
        first: the index of the first tick in the candles.
        width: of a candle, in milliseconds.
    """
    ticks = series.ticks
    for alert in sorted(series.alerts.values(), key=lambda alert: str(alert.get("timestamp"))):
        try:
            index = bisect_right(ticks, alert["timestamp"], key=lambda tick: tick.timestamp) - 1
            signal, price = str(alert["signal"]), float(alert["price"])
        except (KeyError, ValueError, TypeError):
            continue  # not an alert of the pipeline
        candle = candles.get(candle_start(ticks[index], width)) if index >= first else None
        if candle and signal in SIGNALS:
            text = f"{signal_text(alert)} {amount(price)}"
            candle[signal] = candle.get(signal, 0) + 1
            candle["alerts"] = f"{candle['alerts']}, {text}" if "alerts" in candle else text


def signal_text(alert: dict[str, Any]) -> str:
    """An alert's signal with its mark; that of a rule with the rule, which ends its alert_id."""
    signal = alert.get("signal")
    rule = str(alert.get("alert_id", "")).partition("#RULE#")[2] if signal == "RULE" else ""
    return f"{SIGNALS.get(signal, signal)} {rule}".strip()


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
