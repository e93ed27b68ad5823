#!/usr/bin/env python3
"""Poll stock quotes from Yahoo Finance and put them on an Amazon Kinesis data stream.

One cycle fetches the quotes of all symbols, keeps those that are valid and new, writes them to the spool on
disk, and sends the spool to the stream, oldest first. Then it sleeps until the next poll is due. What cannot
be sent stays in the spool for the next cycle or the next run, so a crash loses nothing that was fetched.

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

Settings come from .env, the environment and the flags: a variable wins over .env, and a flag wins over both.
.env.example lists the settings.
"""

# How to read this file:
#   1. Producer, in "The polling loop": cycle() is one poll, and names all that happens in it.
#   2. build_tick: what a tick is, and which quotes make none.
#   3. YahooSource.fetch: how quotes come from Yahoo.
#   4. Spool and Checkpoint: what is on disk, so that no quote is lost and none is sent twice.
#   5. deliver: how the ticks of a symbol stay in order on the stream.
#   6. make_producer and main, at the end: how settings become a producer, and how it ends.

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (one clear line instead of a failing import below)
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
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
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

    if not importlib.util.find_spec("yfinance"):  # YahooSource imports it, when it is needed
        raise ModuleNotFoundError(name="yfinance")
except ModuleNotFoundError as missing:
    install = f"run `{sys.executable} -m pip install -r requirements.txt`"
    sys.exit(f"error: {missing.name} is not installed: {install}")

HERE = Path(__file__).resolve().parent

# Yahoo
BATCH_URL = "https://query1.finance.yahoo.com/v7/finance/quote"
CHART_URL = "https://query1.finance.yahoo.com/v8/finance/chart/"
BATCH_SYMBOLS = 99  # Yahoo refuses more in one request
BATCH_FIELDS = (
    "currency,exchangeDataDelayedBy,exchangeTimezoneName,marketState,regularMarketChangePercent,"
    "regularMarketDayHigh,regularMarketDayLow,regularMarketOpen,regularMarketPreviousClose,"
    "regularMarketPrice,regularMarketTime,regularMarketVolume"
)
CONNECTIONS = 8
REQUEST_SECONDS = 10  # timeout of one request
STALL_SECONDS = 45  # a poll hangs when no answer comes for so long
CHARTS_ONLY_SECONDS = 900  # the batch endpoint is left alone for so long after it refused
RATE_LIMIT_SECONDS = (30, 900)  # first and longest pause after a 429
PARK_AFTER_MISSES = 3  # a symbol that Yahoo did not know so often
PARKED_SECONDS = 3600  # is asked for again after so long

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
MAX_AHEAD = timedelta(minutes=5)  # a quote from the far future would shut out all that follow
DECIMALS, SIGNIFICANT_DIGITS = 4, 7  # of a price, whichever is finer; Yahoo's 32-bit floats hold 7 digits
MAX_PRICE_RATIO = 1000  # of price and previous close; beyond it, the previous close is wrong
SUSPICIOUS_PERCENT = 50  # a change beyond this is compared with the change that Yahoo states
MAX_CONTRADICTION = 5  # percentage points between the two
SILENT_AFTER = timedelta(minutes=10)

# Kinesis: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
CALL_RECORDS = 500
CALL_BYTES = 5 * 1024 * 1024
MAX_FAILED_CALLS = 5  # in a row; then the rest waits for the next cycle
RETRY_SECONDS = (0.1, 2.0)  # first and longest pause between two calls
DELIVERY_SECONDS = 10  # delivery may take so long even when the next poll is due earlier
# Error codes of the service, and names of botocore's own exceptions.
TRANSIENT = re.compile("Throttl|LimitExceeded|ProvisionedThroughput|InternalFailure|ServiceUnavailable")
CREDENTIALS = re.compile("Credential|Token|Signature|UnrecognizedClient|SSO|Login")

# Lines of .env
ASSIGNMENT = re.compile(r"(export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?P<value>.*)")
QUOTED = re.compile(r"""("[^"\\]*"|'[^'\\]*')[ \t]*(#.*)?""")
HTTP_URL = re.compile(r"https?://[!-~]+")
OTHER_SPACE = re.compile(r"[^\S \t]")

SPOOL_BYTES = 100 * 1024 * 1024
SEGMENT_BYTES = 1024 * 1024
UNSAVED_TICKS = 100_000  # kept in memory at most, while the disk takes no more
DETAILED_SYMBOLS = 10  # up to so many symbols, each record gets a line of its own
HEARTBEAT_SECONDS = 5  # time-out of a ping
BACKFILL_SYMBOLS = 8  # loaded together; a week of one-minute bars of all symbols would fill the memory

log = logging.getLogger("producer")


class CannotRun(Exception):
    """The producer cannot start or go on. The message says what to do."""


class CannotWrite(CannotRun):
    """The disk takes no more now. The message names the file, and says what to do."""


# --- Ticks --------------------------------------------------------------------------------------


class InvalidQuote(ValueError):
    """A quote makes no tick. The message names the symbol and the reason."""


