#!/usr/bin/env python3
"""Poll stock quotes from Yahoo Finance and put them on an Amazon Kinesis data stream.

One cycle: fetch the quotes of all symbols, keep those that are valid and new, write them to the spool on
disk, send the spool to the stream, oldest first, and sleep to the next slot of the poll interval. What could
not be sent stays in the spool for the next cycle or the next run, so a crash loses nothing that was fetched.

examples:
  python stream_stock_data.py                                    AAPL every 30 s, or what .env says
  python stream_stock_data.py --symbols AAPL,MSFT,BRK-B,^GSPC --delay 10
  python stream_stock_data.py --symbols-file symbols.txt --backfill 5d
  python stream_stock_data.py --symbols BTC-USD --once --dry-run   print a quote, send nothing, no AWS
  python stream_stock_data.py --source replay --file sample_data/AAPL.csv --delay 1

exit status:
  0  finished, or stopped by Ctrl-C or SIGTERM
  1  cannot run: the message names the setting, file, credential or resource to put right
  2  wrong usage
  3  finished, but no quote was fetched, or some could not be sent (they wait in the spool for the next run)

Settings come from .env, the environment and the flags, the later ones winning; .env.example lists them.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (told in one line, not by a failing import below)
    sys.exit("error: Python 3.11 or newer is needed; this is " + sys.version.split()[0])

import argparse
import fcntl
import importlib.util
import io
import ipaddress
import itertools
import json
import logging
import math
import os
import random
import re
import select
import signal
import socket
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from numbers import Real
from pathlib import Path
from typing import Any

try:
    import boto3
    import dotenv
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, ProfileNotFound

    if not importlib.util.find_spec("yfinance"):  # itself imported late, see YahooSource
        raise ModuleNotFoundError(name="yfinance")
except ModuleNotFoundError as missing:
    install = f"run `{sys.executable} -m pip install -r requirements.txt`"
    sys.exit(f"error: {missing.name} is not installed: {install}")

HERE = Path(__file__).resolve().parent

# Yahoo
BATCH_URL = "https://query1.finance.yahoo.com/v7/finance/quote"
CHART_URL = "https://query1.finance.yahoo.com/v8/finance/chart/"
BATCH_SYMBOLS = 99  # more in one request are refused
BATCH_FIELDS = (
    "currency,exchangeDataDelayedBy,exchangeTimezoneName,marketState,regularMarketChangePercent,"
    "regularMarketDayHigh,regularMarketDayLow,regularMarketOpen,regularMarketPreviousClose,"
    "regularMarketPrice,regularMarketTime,regularMarketVolume"
)
CONNECTIONS = 8
REQUEST_SECONDS = 10  # timeout of one request
STALL_SECONDS = 45  # a poll in which nothing has come for so long has hung
CHARTS_ONLY_SECONDS = 900  # after the batch endpoint refused, or answered what cannot be read
RATE_LIMIT_SECONDS = (30, 900)  # first and longest pause after a 429
PARKING_MISSES, PARKING_SECONDS = 3, 3600  # for symbols that Yahoo does not know

# Ticks
OPTIONAL = {
    "currency": str,
    "exchange_timezone": str,
    "market_state": str,
    "delay_minutes": int,
    "history": bool,
    "replayed_from": str,
}
MAX_TEXT = 64  # characters of an optional text
MAX_VOLUME = 2**63 - 1  # a bigint of Athena
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.=^&_-]{0,31}")
MAX_AHEAD = timedelta(minutes=5)  # a quote from further in the future would shut out all that follow
DECIMALS, SIGNIFICANT_DIGITS = 4, 7  # of a price, whichever is finer; Yahoo's 32-bit floats hold 7 digits
MAX_PRICE_RATIO = 1000  # price to previous close: beyond it, Yahoo's previous close is wrong
SUSPICIOUS_PERCENT, MAX_CONTRADICTION = 50, 5  # a change, and how far it may be off the one that Yahoo states
SILENT_AFTER = timedelta(minutes=10)

# Kinesis: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
CALL_RECORDS = 500
CALL_BYTES = 5 * 1024 * 1024
FRUITLESS_CALLS = 5  # in a row, then the rest waits for the next cycle
RETRY_SECONDS = (0.1, 2.0)  # first and longest pause between two calls
DELIVERY_SECONDS = 10  # for delivery at least, even when the next slot is nearer
# Codes of the service, and names of botocore's own exceptions, that mean the same to us.
PASSING = re.compile("Throttl|LimitExceeded|ProvisionedThroughput|InternalFailure|ServiceUnavailable")
CREDENTIALS = re.compile("Credential|Token|Signature|UnrecognizedClient|SSO|Login")

# Lines of .env
ASSIGNMENT = re.compile(r"(export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?P<value>.*)")
QUOTED = re.compile(r"""("[^"\\]*"|'[^'\\]*')[ \t]*(#.*)?""")
OTHER_SPACE = re.compile(r"[^\S \t]")

SPOOL_BYTES = 100 * 1024 * 1024
SEGMENT_BYTES = 1024 * 1024
LINES_UP_TO = 10  # symbols, for which each record gets a line of its own
BACKFILL_SYMBOLS = 8  # loaded together: a week of one-minute bars of all symbols would fill the memory

log = logging.getLogger("producer")


class CannotRun(Exception):
    """The producer cannot start or go on; the message says what to do."""


# --- Ticks --------------------------------------------------------------------------------------


class InvalidQuote(ValueError):
    """A quote that makes no tick; the message names the symbol and the reason."""


