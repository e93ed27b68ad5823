"""What the crossovers of a series are: the exact reference for the handler and for Athena's SQL."""

from __future__ import annotations

import random
from decimal import Decimal

import pandas as pd


def crossings(prices: list) -> dict[int, str]:
    """BUY and SELL by position, found with pandas on whole numbers, so that equality is equality."""
    exact = [Decimal(str(price)) for price in prices]
    decimals = max(-price.as_tuple().exponent for price in exact)
    scaled = pd.Series([int(price.scaleb(decimals)) for price in exact], dtype="int64")
    spread = 20 * scaled.rolling(5).sum() - 5 * scaled.rolling(20).sum()
    spread = spread[19:]
    side = spread.where(spread == 0, spread / spread.abs())
    last = side.where(side != 0).ffill(limit=499).shift()
    signals = {}
    for position in side.index[1:]:
        if side[position] and (pd.isna(last[position]) or last[position] != side[position]):
            signals[int(position)] = "BUY" if side[position] > 0 else "SELL"
    return signals


def prices_around(price: float, count: int, *, rng: random.Random) -> list[float]:
    """Prices of seven significant digits, which differ from this one in the last of them."""
    unit = 10.0 ** (Decimal(str(price)).adjusted() - 6)
    return [float(f"{price + rng.randint(-6, 6) * unit:.7g}") for _ in range(count)]
