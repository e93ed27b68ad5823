"""Quotes that Yahoo Finance pushes over its websocket, through the yfinance client."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

URL = "wss://streamer.finance.yahoo.com/?version=2"
HEARTBEAT_SECONDS = 15  # Yahoo forgets a subscription that is not repeated
SILENCE_SECONDS = 60  # a symbol or a connection without a push for so long counts as silent
RECONNECT_SECONDS = (1, 60)  # first and longest pause
REGULAR_HOURS = 1

log = logging.getLogger("producer")


class WebSocketSource:
    """Gives the newest quote that was pushed for each symbol, and polls the symbols that are not pushed.

    A symbol is polled while the connection is down, and while no push of it came within SILENCE_SECONDS: its
    market is closed, or Yahoo does not push it. Trades outside regular hours are left out, as they are in
    polled quotes.

    Args:
        polling: the source to poll; its quotes keep its name as their source.
        url: of the websocket.
    """

    name = "websocket"
    exhausted = False

    def __init__(self, polling: Any, *, url: str = URL) -> None:
        self._polling = polling
        self._url = url
        self._symbols: list[str] = []
        self._lock = threading.Lock()
        self._pushed: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, float] = {}
        self._polled: dict[str, dict[str, Any]] = {}
        self._connected = True  # nothing is logged before a connection fails

    def fetch(self, symbols: list[str]) -> list[dict[str, Any]]:
        """The newest quotes since the last fetch, at most one for each symbol."""
        if not self._symbols:
            self._symbols = symbols
            threading.Thread(target=self._supervise, name="websocket", daemon=True).start()
        with self._lock:
            quotes, self._pushed = self._pushed, {}
            since = time.monotonic() - SILENCE_SECONDS
            silent = [symbol for symbol in symbols if self._heard.get(symbol, -math.inf) < since]
        for quote in self._polling.fetch(silent) if silent else []:
            self._polled[quote["symbol"]] = quote
            pushed = quotes.get(quote["symbol"])
            if not pushed or pushed["timestamp"] < (quote["timestamp"] or ""):
                quotes[quote["symbol"]] = quote | {"source": self._polling.name}
        return list(quotes.values())

    def history(self, symbols: list[str], backfill: str) -> list[dict[str, Any]]:
        """The polled source's history."""
        quotes = self._polling.history(symbols, backfill)
        return [quote | {"source": self._polling.name} for quote in quotes]

    def _supervise(self) -> None:
        """Keep a connection open, each with a new client, because a client cannot reconnect."""
        import yfinance

        # The client connects in a deprecated way, and each message brings a warning of it.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="yfinance")
        pause = 0.0
        while True:
            opened = time.monotonic()
            client = yfinance.WebSocket(self._url, verbose=False)
            problem: list[str] = []
            listener = threading.Thread(target=self._listen, args=(client, problem), daemon=True)
            listener.start()
            while not problem:
                listener.join(HEARTBEAT_SECONDS)
                if listener.is_alive() and time.monotonic() - self._last_push(opened) > SILENCE_SECONDS:
                    problem.append(f"nothing came for {SILENCE_SECONDS} s")
                elif listener.is_alive():
                    self._call(client.subscribe, self._symbols, problem=problem)
            self._call(client.close, problem=problem)
            listener.join()
            first, longest = RECONNECT_SECONDS
            pause = first if self._last_push(opened) > opened else min(longest, max(first, 2 * pause))
            with self._lock:
                self._heard.clear()  # polls all of them at the next fetch
                if self._connected:
                    log.warning("Websocket: %s; polling until it is back", problem[0])
                self._connected = False
            time.sleep(pause * random.uniform(0.5, 1))

    def _listen(self, client: Any, problem: list[str]) -> None:
        self._call(client.subscribe, self._symbols, problem=problem)
        if not problem:
            self._call(client.listen, self._receive, problem=problem)
            problem.append("the connection was closed")

    def _call(self, method: Any, *arguments: Any, problem: list[str]) -> None:
        """Call a method of the client. An error ends the connection, but not the supervision."""
        try:
            method(*arguments)
        except Exception as error:  # of sockets, TLS, proxies or websockets
            problem.append(f"{type(error).__name__}: {error}")

    def _last_push(self, opened: float) -> float:
        with self._lock:
            return max(self._heard.values(), default=opened)

    def _receive(self, message: Mapping[str, Any]) -> None:
        symbol = message.get("id")
        quote = quote_from_message(message, known=self._polled.get(symbol, {}))
        if symbol not in self._symbols or not quote:
            return
        with self._lock:
            if not self._connected or not self._heard:
                log.info("Websocket: connected, quotes are pushed")
            self._connected = True
            self._heard[symbol] = time.monotonic()
            if symbol not in self._pushed or self._pushed[symbol]["timestamp"] <= quote["timestamp"]:
                self._pushed[symbol] = quote


def quote_from_message(message: Mapping[str, Any], *, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """The quote in a decoded message of the websocket.

    Args:
        message: 64-bit numbers come as strings, and fields that are zero do not come at all.
        known: the last polled quote of the symbol, for the fields that no message has.

    Returns:
        The quote, or None for a message outside regular hours or without a usable price or time.
    """
    if message.get("market_hours") != REGULAR_HOURS or not {"id", "price", "time"} <= message.keys():
        return None
    price = message["price"]
    try:
        moment = datetime.fromtimestamp(int(message["time"]) / 1000, UTC)
        previous_close = message.get("previous_close") or price - message.get("change", 0)
        if price <= 0 or previous_close <= 0:
            return None
    except (TypeError, ValueError, OverflowError):  # NaN and Infinity come as strings
        return None
    return {
        "symbol": message["id"],
        "open": message.get("open_price"),
        "high": message.get("day_high"),
        "low": message.get("day_low"),
        "price": price,
        "previous_close": previous_close,
        "change_percent": message.get("change_percent", 0),
        "volume": int(message["day_volume"]) if "day_volume" in message else None,
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "currency": message.get("currency") or known.get("currency"),
        "exchange_timezone": known.get("exchange_timezone"),
        "market_state": "REGULAR",
    }
