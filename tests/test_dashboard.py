"""The dashboard: its reads, its arithmetic, and the page that Streamlit's AppTest draws. AWS is mocked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import botocore.session
import pandas as pd
import pytest
import streamlit as st
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from moto import mock_aws
from streamlit.testing.v1 import AppTest

from dashboard_parts import chart, feed, reading, ticks
from dashboard_parts import strip as strip_parts
from dashboard_parts import tables as table_parts
from helpers.checkout import ROOT
from helpers.dashboard_page import SETTINGS, Tables, eventually
from helpers.mocked_aws import LOADER
from stream_stock_data import format_timestamp

PAGE = str(ROOT / "dashboard.py")


def ticks_of(prices: list[str], *, start: str = "2026-11-20T15:00:00.000Z", every: float = 30) -> list:
    """Ticks as the dashboard keeps them. The session volume grows by 100 at each."""
    first = datetime.fromisoformat(start)
    items = [
        {
            "timestamp": format_timestamp(first + timedelta(seconds=every * number)),
            "price": Decimal(price),
            "volume": Decimal(100 * number),
        }
        for number, price in enumerate(prices)
    ]
    return [ticks.parse_tick(item) for item in items]


# --- Arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "trend"),
    [
        (["0.1"] * 15 + ["0.3"] * 5, "up"),
        (["0.3"] * 15 + ["0.1"] * 5, "down"),
        (["0.1"] * 20, "flat"),  # floats give the mean of 20 another value
    ],
)
def test_averages_of_decimal_prices_are_compared_exactly(prices, trend):
    found = ticks_of(["99", *prices])
    short, long = ticks.average(found, 5), ticks.average(found, 20)

    assert ("up" if short > long else "down" if short < long else "flat") == trend
    assert short == sum(map(Decimal, prices[-5:])) / 5
    assert long == sum(map(Decimal, prices)) / 20


def test_average_of_too_few_ticks_is_none():
    assert ticks.average(ticks_of(["1"] * 19), 20) is None


@pytest.mark.parametrize(
    ("tick", "now", "state"),
    [
        ({"market_state": "REGULAR"}, "2026-11-20T15:05:00Z", "open"),
        ({"market_state": "POST"}, "2026-11-20T15:05:00Z", "closed"),
        ({"market_state": "REGULAR", "delay_minutes": Decimal(15)}, "2026-11-20T15:20:00Z", "open"),
        ({"market_state": "REGULAR"}, "2026-11-20T16:00:00Z", "unknown"),
        ({"exchange_timezone": "America/New_York"}, "2026-11-20T16:00:00Z", "open"),
        ({"exchange_timezone": "America/New_York"}, "2026-11-20T21:00:00Z", "closed"),
        ({"exchange_timezone": "America/New_York"}, "2026-11-21T16:00:00Z", "closed"),  # a Saturday
        ({"exchange_timezone": "Europe/Berlin"}, "2026-11-20T15:01:00Z", "open"),
    ],
)
def test_market_state_comes_from_a_fresh_tick_otherwise_from_new_york_hours(tick, now, state):
    newest = {"timestamp": "2026-11-20T15:00:00.000Z"} | tick

    assert ticks.market_state(newest, datetime.fromisoformat(now)) == state


@pytest.mark.parametrize(
    ("timestamp", "name", "start"),
    [
        ("2026-11-20T15:00:00.000Z", "15 min", "2026-11-20T09:45:00-05:00"),
        ("2026-11-20T15:00:00.000Z", "Today", "2026-11-20T00:00:00-05:00"),
        ("2026-11-20T15:00:00.000Z", "5 days", "2026-11-16T00:00:00-05:00"),  # a Friday
        ("2026-11-23T15:00:00.000Z", "5 days", "2026-11-17T00:00:00-05:00"),  # a Monday
        ("2026-11-22T15:00:00.000Z", "5 days", "2026-11-18T00:00:00-05:00"),  # a Sunday: it never closes
        ("2026-11-21T03:00:00.000Z", "Today", "2026-11-20T00:00:00-05:00"),  # still Friday in New York
    ],
)
def test_start_of_range_counts_back_from_the_newest_tick_in_days_of_its_exchange(timestamp, name, start):
    newest = {"timestamp": timestamp, "exchange_timezone": "America/New_York"}

    assert chart.start_of_range(newest, name) == datetime.fromisoformat(start)


def frame_of(candles: list[dict]) -> pd.DataFrame:
    times = pd.to_datetime([candle["time"] for candle in candles], unit="s", utc=True)
    return pd.DataFrame(candles).set_index(times)[["open", "high", "low", "close", "short", "long"]]


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare candles: their times, prices and averages."""
    pd.testing.assert_frame_equal(
        found, expected[found.columns], check_freq=False, check_index_type=False, check_names=False, rtol=1e-9
    )


def walk(length: int) -> list[float]:
    return [round(100 + 3 * math.sin(number / 7), 2) for number in range(length)]


