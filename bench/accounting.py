"""What must hold after a run of the local stack: pure functions of what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from helpers.crossings import crossings

WINDOW = 20  # ticks before one that decide about its crossover

Key = tuple[str, str]  # symbol and timestamp


class Tick(NamedTuple):
    """A tick, wherever it was found."""

    symbol: str
    timestamp: str
    price: float


class Signal(NamedTuple):
    """A crossover."""

    symbol: str
    timestamp: str
    signal: str  # BUY or SELL


class Found(NamedTuple):
    """What a run has left.

    Args:
        fetched: the ticks that the producers have fetched.
        sent: the ticks on the stream, in its order; one may be there several times.
        stored: the ticks in the table.
        archived: how often each tick stands in the archive.
        counted: how many ticks Athena counts.
        alerts: the crossovers in the alerts table, with their status.
        received: how often the subscriber got each of them.
    """

    fetched: Iterable[Key]
    sent: list[Tick]
    stored: list[Tick]
    archived: Mapping[Key, int]
    counted: int
    alerts: Mapping[Signal, str]
    received: Mapping[Signal, int]


class Verdict(NamedTuple):
    """What is wrong, in sentences, and what was counted."""

    lost: list[str]
    wrong: list[str]
    counts: Counter[str]


def judge(found: Found) -> Verdict:
    """Compare everything with everything."""
    lost, wrong = [], []
    stored = {(tick.symbol, tick.timestamp): tick.price for tick in found.stored}
    sent = {(tick.symbol, tick.timestamp): tick.price for tick in reversed(found.sent)}
    lost += [f"{' '.join(key)} was fetched and not sent" for key in sorted(set(found.fetched) - sent.keys())]
    lost += [f"{' '.join(key)} was sent and not stored" for key in sorted(sent.keys() - stored.keys())]
    lost += [f"{' '.join(key)} is not archived" for key in sorted(stored.keys() - found.archived.keys())]
    wrong += [f"{' '.join(key)} was stored and never sent" for key in sorted(stored.keys() - sent.keys())]
    wrong += [
        f"{' '.join(key)} was sent at {sent[key]} and stored at {stored[key]}"
        for key in sorted(sent.keys() & stored.keys())
        if sent[key] != stored[key]
    ]
    if found.counted != len(found.archived):
        wrong.append(f"Athena counts {found.counted} ticks, the archive has {len(found.archived)}")
    expected, unsure = reference(found.sent)
    for crossover in sorted(expected - found.alerts.keys()):
        lost.append(f"{' '.join(crossover)} was never alerted")
    for alert in sorted(found.alerts.keys() - expected - unsure):
        wrong.append(f"{' '.join(alert)} was alerted, but is no crossover")
    for alert, status in sorted(found.alerts.items()):
        if status != "sent":
            lost.append(f"{' '.join(alert)} stayed {status}")
        elif not found.received.get(alert):
            lost.append(f"{' '.join(alert)} never reached the subscriber")
    wrong += [
        f"{' '.join(alert)} reached the subscriber, but is not in the table"
        for alert in sorted(found.received.keys() - found.alerts.keys())
    ]
    counts = Counter({"ticks": len(stored), "alerts": len(found.alerts)})
    counts["repeated ticks"] = len(found.sent) - len(sent)
    counts["repeated alerts"] = sum(count - 1 for count in found.received.values())
    return Verdict(lost, wrong, counts)


def reference(sent: list[Tick]) -> tuple[set[Signal], set[Signal]]:
    """The crossovers that pandas finds, and the signals that depend on when a late tick came.

    A tick is late when a newer one of its symbol was sent before. The ticks whose averages it enters may have
    been judged without it. So a signal on one of them may be there or not.
    """
    expected, unsure = set(), set()
    symbols: dict[str, dict[str, float]] = {}
    newest: dict[str, str] = {}
    late: dict[str, set[str]] = {}
    for tick in sent:
        known = symbols.setdefault(tick.symbol, {})
        if tick.timestamp not in known and tick.timestamp < newest.get(tick.symbol, ""):
            late.setdefault(tick.symbol, set()).add(tick.timestamp)
        newest[tick.symbol] = max(tick.timestamp, newest.get(tick.symbol, ""))
        known.setdefault(tick.timestamp, tick.price)
    for symbol, prices in symbols.items():
        timestamps = sorted(prices)
        crossed = (
            crossings([prices[timestamp] for timestamp in timestamps]) if len(timestamps) > WINDOW else {}
        )
        for place, timestamp in enumerate(timestamps):
            signals = {Signal(symbol, timestamp, signal) for signal in ("BUY", "SELL")}
            if late.get(symbol, set()).intersection(timestamps[max(0, place - WINDOW) : place + 1]):
                unsure |= signals
            elif place in crossed:
                expected.add(Signal(symbol, timestamp, crossed[place]))
    return expected, unsure
