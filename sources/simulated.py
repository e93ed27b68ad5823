"""Simulated quotes for any symbol: mean-reverting random walks, for when no market is open.

SMA-5 and SMA-20 of a walk cross about every 12 ticks, and now and then a shock moves a price by 6 to 9 %. So
both kinds of alert can be seen within minutes.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

REVERSION = 0.88  # this share of a deviation from the symbol's anchor price is left one tick later
NOISE = 0.0025  # standard deviation of what a tick adds
# On average, each symbol has a shock once in so many seconds, but at most once in 50 ticks.
SHOCK_EVERY_SECONDS = 180
MAX_SHOCK_CHANCE = 1 / 50
# Seconds at which the steps within a one-minute bar end. The close is its last millisecond, as in Yahoo's.
BAR_STEPS = (15, 30, 45, 59.999)


class SimulatedSource:
    """A market that never closes; its trading day is the UTC day.

    Args:
        seed: The same seed gives the same prices. None: every run has other prices, but the price level and
            the volume of a symbol are always the same.
        delay_seconds: Time between two fetches. The chance of a shock in a tick depends on it.
    """

    name = "simulated"
    exhausted = False

    def __init__(self, *, seed: int | None, delay_seconds: float) -> None:
        self._seed = seed
        self._shock_chance = min(delay_seconds / SHOCK_EVERY_SECONDS, MAX_SHOCK_CHANCE)
        self._walks: dict[str, _Walk] = {}

    def fetch(self, symbols: list[str]) -> list[dict]:
        """A quote of now for each symbol."""
        return [
            self._walk(symbol).quote(datetime.now(UTC), shock_chance=self._shock_chance) for symbol in symbols
        ]

    def history(self, symbols: list[str], backfill: str) -> list[dict]:
        """The finished one-minute bars of the past, oldest first; `fetch` goes on from the last of them.

        Args:
            symbols: What to make bars for.
            backfill: Number of minutes ("60"), or of whole days ("7d").
        """
        minutes = int(backfill[:-1]) * 24 * 60 if backfill.endswith("d") else int(backfill)
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        return [
            self._walk(symbol).bar(end - timedelta(minutes=age))
            for age in range(minutes, 0, -1)
            for symbol in symbols
        ]

    def _walk(self, symbol: str) -> _Walk:
        if symbol not in self._walks:
            self._walks[symbol] = _Walk(symbol, self._seed)
        return self._walks[symbol]


class _Walk:
    """The price of one symbol and its trading day so far."""

    def __init__(self, symbol: str, seed: int | None) -> None:
        character = random.Random(f"{seed}:{symbol}")
        self._symbol = symbol
        self._anchor = round(20 * math.exp(character.uniform(0, 3)), 2)  # 20 to 400 USD
        self._daily_volume = 10 ** character.uniform(6, 8)  # shares
        self._phases = character.uniform(0, 1), character.uniform(0, 1)
        self._random = random.Random() if seed is None else character
        self._deviation = 0.0
        self._at = datetime.min.replace(tzinfo=UTC)
        self._price = self._anchor

    def quote(self, at: datetime, *, shock_chance: float) -> dict:
        """The quote after a step to `at`; open, high and low are the session's so far."""
        self._step(at, shock_chance)
        return self._quote()

    def bar(self, start: datetime) -> dict:
        """The quote after the steps of a minute from `start` on; open, high and low are the bar's own."""
        prices = [
            self._step(start + timedelta(seconds=seconds), MAX_SHOCK_CHANCE / len(BAR_STEPS))
            for seconds in BAR_STEPS
        ]
        own = {"open": prices[0], "high": max(prices), "low": min(prices), "history": True}
        return self._quote() | own

    def _step(self, at: datetime, shock_chance: float) -> float:
        """Walk on to `at`, or to a millisecond after the last step if that is later; returns the price."""
        at = max(at.replace(microsecond=at.microsecond // 1000 * 1000), self._at + timedelta(milliseconds=1))
        self._deviation = REVERSION * self._deviation + self._random.gauss(0, NOISE)
        if self._random.random() < shock_chance:
            self._deviation = self._random.choice((-1, 1)) * self._random.uniform(0.06, 0.09)
        price = round(self._anchor * math.exp(self._deviation), 2)
        if at.date() > self._at.date():
            self._previous_close = self._price
            self._open = self._high = self._low = price
        self._at, self._price = at, price
        self._high, self._low = max(self._high, price), min(self._low, price)
        return price

    def _quote(self) -> dict:
        return {
            "symbol": self._symbol,
            "open": self._open,
            "high": self._high,
            "low": self._low,
            "price": self._price,
            "previous_close": self._previous_close,
            "volume": self._volume(),
            "timestamp": self._at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "currency": "USD",
            "exchange_timezone": "UTC",
            "market_state": "REGULAR",
        }

    def _volume(self) -> int:
        """Shares since midnight. It depends on the time alone, so it does not fall after a restart."""
        day = (self._at - self._at.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(days=1)
        # The pace swings about its mean with periods of an hour and of three minutes, and stays positive.
        for cycles, phase in zip((24, 480), self._phases, strict=True):
            turns = cycles * day
            day += 0.4 * _swing(turns, phase) / cycles
        return int(self._daily_volume * day)


def _swing(turns: float, phase: float) -> float:
    return (math.sin(math.tau * (turns + phase)) - math.sin(math.tau * phase)) / math.tau