@pytest.mark.parametrize(
    "start", ["2026-11-20T15:00:00.000Z", "2026-10-25T00:10:00.000Z"]
)  # summer time ends
def test_live_candles_open_at_the_tick_before_and_equal_those_that_pandas_makes(start):
    prices = walk(200)
    series = ticks.Series("AAPL", ticks=ticks_of([str(price) for price in prices], start=start))
    first = datetime.fromtimestamp(series.ticks[50].time, UTC)  # in the middle of a candle

    candles = ticks.make_candles(series, start=first, seconds=120, short=5, long=20)

    frame = pd.DataFrame({"price": prices}, index=pd.to_datetime([tick.timestamp for tick in series.ticks]))
    frame["short"], frame["long"] = frame["price"].rolling(5).mean(), frame["price"].rolling(20).mean()
    frame["before"] = frame["price"].shift()
    groups = frame[48:].resample("120s")
    expected = groups["price"].ohlc().join(groups[["short", "long"]].last())
    expected["open"] = groups["before"].first()
    expected["high"], expected["low"] = (
        expected[["open", "high"]].max(axis=1),
        expected[["open", "low"]].min(axis=1),
    )
    assert_same(frame_of(candles), expected)
    assert sum(candle["volume"] for candle in candles) == 100 * 152


def bars_of(count: int, start: str, every: int, **more: object) -> tuple[list, pd.DataFrame]:
    """Ticks of the past with bars of their own, and those bars with their averages."""
    first, close = datetime.fromisoformat(start), pd.Series(walk(count))
    frame = pd.DataFrame({"open": close - 0.5, "high": close + 1, "low": close - 2, "close": close})
    frame["short"], frame["long"] = close.rolling(5).mean(), close.rolling(20).mean()
    frame.index = pd.DatetimeIndex([first + timedelta(seconds=every * number) for number in range(count)])
    items = [
        {"timestamp": format_timestamp(at), "price": Decimal(f"{bar['close']:.2f}"), "history": True}
        | {name: Decimal(f"{bar[name]:.2f}") for name in ("open", "high", "low")}
        for at, bar in frame.iterrows()
    ]
    return [ticks.parse_tick(item | more) for item in items], frame


def test_candles_of_the_past_over_five_sessions_have_the_open_high_and_low_of_their_bars():
    series, expected = ticks.Series("AAPL"), []
    for day in (16, 17, 18, 19, 20):
        found, frame = bars_of(26, f"2026-11-{day}T14:30:00.000Z", 900)
        series.ticks += found
        expected.append(frame)
    frame = pd.concat(expected)
    frame["short"], frame["long"] = frame["close"].rolling(5).mean(), frame["close"].rolling(20).mean()

    candles = ticks.make_candles(
        series, start=datetime(2026, 11, 1, tzinfo=UTC), seconds=1800, short=5, long=20
    )

    how = {"open": "first", "high": "max", "low": "min", "close": "last", "short": "last", "long": "last"}
    assert_same(frame_of(candles), frame.resample("1800s").agg(how).dropna(subset=["close"]))


def test_replay_has_one_candle_a_bar_at_its_own_date_and_marks_its_alerts():
    start = datetime(2026, 11, 20, 15, tzinfo=UTC)
    found, frame = bars_of(40, "2012-03-01T00:00:00.000Z", 86_400)
    series = ticks.Series("AAPL")
    for number, (tick, at) in enumerate(zip(found, frame.index, strict=True)):
        item = {"timestamp": format_timestamp(start + timedelta(seconds=number)), "price": tick.price}
        item |= {name: Decimal(str(value)) for name, value in zip(ticks.BAR, tick.bar, strict=True)}
        series.ticks.append(ticks.parse_tick(item | {"replayed_from": str(at.date())}))
    alert = {"timestamp": series.ticks[30].timestamp, "signal": "BUY", "price": Decimal(1), "alert_id": "1"}
    series.put_alerts([alert])

    assert ticks.candle_seconds(series.ticks) == 86_400
    candles = ticks.make_candles(series, start=start, seconds=86_400, short=5, long=20)

    assert_same(frame_of(candles), frame)
    assert [number for number, candle in enumerate(candles) if candle.get("BUY")] == [30]


def test_replay_that_begins_again_shows_its_new_bars_alone():
    found, _ = bars_of(4, "2026-11-20T15:00:00.000Z", 1)
    days = (0, 86_400, 0, 86_400)
    series = ticks.Series("AAPL", ticks=[t._replace(replayed_at=d) for t, d in zip(found, days, strict=True)])

    candles = ticks.make_candles(
        series, start=datetime(2026, 1, 1, tzinfo=UTC), seconds=86_400, short=1, long=2
    )

    assert [candle["close"] for candle in candles] == [float(tick.price) for tick in found[2:]]


@pytest.mark.parametrize(
    ("gap", "opens"), [(7200, [10, 10, 20]), (7201, [10, 20, 20])], ids=["outage", "new session"]
)
def test_candle_after_a_gap_opens_at_the_tick_before_unless_a_session_ended(gap, opens):
    later = format_timestamp(datetime(2026, 11, 20, 15, tzinfo=UTC) + timedelta(seconds=gap))
    series = ticks.Series("AAPL", ticks=ticks_of(["10"]) + ticks_of(["20", "30"], start=later, every=60))

    candles = ticks.make_candles(series, start=datetime(2026, 1, 1, tzinfo=UTC), seconds=60, short=1, long=2)

    assert [candle["open"] for candle in candles] == opens


