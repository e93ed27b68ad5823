"""The websocket source: yfinance's own websocket client against a local server."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from google.protobuf.json_format import MessageToDict
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from yfinance.pricing_pb2 import PricingData

import sources.websocket
from sources.websocket import WebSocketSource, quote_from_message
from stream_stock_data import InvalidQuote, build_tick

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*must be used as a context manager:DeprecationWarning"),
    # how the fixture ends the supervising threads
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

MOMENT = 1_795_190_302_123  # 2026-11-20T15:58:22.123Z

FIELDS = {
    "id": "AAPL",
    "price": 271.49,
    "time": MOMENT,
    "currency": "USD",
    "market_hours": 1,
    "change": 3.26,
    "change_percent": 1.2154,
    "day_volume": 48_123_456,
    "day_high": 272.4,
    "day_low": 268.05,
    "open_price": 269.9,
}


def decoded(**changes: object) -> dict:
    """A message as the client hands it over: through protobuf's 32-bit floats and its JSON form."""
    return MessageToDict(PricingData(**FIELDS | changes), preserving_proto_field_name=True)


class Streamer:
    """A server that keeps what each connection subscribed to; `push` sends to the newest connection."""

    def __init__(self) -> None:
        self.subscriptions: list[list[list[str]]] = []
        self.connections: list[ServerConnection] = []
        self.server = serve(self._handle, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handle(self, connection: ServerConnection) -> None:
        received: list[list[str]] = []
        self.subscriptions.append(received)
        self.connections.append(connection)
        try:
            for message in connection:
                received.append(json.loads(message)["subscribe"])
        except ConnectionClosed:
            pass

    def push(self, **changes: object) -> None:
        encoded = base64.b64encode(PricingData(**FIELDS | changes).SerializeToString()).decode()
        self.connections[-1].send(json.dumps({"type": "pricing", "message": encoded}))


class Polling:
    """A source to fall back on, that keeps what it is asked for."""

    name = "yahoo"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def fetch(self, symbols: list[str]) -> list[dict]:
        self.asked.append(symbols)
        return [
            {
                "symbol": symbol,
                "price": 1.0,
                "previous_close": 1.0,
                "timestamp": "2026-11-20T15:00:00.000Z",
                "exchange_timezone": "America/New_York",
            }
            for symbol in symbols
        ]

    def history(self, symbols: list[str], backfill: str) -> list[dict]:
        return [{"symbol": symbol, "history": True} for symbol in symbols]


@pytest.fixture
def streamer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streamer]:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sources.websocket, "RECONNECT_SECONDS", (0.01, 0.05))
    streamer = Streamer()
    yield streamer

    def end(seconds: float) -> None:
        raise SystemExit  # ends the supervising thread, which in the producer lives as long as the process

    ending = SimpleNamespace(monotonic=time.monotonic, sleep=end)
    monkeypatch.setattr(sources.websocket, "time", ending)
    streamer.server.shutdown()
    for connection in streamer.connections:
        connection.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "websocket"])


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def fetch_pushed(source: WebSocketSource, symbols: list[str]) -> list[dict]:
    """Fetch until a pushed quote comes."""
    quotes: list[dict] = []

    def pushed() -> bool:
        quotes[:] = [quote for quote in source.fetch(symbols) if "source" not in quote]
        return bool(quotes)

    until(pushed)
    return quotes


def test_quote_from_message_makes_the_tick_that_polling_makes():
    quote = quote_from_message(decoded(), known={"exchange_timezone": "America/New_York"})
    tick = build_tick(quote, source="websocket", fetched_at=datetime(2026, 11, 20, 16, tzinfo=UTC))
    assert tick == {
        "symbol": "AAPL",
        "open": 269.9,
        "high": 272.4,
        "low": 268.05,
        "price": 271.49,
        "previous_close": 268.23,
        "change": 3.26,
        "change_percent": 1.2154,
        "volume": 48_123_456,
        "timestamp": "2026-11-20T15:58:22.123Z",
        "fetched_at": "2026-11-20T16:00:00.000Z",
        "source": "websocket",
        "currency": "USD",
        "exchange_timezone": "America/New_York",
        "market_state": "REGULAR",
    }


def test_quote_from_message_unchanged_price_leaves_out_its_zero_change():
    assert quote_from_message(decoded(change=0), known={})["previous_close"] == 271.49


def test_quote_from_message_prefers_the_previous_close_it_is_told():
    assert quote_from_message(decoded(previous_close=268.25), known={})["previous_close"] == 268.25


def test_quote_from_message_previous_close_against_its_own_change_makes_no_tick():
    quote = quote_from_message(decoded(previous_close=87.5, change_percent=0), known={})
    with pytest.raises(InvalidQuote, match="contradicts Yahoo's own change"):
        build_tick(quote, source="websocket", fetched_at=datetime(2026, 11, 20, 16, tzinfo=UTC))


@pytest.mark.parametrize(
    "changes",
    [
        {"market_hours": 0},
        {"market_hours": 2},
        {"time": 0},
        {"time": 2**62},
        {"price": 0},
        {"price": -1},
        {"price": math.nan},
        {"price": math.nan, "previous_close": 1},
        {"previous_close": math.inf},
        {"change": math.inf},
        {"change": 300},
    ],
)
def test_quote_from_message_outside_regular_hours_or_without_a_usable_price_or_time_is_none(changes):
    assert quote_from_message(decoded(**changes), known={}) is None


