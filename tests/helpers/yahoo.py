"""A local stand-in for Yahoo Finance, for the unmodified yfinance client.

`with YahooStandIn(directory) as yahoo:` runs an HTTPS proxy on loopback that answers for every host below
yahoo.com with a certificate of its own authority. `yahoo.environment` holds the variables to set, in this
process before yfinance is imported or for another process. Nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import sin
from pathlib import Path
from time import time
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

# What `respond` may return instead of (status, body):
RESET = "reset"  # the connection is cut
HANG = "hang"  # no answer, until the client gives up

DAY = 86_400


def market(symbol: str, now: float) -> dict:
    """A row of the batch endpoint: a price that moves every second, around a level that the symbol sets."""
    seed = zlib.crc32(symbol.encode())
    second, level = int(now), 20 + seed % 400
    price = round(level * (1 + 0.01 * sin(second / 7 + seed)), 2)
    return {
        "symbol": symbol,
        "currency": "USD",
        "exchangeTimezoneName": "America/New_York",
        "exchangeDataDelayedBy": 0,
        "marketState": "REGULAR",
        "regularMarketTime": second,
        "regularMarketPrice": price,
        "regularMarketOpen": round(level * 0.995, 2),
        "regularMarketDayHigh": round(level * 1.01, 2),
        "regularMarketDayLow": round(level * 0.99, 2),
        "regularMarketPreviousClose": float(level),
        "regularMarketChangePercent": (price / level - 1) * 100,
        "regularMarketVolume": 1_000 * (second % DAY),
    }


def one_minute_bars(symbol: str, now: float, days: int) -> tuple[list[int], list[dict]]:
    """Start times and bars of the last `days` days: 390 bars a day, from 14:30 UTC on."""
    starts: list[int] = []
    for back in reversed(range(days)):
        opening = (int(now) // DAY - back) * DAY + 14 * 3600 + 1800
        starts += [opening + 60 * minute for minute in range(390) if opening + 60 * minute <= now]
    return starts, [market(symbol, start) for start in starts]


def chart_of(row: dict, *, starts: list[int], bars: list[dict]) -> dict:
    """The answer of the chart endpoint for a row of the batch endpoint."""
    second = int(row["regularMarketTime"])
    regular = row["marketState"] == "REGULAR"
    zone = {"timezone": "EST", "gmtoffset": -18_000}
    never, always = {"start": 0, "end": 0} | zone, {"start": 0, "end": second + 10 * DAY} | zone
    periods = {"pre": never, "regular": always if regular else never, "post": never}
    column = {
        name: [bar.get(field) for bar in bars]
        for name, field in (
            ("open", "regularMarketOpen"),
            ("high", "regularMarketDayHigh"),
            ("low", "regularMarketDayLow"),
            ("close", "regularMarketPrice"),
        )
    }
    return {
        "meta": {
            "symbol": row["symbol"],
            "currency": row["currency"],
            "exchangeTimezoneName": row["exchangeTimezoneName"],
            "regularMarketTime": row["regularMarketTime"],
            "regularMarketPrice": row["regularMarketPrice"],
            "regularMarketDayHigh": row["regularMarketDayHigh"],
            "regularMarketDayLow": row["regularMarketDayLow"],
            "regularMarketVolume": row["regularMarketVolume"],
            "chartPreviousClose": row["regularMarketPreviousClose"],
            "currentTradingPeriod": periods,
            # the client's own Ticker.history needs these too
            "instrumentType": "EQUITY",
            **zone,
            "priceHint": 2,
            "dataGranularity": "1d",
            "validRanges": ["1d", "2d", "5d", "7d"],
        },
        "timestamp": starts,
        "indicators": {"quote": [column | {"volume": [100] * len(bars)}]},
    }


class YahooStandIn:
    """The stand-in. Set its attributes at any time to change what it answers.

    quote: (symbol, epoch seconds) to a row of the batch endpoint, or None for an unknown symbol.
    respond: (kind, symbols) to None for the usual answer, else (status, body), RESET or HANG; kind is cookie,
        crumb, batch or chart.
    latency: seconds before each answer.
    requests: how many came, by kind. connections: how many tunnels were opened; tunnels: how many are open.
    """

    def __init__(self, directory: Path, *, latency: float = 0.0) -> None:
        self.quote: Callable[[str, float], dict | None] = market
        self.respond: Callable[[str, list[str]], object] = lambda kind, symbols: None
        self.latency = latency
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self.tunnels = 0
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> YahooStandIn:
        authority = trustme.CA()
        certificates = self._directory / "yahoo-ca.pem"
        self._directory.mkdir(parents=True, exist_ok=True)
        authority.cert_pem.write_to_path(str(certificates))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.set_alpn_protocols(["http/1.1"])
        names = ("yahoo.com", "*.yahoo.com", "*.finance.yahoo.com")
        authority.issue_cert(*names).configure_cert(self._tls)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.environment = {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "REQUESTS_CA_BUNDLE": str(certificates),
            "CURL_CA_BUNDLE": str(certificates),
            "SSL_CERT_FILE": str(certificates),
            "XDG_CACHE_HOME": str(self._directory / "cache"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tunnels += 1
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            host = request.split(b" ")[1].decode().partition(":")[0]
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await writer.start_tls(self._tls)
            while await self._answer(host, reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the stand-in is closing
        finally:
            self.tunnels -= 1
            writer.transport.abort()

    async def _answer(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. False if the connection must be cut."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = [line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
        if length:
            await reader.readexactly(int(length[0]))
        url = urlsplit(head.split(" ")[1])
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        kind, symbols = _kind(host, url.path, query)
        self.requests[kind] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        response = self.respond(kind, symbols)
        if response == RESET:
            return False
        if response == HANG:
            await reader.read()  # until the client gives up
            return False
        status, body = response or self._usual(kind, symbols, query)
        cookie = ""
        if kind == "cookie":
            expires = f"{datetime.now(UTC) + timedelta(days=365):%a, %d %b %Y %H:%M:%S} GMT"
            cookie = f"Set-Cookie: A3=a; Domain=.yahoo.com; Path=/; Expires={expires}\r\n"
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        writer.write(
            f"HTTP/1.1 {status} -\r\n{cookie}Content-Length: {len(payload)}\r\n\r\n".encode() + payload
        )
        await writer.drain()
        return True

    def _usual(self, kind: str, symbols: list[str], query: dict[str, str]) -> tuple[int, object]:
        now = time()
        if kind == "crumb":
            return 200, "crumb"
        if kind == "batch":
            rows = [row for symbol in symbols if (row := self.quote(symbol, now))]
            return 200, {"quoteResponse": {"result": rows, "error": None}}
        if kind == "chart":
            row = self.quote(symbols[0], now)
            if row is None:
                error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
                return 404, {"chart": {"result": None, "error": error}}
            starts, bars = [int(row["regularMarketTime"])], [row]
            if query.get("interval") == "1m":
                starts, bars = one_minute_bars(symbols[0], now, int(query["range"].rstrip("d")))
            return 200, {"chart": {"result": [chart_of(row, starts=starts, bars=bars)], "error": None}}
        return 200, "<html></html>"


def _kind(host: str, path: str, query: dict[str, str]) -> tuple[str, list[str]]:
    if path.endswith("/getcrumb"):
        return "crumb", []
    if path == "/v7/finance/quote":
        return "batch", query["symbols"].split(",")
    if path.startswith("/v8/finance/chart/"):
        return "chart", [unquote(path.rpartition("/")[2])]
    return "cookie", []
