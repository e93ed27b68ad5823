"""The Yahoo source: the unmodified yfinance client against the local stand-in."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest

import stream_stock_data as producer
from helpers.yahoo import HANG, RESET, YahooStandIn, chart_of, market
from stream_stock_data import InvalidQuote, YahooSource, build_tick, parse_timestamp

SYMBOLS = ["AAPL", "^GSPC", "EURUSD=X", "BTC-USD", "BRK-B", "005930.KS", "M&M.NS"]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory):
    # yfinance keeps one session a process, so one stand-in serves all tests of the module. A session that
    # another module has left does not use it.
    with YahooStandIn(tmp_path_factory.mktemp("yahoo")) as yahoo, pytest.MonkeyPatch.context() as patch:
        for name, value in yahoo.environment.items():
            patch.setenv(name, value)
        import yfinance.data

        patch.setattr(yfinance.data.SingletonMeta, "_instances", {})
        yield yahoo


@pytest.fixture
def yahoo(stand_in: YahooStandIn):
    stand_in.quote = market
    stand_in.respond = lambda kind, symbols: None
    stand_in.requests.clear()
    return stand_in


@pytest.fixture
def source(yahoo: YahooStandIn) -> YahooSource:
    return YahooSource()


def failing(kind: str, answer: object, *, times: int = 10**9):
    """A `respond` that gives requests of a kind this answer, so many times."""
    left = iter(range(times))
    return lambda asked, symbols: answer if asked == kind and next(left, None) is not None else None


def unknown(*symbols: str):
    return lambda symbol, now: None if symbol in symbols else market(symbol, now)


def by_symbol(quotes: list[dict]) -> dict[str, dict]:
    return {quote["symbol"]: quote for quote in quotes}


def test_fetch_every_kind_of_symbol_gives_a_tick(source):
    quotes = source.fetch(SYMBOLS)
    ticks = [build_tick(quote, source="yahoo", fetched_at=datetime.now(UTC)) for quote in quotes]
    assert sorted(tick["symbol"] for tick in ticks) == sorted(SYMBOLS)
    assert {tick["market_state"] for tick in ticks} == {"REGULAR"}


def test_fetch_500_symbols_takes_six_batch_requests(source, yahoo):
    symbols = [f"S{n:03}" for n in range(500)]
    assert len(source.fetch(symbols)) == 500
    yahoo.requests.clear()
    assert len(source.fetch(symbols)) == 500
    assert yahoo.requests == {"batch": 6}


@pytest.mark.parametrize("state", ["REGULAR", "CLOSED"])
def test_batch_and_chart_make_the_same_tick(source, yahoo, state):
    frozen = {symbol: market(symbol, time.time()) | {"marketState": state} for symbol in SYMBOLS}
    frozen["AAPL"]["exchangeDataDelayedBy"] = 15
    yahoo.quote = lambda symbol, now: frozen[symbol]
    from_batch = by_symbol(source.fetch(SYMBOLS))
    yahoo.respond = failing("batch", (401, {"finance": {"error": {"code": "Unauthorized"}}}))
    from_charts = by_symbol(source.fetch(SYMBOLS))
    assert yahoo.requests["chart"] == len(SYMBOLS)
    now = datetime.now(UTC)
    for symbol in SYMBOLS:
        ticks = [
            build_tick(quotes[symbol], source="yahoo", fetched_at=now) for quotes in (from_batch, from_charts)
        ]
        assert ticks[0] == ticks[1]
    assert from_charts["AAPL"]["delay_minutes"] == 15


def test_fetch_refused_batch_is_tried_again_after_a_while(source, yahoo, monkeypatch):
    yahoo.respond = failing("batch", (403, "no"))
    assert len(source.fetch(SYMBOLS)) == len(SYMBOLS)
    yahoo.respond = failing("batch", (200, "never asked"))
    assert len(source.fetch(SYMBOLS)) == len(SYMBOLS)
    monkeypatch.setattr(source, "_charts_until", 0)
    yahoo.respond = lambda kind, symbols: None
    yahoo.requests.clear()
    assert len(source.fetch(SYMBOLS)) == len(SYMBOLS)
    assert yahoo.requests["chart"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        "<html>not JSON</html>",
        "",
        "[" * 100_000,
        [],
        {},
        {"quoteResponse": None},
        {"quoteResponse": {"result": None, "error": "internal-error"}},
        {"quoteResponse": {"result": {"AAPL": {}}}},
    ],
    ids=lambda answer: str(answer)[:40],
)
def test_batch_that_cannot_be_read_counts_as_refused(source, yahoo, caplog, answer):
    yahoo.respond = failing("batch", (200, answer))
    for _ in range(2):
        assert by_symbol(source.fetch(SYMBOLS)).keys() == set(SYMBOLS)
    assert yahoo.requests["batch"] == 1
    (line,) = caplog.messages
    assert line.endswith("asking symbol by symbol")


@pytest.mark.parametrize(
    "answer",
    [
        "<html>not JSON</html>",
        [],
        {"chart": None},
        {"chart": {"result": [None]}},
        {"chart": {"result": [{"meta": []}]}},
    ],
    ids=str,
)
def test_chart_that_cannot_be_read_costs_the_poll_and_drops_no_symbol(source, yahoo, caplog, answer):
    answers = {"batch": (403, "no"), "chart": (200, answer)}
    yahoo.respond = lambda kind, symbols: answers.get(kind)
    for _ in range(producer.PARK_AFTER_MISSES + 1):
        assert source.fetch(SYMBOLS) == []
    assert len([line for line in caplog.messages if "7 failed, the next poll tries again" in line]) == 4
    yahoo.respond = lambda kind, symbols: None
    assert len(source.fetch(SYMBOLS)) == len(SYMBOLS)


@pytest.mark.parametrize("odd", [None, [], "AAPL", 7, {}, {"symbol": ["AAPL"]}], ids=str)
def test_fetch_odd_row_costs_no_other_row_and_its_symbol_is_asked_for_by_chart(source, yahoo, odd):
    rows = [market("MSFT", time.time()), odd, market("GOOG", time.time())]
    yahoo.respond = failing("batch", (200, {"quoteResponse": {"result": rows, "error": None}}))
    quotes = by_symbol(source.fetch(["AAPL", "MSFT", "GOOG"]))
    assert quotes.keys() == {"AAPL", "MSFT", "GOOG"}
    assert yahoo.requests == {"batch": 1, "chart": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("regularMarketPrice", value) for value in (None, 0, -1, "12", True, [], float("nan"))),
        *(("regularMarketPreviousClose", value) for value in (None, 0, -1, "12", True, [], float("nan"))),
        *(("regularMarketTime", value) for value in (None, "12", True, [], float("nan"), 1e300)),
    ],
)
def test_fetch_row_without_a_usable_price_or_time_is_asked_for_by_chart(source, yahoo, field, value):
    row = market("AAPL", time.time())
    rows = [row | {field: value}, market("MSFT", time.time())]
    yahoo.quote = lambda symbol, now: row
    yahoo.respond = failing("batch", (200, {"quoteResponse": {"result": rows, "error": None}}))
    quotes = by_symbol(source.fetch(["AAPL", "MSFT"]))
    tick = build_tick(quotes["AAPL"], source="yahoo", fetched_at=datetime.now(UTC))
    assert tick["price"] == row["regularMarketPrice"]
    assert tick["previous_close"] == row["regularMarketPreviousClose"]
    assert yahoo.requests["chart"] == 1


def test_fetch_quote_against_yahoos_own_change_is_refused_when_it_becomes_a_tick(source, yahoo):
    odd = {"regularMarketPreviousClose": 10.0, "regularMarketPrice": 31.0, "regularMarketChangePercent": 0.2}
    yahoo.quote = lambda symbol, now: market(symbol, now) | odd
    (quote,) = source.fetch(["ZRC-USD"])
    with pytest.raises(InvalidQuote, match=r"ZRC-USD: previous close 10\.0 contradicts Yahoo's own change"):
        build_tick(quote, source="yahoo", fetched_at=datetime.now(UTC))


def test_fetch_symbol_left_out_of_the_batch_is_asked_for_by_chart(source, yahoo):
    row = market("AAPL", time.time())
    yahoo.respond = failing("batch", (200, {"quoteResponse": {"result": [row], "error": None}}), times=1)
    assert sorted(by_symbol(source.fetch(["AAPL", "MSFT"]))) == ["AAPL", "MSFT"]


def test_fetch_duplicate_rows_give_the_newest_quote(source, yahoo):
    second = time.time()
    rows = [market("AAPL", second - 5), market("AAPL", second), market("AAPL", second - 9)]
    yahoo.respond = failing("batch", (200, {"quoteResponse": {"result": rows, "error": None}}))
    (quote,) = source.fetch(["AAPL"])
    assert parse_timestamp(quote["timestamp"]).timestamp() == int(second)


def test_fetch_unknown_symbol_is_named_once_parked_after_three_and_tried_again(
    source, yahoo, caplog, monkeypatch
):
    yahoo.quote = unknown("NOPE")
    for _ in range(5):
        assert list(by_symbol(source.fetch(["AAPL", "NOPE"]))) == ["AAPL"]
    assert [line for line in caplog.messages if "NOPE" in line] == [
        "NOPE: Yahoo does not know this symbol",
        "NOPE: not found 3 times; asking once an hour now",
    ]
    asked = yahoo.requests["chart"]
    source.fetch(["AAPL", "NOPE"])
    assert yahoo.requests["chart"] == asked
    monkeypatch.setattr(source, "_parked_until", {"NOPE": 0.0})
    yahoo.quote = market
    assert sorted(by_symbol(source.fetch(["AAPL", "NOPE"]))) == ["AAPL", "NOPE"]


@pytest.mark.parametrize(
    "answer",
    [
        (500, "Internal Server Error"),
        (503, "Will be right back"),
        RESET,
    ],
    ids=str,
)
def test_fetch_fault_costs_the_poll_and_drops_no_symbol(source, yahoo, caplog, answer):
    yahoo.respond = failing("batch", answer)
    for _ in range(producer.PARK_AFTER_MISSES + 1):
        assert source.fetch(SYMBOLS) == []
    assert len([line for line in caplog.messages if "the next poll tries again" in line]) == 4
    yahoo.respond = lambda kind, symbols: None
    assert len(source.fetch(SYMBOLS)) == len(SYMBOLS)


def test_fetch_empty_charts_never_park_a_symbol(source, yahoo):
    empty = (200, {"chart": {"result": [], "error": None}})
    nothing = (200, {"quoteResponse": {"result": [], "error": None}})
    yahoo.respond = lambda kind, symbols: {"batch": nothing, "chart": empty}.get(kind)
    for _ in range(producer.PARK_AFTER_MISSES + 1):
        assert source.fetch(["AAPL"]) == []
    yahoo.respond = lambda kind, symbols: None
    assert list(by_symbol(source.fetch(["AAPL"]))) == ["AAPL"]


def test_fetch_null_fields_reach_the_tick_as_null(source, yahoo):
    gaps = dict.fromkeys(("regularMarketOpen", "regularMarketVolume", "regularMarketDayHigh"))
    yahoo.quote = lambda symbol, now: market(symbol, now) | gaps
    (quote,) = source.fetch(["AAPL"])
    tick = build_tick(quote, source="yahoo", fetched_at=datetime.now(UTC))
    assert (tick["open"], tick["volume"], tick["high"]) == (None, None, None)


def test_fetch_rate_limit_ends_the_poll_keeps_its_quotes_and_pauses(source, yahoo, caplog, monkeypatch):
    symbols = [f"S{n:04}" for n in range(5000)]
    yahoo.latency = 0.02
    lock, count = threading.Lock(), iter(range(10**6))

    def limited_after_eight(kind: str, asked: list[str]) -> object:
        with lock:
            return (429, "Too Many Requests") if kind == "batch" and next(count) >= 8 else None

    yahoo.respond = limited_after_eight
    quotes = source.fetch(symbols)
    yahoo.latency = 0
    assert 0 < len(quotes) < len(symbols)
    # The client sends each request under way twice. The rest of the 51 are never sent.
    assert yahoo.requests["batch"] < 51
    yahoo.requests.clear()
    assert source.fetch(symbols) == []
    assert not yahoo.requests
    assert "429" in caplog.text
    yahoo.respond = lambda kind, asked: None
    monkeypatch.setattr(source, "_resume_at", 0)
    assert len(source.fetch(symbols)) == len(symbols)


def test_fetch_repeated_rate_limits_pause_longer_each_time_up_to_a_quarter_hour(source, yahoo, monkeypatch):
    yahoo.respond = failing("batch", (429, "Too Many Requests"))
    pauses = []
    for _ in range(9):
        source.fetch(["AAPL"])
        pauses.append(source._resume_at - time.monotonic())
        monkeypatch.setattr(source, "_resume_at", 0)
    for n, pause in enumerate(pauses):
        full = min(900, 30 * 2**n)
        assert full / 2 - 5 <= pause <= full
    yahoo.respond = lambda kind, symbols: None
    source.fetch(["AAPL"])
    yahoo.respond = failing("batch", (429, "Too Many Requests"))
    source.fetch(["AAPL"])
    assert source._resume_at - time.monotonic() <= 30


def test_fetch_rate_limited_crumb_is_not_kept(source, yahoo, monkeypatch):
    monkeypatch.setattr(source._client, "_crumb", None)

    def respond(kind: str, symbols: list[str]) -> object:
        if kind == "crumb":
            return 429, "Too Many Requests\r\n"
        return (401, {"finance": {"error": {"code": "Unauthorized"}}}) if kind == "batch" else None

    yahoo.respond = respond
    assert source.fetch(["AAPL"]) == []
    assert source._resume_at > time.monotonic()
    assert source._client._crumb is None
    monkeypatch.setattr(source, "_resume_at", 0)
    yahoo.respond = lambda kind, symbols: None
    assert len(source.fetch(["AAPL"])) == 1
    assert source._client._crumb == "crumb"


def test_fetch_error_page_is_not_kept_as_the_crumb(source, yahoo, monkeypatch):
    monkeypatch.setattr(source._client, "_crumb", None)
    answers = {"crumb": (503, "Will be right back"), "batch": (401, "no"), "chart": (401, "no")}
    yahoo.respond = lambda kind, symbols: answers.get(kind)
    assert source.fetch(["AAPL"]) == []
    yahoo.respond = lambda kind, symbols: None
    assert len(source.fetch(["AAPL"])) == 1
    assert source._client._crumb == "crumb"


def test_fetch_hanging_request_times_out_and_the_others_count(source, yahoo, monkeypatch):
    monkeypatch.setattr(producer, "REQUEST_SECONDS", 0.3)
    symbols = [f"S{n:03}" for n in range(300)]
    yahoo.respond = lambda kind, asked: HANG if kind == "batch" and symbols[0] in asked else None
    assert len(source.fetch(symbols)) == 225
    yahoo.respond = lambda kind, asked: None
    assert len(source.fetch(symbols)) == 300


def test_fetch_hung_poll_is_ended_by_the_watchdog_and_the_next_one_works(source, yahoo, caplog, monkeypatch):
    monkeypatch.setattr(producer, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(producer, "REQUEST_SECONDS", 3)
    yahoo.respond = failing("batch", HANG)
    began = time.monotonic()
    assert source.fetch(SYMBOLS) == []
    assert time.monotonic() - began < 2
    assert "no answer within 0.2 s" in caplog.text
    yahoo.respond = lambda kind, symbols: None
    monkeypatch.setattr(producer, "STALL_SECONDS", 20)
    assert len(source.fetch(SYMBOLS)) == len(SYMBOLS)


def test_history_60_gives_the_last_sixty_bars_of_each_oldest_first(source, yahoo):
    quotes = source.history(["AAPL", "MSFT"], "60")
    for symbol in ("AAPL", "MSFT"):
        times = [quote["timestamp"] for quote in quotes if quote["symbol"] == symbol]
        assert len(times) == 60
        assert times == sorted(set(times))
        assert parse_timestamp(times[-1]) < datetime.now(UTC)
    assert all(quote["history"] is True for quote in quotes)


def test_history_5d_starts_each_day_with_the_close_of_the_day_before(source, yahoo):
    quotes = source.history(["AAPL"], "5d")
    days: dict[str, list[dict]] = {}
    for quote in quotes:
        days.setdefault(quote["timestamp"][:10], []).append(quote)
    in_order = list(days.values())
    assert len(in_order) in (4, 5)  # before the opening, today has no bars yet
    for day, next_day in pairwise(in_order):
        assert {quote["previous_close"] for quote in next_day} == {day[-1]["price"]}
        assert len(day) == 390
        assert [quote["volume"] for quote in day] == [100 * n for n in range(1, 391)]


@pytest.mark.parametrize(
    "odd", [None, "12", [], {}, True, 0, -1, float("nan"), 10**400], ids=lambda odd: str(odd)[:9]
)
@pytest.mark.parametrize("column", ["timestamp", "open", "high", "low", "close", "volume"])
def test_bars_from_chart_odd_value_costs_its_own_bar_at_most(column, odd):
    starts = [1_795_188_000 + 60 * n for n in range(5)]
    row = market("AAPL", starts[-1] + 60)
    chart = chart_of(row, starts=list(starts), bars=[market("AAPL", start) for start in starts])
    columns = chart["indicators"]["quote"][0] | {"timestamp": chart["timestamp"]}
    columns[column][2] = odd
    bars = producer.bars_from_chart(chart)
    if column in ("timestamp", "close"):
        del starts[2]
    whole = [bar for bar in bars if bar["timestamp"] > "2026"]  # a start of 0 is a valid time, long past
    assert [int(parse_timestamp(bar["timestamp"]).timestamp()) - 59 for bar in whole] == starts
    assert [bar["price"] for bar in whole] == [
        market("AAPL", start)["regularMarketPrice"] for start in starts
    ]


@pytest.mark.parametrize("column", ["timestamp", "open", "high", "low", "close", "volume"])
def test_bars_from_chart_column_that_ends_early_costs_its_own_bars_at_most(column):
    starts = [1_795_188_000 + 60 * n for n in range(5)]
    chart = chart_of(market("AAPL", starts[-1] + 60), starts=list(starts), bars=[market("AAPL", 0)] * 5)
    columns = chart["indicators"]["quote"][0] | {"timestamp": chart["timestamp"]}
    del columns[column][3:]
    assert len(producer.bars_from_chart(chart)) == (3 if column in ("timestamp", "close") else 5)


def test_history_without_an_answer_says_so_and_returns_the_rest(source, yahoo, caplog):
    yahoo.quote = unknown("NOPE")
    quotes = source.history(["AAPL", "NOPE"], "60")
    assert {quote["symbol"] for quote in quotes} == {"AAPL"}
    assert "No history of 1 of AAPL, NOPE (NOPE: HTTP 404)" in caplog.text