def format_timestamp(moment: datetime) -> str:
    """Write a moment in the pipeline's one form: "2026-11-22T15:58:22.123Z", UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """Read a moment that `format_timestamp` wrote.

    Raises:
        ValueError: the text has another form, or there is no such date.
    """
    if not TIMESTAMP.fullmatch(text):
        raise ValueError(f"{text!r} does not have the form 2026-11-22T15:58:22.123Z")
    return datetime.fromisoformat(text)


def build_tick(quote: Mapping[str, Any], *, source: str, fetched_at: datetime) -> dict[str, Any]:
    """Make a tick, which goes on the stream, from a quote.

    Args:
        quote: symbol, open, high, low, price and previous_close (in the quote's currency), volume (shares so
            far in the session), timestamp (of the quote, in the form of format_timestamp), any field of
            OPTIONAL, and change_percent if the source states one: previous_close is checked against it.
            Open, high, low, volume and optional fields count as unknown when they have a wrong type.
        source: yahoo, websocket, simulated or replay.
        fetched_at: when the producer got the quote.

    Returns:
        The tick. Prices have 4 decimals or 7 significant digits, whichever is finer. change (in the quote's
        currency) and change_percent come from the unrounded prices. In a live tick, open, high and low are
        those of the session so far; in a tick of history or of a replay, those of its bar. An unknown number
        is None, never NaN or Infinity.

    Raises:
        InvalidQuote: the symbol, price, previous close or timestamp is missing or cannot be true.
    """
    symbol = quote.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise InvalidQuote(f"a quote has no symbol ({symbol!r})")
    price, previous_close = quote.get("price"), quote.get("previous_close")
    if not is_price(price):
        raise InvalidQuote(f"{symbol}: price {price!r} is not a positive number")
    if not is_price(previous_close):
        raise InvalidQuote(f"{symbol}: previous close {previous_close!r} is not a positive number")
    price, previous_close = float(price), float(previous_close)
    if price / previous_close > MAX_PRICE_RATIO:
        raise InvalidQuote(
            f"{symbol}: previous close {previous_close} is less than a thousandth of the price"
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
        raise InvalidQuote(f"{symbol}: the time of the quote is not valid ({timestamp!r})") from None
    if quoted_at > fetched_at + MAX_AHEAD:
        raise InvalidQuote(f"{symbol}: the quote is more than 5 minutes ahead of this computer's clock")
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
    return tick | {name: quote[name] for name in OPTIONAL if _is_valid_optional(name, quote.get(name))}


def _is_valid_optional(name: str, value: object) -> bool:
    """Whether an optional field can have this value."""
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
    """Whether a value can be a price. Yahoo writes 0 for an unknown price."""
    return is_number(value) and value > 0


def decimals(value: float) -> int:
    """How many decimals a price of this size has: 4, or as many as make 7 significant digits."""
    return max(DECIMALS, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(value)))


def _rounded(value: object) -> float | None:
    """A price with its decimals, or None for what is no price."""
    return round(float(value), decimals(value)) if is_price(value) else None


def encode(tick: Mapping[str, Any]) -> bytes:
    """The tick as one line of JSON, for the spool and the stream."""
    return json.dumps(tick, allow_nan=False, separators=(",", ":")).encode()


# --- Yahoo Finance ------------------------------------------------------------------------------


class RateLimited(Exception):
    """Yahoo answered 429."""


class Refused(Exception):
    """Yahoo answered another 4xx, or its answer cannot be read. The message says which."""


class UnknownSymbol(Refused):
    """Yahoo answered 404."""


def value_at(answer: object, *path: str | int) -> Any:
    """The value at a path in an answer, or None where a part of the path is missing."""
    for step in path:
        try:
            answer = answer[step]
        except (KeyError, IndexError, TypeError):
            return None
    return answer


def quote_from_batch(row: Mapping[str, Any]) -> dict[str, Any]:
    """The quote in a row of the batch endpoint's answer."""
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
        # PREPRE and POSTPOST: trading has not begun, or is over
        "market_state": "CLOSED" if state in ("PREPRE", "POSTPOST") else state,
        "delay_minutes": row.get("exchangeDataDelayedBy") or None,
    }