def test_fetch_gives_the_newest_push_of_each_symbol_once(streamer):
    polling = Polling()
    source = WebSocketSource(polling, url=streamer.url)
    first = source.fetch(["AAPL", "MSFT"])
    assert {quote["source"] for quote in first} == {"yahoo"}
    assert polling.asked == [["AAPL", "MSFT"]]
    until(lambda: streamer.subscriptions and streamer.subscriptions[0])
    assert sorted(streamer.subscriptions[0][0]) == ["AAPL", "MSFT"]
    for step in (1, 3, 2):
        streamer.push(time=MOMENT + step, price=270.0 + step)
    streamer.push(id="MSFT", time=MOMENT)
    streamer.push(id="UNASKED", time=MOMENT)
    until(lambda: {"AAPL", "MSFT"} <= source._pushed.keys())
    quotes = {quote["symbol"]: quote for quote in source.fetch(["AAPL", "MSFT"])}
    assert quotes.keys() == {"AAPL", "MSFT"}
    assert (quotes["AAPL"]["price"], quotes["AAPL"]["timestamp"]) == (273.0, "2026-11-20T15:58:22.126Z")
    assert quotes["AAPL"]["exchange_timezone"] == "America/New_York"
    assert source.fetch(["AAPL", "MSFT"]) == []
    assert len(polling.asked) == 1


def test_fetch_symbol_that_is_not_pushed_is_polled(streamer):
    polling = Polling()
    source = WebSocketSource(polling, url=streamer.url)
    source.fetch(["AAPL", "MSFT"])
    until(lambda: streamer.subscriptions and streamer.subscriptions[0])
    streamer.push()
    until(lambda: source._pushed)
    quotes = source.fetch(["AAPL", "MSFT"])
    assert polling.asked[-1] == ["MSFT"]
    assert {quote["symbol"]: quote.get("source") for quote in quotes} == {"AAPL": None, "MSFT": "yahoo"}


def test_fetch_soon_after_the_machine_has_started_polls_what_is_not_pushed(streamer, monkeypatch):
    monkeypatch.setattr(sources.websocket, "time", SimpleNamespace(monotonic=lambda: 5.0, sleep=time.sleep))
    polling = Polling()
    quotes = WebSocketSource(polling, url=streamer.url).fetch(["AAPL", "MSFT"])
    assert polling.asked == [["AAPL", "MSFT"]]
    assert [quote["source"] for quote in quotes] == ["yahoo", "yahoo"]


@pytest.mark.parametrize("how", ["cleanly", "abruptly"])
def test_lost_connection_is_polled_over_told_once_and_made_anew(streamer, caplog, how):
    caplog.set_level("INFO", logger="producer")
    polling = Polling()
    source = WebSocketSource(polling, url=streamer.url)
    source.fetch(["AAPL"])
    until(lambda: streamer.subscriptions and streamer.subscriptions[0])
    streamer.push()
    fetch_pushed(source, ["AAPL"])
    before = len(polling.asked)
    if how == "cleanly":
        streamer.connections[0].close()
    else:
        streamer.connections[0].socket.close()
        streamer.connections[0].close_socket()
    until(lambda: source.fetch(["AAPL"]) and len(polling.asked) > before)
    until(lambda: len(streamer.subscriptions) > 1 and streamer.subscriptions[-1])
    streamer.push(time=MOMENT + 1000)
    (quote,) = fetch_pushed(source, ["AAPL"])
    assert quote["timestamp"] == "2026-11-20T15:58:23.123Z"
    assert len([line for line in caplog.messages if "polling until it is back" in line]) == 1
    assert len([line for line in caplog.messages if "quotes are pushed" in line]) == 2


def test_subscription_is_repeated(streamer, monkeypatch):
    monkeypatch.setattr(sources.websocket, "HEARTBEAT_SECONDS", 0.02)
    WebSocketSource(Polling(), url=streamer.url).fetch(["AAPL"])
    until(lambda: streamer.subscriptions and len(streamer.subscriptions[0]) > 3)
    assert len(streamer.connections) == 1


def test_silent_connection_is_replaced(streamer, monkeypatch, caplog):
    monkeypatch.setattr(sources.websocket, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(sources.websocket, "SILENCE_SECONDS", 0.1)
    WebSocketSource(Polling(), url=streamer.url).fetch(["AAPL"])
    until(lambda: len(streamer.connections) > 2)
    assert [line for line in caplog.messages if "polling until" in line] == [
        "Websocket: nothing came for 0.1 s; polling until it is back"
    ]


def test_unreachable_websocket_is_told_once_and_polled_over(streamer, caplog):
    streamer.server.shutdown()
    polling = Polling()
    source = WebSocketSource(polling, url=streamer.url)
    until(lambda: source.fetch(["AAPL"]) and "polling until it is back" in caplog.text)
    asked = len(polling.asked)
    for _ in range(3):
        assert [quote["source"] for quote in source.fetch(["AAPL"])] == ["yahoo"]
    assert len(polling.asked) == asked + 3
    assert len([line for line in caplog.messages if "polling until" in line]) == 1


def test_history_is_the_polled_sources():
    quotes = WebSocketSource(Polling()).history(["AAPL"], "60")
    assert quotes == [{"symbol": "AAPL", "history": True, "source": "yahoo"}]
