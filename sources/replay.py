"""Replay of real bars from a CSV file, as if they happened now."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

PRICE_COLUMNS = ("open", "high", "low", "close")
EXPECTED = "symbol, date (or timestamp), open, high, low, close, volume"


class ReplaySource:
    """The bars of a CSV file as quotes of now: each fetch gives the bars of the next date.

    A symbol that has no bar of that date is left out. A bar's own date is kept as `replayed_from`. Its
    previous_close is the close of the symbol's bar before; for the first bar, its own open.

    Args:
        path: CSV file with a header line and the columns symbol, date or timestamp (ISO 8601), open, high,
            low, close and volume; open, high, low and volume may be empty. Oldest bars first.
        symbols: Replay these only. None: all that are in the file.

    Raises:
        ValueError: The file cannot be replayed; names file, line and what is expected.
    """

    name = "replay"

    def __init__(self, path: str | Path, *, symbols: list[str] | None) -> None:
        bars = _read(Path(path))
        available = list(dict.fromkeys(bar["symbol"] for _, bar in bars))
        if missing := [symbol for symbol in symbols or [] if symbol not in available]:
            raise ValueError(f"{path}: has no bars of {', '.join(missing)}, only of {', '.join(available)}")
        self.symbols = symbols or available
        wanted = ((time, bar) for time, bar in bars if bar["symbol"] in self.symbols)
        dates = itertools.groupby(sorted(wanted, key=lambda row: row[0]), key=lambda row: row[0])
        self._dates = [[bar for _, bar in rows] for _, rows in dates]
        self._next = 0
        self._at = datetime.min.replace(tzinfo=UTC)

    @property
    def exhausted(self) -> bool:
        """True when every bar has been given."""
        return self._next >= len(self._dates)

    def fetch(self, symbols: list[str]) -> list[dict]:
        """The bars of the next date, timed now; nothing when there are no more."""
        if self.exhausted:
            return []
        bars = self._dates[self._next]
        self._next += 1
        self._at = max(datetime.now(UTC), self._at + timedelta(milliseconds=1))
        timestamp = self._at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return [bar | {"timestamp": timestamp} for bar in bars if bar["symbol"] in symbols]

    def history(self, symbols: list[str], backfill: str) -> list[dict]:
        """Nothing: the past of a replay is in its file."""
        return []


def _read(path: Path) -> list[tuple[datetime, dict]]:
    """All bars of the file with the time of each."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            bars = list(_bars(file, path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a CSV file with {EXPECTED}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not a CSV file in UTF-8; expected the columns {EXPECTED}") from error
    if not bars:
        raise ValueError(f"{path}: has no bars; expected a header line ({EXPECTED}) and a line for each bar")
    return bars


def _bars(file: Iterable[str], path: Path) -> Iterator[tuple[datetime, dict]]:
    lines = csv.reader(file)
    header: list[str] = []
    newest: dict[str, datetime] = {}
    close: dict[str, float] = {}
    for cells in lines:
        place = f"{path}: line {lines.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = _header(cells, place)
            continue
        if len(cells) != len(header):
            raise ValueError(f"{place}: has {len(cells)} cells; expected {len(header)}: {', '.join(header)}")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        time, bar = _bar(row, place)
        symbol = bar["symbol"]
        if symbol in newest and time <= newest[symbol]:
            raise ValueError(
                f"{place}: {bar['replayed_from']} is not later than the {symbol} bar before it;"
                " expected the bars of a symbol oldest first, each once"
            )
        newest[symbol] = time
        bar["previous_close"] = close.get(symbol, bar["open"] or bar["price"])
        close[symbol] = bar["price"]
        yield time, bar


def _header(cells: list[str], place: str) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    missing = [name for name in ("symbol", *PRICE_COLUMNS, "volume") if name not in header]
    if "date" not in header and "timestamp" not in header:
        missing.insert(1, "date or timestamp")
    if missing:
        raise ValueError(f"{place}: the header lacks {', '.join(missing)}; expected the columns {EXPECTED}")
    return header


def _bar(row: dict[str, str], place: str) -> tuple[datetime, dict]:
    if not row["symbol"]:
        raise ValueError(f"{place}: symbol is empty; expected one such as AAPL")
    column = "timestamp" if "timestamp" in row else "date"
    try:
        time = datetime.fromisoformat(row[column])
    except ValueError as error:
        raise ValueError(
            f"{place}: {column} is {row[column]!r}; expected ISO 8601, such as 2012-03-01"
        ) from error
    prices = {name: _price(row[name], name, place) for name in PRICE_COLUMNS}
    if prices["close"] is None:
        raise ValueError(f"{place}: close is empty; expected a price")
    return time if time.tzinfo else time.replace(tzinfo=UTC), {
        "symbol": row["symbol"].upper(),
        "open": prices["open"],
        "high": prices["high"],
        "low": prices["low"],
        "price": prices["close"],
        "volume": _volume(row["volume"], place),
        "replayed_from": row[column],
    }


def _price(cell: str, name: str, place: str) -> float | None:
    try:
        price = float(cell) if cell else None
    except ValueError:
        price = math.nan
    if price is not None and not 0 < price < math.inf:
        raise ValueError(f"{place}: {name} is {cell!r}; expected a price above 0, such as 541.25")
    return price


def _volume(cell: str, place: str) -> int | None:
    try:
        volume = float(cell) if cell else None
    except ValueError:
        volume = math.nan
    if volume is not None and not 0 <= volume < math.inf:
        raise ValueError(f"{place}: volume is {cell!r}; expected a number of shares, such as 18238500")
    return None if volume is None else int(volume)
