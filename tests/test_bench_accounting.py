"""bench/accounting.py: a run's books are right, and each kind of fault in them is told."""

from __future__ import annotations

from collections import Counter

import pytest

from helpers.checkout import load_module

accounting = load_module("bench/accounting.py")
Tick, Signal = accounting.Tick, accounting.Signal

SELL, BUY, FALSE = (
    Signal("A", f"2026-11-20T15:00:{second}.000Z", signal)
    for second, signal in ((20, "SELL"), (23, "BUY"), (25, "BUY"))
)


def series(prices, symbol="A"):
    return [Tick(symbol, f"2026-11-20T15:00:{n:02}.000Z", float(price)) for n, price in enumerate(prices)]


PRICES = [100] * 20 + [99, 98, 97, 110, 120, 130, 131]  # falls: SELL at the 21st; rises: BUY at the 24th


@pytest.fixture
def found():
    """What a run without a fault leaves."""
    ticks = series(PRICES)
    keys = [(tick.symbol, tick.timestamp) for tick in ticks]
    alerts = {
        Signal("A", ticks[20].timestamp, "SELL"): "sent",
        Signal("A", ticks[23].timestamp, "BUY"): "sent",
    }
    return accounting.Found(
        fetched=keys,
        sent=ticks,
        stored=list(reversed(ticks)),
        archived=Counter(keys),
        counted=len(keys),
        alerts=alerts,
        received=dict.fromkeys(alerts, 1),
    )


def test_judge_run_without_a_fault_finds_nothing(found):
    verdict = accounting.judge(found)
    assert (verdict.lost, verdict.wrong) == ([], [])
    assert verdict.counts == {"ticks": 27, "alerts": 2, "repeated ticks": 0, "repeated alerts": 0}


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


SECOND = ("A", "2026-11-20T15:00:01.000Z")


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda f: {"fetched": [*f.fetched, ("A", "2026-11-20T15:00:59.000Z")]}, "was fetched and not sent"),
        (lambda f: {"stored": f.stored[:-1]}, "was sent and not stored"),
        (lambda f: {"archived": without(f.archived, SECOND), "counted": 26}, "is not archived"),
        (
            lambda f: {"alerts": without(f.alerts, SELL), "received": without(f.received, SELL)},
            "never alerted",
        ),
        (lambda f: {"alerts": f.alerts | {SELL: "pending"}}, "stayed pending"),
        (lambda f: {"received": without(f.received, SELL)}, "never reached the subscriber"),
    ],
)
def test_judge_what_is_missing_is_lost(found, change, lost):
    verdict = accounting.judge(found._replace(**change(found)))
    assert [lost in line for line in verdict.lost] == [True]
    assert verdict.wrong == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda f: {"sent": f.sent[:-1], "fetched": f.fetched[:-1]}, "was stored and never sent"),
        (
            lambda f: {"stored": [*f.stored[:-1], f.stored[-1]._replace(price=1.0)]},
            "was sent at 100.0 and stored",
        ),
        (lambda f: {"counted": 28}, "Athena counts 28 ticks, the archive has 27"),
        (
            lambda f: {"alerts": f.alerts | {FALSE: "sent"}, "received": f.received | {FALSE: 1}},
            "is no crossover",
        ),
        (lambda f: {"received": f.received | {FALSE: 1}}, "is not in the table"),
    ],
)
def test_judge_what_is_too_much_or_differs_is_wrong(found, change, wrong):
    verdict = accounting.judge(found._replace(**change(found)))
    assert [wrong in line for line in verdict.wrong] == [True]
    assert verdict.lost == []


def test_judge_repeats_are_counted(found):
    again = found._replace(sent=[*found.sent, found.sent[3]], received=found.received | {SELL: 3})
    verdict = accounting.judge(again)
    assert (verdict.lost, verdict.wrong) == ([], [])
    assert (verdict.counts["repeated ticks"], verdict.counts["repeated alerts"]) == (1, 2)


def test_reference_signals_after_a_late_tick_may_be_there_or_not():
    ticks = series([*PRICES, *[131] * 25, 90])  # a SELL long after the late tick is sure again
    late = [*ticks[:19], ticks[20], ticks[19], *ticks[21:]]
    expected, unsure = accounting.reference(late)
    assert expected == {Signal("A", ticks[-1].timestamp, "SELL")}
    assert {(signal.timestamp, signal.signal) for signal in unsure} == {
        (tick.timestamp, signal) for tick in ticks[19:40] for signal in ("BUY", "SELL")
    }


def test_reference_repeated_tick_is_not_late():
    ticks = series(PRICES)
    assert accounting.reference([*ticks, *ticks])[1] == set()