def format_timestamp(moment: datetime) -> str:
    """The one timestamp form of the pipeline: UTC ISO-8601 with milliseconds, "2026-11-22T15:58:22.123Z"."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """The moment that `format_timestamp` wrote.

    Raises:
        ValueError: the text has another form or is no date.
    """
    if not TIMESTAMP.fullmatch(text):
        raise ValueError(f"{text!r} has not the form 2026-11-22T15:58:22.123Z")
    return datetime.fromisoformat(text)


def build_tick(quote: Mapping[str, Any], *, source: str, fetched_at: datetime) -> dict[str, Any]:
    """Make the tick that goes on the stream out of a quote.

    Args:
        quote: symbol, open, high, low, price, previous_close (in the quote's currency), volume, timestamp
            (of the quote, UTC ISO-8601 with milliseconds), any of OPTIONAL, and change_percent if the source
            states one, to check previous_close against. Open, high, low and volume may be unknown. A field
            that is not required and has a wrong type counts as unknown.
        source: yahoo, websocket, simulated or replay.
        fetched_at: when the producer got the quote.

    Returns:
        The tick: prices with 4 decimals or 7 significant digits, whichever is finer; change in the quote's
        currency and in percent of the previous close, both from the unrounded prices; null for what is
        unknown, never NaN or Infinity. Open, high and low are the session's so far in a live tick, and the
        bar's own in a tick of the past or of a replay.

    Raises:
        InvalidQuote: no symbol, price, previous close or timestamp that can be true.
    """
    symbol = quote.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise InvalidQuote(f"a quote without a symbol ({symbol!r})")
    price, previous_close = quote.get("price"), quote.get("previous_close")
    if not is_price(price):
        raise InvalidQuote(f"{symbol}: price {price!r} is not a positive number")
    if not is_price(previous_close):
        raise InvalidQuote(f"{symbol}: previous close {previous_close!r} is not a positive number")
    if price / previous_close > MAX_PRICE_RATIO:
        raise InvalidQuote(
            f"{symbol}: previous close {previous_close} is too small to be true at a price of {price}"
        )
    change_percent, stated = (price / previous_close - 1) * 100, quote.get("change_percent")
    if (
        abs(change_percent) > SUSPICIOUS_PERCENT
        and is_number(stated)
        and abs(change_percent - stated) > MAX_CONTRADICTION
    ):
        raise InvalidQuote(f"{symbol}: previous close {previous_close} contradicts Yahoo's own change")
    timestamp = quote.get("timestamp")
    try:
        quoted_at = parse_timestamp(timestamp)
    except (TypeError, ValueError):
        raise InvalidQuote(f"{symbol}: no valid time of the quote ({timestamp!r})") from None
    if quoted_at > fetched_at + MAX_AHEAD:
        raise InvalidQuote(f"{symbol}: quote of {timestamp} is ahead of this computer's clock")
    volume = quote.get("volume")
    tick = {
        "symbol": symbol,
        "open": _rounded(quote.get("open")),
        "high": _rounded(quote.get("high")),
        "low": _rounded(quote.get("low")),
        "price": _rounded(price),
        "previous_close": _rounded(previous_close),
        "change": round(price - previous_close, max(decimals(price), decimals(previous_close))),
        "change_percent": round(change_percent, 4),
        "volume": int(volume) if is_number(volume) and 0 <= volume <= MAX_VOLUME else None,
        "timestamp": timestamp,
        "fetched_at": format_timestamp(fetched_at),
        "source": source,
    }
    return tick | {name: quote[name] for name in OPTIONAL if _is_optional(name, quote.get(name))}


def _is_optional(name: str, value: object) -> bool:
    """Whether a value is one that an optional field can have."""
    if type(value) is not OPTIONAL[name]:
        return False
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and value.isprintable()
    return 0 <= value < 2**31  # an int of Athena


def is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold, neither NaN nor infinite."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def is_price(value: object) -> bool:
    """Whether a value can be a price. Yahoo writes 0 for an unknown one."""
    return is_number(value) and value > 0


def decimals(value: float) -> int:
    """How many decimals a price of this size has: 4, or as many as make 7 significant digits."""
    return max(DECIMALS, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(value)))


def _rounded(value: object) -> float | None:
    """A price in its decimals; None for what is no price."""
    return round(float(value), decimals(value)) if is_price(value) else None


def encode(tick: Mapping[str, Any]) -> bytes:
    """The tick as one line of JSON, as it goes to the spool and to the stream."""
    return json.dumps(tick, allow_nan=False, separators=(",", ":")).encode()


# --- Yahoo Finance ------------------------------------------------------------------------------


class RateLimited(Exception):
    """Yahoo answered 429."""


class Refused(Exception):
    """Yahoo answered another 4xx, or what cannot be read; the message says which."""


class UnknownSymbol(Refused):
    """Yahoo answered 404."""


def dig(answer: object, *path: str | int) -> Any:
    """What an answer of Yahoo's has at this path; None where a part of the path is not there."""
    for step in path:
        try:
            answer = answer[step]
        except (KeyError, IndexError, TypeError):
            return None
    return answer


def quote_from_batch(row: Mapping[str, Any]) -> dict[str, Any]:
    """The quote in one row of the batch endpoint's answer."""
    state = row.get("marketState")
    return {
        "symbol": row.get("symbol"),
        "open": row.get("regularMarketOpen"),
        "high": row.get("regularMarketDayHigh"),
        "low": row.get("regularMarketDayLow"),
        "price": row.get("regularMarketPrice"),
        "previous_close": row.get("regularMarketPreviousClose"),
        "change_percent": row.get("regularMarketChangePercent"),
        "volume": row.get("regularMarketVolume"),
        "timestamp": _from_epoch(row.get("regularMarketTime")),
        "currency": row.get("currency"),
        "exchange_timezone": row.get("exchangeTimezoneName"),
        # PREPRE and POSTPOST: nothing trades yet, nothing trades any more
        "market_state": "CLOSED" if state in ("PREPRE", "POSTPOST") else state,
        "delay_minutes": row.get("exchangeDataDelayedBy") or None,
    }


def quote_from_chart(chart: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """The quote in the answer to a one-day chart request, the same as the batch endpoint's (delay aside)."""
    meta = chart["meta"]
    state = "CLOSED"
    for name in ("pre", "regular", "post"):
        start, end = (dig(meta, "currentTradingPeriod", name, edge) for edge in ("start", "end"))
        if is_number(start) and is_number(end) and start <= now.timestamp() < end:
            state = name.upper()
    return {
        "symbol": meta.get("symbol"),
        "open": dig(chart, "indicators", "quote", 0, "open", -1),
        "high": meta.get("regularMarketDayHigh"),
        "low": meta.get("regularMarketDayLow"),
        "price": meta.get("regularMarketPrice"),
        "previous_close": meta.get("chartPreviousClose"),
        "volume": meta.get("regularMarketVolume"),
        "timestamp": _from_epoch(meta.get("regularMarketTime")),
        "currency": meta.get("currency"),
        "exchange_timezone": meta.get("exchangeTimezoneName"),
        "market_state": state,
    }


def bars_from_chart(chart: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The finished one-minute bars of a chart as quotes of the past, oldest first.

    A bar's quote is its close, so its time is the bar's last millisecond: it sorts between the live quotes
    before and after it, and never has the timestamp of one (Yahoo's are whole seconds).

    Raises:
        Refused: the chart does not say which bars are finished, or of which day they are.
    """
    meta = chart["meta"]
    newest, offset = meta.get("regularMarketTime"), meta.get("gmtoffset")
    if not is_number(newest) or not is_number(offset) or abs(offset) >= 86_400:
        raise Refused("a chart without its times")
    zone = timezone(timedelta(seconds=offset))
    columns = [dig(chart, "timestamp")]
    columns += [
        dig(chart, "indicators", "quote", 0, name) for name in ("open", "high", "low", "close", "volume")
    ]
    rows = itertools.zip_longest(*(column if isinstance(column, list) else [] for column in columns))
    quotes: list[dict[str, Any]] = []
    day, previous_close, last_close, volume = None, None, meta.get("chartPreviousClose"), 0
    for start, opened, high, low, close, traded in rows:
        timestamp = _from_epoch(start + 59.999) if is_number(start) else None
        # Behind the last finished bar, Yahoo often appends the newest price as if it were one more.
        if not timestamp or not is_price(close) or start + 60 > newest:
            continue
        if (date := datetime.fromtimestamp(start, zone).date()) != day:
            day, previous_close, volume = date, last_close, 0
        last_close, volume = close, volume + (traded if is_number(traded) else 0)
        quotes.append(
            {
                "symbol": meta.get("symbol"),
                "open": opened,
                "high": high,
                "low": low,
                "price": close,
                "previous_close": previous_close,
                "volume": volume,
                "timestamp": timestamp,
                "currency": meta.get("currency"),
                "exchange_timezone": meta.get("exchangeTimezoneName"),
                "history": True,
            }
        )
    return quotes


def _from_epoch(seconds: object) -> str | None:
    try:
        return format_timestamp(datetime.fromtimestamp(seconds, UTC)) if is_number(seconds) else None
    except (ValueError, OverflowError, OSError):
        return None


def chunks(items: list, size: int) -> list[list]:
    """The items in as few lists of at most `size` as it takes, all about equally long."""
    count = math.ceil(len(items) / size)
    return [items[i * len(items) // count : (i + 1) * len(items) // count] for i in range(count)]


def some(symbols: list[str]) -> str:
    """A few symbols by name: "AAPL, MSFT, GOOG and 497 more"."""
    return ", ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")


class YahooSource:
    """Quotes of Yahoo Finance through the yfinance client, many symbols a request.

    Symbols that the batch endpoint leaves out, or has no usable price or time of, are asked for one by one
    from the chart endpoint; all of them while the batch endpoint refuses. A fault of Yahoo's is logged and
    costs what it hit in this cycle, no more.
    """

    name = "yahoo"
    exhausted = False

    def __init__(self) -> None:
        # Imported here: it takes longer than all the rest, and the other sources do without it.
        import yfinance.data
        import yfinance.exceptions

        self._client = yfinance.data.YfData()
        self._rate_limit_error = yfinance.exceptions.YFRateLimitError
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._resume_at = 0.0
        self._rate_limits = 0
        self._charts_until = 0.0
        self._misses: Counter[str] = Counter()
        self._parked_until: dict[str, float] = {}
        self._delay_minutes: dict[str, int | None] = {}

    def fetch(self, symbols: list[str]) -> list[dict[str, Any]]:
        """The newest quotes that Yahoo has, at most one a symbol."""
        now = time.monotonic()
        if now < self._resume_at:
            return []
        wanted = [symbol for symbol in symbols if self._parked_until.get(symbol, 0) <= now]
        quotes: dict[str, dict[str, Any]] = {}
        errors: list[str] = []
        ask_charts = wanted if now < self._charts_until else []
        try:
            if not ask_charts:
                for chunk, answer in self._ask(self._batch, chunks(wanted, BATCH_SYMBOLS), errors):
                    if isinstance(answer, Refused):
                        if now >= self._charts_until:
                            log.warning(
                                "Yahoo's batch endpoint refuses (%s): asking symbol by symbol", answer
                            )
                        self._charts_until = now + CHARTS_ONLY_SECONDS
                        answer = []
                    # A symbol may come twice: the newest quote counts.
                    for quote in sorted(answer, key=lambda quote: quote["timestamp"] or "", reverse=True):
                        if quote["symbol"] in chunk:
                            self._delay_minutes[quote["symbol"]] = quote["delay_minutes"]
                            if (
                                is_price(quote["price"])
                                and is_price(quote["previous_close"])
                                and quote["timestamp"]
                            ):
                                quotes.setdefault(quote["symbol"], quote)
                    ask_charts += [symbol for symbol in chunk if symbol not in quotes]
            for symbol, answer in self._ask(self._chart, ask_charts, errors):
                if not isinstance(answer, Refused):
                    quotes[symbol] = answer | {"delay_minutes": self._delay_minutes.get(symbol)}
                elif isinstance(answer, UnknownSymbol):
                    self._miss(symbol)
                else:
                    errors.append(f"{symbol}: {answer}")
            self._rate_limits = 0
        except RateLimited:
            self._pause()
        if errors:
            log.warning("Yahoo: %d failed, trying again next time (%s)", len(errors), errors[0])
        for symbol in quotes:
            self._misses.pop(symbol, None)
            self._parked_until.pop(symbol, None)
        return list(quotes.values())

    def history(self, symbols: list[str], backfill: str) -> list[dict[str, Any]]:
        """One-minute bars of the past as quotes, oldest first for each symbol.

        Args:
            symbols: what to load.
            backfill: "60" for the last 60 bars of each, "7d" for all bars of the last 7 trading days.
        """
        if time.monotonic() < self._resume_at:
            log.warning(
                "No history of %s: Yahoo limits the rate; start again later to load it", some(symbols)
            )
            return []
        span, last = ("2d", int(backfill)) if backfill.isdigit() else (backfill, 0)
        quotes: list[dict[str, Any]] = []
        errors: list[str] = []
        try:
            for symbol, answer in self._ask(lambda symbol: self._bars(symbol, span), symbols, errors):
                if isinstance(answer, Refused):
                    errors.append(f"{symbol}: {answer}")
                else:
                    quotes += answer[-last:]
        except RateLimited:
            self._pause()
        if errors:
            log.warning("No history of %d of %s (%s)", len(errors), some(symbols), errors[0])
        return quotes

    def _batch(self, symbols: list[str]) -> list[dict[str, Any]]:
        parameters = {"symbols": ",".join(symbols), "formatted": "false", "fields": BATCH_FIELDS}
        rows = dig(self._get(BATCH_URL, parameters), "quoteResponse", "result")
        if not isinstance(rows, list):
            raise Refused("an answer without quotes")
        return [quote_from_batch(row) for row in rows if isinstance(row, dict)]

    def _chart(self, symbol: str) -> dict[str, Any]:
        quote = quote_from_chart(self._get_chart(symbol, "1d", "1d"), now=datetime.now(UTC))
        return quote | {"symbol": symbol}

    def _bars(self, symbol: str, span: str) -> list[dict[str, Any]]:
        return [quote | {"symbol": symbol} for quote in bars_from_chart(self._get_chart(symbol, span, "1m"))]

    def _get_chart(self, symbol: str, span: str, interval: str) -> dict[str, Any]:
        answer = self._get(CHART_URL + urllib.parse.quote(symbol), {"range": span, "interval": interval})
        chart = dig(answer, "chart", "result", 0)
        if not isinstance(dig(chart, "meta"), dict):
            raise Refused("an answer without a chart")
        return chart

    def _get(self, url: str, parameters: dict[str, str]) -> object:
        try:
            response = self._client.get(url, params=parameters, timeout=REQUEST_SECONDS)
        except self._rate_limit_error as error:
            raise RateLimited from error
        if response.status_code < 400:
            try:
                return response.json()
            except (ValueError, RecursionError):
                raise Refused("an answer that is no JSON") from None
        # The client keeps whatever text came as its crumb, an error page too, and would use it for ever.
        crumb, self._client._crumb = self._client._crumb, None
        if "Too Many Requests" in (crumb or ""):
            raise RateLimited
        if response.status_code >= 500:
            raise OSError(f"HTTP {response.status_code}")
        refusal = UnknownSymbol if response.status_code == 404 else Refused
        raise refusal(f"HTTP {response.status_code}")

    def _ask(self, request: Callable, items: list, errors: list[str]) -> Iterator[tuple[Any, Any]]:
        """Run the requests in the pool; yield each item with its answer or Refused, as they come.

        What failed in a way that passes goes to `errors`. After a 429 nothing more is sent, what is under way
        is still awaited, and then RateLimited is raised.
        """
        asked: dict[Future, Any] = {self._pool.submit(request, item): item for item in items}
        waiting, limited = set(asked), False
        while waiting:
            done, waiting = wait(waiting, timeout=STALL_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = ThreadPoolExecutor(CONNECTIONS)
                errors += [f"no answer within {STALL_SECONDS} s"] * len(waiting)
                break
            for future in done:
                error = future.exception()
                if isinstance(error, RateLimited):
                    limited = True
                    waiting = {future for future in waiting if not future.cancel()}
                elif error is None or isinstance(error, Refused):
                    yield asked[future], error or future.result()
                else:  # whatever the client lets through, or an answer of another form than expected
                    text = str(error).partition(" See https://curl.se")[0]
                    errors.append(f"{type(error).__name__}: {text}")
        if limited:
            raise RateLimited

    def _pause(self) -> None:
        first, longest = RATE_LIMIT_SECONDS
        seconds = min(longest, first * 2**self._rate_limits) * random.uniform(0.5, 1)
        self._rate_limits += 1
        self._resume_at, self._charts_until = time.monotonic() + seconds, 0
        self._client._crumb = None
        log.warning("Yahoo answered 429 (too many requests): no polls for %.0f s", seconds)

    def _miss(self, symbol: str) -> None:
        self._misses[symbol] += 1
        if self._misses[symbol] == 1:
            log.warning("%s: Yahoo knows no such symbol", symbol)
        if self._misses[symbol] >= PARKING_MISSES:
            if symbol not in self._parked_until:
                log.warning("%s: not found %d times, asking hourly from now on", symbol, PARKING_MISSES)
            self._parked_until[symbol] = time.monotonic() + PARKING_SECONDS


# --- What outlives the process --------------------------------------------------------------------


def write_durably(path: Path, data: bytes, *, append: bool = False) -> None:
    """Append to a file, or replace it as a whole; data and file name are on the disk on return.

    Raises:
        CannotRun: it cannot be written.
    """
    target = path if append else path.with_name(path.name + ".new")
    try:
        is_named = append and path.exists()
        with target.open("ab" if append else "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not append:
            target.replace(path)
        if not is_named:
            sync_folder(path.parent)
    except OSError as error:
        raise CannotRun(f"cannot write {path} ({error.strerror}): make room, or set STATE_DIR") from None


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: a new file is lost in a power cut before that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Sent:
    """What has been handed to the spool so far, so that no quote goes out twice, not even after a restart.

    `newest` is the latest timestamp of each symbol; `spans` are the first and last timestamps of each stretch
    of its history that has been loaded without a gap.
    """

    def __init__(self, path: Path | None, *, stream_created: str | None) -> None:
        """
        Args:
            path: the state file, or None to keep it in memory.
            stream_created: when the stream was made. A stream made anew has none of the ticks, so the state
                of its predecessor does not count.
        """
        self._path = path
        self._stream_created = stream_created
        self.newest: dict[str, str] = {}
        self.spans: dict[str, list[list[str]]] = {}
        if path and path.exists():
            try:
                state = json.loads(path.read_bytes())
                if stream_created in (None, state["stream_created"]):
                    self._stream_created = state["stream_created"]
                    # Earlier versions kept no spans: their history is loaded again, as the same ticks.
                    self.newest, self.spans = state["newest"], state.get("spans", {})
            except (ValueError, KeyError, TypeError) as error:
                raise CannotRun(f"{path} is damaged ({error}): remove it") from None

    def has(self, tick: Mapping[str, Any]) -> bool:
        """Whether a tick, or a newer one of its symbol, has been handed over."""
        symbol, timestamp = tick["symbol"], tick["timestamp"]
        if tick.get("history"):
            return any(first <= timestamp <= last for first, last in self.spans.get(symbol, []))
        return timestamp <= self.newest.get(symbol, "")

    def add(self, ticks: list[dict[str, Any]]) -> None:
        """Note ticks. A symbol's history in them came in one answer, so nothing is missing within it."""
        loaded: dict[str, list[str]] = {}
        for tick in ticks:
            symbol, timestamp = tick["symbol"], tick["timestamp"]
            self.newest[symbol] = max(timestamp, self.newest.get(symbol, ""))
            if tick.get("history"):
                loaded.setdefault(symbol, []).append(timestamp)
        for symbol, timestamps in loaded.items():
            span, apart = [min(timestamps), max(timestamps)], []
            for other in self.spans.get(symbol, []):
                if other[1] < span[0] or span[1] < other[0]:
                    apart.append(other)
                else:
                    span = [min(span[0], other[0]), max(span[1], other[1])]
            self.spans[symbol] = sorted([*apart, span])

    def save(self) -> None:
        if self._path:
            state = {
                "stream_created": self._stream_created,
                "newest": self.newest,
                "spans": self.spans,
            }
            write_durably(self._path, json.dumps(state).encode())


class Spool:
    """Ticks on their way to the stream: files of JSON lines, each removed when all in it has been sent.

    Every tick is written here before it is sent. So a crash at any point sends the very same bytes again
    instead of fetching another quote with the same timestamp.

    Args:
        directory: made if need be, and claimed for this process.

    Raises:
        CannotRun: another producer uses the directory, or it cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
            directory.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                sync_folder(folder.parent)
            self._lock = (directory / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(
                f"another producer is running on {directory}: stop it, or give this one another STATE_DIR"
            ) from None
        except OSError as error:
            raise CannotRun(f"cannot write to {directory} ({error.strerror}): set STATE_DIR") from None
        # A new file for each run: the last line of an old one may be torn.
        last = max((int(path.stem.split("-")[1]) for path in self.segments()), default=0)
        self._current = directory / f"spool-{last + 1:08}.jsonl"

    def segments(self) -> list[Path]:
        """The files, oldest first."""
        return sorted(self._directory.glob("spool-*.jsonl"))

    def size(self) -> int:
        """Bytes that wait."""
        return sum(path.stat().st_size for path in self.segments())

    def append(self, ticks: list[dict[str, Any]]) -> None:
        if self._current.exists() and self._current.stat().st_size >= SEGMENT_BYTES:
            number = int(self._current.stem.split("-")[1]) + 1
            self._current = self._directory / f"spool-{number:08}.jsonl"
        write_durably(self._current, b"".join(encode(tick) + b"\n" for tick in ticks), append=True)

    def read(self, segment: Path) -> list[dict[str, Any]]:
        """The ticks of a segment; a last line that a crash cut off was never sent and is left out."""
        lines = segment.read_bytes().split(b"\n")
        if lines.pop():
            log.warning("%s: the last line is incomplete (a crash while writing) and is left out", segment)
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise CannotRun(f"{segment} is damaged ({error}): repair it, or move it away") from None

    def keep(self, segment: Path, ticks: list[dict[str, Any]]) -> None:
        """Leave only these ticks in a segment."""
        if ticks:
            write_durably(segment, b"".join(encode(tick) + b"\n" for tick in ticks))
        else:
            segment.unlink()


# --- Kinesis --------------------------------------------------------------------------------------


class Undelivered(Exception):
    """A call failed as a whole and will not succeed at once; the message says why and what to do."""


class KinesisStream:
    """The data stream.

    Args:
        new_client: makes a boto3 Kinesis client. Called again when the credentials fail, so that ones renewed
            meanwhile are found without a restart.
        name: of the stream.
    """

    def __init__(self, new_client: Callable[[], Any], name: str) -> None:
        self._new_client = new_client
        self._client = new_client()
        self.name = name

    def created(self) -> str | None:
        """When the stream was made, UTC ISO-8601; None when AWS cannot be asked now.

        Raises:
            CannotRun: there is no such stream, or there are no valid credentials.
        """
        try:
            summary = self._client.describe_stream_summary(StreamName=self.name)
            return format_timestamp(summary["StreamDescriptionSummary"]["StreamCreationTimestamp"])
        except (ClientError, BotoCoreError) as error:
            code = error_code(error)
            if CREDENTIALS.search(code) or code == "ResourceNotFoundException":
                raise CannotRun(self._explain(error)) from error
            if isinstance(error, EndpointConnectionError) and not is_region(self._client.meta.region_name):
                raise CannotRun(f"AWS_REGION is {self._client.meta.region_name}: no such region") from error
            log.warning("The stream cannot be looked at now, going on: %s", self._explain(error))
            return None

    def put(self, ticks: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Send ticks in one call.

        Args:
            ticks: at most CALL_RECORDS, with no two of one symbol whose order matters.

        Returns:
            One answer a tick: ShardId and SequenceNumber, or ErrorCode and ErrorMessage of a passing error.

        Raises:
            Undelivered: the call failed as a whole; nothing was sent, as far as is known.
        """
        records = [{"Data": encode(tick), "PartitionKey": tick["symbol"]} for tick in ticks]
        try:
            if len(records) == 1:
                return [self._client.put_record(StreamName=self.name, **records[0])]
            return self._client.put_records(StreamName=self.name, Records=records)["Records"]
        except (ClientError, BotoCoreError) as error:
            code = error_code(error)
            if PASSING.search(code):
                return [{"ErrorCode": code, "ErrorMessage": str(error)}] * len(ticks)
            reason = self._explain(error)
            if CREDENTIALS.search(code):
                self._client = self._new_client()
            raise Undelivered(reason) from error

    def _explain(self, error: ClientError | BotoCoreError) -> str:
        region = self._client.meta.region_name
        code = error_code(error)
        if code == "ResourceNotFoundException":
            return f"no such stream {self.name} in {region}: run scripts/setup.sh, or correct AWS_REGION"
        if CREDENTIALS.search(code):
            return f"the AWS credentials are missing or not valid ({error}): {renewal_command()}"
        if code == "AccessDeniedException":
            return f"the AWS credentials may not use {self.name}: {error.response['Error']['Message']}"
        return str(error)


def error_code(error: Exception) -> str:
    """The service's error code, or the name of botocore's own exception."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def is_region(name: str) -> bool:
    """Whether boto3 knows a region of that name."""
    session = boto3.session.Session()
    partitions = session.get_available_partitions()
    return any(name in session.get_available_regions("kinesis", partition) for partition in partitions)


def renewal_command() -> str:
    """The command that renews the credentials that boto3 would use."""
    profile = os.environ.get("AWS_PROFILE")
    flag = f" --profile {profile}" if profile else ""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew and start again"
    config = boto3.session.Session()._session.get_scoped_config()
    if "sso_session" in config or "sso_start_url" in config:
        return f"run `aws sso login{flag}`"
    return f"run `aws configure{flag}`"


def next_call(ticks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ticks to send in one call: the first ones, with at most one live tick of a symbol.

    PutRecords promises no order within a call, and averages depend on it. Ticks of the past may go together.
    """
    call: list[dict[str, Any]] = []
    only_history: dict[str, bool] = {}
    size = 0
    for tick in ticks:
        symbol, history = tick["symbol"], bool(tick.get("history"))
        if symbol in only_history and not (only_history[symbol] and history):
            only_history[symbol] = False
            continue
        size += len(encode(tick)) + len(symbol.encode())
        if len(call) == CALL_RECORDS or (call and size > CALL_BYTES):
            break
        only_history[symbol] = history
        call.append(tick)
    return call


def deliver(
    stream: KinesisStream,
    ticks: list[dict[str, Any]],
    *,
    clock: Clock,
    deadline: float,
    on_sent: Callable[[dict[str, Any], dict[str, str]], None],
) -> tuple[list[dict[str, Any]], str]:
    """Send ticks, those of one symbol in their order; only failed ones are sent again, with backoff.

    Args:
        stream: where to.
        ticks: oldest first.
        clock: for the pauses.
        deadline: monotonic seconds after which no further call is made.
        on_sent: called with each tick sent and Kinesis's answer.

    Returns:
        The ticks that were not sent, in order, and why ("" when all were).
    """
    waiting, fruitless, reason = ticks, 0, ""
    while waiting:
        call = next_call(waiting)
        try:
            answers = stream.put(call)
        except Undelivered as error:
            return waiting, str(error)
        sent = set()
        for tick, answer in zip(call, answers, strict=True):
            if "SequenceNumber" in answer:
                sent.add(id(tick))
                on_sent(tick, answer)
            else:
                reason = f"{answer['ErrorCode']}: {answer['ErrorMessage']}"
        waiting = [tick for tick in waiting if id(tick) not in sent]
        fruitless = 0 if sent else fruitless + 1
        failed = len(call) - len(sent)
        log.debug("Sent %d records, %d of them refused for now", len(call), failed)
        if waiting and clock.stopping:
            return waiting, reason or "the producer is stopping"
        if waiting and (fruitless == FRUITLESS_CALLS or clock.monotonic() >= deadline):
            return waiting, reason or "the rest waits for the next poll"
        if failed:
            first, longest = RETRY_SECONDS
            clock.sleep(min(longest, first * 2**fruitless) * random.uniform(0.5, 1))
    return [], ""


# --- The polling loop -------------------------------------------------------------------------------


class Clock:
    """Time, and a sleep that SIGINT and SIGTERM end."""

    def __init__(self) -> None:
        self.stopping = False
        self._wake, self._woken = socket.socketpair()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        select.select([self._woken], [], [], max(0, seconds))

    def stop(self, *_: object) -> None:
        """Signal handler: finish the cycle in hand. A second Ctrl-C ends at once."""
        self.stopping = True
        self._wake.send(b"x")
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Producer:
    """Polls a source and delivers its new quotes.

    Args:
        source: of quotes; see sources/.
        symbols: what to poll.
        delay: seconds from the start of a poll to the start of the next.
        sent: what went out before; what still waits in the spool is added to it.
        spool, stream: None in a dry run.
        clock: time and sleep.
        show: takes the text of the status line.
    """

    source: Any
    symbols: list[str]
    _: KW_ONLY
    delay: float
    sent: Sent
    spool: Spool | None
    stream: KinesisStream | None
    clock: Clock
    show: Callable[[str], None]
    totals: Counter[str] = field(default_factory=Counter)
    waiting: int = 0  # ticks in the spool

    def __post_init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._silent: set[str] = set()
        for segment in self.spool.segments() if self.spool else []:
            ticks = self.spool.read(segment)
            self.sent.add(ticks)
            self.waiting += len(ticks)

    def run(self, polls: int | None) -> None:
        """Poll on a fixed grid: a slow cycle skips slots, and no delay adds up.

        Args:
            polls: how many, or None to go on until stopped.
        """
        start, slot = self.clock.monotonic(), 0
        while not self.clock.stopping:
            self.totals["polls"] += 1
            self.cycle(start + (slot + 1) * self.delay)
            if self.totals["polls"] == polls or self.source.exhausted:
                break
            slot = max(slot + 1, math.ceil((self.clock.monotonic() - start) / self.delay))
            pause = start + slot * self.delay - self.clock.monotonic()
            next_poll = self.clock.now() + timedelta(seconds=pause)
            self.show(
                f"{self.totals['sent']} sent, {self.waiting} waiting, next poll {next_poll:%H:%M:%S} UTC"
            )
            self.clock.sleep(pause)

    def summary(self) -> str:
        """What has been done so far, in one line."""
        totals = self.totals
        sent = "sent" if self.stream else "ready to send"
        return (
            f"{totals['polls']} polls: {totals['sent']} {sent}, {totals['unchanged']} unchanged, "
            f"{totals['invalid']} invalid, {totals['lost']} lost, {self.waiting} waiting in the spool"
        )

    def cycle(self, deadline: float) -> None:
        """Fetch once and deliver, until `deadline` (monotonic seconds) or for DELIVERY_SECONDS."""
        began, before = self.clock.monotonic(), self.totals.copy()
        quotes = self.source.fetch(self.symbols)
        ticks = self.valid_ticks(quotes)
        self.tell_silent(ticks)
        new = self.spool_new(ticks)
        self.send_spool(max(deadline, self.clock.monotonic() + DELIVERY_SECONDS))
        if len(self.symbols) > LINES_UP_TO:
            counts = self.totals - before
            delays = [tick["delay_minutes"] for tick in new if "delay_minutes" in tick]
            late = f", {len(delays)} delayed by up to {max(delays)} min" if delays else ""
            print(
                f"{format_timestamp(self.clock.now())} {len(quotes)} of {len(self.symbols)} quotes: "
                f"{counts['sent']} sent{late}, {counts['unchanged']} unchanged, {counts['invalid']} invalid "
                f"in {self.clock.monotonic() - began:.2f} s"
            )

    def backfill(self, span: str) -> None:
        """Load history as ticks, some symbols at a time, skipping what an earlier run has loaded."""
        from rich.progress import track

        groups = chunks(self.symbols, BACKFILL_SYMBOLS)
        for group in track(groups, "Loading history", disable=not sys.stdout.isatty(), transient=True):
            if self.clock.stopping:
                return
            new = self.spool_new(self.valid_ticks(self.source.history(group, span)))
            log.info("Loaded %d bars of %s", len(new), some(group))
            if not self.send_spool(deadline=math.inf) and not self.clock.stopping:
                log.warning("History is loaded no further: start again when the stream takes records")
                return

    def valid_ticks(self, quotes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The ticks of those quotes that make one; the reason of each other one is logged."""
        fetched_at = self.clock.now()
        ticks = []
        for quote in quotes:
            try:
                source = quote.get("source", self.source.name)
                tick = build_tick(quote, source=source, fetched_at=fetched_at)
            except InvalidQuote as error:
                self.totals["invalid"] += 1
                # Each reason once, not with every poll.
                if self._reasons.get(quote["symbol"]) != str(error):
                    self._reasons[quote["symbol"]] = str(error)
                    log.warning("Skipped %s", error)
                continue
            ticks.append(tick)
        self.totals["fetched"] += len(ticks)
        return ticks

    def spool_new(self, ticks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write to the spool what has not been handed over yet, and return it."""
        new = [tick for tick in ticks if not self.sent.has(tick)]
        self.totals["unchanged"] += len(ticks) - len(new)
        if self.spool is None:
            for tick in new:
                self.on_sent(tick, {})
        elif new and self.spool.size() > SPOOL_BYTES:
            self.totals["lost"] += len(new)
            log.error("THE SPOOL IS FULL (%d MB): %d ticks are lost", SPOOL_BYTES >> 20, len(new))
            return []
        elif new:
            self.spool.append(new)
            self.waiting += len(new)
        self.sent.add(ticks)
        return new

    def send_spool(self, deadline: float) -> bool:
        """Send what waits in the spool, until `deadline` (monotonic seconds); returns whether all is sent."""
        for segment in self.spool.segments() if self.spool else []:
            ticks = self.spool.read(segment)
            rest, reason = deliver(
                self.stream, ticks, clock=self.clock, deadline=deadline, on_sent=self.on_sent
            )
            if len(rest) < len(ticks) or not ticks:
                # First the state, then the spool: a crash in between sends the same ticks again.
                self.sent.save()
                self.spool.keep(segment, rest)
            if rest:
                log.warning("Not sent: %s. Waiting in the spool: %d ticks", reason, self.waiting)
            if rest or self.clock.stopping:
                break
        return not self.waiting

    def on_sent(self, tick: dict[str, Any], answer: dict[str, str]) -> None:
        self.totals["sent"] += 1
        self.waiting -= bool(answer)
        if len(self.symbols) <= LINES_UP_TO and not tick.get("history"):
            print(describe(tick, answer))

    def tell_silent(self, ticks: list[dict[str, Any]]) -> None:
        """Say once of each symbol that it has gone silent; those in the same state of market share a line."""
        silent: dict[str, dict[str, str]] = {}
        for tick in ticks:
            symbol, newest = tick["symbol"], self.sent.newest.get(tick["symbol"])
            if not newest or tick["timestamp"] > newest:
                self._silent.discard(symbol)
                continue
            patience = SILENT_AFTER + timedelta(minutes=tick.get("delay_minutes", 0))
            if symbol not in self._silent and self.clock.now() - parse_timestamp(newest) > patience:
                self._silent.add(symbol)
                open_or_not = {"REGULAR": "open", None: "in an unknown state"}
                state = open_or_not.get(tick.get("market_state"), "closed")
                silent.setdefault(state, {})[symbol] = newest
        for state, since in silent.items():
            earlier = " or earlier" if len(set(since.values())) > 1 else ""
            latest = max(since.values())
            log.info("%s: no new quote since %s%s, market %s", some(list(since)), latest, earlier, state)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """A line below the output that tells what goes on; yields the function that sets it.

    Where the output is no terminal there is no such line.
    """
    if not sys.stdout.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console().status("starting") as status:
        yield status.update


def describe(tick: Mapping[str, Any], answer: Mapping[str, str]) -> str:
    """The line for one record, as sent or, without an answer of Kinesis, as it would be sent."""
    price = " ".join([amount(tick["price"]), tick.get("currency", "")]).rstrip()
    change = f"{amount(tick['change'], '+')} ({tick['change_percent']:+.2f}%)"
    volume = "" if tick["volume"] is None else f" volume {tick['volume']:,}"
    late = f" ({tick['delay_minutes']} min delayed)" if tick.get("delay_minutes") else ""
    verb, arrow = "Would send", ""
    if answer:
        verb, arrow = "Sent", f" -> {answer['ShardId']} …{answer['SequenceNumber'][-12:]}"
    return f"{verb} {tick['symbol']} {price} {change}{volume} at {tick['timestamp']}{late}{arrow}"


def amount(value: float, sign: str = "") -> str:
    """A price with the decimals that it has, two at least: "1,234.50", "0.0007213"."""
    whole, _, fraction = f"{value:{sign},.{decimals(abs(value) or 1)}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"


# --- Settings and start -------------------------------------------------------------------------------


def load_settings(path: Path) -> None:
    """Put the settings of a .env file into the environment, where they are not set yet.

    read_env_file of the scripts accepts and refuses the same files, so that all look in one region.

    Raises:
        CannotRun: a line is not NAME=value, or sets a name for the second time.
    """
    if not path.is_file():
        return
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None
    if b"\0" in data:
        raise CannotRun(f"{path}: holds a NUL byte, save it as UTF-8")
    text = data.decode("utf-8-sig", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if problem := problem_of_env_line(line.strip(" \t"), number, seen):
            raise CannotRun(f"{path}, line {number}: {problem}")
    if "STOCK_SYMBOL" in os.environ:  # the environment wins, whichever of the two names it uses
        os.environ.setdefault("STOCK_SYMBOLS", os.environ["STOCK_SYMBOL"])
    dotenv.load_dotenv(stream=io.StringIO("\n".join(lines)), interpolate=False)


def problem_of_env_line(line: str, number: int, seen: dict[str, int]) -> str:
    """What is wrong with a line of .env, "" if nothing is; adds its name to those seen, with its number."""
    if OTHER_SPACE.search(line):
        return "holds white space that is neither a space nor a tab"
    if not line or line.startswith("#"):
        return ""
    match = ASSIGNMENT.fullmatch(line)
    if not match or match["name"] == "export":
        return "expected NAME=value"
    if match["value"].startswith(('"', "'")) and not QUOTED.fullmatch(match["value"]):
        return "the quotes do not match, or hold a backslash"
    first = seen.setdefault(match["name"], number)
    return "" if first == number else f"{match['name']} is set already, in line {first}"


def setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


def parse_symbols(text: str, *, origin: str) -> list[str]:
    """Symbols in the order given, in upper case, each once.

    Args:
        text: symbols apart by commas or white space; # starts a comment.
        origin: what to name in the error.

    Raises:
        CannotRun: there is none, or one that Yahoo cannot have.
    """
    symbols: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split("#")[0].replace(",", " ").split():
            if not SYMBOL.fullmatch(word.upper()):
                raise CannotRun(f"{origin}, line {number}: {word!r} is not a symbol of Yahoo Finance")
            symbols[word.upper()] = None
    if not symbols:
        raise CannotRun(f"{origin}: no symbols")
    return list(symbols)


def read_symbols(arguments: argparse.Namespace) -> list[str]:
    """The symbols of the flags, else of the settings."""
    if arguments.symbols_file:
        try:
            text = arguments.symbols_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CannotRun(f"{arguments.symbols_file}: {error}") from None
        return parse_symbols(text, origin=str(arguments.symbols_file))
    if arguments.symbols is not None:
        return parse_symbols(arguments.symbols, origin="--symbols")
    return parse_symbols(setting("STOCK_SYMBOLS", setting("STOCK_SYMBOL", "AAPL")), origin="STOCK_SYMBOLS")


def matching(pattern: str, meaning: str, kind: type = str) -> Callable[[str], Any]:
    """The check of a flag or setting that has to match a pattern, and is then turned into `kind`."""

    def parse(text: str) -> Any:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {meaning}")
        return kind(text)

    return parse


positive_seconds = matching(r"(?=.*[1-9])[0-9]*\.?[0-9]+", "a positive number of seconds", float)
positive_count = matching(r"0*[1-9][0-9]*", "a positive whole number", int)
backfill_span = matching(r"[1-9]\d?|[123]\d\d|[1-7]d", "1 to 399 (bars) or 1d to 7d (trading days)")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags; ends the process with status 2 on wrong usage."""
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--symbols", metavar="A,B", help="symbols as Yahoo writes them (default: STOCK_SYMBOLS)"
    )
    which.add_argument("--symbols-file", type=Path, metavar="F", help="file of symbols; # starts a comment")
    sources = ("yahoo", "websocket", "simulated", "replay")
    parser.add_argument(
        "--source", choices=sources, default="yahoo", help="where quotes come from (%(default)s)"
    )
    parser.add_argument("--file", type=Path, metavar="F", help="CSV file of bars for --source replay")
    parser.add_argument("--seed", type=int, metavar="N", help="makes --source simulated repeatable")
    parser.add_argument(
        "--delay",
        type=positive_seconds,
        metavar="S",
        help="seconds from poll to poll (default: DELAY_SECONDS)",
    )
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument("--count", type=positive_count, metavar="N", help="end after N polls")
    how_long.add_argument("--once", dest="count", action="store_const", const=1, help="poll once")
    parser.add_argument(
        "--backfill",
        type=backfill_span,
        metavar="SPAN",
        help="first load one-minute history: 1 to 399 (bars), or 1d to 7d (trading days)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the ticks, send nothing; needs no AWS")
    parser.add_argument("--force", action="store_true", help="let simulated or replayed ticks go to real AWS")
    parser.add_argument("--verbose", action="store_true", help="say more, the Yahoo client's warnings too")
    arguments = parser.parse_args(argv)
    if (arguments.source == "replay") != (arguments.file is not None):
        parser.error("--source replay and --file go together")
    if arguments.seed is not None and arguments.source != "simulated":
        parser.error("--seed goes with --source simulated")
    return arguments


def delay_seconds(arguments: argparse.Namespace) -> float:
    try:
        return arguments.delay or positive_seconds(setting("DELAY_SECONDS", "30"))
    except argparse.ArgumentTypeError as error:
        raise CannotRun(f"DELAY_SECONDS: {error}") from None


def make_source(arguments: argparse.Namespace, delay: float) -> Any:
    """The source that the flags name; each is imported only when it is asked for."""
    if arguments.source == "simulated":
        from sources.simulated import SimulatedSource

        return SimulatedSource(seed=arguments.seed, delay_seconds=delay)
    if arguments.source == "replay":
        from sources.replay import ReplaySource

        chosen = arguments.symbols is not None or arguments.symbols_file is not None
        try:
            return ReplaySource(arguments.file, symbols=read_symbols(arguments) if chosen else None)
        except (OSError, ValueError) as error:
            raise CannotRun(str(error)) from None
    if arguments.source == "websocket":
        from sources.websocket import WebSocketSource

        return WebSocketSource(YahooSource())
    return YahooSource()


def kinesis_client(region: str) -> Any:
    """A Kinesis client of a new session, which reads the credentials anew."""
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
    try:
        return boto3.session.Session(region_name=region).client("kinesis", config=config)
    except ProfileNotFound as error:
        raise CannotRun(f"AWS_PROFILE: {error}; `aws configure list-profiles` shows what there is") from None
    except (BotoCoreError, ValueError) as error:  # a region or an endpoint that cannot be
        raise CannotRun(f"AWS_REGION or AWS_ENDPOINT_URL: {error}") from None


def is_local(url: str) -> bool:
    """Whether an endpoint is on this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def state_directory(source: str, stream_name: str, endpoint: str) -> Path:
    """Where this source's spool and state for this stream are kept; what differs never mixes."""
    feed = "yahoo" if source == "websocket" else source  # the same quotes, by another way
    root = Path(setting("STATE_DIR", ".local/producer"))
    return HERE / root / f"{urllib.parse.urlsplit(endpoint).netloc.replace(':', '_')}-{stream_name}-{feed}"


def start(arguments: argparse.Namespace, clock: Clock, show: Callable[[str], None]) -> Producer:
    """Check the settings, the stream and the state, and put the producer together."""
    load_settings(HERE / ".env")
    delay = delay_seconds(arguments)
    source = make_source(arguments, delay)
    symbols = source.symbols if arguments.source == "replay" else read_symbols(arguments)
    common = {"delay": delay, "clock": clock, "show": show}
    if arguments.dry_run:
        return Producer(
            source, symbols, sent=Sent(None, stream_created=None), spool=None, stream=None, **common
        )
    region = setting("AWS_REGION", "us-east-1")
    stream_name = setting("STREAM_NAME", "Stock-market-stream")
    endpoint = kinesis_client(region).meta.endpoint_url
    if arguments.source in ("simulated", "replay") and not is_local(endpoint) and not arguments.force:
        raise CannotRun(
            f"{arguments.source} ticks would go to real AWS ({endpoint}) and mix with real quotes: "
            "use scripts/run_local.sh, or --force if that is what you want"
        )
    stream = KinesisStream(lambda: kinesis_client(region), stream_name)
    created = stream.created()
    directory = state_directory(arguments.source, stream_name, endpoint)
    spool = Spool(directory)
    sent = Sent(directory / "state.json", stream_created=created)
    return Producer(source, symbols, sent=sent, spool=spool, stream=stream, **common)


def main(argv: list[str] | None = None) -> int:
    """Run the producer; returns the exit status."""
    arguments = parse_arguments(argv)
    sys.stdout.reconfigure(line_buffering=True, errors="replace")
    clock = Clock()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, clock.stop)
    try:
        with status_line() as show:
            # Now, for the status line takes the place of stderr.
            logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
            log.setLevel(logging.DEBUG if arguments.verbose else logging.INFO)
            yfinance_level = logging.WARNING if arguments.verbose else logging.CRITICAL
            logging.getLogger("yfinance").setLevel(yfinance_level)
            producer = start(arguments, clock, show)
            if arguments.backfill:
                producer.backfill(arguments.backfill)
            producer.run(arguments.count)
    except CannotRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads the output any more
        return 1
    print(f"{'Stopped' if clock.stopping else 'Finished'} after {producer.summary()}.")
    complete = producer.totals["fetched"] and not producer.totals["lost"] and not producer.waiting
    return 0 if complete or clock.stopping else 3


if __name__ == "__main__":
    os._exit(main())  # a request that hangs must not hold up the exit
