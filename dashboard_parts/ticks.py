"""Ticks in memory and what is computed from them."""

from __future__ import annotations

import itertools
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from stream_stock_data import amount, format_timestamp, parse_timestamp

CHART_TICKS = 20_000  # of one with a chart: five days at a tick every 10 s are 11,700
FIRST_ALERTS, CHART_ALERTS = 50, 1_000
ALERT_PATIENCE_SECONDS = 120  # how long an alert is waited for after its tick
TICK_NUMBERS = ("price", "change", "change_percent", "volume", "delay_minutes")
SIGNALS = {"BUY": "▲ BUY", "SELL": "▼ SELL", "ANOMALY": "◆ ANOMALY"}


class Tick(NamedTuple):
    """A tick in memory; `time` in milliseconds since 1970."""

    timestamp: str
    time: float
    price: Decimal
    volume: Decimal | None


@dataclass
class Series:
    """What is known of a symbol: its newest ticks without a hole, oldest first, and its alerts."""

    symbol: str
    ticks: list[Tick] = field(default_factory=list)
    since: str = ""  # from here on, no tick is missing
    newest: dict[str, Any] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts_since: str = ""
    expected: dict[str, float] = field(default_factory=dict)  # anomalies to come: asked for until then
    has_news: bool = True  # ticks that the alerts were not asked for yet
    read_at: float = -math.inf  # monotonic seconds, as all below
    asked_at: float = -math.inf
    alerts_asked_at: float = -math.inf
    alerts_asked: int = 0  # times
    charted_at: float = -math.inf
    lock: Any = field(default_factory=threading.Lock)

    def add_ticks(self, items: list[dict[str, Any]], *, complete: bool) -> None:
        """Take in items, newest first, all newer than what is known.

        Args:
            complete: there are none between what is known and these.
        """
        ticks = []
        for item in reversed(items):
            if (tick := parse_tick(item)) is None:
                continue
            ticks.append(tick)
            self.newest = {name: value for name, value in item.items() if has_its_type(name, value)}
            if self.newest.get("anomaly") and (alert_id := anomaly_id(self.newest)) not in self.alerts:
                self.expected[alert_id] = time.monotonic() + ALERT_PATIENCE_SECONDS
        if not self.ticks or not complete:
            self.ticks, self.since = [], "" if complete else (ticks[0].timestamp if ticks else "~")
        self.ticks = self.ticks + ticks  # a list of its own: the old one may be being drawn
        self.has_news = self.has_news or bool(ticks)

    def lacks(self, since: str) -> bool:
        """Whether older ticks or alerts are to be read for a chart from that time on."""
        return (since < self.since and len(self.ticks) < CHART_TICKS) or (
            since < self.alerts_since and len(self.alerts) < CHART_ALERTS
        )

    def is_complete_from(self, start: datetime) -> bool:
        """Whether no tick is missing from that time on."""
        return self.since <= format_timestamp(start)

    def trim(self, length: int) -> None:
        """Keep about the newest `length` ticks."""
        if len(self.ticks) > 1.2 * length:
            self.ticks = self.ticks[-length:]
            self.since = self.ticks[0].timestamp


def has_its_type(name: str, value: Any) -> bool:
    """Whether a field of an item can be used: the function checks most of them, but not all."""
    return isinstance(value, bool if name == "anomaly" else Decimal if name in TICK_NUMBERS else str)


def parse_tick(item: dict[str, Any]) -> Tick | None:
    """The tick in an item; None for what somebody else has put on the table."""
    try:
        at = parse_timestamp(item["timestamp"]).timestamp() * 1000
        if isinstance(item["price"], Decimal) and item["price"] > 0:
            volume = item.get("volume")
            return Tick(item["timestamp"], at, item["price"], volume if isinstance(volume, Decimal) else None)
    except (KeyError, ValueError):
        pass
    return None


def index_from(ticks: Sequence[Tick], start: datetime) -> int:
    """The index of the first tick at or after a time."""
    return bisect_left(ticks, format_timestamp(start), key=lambda tick: tick.timestamp)