def quote_from_chart(chart: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """The quote in a one-day chart: the same as the batch endpoint's, but without the delay."""
    meta = chart["meta"]
    state = "CLOSED"
    for name in ("pre", "regular", "post"):
        start, end = (value_at(meta, "currentTradingPeriod", name, edge) for edge in ("start", "end"))
        if is_number(start) and is_number(end) and start <= now.timestamp() < end:
            state = name.upper()
    return {
        "symbol": meta.get("symbol"),
        "open": value_at(chart, "indicators", "quote", 0, "open", -1),
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
    """The finished one-minute bars of a chart as history quotes, oldest first.

    A bar's price is its close, so its time is the last millisecond of the bar. It lies between the live
    quotes before and after it, and never has the timestamp of a live quote: those are whole seconds.

    Raises:
        Refused: the chart does not tell which bars are finished, or which day they belong to.
    """
    meta = chart["meta"]
    newest, offset = meta.get("regularMarketTime"), meta.get("gmtoffset")
    if not is_number(newest) or not is_number(offset) or abs(offset) >= 86_400:
        raise Refused("the chart has no times")
    zone = timezone(timedelta(seconds=offset))
    columns = [value_at(chart, "timestamp")]
    columns += [
        value_at(chart, "indicators", "quote", 0, name) for name in ("open", "high", "low", "close", "volume")
    ]
    rows = itertools.zip_longest(*(column if isinstance(column, list) else [] for column in columns))
    quotes: list[dict[str, Any]] = []
    day, previous_close, last_close, volume = None, None, meta.get("chartPreviousClose"), 0
    for start, opened, high, low, close, traded in rows:
        timestamp = _from_epoch(start + 59.999) if is_number(start) else None
        # After the last finished bar, Yahoo often adds the newest price as if it were a bar.
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


def split_evenly(items: list, size: int) -> list[list]:
    """Split a list into as few lists of at most `size` items as possible, all about equally long."""
    count = math.ceil(len(items) / size)
    return [items[i * len(items) // count : (i + 1) * len(items) // count] for i in range(count)]


def abbreviate(symbols: list[str]) -> str:
    """The first few symbols and how many more there are: "AAPL, MSFT, GOOG and 497 more"."""
    return ", ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")


class YahooSource:
    """Quotes of Yahoo Finance through the yfinance client.

    The batch endpoint gives the quotes of many symbols in one request, the chart endpoint that of one symbol.
    The chart endpoint is asked for the symbols that the batch endpoint leaves out or has no usable price of,
    and for all symbols while the batch endpoint refuses. A fault of Yahoo is logged and affects nothing but
    its own request.
    """

    name = "yahoo"
    exhausted = False

    def __init__(self) -> None:
        # Imported here because it takes longer than everything else, and the other sources do not need it.
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
        """The newest quotes that Yahoo has, at most one for each symbol."""
        now = time.monotonic()
        if now < self._resume_at:
            return []
        wanted = [symbol for symbol in symbols if self._parked_until.get(symbol, 0) <= now]
        quotes: dict[str, dict[str, Any]] = {}
        errors: list[str] = []
        try:
            left = wanted if now < self._charts_until else self._ask_batch_endpoint(wanted, quotes, errors)
            self._ask_chart_endpoint(left, quotes, errors)
            self._rate_limits = 0
        except RateLimited:
            self._back_off()
        if errors:
            log.warning("Yahoo: %d failed, the next poll tries again (%s)", len(errors), errors[0])
        for symbol in quotes:
            self._misses.pop(symbol, None)
            self._parked_until.pop(symbol, None)
        return list(quotes.values())

    def history(self, symbols: list[str], backfill: str) -> list[dict[str, Any]]:
        """One-minute bars of the past as quotes, oldest first for each symbol.

        Args:
            symbols: what to load.
            backfill: "60" for the last 60 bars of each symbol, "7d" for all bars of the last 7 trading days.
        """
        if time.monotonic() < self._resume_at:
            log.warning("No history of %s: Yahoo limits the rate; start again later", abbreviate(symbols))
            return []
        span, last = ("2d", int(backfill)) if backfill.isdigit() else (backfill, 0)
        quotes: list[dict[str, Any]] = []
        errors: list[str] = []
        try:
            for symbol, answer in self._gather(lambda symbol: self._bars(symbol, span), symbols, errors):
                if isinstance(answer, Refused):
                    errors.append(f"{symbol}: {answer}")
                else:
                    quotes += answer[-last:]
        except RateLimited:
            self._back_off()
        if errors:
            log.warning("No history of %d of %s (%s)", len(errors), abbreviate(symbols), errors[0])
        return quotes

    def _ask_batch_endpoint(
        self, symbols: list[str], quotes: dict[str, dict], errors: list[str]
    ) -> list[str]:
        """Add the usable quotes to `quotes`; return the symbols to ask the chart endpoint for."""
        left: list[str] = []
        for chunk, answer in self._gather(self._batch, split_evenly(symbols, BATCH_SYMBOLS), errors):
            if isinstance(answer, Refused):
                if time.monotonic() >= self._charts_until:
                    log.warning("Yahoo's batch endpoint refuses (%s): asking symbol by symbol", answer)
                self._charts_until = time.monotonic() + CHARTS_ONLY_SECONDS
                answer = []
            # A symbol may come twice: the newest usable quote counts.
            for quote in sorted(answer, key=lambda quote: quote["timestamp"] or "", reverse=True):
                symbol = quote["symbol"]
                if symbol not in chunk:
                    continue
                self._delay_minutes[symbol] = quote["delay_minutes"]
                if is_price(quote["price"]) and is_price(quote["previous_close"]) and quote["timestamp"]:
                    quotes.setdefault(symbol, quote)
            left += [symbol for symbol in chunk if symbol not in quotes]
        return left

    def _ask_chart_endpoint(self, symbols: list[str], quotes: dict[str, dict], errors: list[str]) -> None:
        """Add the quotes to `quotes`."""
        for symbol, answer in self._gather(self._chart, symbols, errors):
            if not isinstance(answer, Refused):
                quotes[symbol] = answer | {"delay_minutes": self._delay_minutes.get(symbol)}
            elif isinstance(answer, UnknownSymbol):
                self._count_miss(symbol)
            else:
                errors.append(f"{symbol}: {answer}")

    def _batch(self, symbols: list[str]) -> list[dict[str, Any]]:
        parameters = {"symbols": ",".join(symbols), "formatted": "false", "fields": BATCH_FIELDS}
        rows = value_at(self._get(BATCH_URL, parameters), "quoteResponse", "result")
        if not isinstance(rows, list):
            raise Refused("the answer has no quotes")
        return [quote_from_batch(row) for row in rows if isinstance(row, dict)]

    def _chart(self, symbol: str) -> dict[str, Any]:
        quote = quote_from_chart(self._get_chart(symbol, "1d", "1d"), now=datetime.now(UTC))
        return quote | {"symbol": symbol}

    def _bars(self, symbol: str, span: str) -> list[dict[str, Any]]:
        return [quote | {"symbol": symbol} for quote in bars_from_chart(self._get_chart(symbol, span, "1m"))]

    def _get_chart(self, symbol: str, span: str, interval: str) -> dict[str, Any]:
        answer = self._get(CHART_URL + urllib.parse.quote(symbol), {"range": span, "interval": interval})
        chart = value_at(answer, "chart", "result", 0)
        if not isinstance(value_at(chart, "meta"), dict):
            raise Refused("the answer has no chart")
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
                raise Refused("the answer is not JSON") from None
        # The client keeps any text as its crumb, even an error page, and would never ask for another one.
        crumb, self._client._crumb = self._client._crumb, None
        if "Too Many Requests" in (crumb or ""):
            raise RateLimited
        if response.status_code >= 500:
            raise OSError(f"HTTP {response.status_code}")
        refusal = UnknownSymbol if response.status_code == 404 else Refused
        raise refusal(f"HTTP {response.status_code}")

    def _gather(self, request: Callable, items: list, errors: list[str]) -> Iterator[tuple[Any, Any]]:
        """Run a request for each item, some at a time; yield each item with its answer as it comes.

        An answer is what the request returned, or Refused. Any other failure is added to `errors`. After a
        429, no further request is sent; those under way are awaited, and then RateLimited is raised.
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
                else:  # the client lets many kinds of error through
                    text = str(error).partition(" See https://curl.se")[0]
                    errors.append(f"{type(error).__name__}: {text}")
        if limited:
            raise RateLimited

    def _back_off(self) -> None:
        first, longest = RATE_LIMIT_SECONDS
        seconds = min(longest, first * 2**self._rate_limits) * random.uniform(0.5, 1)
        self._rate_limits += 1
        self._resume_at, self._charts_until = time.monotonic() + seconds, 0
        self._client._crumb = None
        log.warning("Yahoo answered 429 (too many requests): no polls for %.0f s", seconds)

    def _count_miss(self, symbol: str) -> None:
        self._misses[symbol] += 1
        if self._misses[symbol] == 1:
            log.warning("%s: Yahoo does not know this symbol", symbol)
        if self._misses[symbol] >= PARK_AFTER_MISSES:
            if symbol not in self._parked_until:
                log.warning("%s: not found %d times; asking once an hour now", symbol, PARK_AFTER_MISSES)
            self._parked_until[symbol] = time.monotonic() + PARKED_SECONDS


# --- What stays on disk ---------------------------------------------------------------------------


def write_durably(path: Path, data: bytes, *, append: bool = False) -> None:
    """Append to a file, or replace it as a whole. On return, data and file name are safe from a power cut.

    Raises:
        CannotWrite: the file cannot be written. It is as it was before.
    """
    target = path if append else path.with_name(path.name + ".new")
    is_named, size = False, 0
    try:
        if append and path.exists():
            is_named, size = True, path.stat().st_size
        with target.open("ab" if append else "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not append:
            target.replace(path)
        if not is_named:
            sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            os.truncate(target, size)  # a part of the data would damage what is appended later
        raise CannotWrite(f"cannot write {path} ({error.strerror}): make room, or set STATE_DIR") from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe from a power cut, which would lose a new file without this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Checkpoint:
    """How far the producer has come, so that no quote is sent twice, even after a restart.

    `newest` is the latest timestamp of each symbol. `spans` are the first and last timestamps of each part of
    its history that was loaded without a gap. A quote counts as soon as it is in the spool.
    """

    def __init__(self, path: Path | None, *, stream_created: str | None) -> None:
        """
        Args:
            path: the state file, or None to keep the state in memory.
            stream_created: when the stream was created. A new stream of the same name has none of the ticks,
                so the state of the old stream does not count.
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
                    # Earlier versions kept no spans. Their history is loaded again, as the same ticks.
                    self.newest, self.spans = state["newest"], state.get("spans", {})
            except (ValueError, KeyError, TypeError) as error:
                raise CannotRun(f"{path} is damaged ({error}): remove it") from None

    def has(self, tick: Mapping[str, Any]) -> bool:
        """Whether the spool got this tick already, or a newer one of its symbol."""
        symbol, timestamp = tick["symbol"], tick["timestamp"]
        if tick.get("history"):
            return any(first <= timestamp <= last for first, last in self.spans.get(symbol, []))
        return timestamp <= self.newest.get(symbol, "")

    def add(self, ticks: list[dict[str, Any]]) -> None:
        """Add ticks. A symbol's history in them came in one answer, so it has no gap."""
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
    """Ticks on their way to the stream, in files of JSON lines. A file is removed when all of it is sent.

    Every tick is written here before it is sent. So after a crash the very same bytes are sent again, instead
    of another quote with the same timestamp.

    Args:
        directory: created if it does not exist, and locked for this process.

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
        # Each run begins a new file, because the last line of an old one may be incomplete.
        last = max((int(path.stem.split("-")[1]) for path in self.segments()), default=0)
        self._current = directory / f"spool-{last + 1:08}.jsonl"

    def segments(self) -> list[Path]:
        """The files of the spool, oldest first."""
        return sorted(self._directory.glob("spool-*.jsonl"))

    def size(self) -> int:
        """How many bytes wait."""
        return sum(path.stat().st_size for path in self.segments())

    def append(self, ticks: list[dict[str, Any]]) -> None:
        """Write ticks to the newest file, or to a new one when that is large enough."""
        if self._current.exists() and self._current.stat().st_size >= SEGMENT_BYTES:
            number = int(self._current.stem.split("-")[1]) + 1
            self._current = self._directory / f"spool-{number:08}.jsonl"
        write_durably(self._current, b"".join(encode(tick) + b"\n" for tick in ticks), append=True)

    def read(self, segment: Path) -> list[dict[str, Any]]:
        """The ticks of a file. A last line that a crash has cut off was never sent, and is left out."""
        lines = segment.read_bytes().split(b"\n")
        if lines.pop():
            log.warning("%s: the last line is incomplete after a crash, and is left out", segment)
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise CannotRun(f"{segment} is damaged ({error}): repair it, or move it away") from None

    def rewrite(self, segment: Path, ticks: list[dict[str, Any]]) -> None:
        """Leave only these ticks in a file, and remove it when there are none."""
        if ticks:
            write_durably(segment, b"".join(encode(tick) + b"\n" for tick in ticks))
        else:
            segment.unlink()


# --- Kinesis --------------------------------------------------------------------------------------


class Undelivered(Exception):
    """A call failed as a whole, and would fail again at once. The message says why and what to do."""


class KinesisStream:
    """The data stream.

    Args:
        new_client: makes a boto3 Kinesis client. It is called again when the credentials fail, so renewed
            credentials are found without a restart.
        name: the stream's name.
    """

    def __init__(self, new_client: Callable[[], Any], name: str) -> None:
        self._new_client = new_client
        self._client = new_client()
        self.name = name

    def creation_time(self) -> str | None:
        """When the stream was created, in the form of format_timestamp; None when AWS does not answer now.

        Raises:
            CannotRun: the stream does not exist, or there are no valid credentials.
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
            log.warning("The stream cannot be checked now, so the producer goes on: %s", self._explain(error))
            return None

    def put(self, ticks: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Send ticks in one call.

        Args:
            ticks: at most CALL_RECORDS, as next_call chooses them.

        Returns:
            An answer for each tick: ShardId and SequenceNumber, or ErrorCode and ErrorMessage. Such an error
            passes, so the tick can be sent again.

        Raises:
            Undelivered: the call failed as a whole.
        """
        records = [{"Data": encode(tick), "PartitionKey": tick["symbol"]} for tick in ticks]
        try:
            if len(records) == 1:
                return [self._client.put_record(StreamName=self.name, **records[0])]
            return self._client.put_records(StreamName=self.name, Records=records)["Records"]
        except (ClientError, BotoCoreError) as error:
            code = error_code(error)
            if TRANSIENT.search(code):
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
            return f"the AWS credentials do not allow it: {error.response['Error']['Message']}"
        return str(error)


def error_code(error: Exception) -> str:
    """The error code of the service, or the name of botocore's own exception."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def is_region(name: str) -> bool:
    """Whether boto3 knows a region of this name."""
    session = boto3.session.Session()
    partitions = session.get_available_partitions()
    return any(name in session.get_available_regions("kinesis", partition) for partition in partitions)


def renewal_command() -> str:
    """The command that renews the credentials that boto3 would use."""
    profile = os.environ.get("AWS_PROFILE")
    flag = f" --profile {profile}" if profile else ""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "set new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and start again"
    config = boto3.session.Session()._session.get_scoped_config()
    if "sso_session" in config or "sso_start_url" in config:
        return f"run `aws sso login{flag}`"
    return f"run `aws configure{flag}`"


def next_call(ticks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ticks to send in one call: the first ones, but at most one live tick of a symbol.

    PutRecords promises no order within a call, and the averages depend on the order. History is not alerted,
    so its ticks may go together.
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
    """Send ticks, those of a symbol in their order. Failed ones alone are sent again, after a pause.

    A deadline and a signal to stop both let the call in hand finish, and no other begin.

    Args:
        stream: the data stream.
        ticks: oldest first.
        clock: for the pauses, and for the signal to stop.
        deadline: in monotonic seconds.
        on_sent: called with each tick that was sent, and with the answer of Kinesis.

    Returns:
        The ticks that were not sent, in order, and the reason ("" when all were sent).
    """
    waiting, failures_in_a_row, reason = ticks, 0, ""
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
        failures_in_a_row = 0 if sent else failures_in_a_row + 1
        failed = len(call) - len(sent)
        log.debug("A call with %d records: %d refused for now", len(call), failed)
        if waiting and clock.stopping:
            return waiting, reason or "the producer is stopping"
        if waiting and (failures_in_a_row == MAX_FAILED_CALLS or clock.monotonic() >= deadline):
            return waiting, reason or "the rest waits for the next poll"
        if failed:
            first, longest = RETRY_SECONDS
            clock.sleep(min(longest, first * 2**failures_in_a_row) * random.uniform(0.5, 1))
    return [], ""


# --- The polling loop -------------------------------------------------------------------------------


class Clock:
    """The time, and a sleep that SIGINT and SIGTERM end."""

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
        """Handle a signal: the call in hand is finished, then the producer ends. A second Ctrl-C kills it."""
        self.stopping = True
        self._wake.send(b"x")
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Heartbeat:
    """Tells a service that watches (healthchecks.io and its like) that all is well, by a request for its URL.

    The request is sent beside the polls, so a slow service never holds one up. While it is under way, no
    other begins. The URL is a secret: whoever knows it can ping. So the log names the host alone.

    Args:
        url: what to request, with the method GET; "" for nothing.

    Raises:
        CannotRun: the URL is no address of a host.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = url and host_of(url)
        if url and not (HTTP_URL.fullmatch(url) and self._host):
            raise CannotRun("HEARTBEAT_URL: expected an address such as https://hc-ping.com/your-check")
        self._pool = ThreadPoolExecutor(1)
        self._ping: Future | None = None
        self._is_failing = False

    def beat(self) -> None:
        """Begin a ping, if none is under way."""
        if self._url and (self._ping is None or self._ping.done()):
            self._ping = self._pool.submit(self._request)

    def finish(self) -> None:
        """Let the ping under way come to its end."""
        wait([self._ping] if self._ping else [], timeout=HEARTBEAT_SECONDS)

    def _request(self) -> None:
        problem = ""
        try:
            urllib.request.urlopen(self._url, timeout=HEARTBEAT_SECONDS).close()
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}"
        except urllib.error.URLError as error:
            problem = type(error.reason).__name__ if isinstance(error.reason, Exception) else "URLError"
        except Exception as error:  # whatever it is, the polls go on; its text might hold the URL
            problem = type(error).__name__
        if problem and not self._is_failing:
            log.warning("The heartbeat does not reach %s (%s); the polls go on", self._host, problem)
        elif self._is_failing and not problem:
            log.info("The heartbeat reaches %s again", self._host)
        self._is_failing = bool(problem)


@dataclass
class Producer:
    """Polls a source and delivers its new quotes.

    Args:
        source: gives the quotes; sources/__init__.py says what it must have.
        symbols: what to poll.
        delay: seconds from the start of a poll to the start of the next one.
        checkpoint: how far earlier runs have come. What waits in the spool is added to it.
        spool, stream: None in a dry run.
        clock: gives the time, and sleeps.
        set_status: shows a text in the status line.
        heartbeat: beats after each good poll: it brought quotes, and all that was fetched is on the stream.
    """

    source: Any
    symbols: list[str]
    _: KW_ONLY
    delay: float
    checkpoint: Checkpoint
    spool: Spool | None
    stream: KinesisStream | None
    clock: Clock
    set_status: Callable[[str], None]
    heartbeat: Heartbeat
    totals: Counter[str] = field(default_factory=Counter)
    waiting: int = 0  # ticks in the spool, and unsaved ones
    unsaved: list[dict[str, Any]] = field(default_factory=list)  # newer than all in the spool

    def __post_init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._silent: set[str] = set()
        for segment in self.spool.segments() if self.spool else []:
            ticks = self.spool.read(segment)
            self.checkpoint.add(ticks)
            self.waiting += len(ticks)

    def run(self, polls: int | None) -> None:
        """Poll at start + n × delay. A cycle that takes longer skips polls, so no delay adds up.

        Args:
            polls: how many, or None to go on until a signal stops it.
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
            self.set_status(
                f"{self.totals['sent']} sent, {self.waiting} waiting, next poll {next_poll:%H:%M:%S} UTC"
            )
            self.clock.sleep(pause)
        self.save([])
        if self.unsaved:
            self.totals["lost"] += len(self.unsaved)
            log.error("%d ticks are lost: they could be neither sent nor written", len(self.unsaved))

    def summary(self) -> str:
        """What was done so far, in one line."""
        totals = self.totals
        sent = "sent" if self.stream else "ready to send"
        return (
            f"{totals['polls']} polls: {totals['sent']} {sent}, {totals['unchanged']} unchanged, "
            f"{totals['invalid']} invalid, {totals['lost']} lost, {self.waiting} waiting in the spool"
        )

    def cycle(self, deadline: float) -> None:
        """Fetch once and deliver, until `deadline` (monotonic seconds), but for DELIVERY_SECONDS at least."""
        began, before = self.clock.monotonic(), self.totals.copy()
        quotes = self.source.fetch(self.symbols)
        ticks = self.valid_ticks(quotes)
        self.report_silent_symbols(ticks)
        new = self.spool_new(ticks)
        self.send_spool(max(deadline, self.clock.monotonic() + DELIVERY_SECONDS))
        if ticks and not self.waiting:
            self.heartbeat.beat()
        if len(self.symbols) > DETAILED_SYMBOLS:
            counts = self.totals - before
            delays = [tick["delay_minutes"] for tick in new if "delay_minutes" in tick]
            late = f", {len(delays)} delayed by up to {max(delays)} min" if delays else ""
            print(
                f"{format_timestamp(self.clock.now())} {len(quotes)} of {len(self.symbols)} quotes: "
                f"{counts['sent']} sent{late}, {counts['unchanged']} unchanged, {counts['invalid']} invalid "
                f"in {self.clock.monotonic() - began:.2f} s"
            )

    def backfill(self, span: str) -> None:
        """Load history, some symbols at a time. What an earlier run has loaded is not sent again."""
        from rich.progress import track

        groups = split_evenly(self.symbols, BACKFILL_SYMBOLS)
        for group in track(groups, "Loading history", disable=not sys.stdout.isatty(), transient=True):
            if self.clock.stopping:
                return
            new = self.spool_new(self.valid_ticks(self.source.history(group, span)))
            log.info("Loaded %d bars of %s", len(new), abbreviate(group))
            if not self.send_spool(deadline=math.inf) and not self.clock.stopping:
                log.warning("The rest of the history is not loaded: start again when the stream works")
                return

    def valid_ticks(self, quotes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The ticks of the valid quotes. For each other quote, the reason is logged."""
        fetched_at = self.clock.now()
        ticks = []
        for quote in quotes:
            try:
                source = quote.get("source", self.source.name)
                tick = build_tick(quote, source=source, fetched_at=fetched_at)
            except InvalidQuote as error:
                self.totals["invalid"] += 1
                # Once for each reason, not in every poll.
                if self._reasons.get(quote["symbol"]) != str(error):
                    self._reasons[quote["symbol"]] = str(error)
                    log.warning("Skipped %s", error)
                continue
            ticks.append(tick)
        self.totals["fetched"] += len(ticks)
        return ticks

    def spool_new(self, ticks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write the ticks that are new to the spool, and return them."""
        new = [tick for tick in ticks if not self.checkpoint.has(tick)]
        self.totals["unchanged"] += len(ticks) - len(new)
        if self.spool is None:
            for tick in new:
                self.on_sent(tick, {})
        elif new and (self.spool.size() > SPOOL_BYTES or len(self.unsaved) >= UNSAVED_TICKS):
            self.totals["lost"] += len(new)
            log.error("THE SPOOL IS FULL (%d MB): %d ticks are lost", SPOOL_BYTES >> 20, len(new))
            return []
        elif new:
            self.waiting += len(new)
            self.save(new)
        self.checkpoint.add(ticks)
        return new

    def save(self, new: list[dict[str, Any]]) -> None:
        """Write unsaved and new ticks to the spool. While the disk takes no more, they stay in memory."""
        self.unsaved += new
        if not self.unsaved:
            return
        try:
            self.spool.append(self.unsaved)
            self.unsaved = []
        except CannotWrite as error:
            log.error("%s. Ticks that a crash would lose: %d", error, len(self.unsaved))

    def send_spool(self, deadline: float) -> bool:
        """Send what waits in the spool, until `deadline` (monotonic seconds); returns whether all is sent."""
        for segment in self.spool.segments() if self.spool else []:
            ticks = self.spool.read(segment)
            rest = self.send(ticks, deadline)
            if len(rest) < len(ticks) or not ticks:
                # First the state, then the spool. After a crash in between, the same ticks are sent again.
                try:
                    self.checkpoint.save()
                except CannotWrite as error:
                    log.error("%s", error)
                try:
                    self.spool.rewrite(segment, rest)
                except CannotWrite as error:
                    log.error("%s. Sent again later: %d ticks", error, len(ticks) - len(rest))
                    self.waiting += len(ticks) - len(rest)
            if rest or self.clock.stopping:
                return not self.waiting
        if self.unsaved:
            self.unsaved = self.send(self.unsaved, deadline)
        return not self.waiting

    def send(self, ticks: list[dict[str, Any]], deadline: float) -> list[dict[str, Any]]:
        """Send ticks, as `deliver` does; returns those that were not sent."""
        rest, reason = deliver(self.stream, ticks, clock=self.clock, deadline=deadline, on_sent=self.on_sent)
        if rest:
            log.warning("Not sent: %s. Waiting in the spool: %d ticks", reason, self.waiting)
        return rest

    def on_sent(self, tick: dict[str, Any], answer: dict[str, str]) -> None:
        self.totals["sent"] += 1
        self.waiting -= bool(answer)
        if len(self.symbols) <= DETAILED_SYMBOLS and not tick.get("history"):
            print(describe(tick, answer))

    def report_silent_symbols(self, ticks: list[dict[str, Any]]) -> None:
        """Log once for each symbol that no new quote comes. Symbols in the same market state share a line."""
        silent: dict[str, dict[str, str]] = {}
        for tick in ticks:
            symbol, newest = tick["symbol"], self.checkpoint.newest.get(tick["symbol"])
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
            log.info(
                "%s: no new quote since %s%s, market %s", abbreviate(list(since)), latest, earlier, state
            )


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Show a status line below the output; yields the function that sets its text.

    There is no such line when the output is not a terminal.
    """
    if not sys.stdout.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console().status("starting") as status:
        yield status.update


def describe(tick: Mapping[str, Any], answer: Mapping[str, str]) -> str:
    """The line for a record that was sent or, without an answer of Kinesis, would be sent."""
    price = " ".join([amount(tick["price"]), tick.get("currency", "")]).rstrip()
    change = f"{amount(tick['change'], '+')} ({tick['change_percent']:+.2f}%)"
    volume = "" if tick["volume"] is None else f" volume {tick['volume']:,}"
    late = f" ({tick['delay_minutes']} min delayed)" if tick.get("delay_minutes") else ""
    verb, arrow = "Would send", ""
    if answer:
        verb, arrow = "Sent", f" -> {answer['ShardId']} …{answer['SequenceNumber'][-12:]}"
    return f"{verb} {tick['symbol']} {price} {change}{volume} at {tick['timestamp']}{late}{arrow}"


def amount(value: float, sign: str = "") -> str:
    """A price with all its decimals, but with two at least: "1,234.50", "0.0007213"."""
    whole, _, fraction = f"{value:{sign},.{decimals(abs(value) or 1)}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"


# --- Settings and start -------------------------------------------------------------------------------


def load_settings(path: Path) -> None:
    """Put the settings of a .env file into the environment. A variable that is set already stays.

    read_env_file of the scripts accepts and refuses the same files, so all parts see the same settings.

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
    """What is wrong with a line of .env, or "". The name that the line sets is added to `seen`."""
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
    return os.environ.get(name, "").strip() or default


def parse_symbols(text: str, *, origin: str) -> list[str]:
    """The symbols of a text, in its order, in upper case, each once.

    Args:
        text: symbols with commas or white space between them; # starts a comment.
        origin: where the text is from, for the error.

    Raises:
        CannotRun: there are no symbols, or one cannot be a symbol of Yahoo.
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
    """The symbols of the flags or, without such flags, of the settings."""
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
    """A parser for a flag or setting: the text must match the pattern, and becomes a `kind`."""

    def parse(text: str) -> Any:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {meaning}")
        return kind(text)

    return parse


positive_seconds = matching(r"(?=.*[1-9])[0-9]*\.?[0-9]+", "a positive number of seconds", float)
positive_count = matching(r"0*[1-9][0-9]*", "a positive whole number", int)
backfill_span = matching(r"[1-9]\d?|[123]\d\d|[1-7]d", "1 to 399 (bars) or 1d to 7d (trading days)")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags. Wrong usage ends the process with status 2."""
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
    parser.add_argument(
        "--dry-run", action="store_true", help="print the ticks and send nothing; needs no AWS"
    )
    parser.add_argument("--force", action="store_true", help="let simulated or replayed ticks go to real AWS")
    parser.add_argument(
        "--verbose", action="store_true", help="log more, also the warnings of the Yahoo client"
    )
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
    """The source that the flags name. A source is imported only when it is used."""
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
    """A Kinesis client of a new session, which reads the credentials again."""
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
    try:
        return boto3.session.Session(region_name=region).client("kinesis", config=config)
    except ProfileNotFound as error:
        raise CannotRun(f"AWS_PROFILE: {error}; `aws configure list-profiles` shows what there is") from None
    except (BotoCoreError, ValueError) as error:  # no valid region or endpoint
        raise CannotRun(f"AWS_REGION or AWS_ENDPOINT_URL: {error}") from None


def host_of(url: str) -> str:
    """The host in a URL, or "" where there is none."""
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_local(url: str) -> bool:
    """Whether an endpoint is on this machine."""
    host = host_of(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def state_directory(source: str, stream_name: str, endpoint: str) -> Path:
    """The folder for spool and state: one for each source, stream and endpoint, so they never mix.

    A local stack is one endpoint, whatever its port: it may come back on another one, and ticks wait for it.
    """
    feed = "yahoo" if source == "websocket" else source  # both bring the same quotes
    place = "local" if is_local(endpoint) else urllib.parse.urlsplit(endpoint).netloc.replace(":", "_")
    return HERE / setting("STATE_DIR", ".local/producer") / f"{place}-{stream_name}-{feed}"


def make_producer(arguments: argparse.Namespace, clock: Clock, set_status: Callable[[str], None]) -> Producer:
    """Check the settings, the stream and the state, and put the producer together."""
    load_settings(HERE / ".env")
    delay = delay_seconds(arguments)
    source = make_source(arguments, delay)
    symbols = source.symbols if arguments.source == "replay" else read_symbols(arguments)
    common = {"delay": delay, "clock": clock, "set_status": set_status}
    if arguments.dry_run:
        return Producer(
            source,
            symbols,
            checkpoint=Checkpoint(None, stream_created=None),
            spool=None,
            stream=None,
            heartbeat=Heartbeat(""),
            **common,
        )
    common["heartbeat"] = Heartbeat(setting("HEARTBEAT_URL", ""))
    region = setting("AWS_REGION", "us-east-1")
    stream_name = setting("STREAM_NAME", "Stock-market-stream")
    endpoint = kinesis_client(region).meta.endpoint_url
    if arguments.source in ("simulated", "replay") and not is_local(endpoint) and not arguments.force:
        raise CannotRun(
            f"{arguments.source} ticks would go to real AWS ({endpoint}) and mix with real quotes: "
            "use scripts/run_local.sh, or --force if that is what you want"
        )
    stream = KinesisStream(lambda: kinesis_client(region), stream_name)
    created = stream.creation_time()
    directory = state_directory(arguments.source, stream_name, endpoint)
    spool = Spool(directory)
    checkpoint = Checkpoint(directory / "state.json", stream_created=created)
    return Producer(source, symbols, checkpoint=checkpoint, spool=spool, stream=stream, **common)


def main(argv: list[str] | None = None) -> int:
    """Run the producer; returns the exit status."""
    arguments = parse_arguments(argv)
    sys.stdout.reconfigure(line_buffering=True, errors="replace")
    clock = Clock()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, clock.stop)
    try:
        with status_line() as set_status:
            # Only here, because the status line has replaced stderr.
            logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
            log.setLevel(logging.DEBUG if arguments.verbose else logging.INFO)
            yfinance_level = logging.WARNING if arguments.verbose else logging.CRITICAL
            logging.getLogger("yfinance").setLevel(yfinance_level)
            producer = make_producer(arguments, clock, set_status)
            if arguments.backfill:
                producer.backfill(arguments.backfill)
            producer.run(arguments.count)
            producer.heartbeat.finish()
    except CannotRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads the output now
        return 1
    print(f"{'Stopped' if clock.stopping else 'Finished'} after {producer.summary()}.")
    complete = producer.totals["fetched"] and not producer.totals["lost"] and not producer.waiting
    return 0 if complete or clock.stopping else 3


if __name__ == "__main__":
    os._exit(main())  # does not wait for a request that hangs