@pytest.mark.parametrize(
    ("count", "every", "seconds"),
    [
        (3, 1, 1),
        (75, 1, 1),
        (76, 1, 2),
        (3600, 1, 60),
        (31, 30, 30),
        (31, 31, 30),
        (5, 300, 300),
        (400, 1800, 3600),
    ],
)
def test_candle_is_the_smallest_that_gives_75_at_most_and_is_no_finer_than_the_ticks(count, every, seconds):
    assert ticks.candle_seconds(ticks_of(["1"] * count, every=every)) == seconds


def test_candle_of_a_minute_history_with_live_seconds_is_a_minute():
    past, _ = bars_of(6, "2026-11-20T14:54:59.999Z", 60)

    assert ticks.candle_seconds(past + ticks_of(["1"] * 9, every=1)) == 60


def test_limit_wicks_shows_all_bodies_but_not_the_wildest_twelfth_of_the_wicks():
    candles = [{"open": 100, "close": 101, "low": 99.5, "high": 101.5} for _ in range(23)]
    candles.append({"open": 100, "close": 103, "low": 70, "high": 130})

    ticks.limit_wicks(candles)

    assert [(candle.get("bottom"), candle.get("top")) for candle in candles] == [(None, None)] * 23 + [
        (99.5, 103)
    ]


def test_candles_volume_is_never_negative_at_a_new_session_and_whole_in_a_replay():
    series = ticks.Series("AAPL", ticks=ticks_of(["1"] * 4, every=60))
    for place, volume in ((2, 5), (3, 9)):
        series.ticks[place] = series.ticks[place]._replace(volume=volume)
    how = {"start": datetime(2026, 11, 20, tzinfo=UTC), "seconds": 60, "short": 5, "long": 20}

    assert [candle["volume"] for candle in ticks.make_candles(series, **how)] == [0, 100, 0, 4]
    series.ticks = [tick._replace(replayed_at=tick.time) for tick in series.ticks]
    assert [candle["volume"] for candle in ticks.make_candles(series, **how)] == [0, 100, 5, 9]


def test_candles_take_the_alerts_of_their_time_and_skip_malformed_ones():
    series = ticks.Series("AAPL", ticks=ticks_of(["10"] * 8))
    buy = {"timestamp": "2026-11-20T15:02:30.000Z", "signal": "BUY", "price": Decimal("10.5")}
    later = buy | {"timestamp": "2026-11-20T15:02:31.000Z", "price": Decimal("10.6")}
    found = [buy, {"signal": "BUY"}, buy | {"signal": "<b>"}, later]
    series.put_alerts([alert | {"alert_id": str(number)} for number, alert in enumerate(found)])

    candles = ticks.make_candles(
        series, start=datetime(2026, 11, 20, tzinfo=UTC), seconds=60, short=5, long=20
    )

    assert [candle.get("BUY") for candle in candles] == [None, None, 2, None]
    assert candles[2]["alerts"] == "▲ BUY 10.50, ▲ BUY 10.60"


def test_chart_library_is_the_one_that_was_looked_at():
    assert (
        hashlib.sha256(chart.LIBRARY.read_bytes()).hexdigest()
        == "c0992580867c4912cc9385b3c2728315bcc1a76c7f1087dca908430fccdf31d7"
    )


def test_chart_data_has_one_offset_from_utc_though_the_clocks_change():
    series = ticks.Series("BTC", ticks=ticks_of(["1"] * 24, start="2026-10-24T20:00:00.000Z", every=1800))
    candles = ticks.make_candles(
        series, start=datetime(2026, 1, 1, tzinfo=UTC), seconds=1800, short=5, long=20
    )

    data = chart.chart_data(candles, name="BTC", zone="Europe/Berlin", look={"seconds": 1800})

    times = [row["time"] for row in data["rows"]]
    assert {after - before for before, after in pairwise(times)} == {1800}
    assert times[-1] == candles[-1]["time"] + 3600


@pytest.mark.parametrize(
    ("price", "decimals"), [(345.04, 2), (29.9, 2), (1.08, 4), (0.5, 5), (0.00001234, 9)]
)
def test_decimals_of_a_price_are_as_many_as_it_needs(price, decimals):
    assert chart.decimals_of(price) == decimals


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (3, "3 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (2e5, "2 d")],
)
def test_age_text_is_short(seconds, text):
    assert ticks.age_text(seconds) == text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("ResourceNotFoundException", "scripts/setup.sh"),
        ("ExpiredTokenException", "have expired"),
        ("UnrecognizedClientException", "does not accept the credentials"),
        ("AccessDeniedException", "scripts/policies/dashboard.json"),
        ("ThrottlingException", "DynamoDB answers"),
    ],
)
def test_explain_says_what_to_do_about_each_error_code(code, text, settings):
    error = ClientError({"Error": {"Code": code, "Message": "why"}}, "Query")

    assert text in reading.explain(error, settings)


def test_explain_says_what_to_do_when_aws_did_not_answer(settings):
    assert "there are none" in reading.explain(NoCredentialsError(), settings)
    assert "Cannot reach AWS" in reading.explain(EndpointConnectionError(endpoint_url="x"), settings)


def test_tables_print_prices_and_averages_with_all_their_decimals():
    numbers = {"SMA short": 1.083451, "SMA long": 1.083452}
    alerts = pd.DataFrame([numbers | {"Price": 1.234e-05, "Change %": 1.5}])
    watched = pd.DataFrame(
        [numbers | {"Last": 1.234e-05, "Change": -2e-07, "Change %": -1.6, "Trend": "▲ up"}]
    )
    watched["Age"] = 5
    colours = {"up": "blue", "down": "red", "mark": "black"}
    for style in (table_parts.style_alerts(alerts), table_parts.style_watchlist(watched, colours)):
        for text in ("0.00001234", "1.083451", "1.083452"):
            assert text in style.to_html()