@lru_cache
def zone(name: str | None) -> ZoneInfo:
    """The time zone of that name; UTC where there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def anomaly_id(item: dict[str, Any]) -> str:
    """The alert_id of a tick's anomaly: the date where its exchange is, and the direction."""
    at = datetime.fromisoformat(item["timestamp"]).astimezone(zone(item.get("exchange_timezone")))
    return f"{at.date()}#ANOMALY#{'up' if item.get('change_percent', 0) > 0 else 'down'}"


def averages(ticks: Sequence[Tick], *, short: int, long: int) -> tuple[Decimal, Decimal, str] | None:
    """Both averages of the newest ticks and "up", "down" or "flat", compared exactly; None with too few."""
    if len(ticks) < long:
        return None
    prices = [tick.price for tick in ticks[-long:]]
    spread = long * sum(prices[-short:]) - short * sum(prices)
    return (
        sum(prices[-short:]) / short,
        sum(prices) / long,
        "up" if spread > 0 else "down" if spread else "flat",
    )


def market(newest: dict[str, Any], now: datetime) -> str:
    """ "open", "closed" or "unknown", as far as a symbol's newest tick and the clock tell."""
    age = now - datetime.fromisoformat(newest["timestamp"])
    is_fresh = age < timedelta(minutes=10 + float(newest.get("delay_minutes") or 0))
    if is_fresh and newest.get("market_state"):
        return "open" if newest["market_state"] == "REGULAR" else "closed"
    if newest.get("exchange_timezone") == "America/New_York" and newest.get("source") != "simulated":
        there = now.astimezone(zone("America/New_York"))  # its holidays are not known here
        in_hours = (9, 30) <= (there.hour, there.minute) < (16, 0)
        return "open" if there.weekday() < 5 and in_hours else "closed"
    return "open" if is_fresh else "unknown"


def draw_bars(
    series: Series, *, start: datetime, seconds: int, short: int, long: int
) -> list[dict[str, Any]]:
    """The candles of a chart: ticks from `start` on, so many seconds each, with averages, volume and signals.

    Averages are those at a candle's last tick. Volume is what a tick's session volume exceeds the one before
    by; a replayed tick has that of its whole bar.
    """
    ticks, width = series.ticks, seconds * 1000
    first = index_from(ticks, start)
    sums = [0.0, *itertools.accumulate(float(tick.price) for tick in ticks[max(first - long, 0) :])]
    offset = max(first - long, 0)
    whole_bars = series.newest.get("source") == "replay"
    bars: dict[float, dict[str, Any]] = {}
    for place in range(first, len(ticks)):
        tick, price, at = ticks[place], float(ticks[place].price), ticks[place].time // width * width
        bar = bars.get(at)
        if bar is None:
            bar = {"t": at, "end": at + width, "open": price, "high": price, "low": price, "volume": 0.0}
            bars[at] = bar
        bar["high"], bar["low"], bar["close"] = max(bar["high"], price), min(bar["low"], price), price
        before = ticks[place - 1].volume if place else None
        if tick.volume is not None and (whole_bars or before is not None):
            bar["volume"] += max(float(tick.volume - (0 if whole_bars else before)), 0)
        for name, length in (("short", short), ("long", long)):
            if place + 1 >= length:
                end = place + 1 - offset
                bar[name] = round((sums[end] - sums[end - length]) / length, 4) if end >= length else None
    for alert in series.alerts.values():
        try:
            at = datetime.fromisoformat(alert["timestamp"]).timestamp() * 1000 // width * width
            price, signal = float(alert["price"]), str(alert["signal"])
        except (KeyError, ValueError, TypeError):
            continue
        if signal in SIGNALS and at in bars:
            bars[at][signal] = price
            bars[at]["alerts"] = f"{bars[at].get('alerts', '')} {SIGNALS[signal]} {amount(price)}".strip()
    return list(bars.values())


def ago(seconds: float) -> str:
    """An age in words."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def signed(value: float, digits: str = "") -> str:
    """A change with its sign and an arrow: "▲ +0.88"."""
    text = f"{value:+.2f}" if digits else amount(value, "+")
    return f"{'▲' if value > 0 else '▼' if value < 0 else '▬'} {text}"
