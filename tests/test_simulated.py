from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from sources.simulated import SimulatedSource

SYMBOLS = ["AAPL", "MSFT", "BTC-USD", "^GSPC", "EURUSD=X"]
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def source(seed=1, delay_seconds=1.0):
    return SimulatedSource(seed=seed, delay_seconds=delay_seconds)


def run(simulated, *, symbols, ticks, start=NOON, step=1.0):
    """Quotes of `ticks` fetches, `step` seconds apart."""
    quotes = []
    with time_machine.travel(start, tick=False) as clock:
        for _ in range(ticks):
            quotes += simulated.fetch(symbols)
            clock.shift(step)
    return quotes


def crossings(prices):
    """Indexes at which the five-tick mean changes to the other side of the twenty-tick mean."""
    above = {
        i: sum(prices[i - 4 : i + 1]) / 5 > sum(prices[i - 19 : i + 1]) / 20 for i in range(19, len(prices))
    }
    return [i for i in range(20, len(prices)) if above[i] != above[i - 1]]


def time_of(quote):
    return datetime.fromisoformat(quote["timestamp"])


def test_fetch_each_symbol_gets_one_sound_quote_of_now():
    with time_machine.travel(NOON + timedelta(milliseconds=123), tick=False):
        quotes = source().fetch(SYMBOLS)

    assert [quote["symbol"] for quote in quotes] == SYMBOLS
    for quote in quotes:
        assert quote["timestamp"] == "2026-11-20T12:00:00.123Z"
        assert 0 < quote["low"] <= quote["price"] <= quote["high"]
        assert quote["low"] <= quote["open"] <= quote["high"]
        assert quote["previous_close"] > 0
        assert isinstance(quote["volume"], int)
        assert quote["volume"] > 0
        assert "history" not in quote


def test_fetch_same_seed_gives_the_same_quotes_whatever_the_other_symbols():
    alone = run(source(seed=7), symbols=["MSFT"], ticks=50)
    together = run(source(seed=7), symbols=["AAPL", "MSFT"], ticks=50)
    other_seed = run(source(seed=8), symbols=["MSFT"], ticks=50)

    assert [quote for quote in together if quote["symbol"] == "MSFT"] == alone
    assert [quote["price"] for quote in other_seed] != [quote["price"] for quote in alone]


def test_fetch_without_seed_keeps_level_and_volume_of_the_name_between_runs():
    first = run(source(seed=None, delay_seconds=0), symbols=["AAPL"], ticks=100)
    second = run(source(seed=None, delay_seconds=0), symbols=["AAPL"], ticks=100)

    assert [quote["volume"] for quote in first] == [quote["volume"] for quote in second]
    assert {quote["previous_close"] for quote in first} == {quote["previous_close"] for quote in second}
    assert first[-1]["price"] == pytest.approx(second[-1]["price"], rel=0.05)
    assert [quote["price"] for quote in first] != [quote["price"] for quote in second]


def test_fetch_different_names_have_different_levels():
    quotes = source(seed=None).fetch(SYMBOLS)

    assert len({quote["previous_close"] for quote in quotes}) == len(SYMBOLS)
    assert all(20 <= quote["previous_close"] <= 402 for quote in quotes)


def test_fetch_clock_standing_still_or_going_back_timestamps_still_increase():
    simulated = source()
    quotes = run(simulated, symbols=["AAPL"], ticks=3, step=0)
    quotes += run(simulated, symbols=["AAPL"], ticks=3, start=NOON - timedelta(seconds=5), step=0)

    timestamps = [quote["timestamp"] for quote in quotes]
    assert timestamps == sorted(set(timestamps))


def test_fetch_over_midnight_starts_a_new_trading_day():
    quotes = run(
        source(), symbols=["AAPL"], ticks=4, start=datetime(2026, 11, 20, 23, 58, tzinfo=UTC), step=60
    )
    before, after = quotes[1], quotes[2]

    assert after["previous_close"] == before["price"]
    assert after["open"] == after["high"] == after["low"] == after["price"]
    assert after["volume"] == 0
    assert before["volume"] > 100_000