# --- Reading --------------------------------------------------------------------------------------


@pytest.fixture
def settings(aws_credentials, monkeypatch) -> reading.Settings:
    """The settings without a .env file. No feed of an earlier test is left."""
    monkeypatch.setattr(botocore.session, "create_loader", lambda *paths: LOADER)
    for name in (*SETTINGS, "STOCK_SYMBOL", "SMA_SHORT", "SMA_LONG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reading, "HERE", Path("/nonexistent"))
    monkeypatch.setenv("STOCK_SYMBOLS", "AAPL,MSFT")
    monkeypatch.setenv("BUCKET_NAME", SETTINGS["BUCKET_NAME"])
    st.cache_resource.clear()
    return reading.read_settings()


@pytest.fixture
def tables(settings) -> Iterator[Tables]:
    with mock_aws():
        tables = Tables()
        tables.create()
        yield tables


class Reads:
    """A feed that may refresh at any time, and its Queries."""

    def __init__(self, settings, monkeypatch) -> None:
        monkeypatch.setattr(feed, "REFRESH_SECONDS", 0)
        self.feed = feed.Feed(settings)
        self.queries: list[dict] = []
        self.feed.client("dynamodb").meta.events.register(
            "provide-client-params.dynamodb.Query", lambda params, **_: self.queries.append(params)
        )

    def refresh(self, *symbols: str) -> list[dict]:
        """The Queries of one refresh."""
        self.queries.clear()
        self.feed.refresh(symbols, timeout=30)
        assert self.feed.failures == {}
        return list(self.queries)


@pytest.fixture
def reads(settings, tables, monkeypatch) -> Reads:
    return Reads(settings, monkeypatch)


def test_refresh_sends_one_query_a_symbol_for_newer_ticks_alone(reads, tables):
    old = tables.put_ticks("AAPL", [100.0] * 150)
    tables.put_ticks("MSFT", [100.0] * 30)
    reads.refresh("AAPL", "MSFT")
    series = reads.feed.series("AAPL")
    assert [tick.timestamp for tick in series.ticks] == old[-feed.FIRST_TICKS :]

    queries = reads.refresh("AAPL", "MSFT")
    (new,) = tables.put_ticks("AAPL", [101.0])
    after = reads.refresh("AAPL", "MSFT")

    values = [query["ExpressionAttributeValues"] for query in queries]  # in any order: they run side by side
    assert sorted((each[":symbol"]["S"], each[":first"]["S"]) for each in values) == [
        ("AAPL", old[-feed.READ_AGAIN]),
        ("MSFT", reads.feed.series("MSFT").ticks[-feed.READ_AGAIN].timestamp),
    ]
    assert len(after) == 2
    assert series.ticks[-1].timestamp == new
    assert series.newest["price"] == 101


def test_refresh_after_new_ticks_asks_for_alerts_and_not_for_ticks(reads, tables):
    tables.put_ticks("AAPL", [100.0] * 30, newest=datetime.now(UTC) - timedelta(minutes=1))
    reads.refresh("AAPL")
    asked = []
    for _ in range(4):
        (timestamp,) = tables.put_ticks("AAPL", [101.0])
        tables.put_alert("AAPL", timestamp, "BUY", "101")
        for _ in range(2):
            (query,) = reads.refresh("AAPL")
            asked.append(query["TableName"])

    assert asked == ["stock-market-data", "stock-trend-alerts"] * 4
    assert len(reads.feed.series("AAPL").alerts) == 4


def test_refresh_finds_an_anomaly_whose_key_sorts_before_known_signals(reads, tables):
    now = datetime.now(UTC)
    (before,) = tables.put_ticks("AAPL", [100.0], newest=now - timedelta(seconds=9))
    tables.put_alert("AAPL", before, "BUY", "100")
    reads.refresh("AAPL")
    (timestamp,) = tables.put_ticks("AAPL", [120.0], newest=now)
    for _ in range(4):
        reads.refresh("AAPL")  # the tick is there, its alert is not yet
    alert_id = tables.put_alert("AAPL", timestamp, "ANOMALY", "120")

    for _ in range(4):
        reads.refresh("AAPL")

    assert alert_id in reads.feed.series("AAPL").alerts
    assert reads.feed.series("AAPL").unsettled_days() == []


def put_many_signals(tables: Tables, newest: datetime) -> None:
    """More signals of the newest tick's day than the first read takes."""
    for age in range(feed.FIRST_ALERTS + 10):
        tables.put_alert("AAPL", format_timestamp(newest - timedelta(seconds=age)), "BUY", "100")


def test_first_read_finds_the_anomaly_of_a_symbol_with_many_alerts(reads, tables):
    newest = datetime(2026, 11, 20, 20, tzinfo=UTC)
    tables.put_ticks("AAPL", [100.0] * 2, newest=newest, exchange_timezone="America/New_York")
    put_many_signals(tables, newest)
    alert_id = tables.put_alert("AAPL", "2026-11-20T15:00:00.000Z", "ANOMALY", "120")

    reads.refresh("AAPL")

    assert alert_id in reads.feed.series("AAPL").alerts


def test_read_back_to_finds_the_anomalies_of_each_day_and_asks_once(reads, tables):
    newest = datetime(2026, 11, 20, 20, tzinfo=UTC)
    tables.put_ticks("AAPL", [100.0] * 30, newest=newest, exchange_timezone="America/New_York")
    put_many_signals(tables, newest)
    ids = {
        tables.put_alert("AAPL", f"2026-11-{day}T15:00:00.000Z", "ANOMALY", "120") for day in (17, 18, 19, 20)
    }
    reads.refresh("AAPL")
    reads.queries.clear()

    series = reads.feed.read_back_to("AAPL", datetime(2026, 11, 17, 14, 30, tzinfo=UTC), timeout=30)
    asked = len(reads.queries)
    reads.feed.read_back_to("AAPL", datetime(2026, 11, 17, 14, 30, tzinfo=UTC), timeout=30)

    assert ids <= set(series.alerts)
    assert len(reads.queries) == asked


def test_many_alerts_drop_the_oldest_signals_and_no_anomaly(reads, tables, monkeypatch):
    newest = datetime(2026, 11, 20, 20, tzinfo=UTC)
    tables.put_ticks("AAPL", [100.0] * 2, newest=newest)
    put_many_signals(tables, newest)
    alert_id = tables.put_alert("AAPL", "2026-11-20T15:00:00.000Z", "ANOMALY", "120")
    monkeypatch.setattr(feed, "CHART_ALERTS", 10)

    reads.refresh("AAPL")

    series = reads.feed.series("AAPL")
    assert len(series.alerts) == 11
    assert alert_id in series.alerts
    assert series.alerts_complete_from == min(set(series.alerts) - {alert_id})


@pytest.mark.parametrize("first", ["pending", "historical"])
def test_refresh_reads_an_anomaly_again_until_it_is_sent(reads, tables, first):
    now = datetime.now(UTC)
    (timestamp,) = tables.put_ticks("AAPL", [120.0], newest=now - timedelta(seconds=9))
    alert_id = tables.put_alert("AAPL", timestamp, "ANOMALY", "120", status=first)
    reads.refresh("AAPL")
    assert reads.feed.series("AAPL").alerts[alert_id]["status"] == first
    tables.put_alert("AAPL", timestamp, "ANOMALY", "120", status="sent")
    tables.put_ticks("AAPL", [121.0], newest=now)

    for _ in range(6):
        reads.refresh("AAPL")

    assert reads.feed.series("AAPL").alerts[alert_id]["status"] == "sent"


def test_refresh_reads_an_anomaly_that_stays_pending_after_its_tick_is_old(reads, tables, monkeypatch):
    monkeypatch.setattr(ticks, "FIRST_TICKS", 1)
    now = datetime.now(UTC)
    before, _ = tables.put_ticks("AAPL", [120.0, 100.0], newest=now - timedelta(seconds=9))
    alert_id = tables.put_alert("AAPL", before, "ANOMALY", "120", status="pending")
    reads.refresh("AAPL")
    tables.put_alert("AAPL", before, "ANOMALY", "120", status="sent")

    for age in (8, 7, 6):
        tables.put_ticks("AAPL", [100.0], newest=now - timedelta(seconds=age))
        for _ in range(2):
            reads.refresh("AAPL")

    assert reads.feed.series("AAPL").alerts[alert_id]["status"] == "sent"


def test_refresh_reads_a_pending_alert_again_until_it_is_sent(reads, tables):
    before, timestamp = tables.put_ticks("AAPL", [100.0] * 2, newest=datetime.now(UTC) - timedelta(seconds=9))
    alert_id = tables.put_alert("AAPL", before, "BUY", "100", status="pending")
    tables.put_alert("AAPL", timestamp, "SELL", "100")
    reads.refresh("AAPL")
    tables.put_alert("AAPL", before, "BUY", "100", status="sent")
    tables.put_ticks("AAPL", [100.0])
    for _ in range(2):
        reads.refresh("AAPL")

    assert reads.feed.series("AAPL").alerts[alert_id]["status"] == "sent"


def test_read_back_to_reads_a_range_once_and_leaves_no_gap(reads, tables):
    timestamps = tables.put_ticks("AAPL", [100.0] * 300)
    reads.refresh("AAPL")
    reads.queries.clear()

    series = reads.feed.read_back_to("AAPL", datetime.fromisoformat(timestamps[50]), timeout=30)
    reads.feed.read_back_to("AAPL", datetime.fromisoformat(timestamps[80]), timeout=30)

    assert [tick.timestamp for tick in series.ticks] == timestamps[50:]
    assert len(reads.queries) == 1
    assert len({tick.timestamp for tick in series.ticks}) == 250


def test_refresh_with_more_new_ticks_than_the_limit_starts_the_series_again(reads, tables, monkeypatch):
    tables.put_ticks("AAPL", [100.0] * 5, newest=datetime.now(UTC) - timedelta(hours=2))
    reads.refresh("AAPL")
    monkeypatch.setattr(feed, "CHART_TICKS", 40)
    new = tables.put_ticks("AAPL", [100.0] * 60)

    reads.refresh("AAPL")

    series = reads.feed.series("AAPL")
    assert [tick.timestamp for tick in series.ticks] == new[-40:]
    assert series.complete_from == new[-40]


def test_refresh_keeps_few_ticks_and_forgets_symbols_that_no_page_shows(reads, tables, monkeypatch):
    monkeypatch.setattr(feed, "KEPT_TICKS", 50)
    tables.put_ticks("AAPL", [100.0] * 100)
    reads.refresh("AAPL")
    assert len(reads.feed.series("AAPL").ticks) == 50
    monkeypatch.setattr(feed, "IDLE_SECONDS", -1)

    reads.refresh("MSFT")

    assert list(reads.feed._series) == ["MSFT"]


def test_refresh_finds_a_tick_and_a_signal_that_came_late_and_asks_for_no_more_than_4_kb(reads, tables):
    now = datetime.now(UTC)
    before, after = tables.put_ticks("AAPL", [100.0, 101.0], newest=now)
    tables.put_alert("AAPL", before, "BUY", "100")
    tables.put_alert("AAPL", after, "SELL", "101")
    reads.refresh("AAPL")
    (late,) = tables.put_ticks("AAPL", [99.0], newest=now - timedelta(seconds=15))
    alert_id = tables.put_alert("AAPL", late, "SELL", "99")

    asked = [len(reads.refresh("AAPL")) for _ in range(2)]

    series = reads.feed.series("AAPL")
    assert asked == [1, 1]
    assert [tick.price for tick in series.ticks] == [100, 99, 101]
    assert series.newest["price"] == 101
    assert alert_id in series.alerts
    item = tables.dynamodb.scan(TableName="stock-market-data", Limit=1)["Items"][0]
    size = sum(len(name) + len(str(*value.values())) for name, value in item.items())
    assert (feed.READ_AGAIN + 1) * size < 4096


def test_forget_old_series_makes_the_next_refresh_read_a_tick_that_came_very_late(reads, tables):
    now = datetime.now(UTC)
    known = tables.put_ticks("AAPL", [100.0] * 20, newest=now)
    reads.refresh("AAPL")
    (late,) = tables.put_ticks("AAPL", [99.0], newest=now - timedelta(seconds=30 * 15 + 10))
    reads.refresh("AAPL")
    assert [tick.timestamp for tick in reads.feed.series("AAPL").ticks] == known
    reads.feed.series("AAPL").first_read_at -= 61

    reads.feed.forget_old_series()
    reads.refresh("AAPL")

    assert [tick.timestamp for tick in reads.feed.series("AAPL").ticks] == sorted([*known, late])


def test_refresh_skips_items_that_are_no_ticks_and_fields_of_a_wrong_type(reads, tables):
    (timestamp,) = tables.put_ticks("AAPL", [100.0])
    for key, price in ((timestamp[:-1] + "9Z", "1"), ("2026-11-20", "1"), ("2026-11-20T15:00:00.000Z", "-1")):
        tables.put(
            "stock-market-data", [{"symbol": {"S": "AAPL"}, "timestamp": {"S": key}, "price": {"N": price}}]
        )
    odd = {name: {"S": "<b>"} for name in ("change", "change_percent", "volume", "delay_minutes", "anomaly")}
    odd |= {"exchange_timezone": {"N": "1"}, "price": {"N": "101"}, "symbol": {"S": "AAPL"}}
    later = format_timestamp(datetime.now(UTC) + timedelta(seconds=1))
    tables.put("stock-market-data", [odd | {"timestamp": {"S": later}}])

    reads.refresh("AAPL")

    series = reads.feed.series("AAPL")
    assert [(tick.price, tick.volume) for tick in series.ticks] == [
        (100, 0),
        (101, pytest.approx(math.nan, nan_ok=True)),
    ]
    assert series.newest == {"timestamp": later, "price": 101}


def test_count_in_bucket_counts_once_a_minute(reads, tables):
    today = datetime.now(UTC).date()
    keys = [f"rejected-data/dt={today - timedelta(days=age)}/{age}.json" for age in (0, 1, 2)]
    for key in [*keys, "aws/lambda/one", "raw-data/other"]:
        tables.client("s3").put_object(Bucket=SETTINGS["BUCKET_NAME"], Key=key, Body=b"")

    assert eventually(lambda: reads.feed.count_in_bucket("rejects")) == 2
    assert eventually(lambda: reads.feed.count_in_bucket("failed batches")) == 1
    tables.client("s3").put_object(Bucket=SETTINGS["BUCKET_NAME"], Key="aws/lambda/two", Body=b"")
    assert reads.feed.count_in_bucket("failed batches") == 1


# --- The page -------------------------------------------------------------------------------------


@pytest.fixture
def page(settings) -> AppTest:
    return AppTest.from_file(PAGE, default_timeout=20)


def run(page: AppTest, symbol: str | None = None) -> AppTest:
    """Run the page until all its reads have ended and, if a symbol is given, until that one is listed."""

    def is_read() -> bool:
        page.run()
        assert not page.exception
        watched = page.dataframe[0].value if page.dataframe else pd.DataFrame({"Trend": [], "Symbol": []})
        found = symbol is None or symbol in set(watched["Symbol"])
        return page.error or (found and "not read yet" not in set(watched["Trend"]))

    eventually(is_read)
    return page


def watchlist(page: AppTest) -> pd.DataFrame:
    return page.dataframe[0].value.set_index("Symbol")


def test_page_of_500_symbols_shows_25_finds_others_and_adds_new_ones(page, tables, monkeypatch):
    monkeypatch.setenv("STOCK_SYMBOLS", ",".join(f"S{number:03}" for number in range(500)))
    tables.put_ticks("S007", [100.0] * 30)
    tables.put_ticks("^O'NEIL", [50.0])
    run(page)
    assert list(watchlist(page).index) == [f"S{number:03}" for number in range(25)]
    assert watchlist(page).loc["S007", "Last"] == 100

    page.text_input(key="find").set_value("s49")
    run(page)
    assert list(watchlist(page).index) == [f"S{number}" for number in range(490, 500)]

    page.text_input(key="find").set_value("^o'neil")
    run(page)
    page.button(key="add").click()
    run(page)
    assert watchlist(page).loc["^O'NEIL", "Last"] == 50
    assert page.query_params["with"] == "^O'NEIL"

    page.text_input(key="find").set_value("NOT ONE")
    run(page)
    assert not page.exception
    assert "has no spaces" in page.caption[0].value


def test_page_shows_alerts_of_all_symbols_newest_first_and_filters_them(page, tables):
    tables.put_ticks("AAPL", [100.0] * 30)
    tables.put_alert("AAPL", "2026-11-20T15:00:00.000Z", "BUY", "1")
    tables.put_alert("TSLA", "2026-11-20T15:01:00.000Z", "SELL", "2")
    tables.put_alert("TSLA", "2026-11-20T15:02:00.000Z", "RULE", "2")
    run(page, "TSLA")
    assert list(watchlist(page).index) == ["AAPL", "MSFT", "TSLA"]
    assert list(page.dataframe[1].value["Symbol"]) == ["TSLA", "TSLA", "AAPL"]
    assert list(page.dataframe[1].value)[:5] == ["Time", "Symbol", "Signal", "Price", "Status"]

    page.pills(key="signals").set_value(["RULE"])
    run(page)
    assert list(page.dataframe[1].value["Signal"]) == ["● RULE TSLA price > 1"]
    page.pills(key="signals").set_value(["BUY"])
    run(page)
    assert list(page.dataframe[1].value["Symbol"]) == ["AAPL"]
    page.pills(key="signals").set_value(["SELL"])
    page.toggle(key="only").set_value(True)
    run(page)
    assert len(page.dataframe) == 1


def test_page_with_html_in_the_tables_escapes_it(page, tables, monkeypatch):
    symbol = "<img/src=x>"
    tables.put_alert(symbol, "2026-11-20T15:00:00.000Z", "BUY", "1")
    tables.put_ticks(symbol, [100.0] * 2, source="replay", replayed_from="<b>1999")
    page.query_params["symbol"] = symbol
    run(page, symbol)

    bodies = " ".join(element.proto.body for element in page.get("html"))
    assert "&lt;b&gt;1999" in bodies
    assert "<img" not in bodies
    assert "&lt;img/src=x&gt;" in bodies


@pytest.mark.parametrize(
    ("source", "badge"), [("simulated", "made-up prices"), ("replay", "prices of"), ("yahoo", None)]
)
def test_page_shows_a_badge_when_prices_are_not_live(page, tables, source, badge):
    tables.put_ticks("AAPL", [100.0] * 2, source=source)
    run(page)
    assert ("badge" in strip(page).split("</style>")[1]) == bool(badge)
    assert badge is None or badge in strip(page)


def strip(page: AppTest) -> str:
    return next(element.proto.body for element in page.get("html") if "strip" in element.proto.body)


def test_page_strip_speaks_of_the_whole_watchlist_while_a_search_leaves_one_symbol(page, tables, monkeypatch):
    monkeypatch.setattr(feed, "REFRESH_SECONDS", 0.1)
    tables.put_ticks("AAPL", [100.0] * 2, source="simulated")
    tables.put_ticks("MSFT", [100.0] * 3, source="simulated")
    run(page)
    page.text_input(key="find").set_value("AAPL")
    run(page)
    assert list(watchlist(page).index) == ["AAPL"]
    assert "</small>5</span>" in strip(page)

    tables.put_ticks("MSFT", [101.0], source="simulated")
    eventually(lambda: page.run() and "</small>6</span>" in strip(page), seconds=10)


@pytest.mark.parametrize(
    ("endpoint", "source", "text", "is_command"),
    [
        ("", None, "python stream_stock_data.py --symbols TSLA,AAPL", True),
        ("http://127.0.0.1:4566", None, "--source simulated --symbols TSLA,AAPL --backfill 60", True),
        ("", "yahoo", "Add it to `STOCK_SYMBOLS`", False),  # a second producer would be refused
        ("http://127.0.0.1:4566", "replay", "no bars of it", False),
    ],
)
def test_how_to_fill_names_what_works_there(settings, monkeypatch, endpoint, source, text, is_command):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    known = feed.Feed(settings)
    if source:
        known.series("AAPL").ticks, known.series("AAPL").newest = ticks_of(["1"]), {"source": source}

    said = strip_parts.how_to_fill(known, "TSLA", ["AAPL", "TSLA"])

    assert text in said
    assert ("python stream_stock_data.py" in said) == is_command


def test_page_marks_the_trend_of_a_symbol_while_its_newest_day_has_an_anomaly(page, tables, monkeypatch):
    now = datetime.now(UTC)
    before = format_timestamp(now - timedelta(days=2))
    monkeypatch.setenv("STOCK_SYMBOLS", "TODAY,BEFORE,REPLAY")
    for symbol, at, more in (
        ("TODAY", format_timestamp(now), {}),
        ("BEFORE", before, {}),
        ("REPLAY", format_timestamp(now), {"replayed_from": "2012-03-01"}),  # of another bar
    ):
        tables.put_ticks(symbol, [100.0] * 20, newest=now, **more)
        tables.put_alert(symbol, at, "ANOMALY", "120")
    run(page)
    assert list(watchlist(page)["Trend"]) == ["▬ flat ◆", "▬ flat", "▬ flat"]


def test_page_without_new_ticks_says_so(page, tables):
    tables.put_ticks("AAPL", [100.0], newest=datetime.now(UTC) - timedelta(minutes=20))
    run(page)
    assert "Nothing new for 20 min" in page.warning[0].value
    assert watchlist(page).loc["AAPL", "Trend"] == "1 of 20 ticks"


def test_page_without_tables_names_the_command_that_makes_them(page, settings):
    with mock_aws():
        run(page)
    assert "No such table" in page.error[0].value
    assert not page.exception


def test_page_without_credentials_says_so_and_uses_them_once_they_are_set(page, tables, monkeypatch):
    monkeypatch.setattr(feed, "REFRESH_SECONDS", 0.1)
    tables.put_ticks("AAPL", [100.0])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    run(page)
    assert "or there are none" in page.error[0].value

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    eventually(lambda: not run(page).error)
    assert watchlist(page).loc["AAPL", "Last"] == 100


@pytest.mark.parametrize(
    ("count", "text"), [(20, "No alerts yet: a crossover needs 21 ticks."), (21, "No alerts yet.")]
)
def test_page_says_how_many_ticks_a_crossover_needs_only_while_there_are_fewer(page, tables, count, text):
    tables.put_ticks("AAPL", [100.0] * count)
    run(page)
    assert text in [caption.value for caption in page.caption]


def test_page_that_cannot_read_does_not_say_that_there_are_no_alerts(page, settings):
    with mock_aws():
        run(page)
    assert not any("No alerts" in caption.value for caption in page.caption)


def test_page_names_its_averages_in_ticks_and_the_time_zone(page, tables):
    tables.put_ticks("AAPL", [100.0] * 20)
    run(page)
    legend = next(caption for caption in page.caption if "SMA-5" in caption.value)
    assert "SMA-5 (last 5 ticks)" in legend.value
    assert "SMA-20 (last 20 ticks)" in legend.value
    assert "times: UTC" in legend.value
    assert "count ticks, not minutes" in legend.proto.help


@pytest.fixture
def refreshes(monkeypatch) -> list[float]:
    """Grows with each refresh of the page."""
    found, refresh = [], feed.Feed.refresh

    def counted(self: feed.Feed, symbols: list[str], *, timeout: float) -> None:
        found.append(timeout)
        refresh(self, symbols, timeout=timeout)

    monkeypatch.setattr(feed.Feed, "refresh", counted)
    return found


def test_page_with_an_address_that_is_no_url_says_so_and_does_not_spin(page, monkeypatch, refreshes):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:4566")
    run(page)
    assert "begins with `http://`" in page.error[0].value
    refreshes.clear()
    page.run()
    assert len(refreshes) == 1


def test_page_whose_reads_raise_anything_says_it_and_does_not_spin(page, tables, monkeypatch, refreshes):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the `odd` one")

    monkeypatch.setattr(reading, "read_items", fail)
    run(page)
    assert "RuntimeError: the odd one" in page.error[0].value
    refreshes.clear()
    page.run()
    assert len(refreshes) == 1


def test_page_with_a_symbol_in_its_address_that_is_none_leaves_it_out(page, tables, refreshes):
    tables.put_ticks("AAPL", [100.0])
    page.query_params["symbol"] = "X" * 3000
    page.query_params["with"] = f"{'X' * 3000},a b,,tsla,\u202e"
    run(page)
    assert not page.error
    assert list(watchlist(page).index) == ["AAPL", "MSFT", "TSLA"]
    refreshes.clear()
    page.run()
    assert len(refreshes) == 1


def test_symbol_that_dynamodb_refuses_is_named_a_failure_and_does_not_stop_the_others(
    reads, tables, monkeypatch
):
    tables.put_ticks("AAPL", [100.0])
    read_items = reading.read_items

    def refuse(*arguments: object, symbol: str, **more: object) -> object:
        if symbol == "BAD":
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "too long"}}, "Query")
        return read_items(*arguments, symbol=symbol, **more)

    monkeypatch.setattr(reading, "read_items", refuse)
    reads.feed.refresh(["BAD"], timeout=30)
    reads.feed.refresh(["BAD", "AAPL"], timeout=30)

    assert "too long" in str(reads.feed.failure(["AAPL", "BAD"]))
    assert reads.feed.failure(["AAPL"]) is None
    assert reads.feed.are_read(["AAPL"])


@pytest.mark.parametrize(("name", "value"), [("SMA_SHORT", "20"), ("SMA_LONG", "x"), ("STOCK_SYMBOLS", "!")])
def test_page_with_a_wrong_setting_names_it(page, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    run(page)
    assert name in page.error[0].value
    assert not page.exception