def test_fetch_volume_grows_through_the_day_at_a_changing_pace():
    quotes = run(source(), symbols=["AAPL"], ticks=1440, start=NOON.replace(hour=0), step=60)
    volumes = [quote["volume"] for quote in quotes]
    per_minute = [later - earlier for earlier, later in itertools.pairwise(volumes)]

    assert min(per_minute) > 0
    assert max(per_minute) > 2 * min(per_minute)


@pytest.mark.parametrize("seed", range(10))
def test_fetch_moving_averages_cross_every_10_to_20_ticks(seed):
    prices = [quote["price"] for quote in run(source(seed), symbols=["AAPL"], ticks=2000)]

    found = crossings(prices)

    assert 10 <= len(prices) / len(found) <= 20
    # With the warm start, the first alert is never more than a minute away at one tick a second.
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert max(gaps) < 60


def test_fetch_anomalies_come_now_and_then():
    quotes = run(source(), symbols=["AAPL"], ticks=7200)
    change = [abs(quote["price"] / quote["previous_close"] - 1) for quote in quotes]
    beginnings = sum(now > 0.05 >= before for before, now in itertools.pairwise(change))

    assert 10 <= beginnings <= 90  # within two hours
    assert max(change) < 0.12


def test_history_of_minutes_gives_bars_oldest_first_and_fetch_goes_on_from_there():
    simulated = source()
    with time_machine.travel(NOON + timedelta(seconds=30), tick=False):
        history = simulated.history(["AAPL", "MSFT"], "60")
        live = simulated.fetch(["AAPL", "MSFT"])

    assert len(history) == 120
    assert all(quote["history"] is True for quote in history)
    for symbol, newest in zip(("AAPL", "MSFT"), live, strict=True):
        quotes = [quote for quote in history if quote["symbol"] == symbol]
        times = [time_of(quote) for quote in quotes]
        last_millisecond = timedelta(seconds=59.999)
        assert times == [NOON - timedelta(minutes=age) + last_millisecond for age in range(60, 0, -1)]
        assert newest["price"] == pytest.approx(quotes[-1]["price"], rel=0.1)
        assert newest["volume"] >= quotes[-1]["volume"]
        assert newest["high"] >= max(quote["high"] for quote in quotes)
        assert newest["low"] <= min(quote["low"] for quote in quotes)
        assert newest["previous_close"] == quotes[-1]["previous_close"]


def test_history_bars_have_bodies_within_their_own_high_and_low():
    with time_machine.travel(NOON, tick=False):
        history = source().history(["AAPL"], "60")

    assert all(0 < bar["low"] <= min(bar["open"], bar["price"]) for bar in history)
    assert all(max(bar["open"], bar["price"]) <= bar["high"] for bar in history)
    assert sum(bar["open"] != bar["price"] for bar in history) > 50
    # Each bar's own: a session's high only rises, and its low only falls.
    assert any(later["high"] < earlier["low"] for earlier, later in itertools.pairwise(history))
    assert any(later["low"] > earlier["high"] for earlier, later in itertools.pairwise(history))


def test_history_on_the_minute_ends_before_now():
    with time_machine.travel(NOON, tick=False):
        history = source().history(["AAPL"], "2")

    assert [quote["timestamp"] for quote in history] == [
        "2026-11-20T11:58:59.999Z",
        "2026-11-20T11:59:59.999Z",
    ]


def test_history_of_days_covers_them_and_has_anomalies_like_any_market():
    with time_machine.travel(NOON, tick=False):
        history = source().history(["AAPL"], "2d")

    assert len(history) == 2 * 24 * 60
    assert time_of(history[0]) == NOON - timedelta(days=2) + timedelta(seconds=59.999)
    assert {quote["open"] == quote["price"] for quote in history} == {True, False}
    change = [abs(quote["price"] / quote["previous_close"] - 1) for quote in history]
    assert 0.05 < max(change) < 0.25
