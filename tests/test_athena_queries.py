"""athena/*.sql on an archive of the real functions, checked against pandas and against the alerts raised."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlglot
from sqlglot import exp

from helpers.athena_data import Archive, Athena, make_archive, query_with_duckdb, translate
from helpers.checkout import ROOT
from helpers.crossings import crossings, prices_around
from helpers.emulator import ministack
from stream_stock_data import format_timestamp

FILES = sorted((ROOT / "athena").glob("*.sql"))
DAYS = "9"

pytestmark = pytest.mark.xdist_group("athena")


@pytest.fixture(scope="module")
def archive() -> Archive:
    return make_archive()


@pytest.fixture(scope="module")
def athena(archive, tmp_path_factory) -> Iterator[Athena]:
    """An Athena with the archive, on a machine whose own time is far from UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        with ministack(tmp_path_factory.mktemp("athena")) as endpoint:
            athena = Athena(endpoint)
            athena.fill(archive.objects)
            yield athena


def numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column).to_numpy(float)


def times(column: pd.Series) -> list[pd.Timestamp]:
    return list(pd.to_datetime(column, format="ISO8601"))


def of(archive: Archive, symbol: str) -> pd.DataFrame:
    return archive.ticks[archive.ticks["symbol"] == symbol].reset_index(drop=True)


def closes_of(ticks: pd.DataFrame, every: str) -> pd.Series:
    return ticks.groupby(["exchange_date", ticks["timestamp"].dt.floor(every)])["price"].last()


def moves_of(closes: pd.Series) -> pd.Series:
    return np.log(closes).groupby(level=0).diff()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_query_file_is_one_statement_of_athenas_sql_that_says_what_it_answers(file):
    text = file.read_text()
    assert len(sqlglot.parse(text, read="athena")) == 1
    assert re.fullmatch(r"-- \S.*[.:)]", text.splitlines()[0])
    assert ";" not in re.sub("--.*", "", text)
    declared = re.findall(r"^-- Parameters: (.*)$", text, re.MULTILINE)
    names = declared[0].split(", ") if declared else []
    assert all(re.fullmatch(r"[a-z_]+(=\d+)?", name) for name in names)
    assert text.count("?") == len(names)  # the console asks for each question mark, even one in a comment


def test_archive_repeats_lines_and_the_view_gives_each_tick_once_as_fetched_last(archive, athena):
    lines = b"".join(gzip.decompress(body) for body in archive.objects.values()).splitlines()
    assert len(lines) > len(archive.ticks) + 200
    rows = athena.rows(
        'SELECT *, extract(hour FROM fetched_at) AS h FROM stock_ticks ORDER BY symbol, "timestamp"'
    )
    assert list(rows["symbol"]) == list(archive.ticks["symbol"])
    assert times(rows["timestamp"]) == list(archive.ticks["timestamp"])
    assert times(rows["exchange_time"]) == list(archive.ticks["exchange_time"])
    assert list(numbers(rows["price"])) == list(archive.ticks["price"])
    assert list(rows["dt"]) == list(archive.ticks["timestamp"].dt.strftime("%Y-%m-%d"))
    ages = [got - at for got, at in zip(times(rows["fetched_at"]), times(rows["timestamp"]), strict=True)]
    assert set(ages) == {pd.Timedelta("1s")}


def test_latest_quotes_are_each_symbols_last_tick(archive, athena):
    rows = athena.query("latest_quotes", DAYS)
    last = archive.ticks.groupby("symbol").last()
    assert list(rows["symbol"]) == list(last.index)
    assert list(numbers(rows["price"])) == list(last["price"])
    assert times(rows["quoted_at"]) == list(last["timestamp"])
    assert times(rows["exchange_time"]) == list(last["exchange_time"])


def test_top_movers_are_ranked_by_the_size_of_the_move_since_the_close_before(archive, athena):
    rows = athena.query("top_movers", DAYS, "3")
    grouped = archive.ticks.groupby("symbol")
    moves = (grouped["price"].last() / grouped["previous_close"].first() - 1) * 100
    expected = moves.reindex(moves.abs().sort_values(ascending=False).index)[:3]
    assert list(rows["symbol"]) == list(expected.index)
    assert numbers(rows["move_percent"]) == pytest.approx(expected, abs=0.006)


def test_average_volume_is_the_mean_of_the_days_last_volumes(archive, athena):
    rows = athena.query("average_volume", DAYS).set_index("symbol")
    sessions = archive.ticks.groupby(["symbol", "exchange_date"])["volume"].max()
    mean = sessions.groupby(level=0).mean().dropna()
    assert numbers(rows["average_volume"][mean.index]) == pytest.approx(mean, abs=0.51)
    assert rows["trading_days"].to_dict() == {"AAPL": "2", "MSFT": "2", "BHP.AX": "2", "EURUSD=X": "0"}


def test_anomalies_are_those_that_were_alerted(archive, athena):
    rows = athena.query("anomalies", DAYS, "5")
    found = set(rows["symbol"] + rows["exchange_date"] + "#ANOMALY#" + rows["direction"])
    alerts = [alert for alert in archive.alerts if alert["signal"]["S"] == "ANOMALY"]
    assert alerts
    assert found == {alert["symbol"]["S"] + alert["alert_id"]["S"] for alert in alerts}
    beyond = archive.ticks[archive.ticks["change_percent"].abs() > 5]
    most = beyond.groupby(["symbol", "exchange_date"])["change_percent"].max()
    assert numbers(rows["most_percent"]) == pytest.approx(most)
    assert list(numbers(rows["ticks"])) == list(beyond.groupby(["symbol", "exchange_date"]).size())


@pytest.mark.parametrize("symbol", ["AAPL", "BHP.AX", "EURUSD=X"])
@pytest.mark.parametrize(("name", "every"), [("1m", "1min"), ("5m", "5min"), ("1h", "1h"), ("1d", None)])
def test_candles_are_those_of_pandas_and_their_volumes_add_up_to_the_days(
    archive, athena, symbol, name, every
):
    rows = athena.query(f"candles_{name}", f"'{symbol}'", DAYS)
    ticks = of(archive, symbol)
    groups = ticks.groupby(ticks["timestamp"].dt.floor(every) if every else ticks["exchange_date"])
    candles = groups["price"].ohlc()
    assert times(rows["starts_at" if every else "exchange_date"]) == list(candles.index)
    for column in ("open", "high", "low", "close"):
        assert list(numbers(rows[column])) == list(candles[column])
    assert list(numbers(rows["ticks"])) == list(groups.size())
    if symbol == "EURUSD=X":
        assert set(rows["volume"]) == {""}
        return
    before = ticks.groupby("exchange_date")["volume"].shift(fill_value=0)
    traded = (ticks["volume"] - before).groupby(groups.ngroup()).sum()
    assert list(numbers(rows["volume"])) == list(traded)
    assert traded.sum() == ticks.groupby("exchange_date")["volume"].max().sum()


def test_vwap_weighs_prices_by_what_was_traded_between_ticks(archive, athena):
    rows = athena.query("vwap", "'BHP.AX'", DAYS)
    ticks = of(archive, "BHP.AX")
    traded = ticks.groupby("exchange_date")["volume"].diff()
    days = ticks["exchange_date"]
    vwap = (ticks["price"] * traded).groupby(days).sum() / traded.groupby(days).sum()
    assert numbers(rows["vwap"]) == pytest.approx(vwap, abs=6e-5)
    assert list(numbers(rows["volume"])) == list(traded.groupby(days).sum())


def test_volatility_is_that_of_the_five_minute_returns_of_each_day(archive, athena):
    rows = athena.query("volatility", DAYS)
    assert len(rows) == 8
    for symbol, row in rows.groupby("symbol"):
        moves = moves_of(closes_of(of(archive, symbol), "5min"))
        expected = np.sqrt((moves**2).groupby(level=0).sum())
        assert numbers(row["volatility_percent"]) == pytest.approx(expected * 100, abs=6e-5)
        assert numbers(row["yearly_percent"]) == pytest.approx(expected * 100 * 252**0.5, abs=0.006)


@pytest.mark.parametrize("pair", [("AAPL", "MSFT"), ("MSFT", "AAPL")])
def test_correlation_is_that_of_pandas_whichever_symbol_is_named_first(archive, athena, pair):
    rows = athena.query("correlation", *(f"'{symbol}'" for symbol in pair), DAYS)
    one, two = (moves_of(closes_of(of(archive, symbol), "5min")) for symbol in ("AAPL", "MSFT"))
    assert numbers(rows["correlation"]) == pytest.approx([one.corr(two)], abs=6e-5)
    assert list(numbers(rows["returns"])) == [one.count()]


def test_gaps_are_the_steps_within_a_trading_day_that_are_too_long(archive, athena):
    rows = athena.query("gaps", DAYS, "5")
    steps = archive.ticks.groupby(["symbol", "exchange_date"])["timestamp"].diff()
    expected = archive.ticks[steps > pd.Timedelta("5min")]
    assert len(expected) == 8
    assert sorted(zip(rows["symbol"], times(rows["until"]), strict=True)) == sorted(
        zip(expected["symbol"], expected["timestamp"], strict=True)
    )
    assert set(rows["minutes"]) == {"10.5"}


def test_sma_crossovers_are_exactly_the_alerts_that_were_raised(archive, athena):
    rows = athena.query("sma_crossovers", DAYS)
    ids = rows["timestamp"].map(lambda text: pd.Timestamp(text).isoformat(timespec="milliseconds"))
    found = dict(zip(rows["symbol"] + " " + ids + "Z#" + rows["signal"], rows.index, strict=True))
    alerts = {
        f"{alert['symbol']['S']} {alert['alert_id']['S']}": alert
        for alert in archive.alerts
        if alert["signal"]["S"] != "ANOMALY"
    }
    assert len(alerts) > 30
    assert set(found) == set(alerts)
    for key, alert in alerts.items():
        for column in ("price", "change_percent", "sma_short", "sma_long"):
            assert float(rows[column][found[key]]) == pytest.approx(float(alert[column]["N"]), abs=1.01e-4)


def test_backtest_is_a_walk_through_the_alerts(archive, athena):
    rows = athena.query("backtest", DAYS).set_index("symbol")
    assert set(rows.index) == set(archive.ticks["symbol"])
    for symbol, row in rows.iterrows():
        ticks = of(archive, symbol)
        signals = {
            pd.Timestamp(alert["timestamp"]["S"]).tz_localize(None): alert["signal"]["S"]
            for alert in archive.alerts
            if alert["symbol"]["S"] == symbol and alert["signal"]["S"] != "ANOMALY"
        }
        cash, shares, order, trades, worths = 1.0, 0.0, None, 0, []
        for at, price in zip(ticks["timestamp"], ticks["price"], strict=True):
            if order == "BUY" and not shares:
                cash, shares, trades = 0.0, cash / price, trades + (at < ticks["timestamp"].iloc[-1])
            elif order == "SELL" and shares:
                cash, shares = shares * price, 0.0
            order = signals.get(at)
            worths.append(cash + shares * price)
        worth, prices = pd.Series(worths), ticks["price"]
        assert trades > 1
        assert int(row["trades"]) == trades
        expected = {
            "return_percent": worth.iloc[-1] - 1,
            "hold_percent": prices.iloc[-1] / prices.iloc[0] - 1,
            "worst_drawdown_percent": (worth / worth.cummax() - 1).min(),
            "hold_drawdown_percent": (prices / prices.cummax() - 1).min(),
        }
        assert {name: float(row[name]) for name in expected} == pytest.approx(
            {name: value * 100 for name, value in expected.items()}, abs=1e-4
        )


def make_line(minute: float, **fields) -> dict:
    """A line of the archive, of so many minutes after 10:00 UTC of a day this week."""
    at = datetime.combine(datetime.now(UTC).date() - timedelta(days=2), time(10), UTC)
    timestamp = format_timestamp(at + timedelta(minutes=minute))
    times = {"timestamp": timestamp, "fetched_at": timestamp}
    return {"symbol": "AAPL", "previous_close": 100, "change_percent": 0, "source": "yahoo"} | times | fields


SMALL_PRICES = {"SHIB-USD": 1.234e-05, "PEPE-USD": 4.567e-09, "KRWUSD=X": 0.0007, "EURUSD=X": 1.081234}


def test_sma_crossovers_of_small_prices_equal_the_exact_reference(tmp_path):
    series = SMALL_PRICES | {"BTC-USD": 98_765.4321, "BRK-A": 712_345.6789}
    prices = {
        symbol: prices_around(price, 200, rng=random.Random(symbol)) for symbol, price in series.items()
    }
    ticks = [
        make_line(minute, symbol=symbol, price=price)
        for symbol in prices
        for minute, price in enumerate(prices[symbol])
    ]
    rows = query_with_duckdb("sma_crossovers", ticks, tmp_path, DAYS)
    start = pd.Timestamp(make_line(0)["timestamp"]).tz_localize(None)
    places = (pd.to_datetime(rows["timestamp"]) - start) // pd.Timedelta("1min")
    for symbol in prices:
        found = rows[rows["symbol"] == symbol]
        expected = crossings(prices[symbol])
        assert dict(zip(places[found.index], found["signal"], strict=True)) == expected
        assert len(expected) > 10
        for place, row in zip(places[found.index], found.to_dict("records"), strict=True):
            for column, length in (("sma_short", 5), ("sma_long", 20)):
                window = prices[symbol][place + 1 - length : place + 1]
                exact = sum(map(Decimal, map(str, window))) / length
                last_digit = float(Decimal(1).scaleb(min(-4, exact.adjusted() - 6)))
                assert row[column] == pytest.approx(float(exact), rel=0, abs=0.501 * last_digit)


# Values for the parameters that the queries declare; the others have their defaults.
VALUES = {"symbol": "'AAPL'", "other": "'MSFT'", "days": DAYS}


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file.stem not in ("stock_ticks", "export_parquet")],
    ids=lambda file: file.stem,
)
def test_query_that_meets_an_unknown_time_zone_answers_and_counts_in_utc(file, tmp_path):
    ticks = [
        make_line(minute, symbol=symbol, price=100 + minute % 7)
        for symbol in ("AAPL", "MSFT")
        for minute in range(60)
    ]
    ticks[59]["exchange_timezone"] = "Mars/Phobos"
    declared = re.search(r"^-- Parameters: (.*)$", file.read_text(), re.MULTILINE)
    names = [name.partition("=") for name in declared[1].split(", ")]
    rows = query_with_duckdb(
        file.stem, ticks, tmp_path, *(VALUES.get(name, default) for name, _, default in names)
    )
    if file.stem == "latest_quotes":
        aapl = rows[rows["symbol"] == "AAPL"].iloc[0]
        assert aapl["exchange_time"] == aapl["quoted_at"]


@pytest.mark.parametrize("price", SMALL_PRICES.values())
def test_backtest_of_small_prices_trades_at_the_crossovers(tmp_path, price):
    prices = prices_around(price, 200, rng=random.Random(0))
    ticks = [make_line(minute, price=price) for minute, price in enumerate(prices)]
    rows = query_with_duckdb("backtest", ticks, tmp_path, DAYS)
    buys = [place for place, signal in crossings(prices).items() if signal == "BUY"]
    assert list(rows["trades"]) == [len([place for place in buys if place < 198])]


def test_vwap_of_small_prices_keeps_seven_digits(tmp_path):
    ticks = [make_line(minute, price=0.0007123456, volume=minute) for minute in range(9)]
    assert list(query_with_duckdb("vwap", ticks, tmp_path, "'AAPL'", DAYS)["vwap"]) == [0.0007123456]


def test_vwap_weighs_replayed_bars_with_their_own_volumes(tmp_path):
    bars = [{"price": 10, "volume": 300}, {"price": 20, "volume": 100}]
    ticks = [make_line(minute, replayed_from="2012-03-01", **bar) for minute, bar in enumerate(bars)]
    rows = query_with_duckdb("vwap", ticks, tmp_path, "'AAPL'", DAYS)
    assert rows[["vwap", "volume"]].to_numpy().tolist() == [[12.5, 400]]


BARS = [
    {"open": 10, "high": 14, "low": 9, "price": 12},
    {"open": 11, "high": 13, "low": 8, "price": 10},
    {"open": None, "high": None, "low": None, "price": 15},
]


@pytest.mark.parametrize(
    ("kind", "candle", "volume"),
    [
        ({"history": True}, (10, 15, 8, 15), 120),
        ({"source": "replay", "replayed_from": "2012-03-01"}, (10, 15, 8, 15), 330),
        ({"history": False}, (12, 15, 10, 15), 120),
        ({}, (12, 15, 10, 15), 120),
    ],
    ids=["history", "replayed", "history false", "live"],
)
@pytest.mark.parametrize("size", ["5m", "1h", "1d"])
def test_candles_of_history_and_replayed_ticks_have_the_bars_own_open_high_and_low(
    tmp_path, size, kind, candle, volume
):
    ticks = [make_line(minute, **bar, **kind, volume=100 + 10 * minute) for minute, bar in enumerate(BARS)]
    rows = query_with_duckdb(f"candles_{size}", ticks, tmp_path, "'AAPL'", DAYS)
    assert [tuple(row) for row in rows[["open", "high", "low", "close"]].to_numpy()] == [candle]
    assert list(rows["volume"]) == [volume]


def test_candles_of_a_minute_begin_with_its_bar_and_end_with_its_live_ticks(tmp_path):
    ticks = [make_line(0.1, **BARS[0], history=True), make_line(0.5, **BARS[1] | {"price": 20, "high": 30})]
    rows = query_with_duckdb("candles_1m", ticks, tmp_path, "'AAPL'", DAYS)
    assert [tuple(row) for row in rows[["open", "high", "low", "close"]].to_numpy()] == [(10, 20, 9, 20)]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT * FROM stock_data_table LIMIT 10", 10),
        (
            "SELECT symbol, price, previous_close, (price - previous_close) AS price_change"
            " FROM stock_data_table ORDER BY price_change DESC LIMIT 5",
            5,
        ),
        ("SELECT symbol, AVG(volume) AS avg_volume FROM stock_data_table GROUP BY symbol", 4),
        (
            "SELECT symbol, price, previous_close, ROUND(((price - previous_close) / previous_close) * 100,"
            " 2) AS change_percent FROM stock_data_table"
            " WHERE ABS(((price - previous_close) / previous_close) * 100) > 5",
            200,
        ),
    ],
)
def test_plain_queries_on_the_table_work(athena, sql, rows):
    assert len(athena.rows(sql)) >= rows


def test_export_in_files_by_symbol_holds_the_same_ticks_and_asks_for_no_order(archive, tmp_path):
    export = sqlglot.parse_one((ROOT / "athena/export_parquet.sql").read_text(), read="athena")
    days = sorted(archive.ticks["timestamp"].dt.strftime("%Y-%m-%d").unique())
    assert "bucketed_by = ARRAY['symbol']" in (ROOT / "athena/export_parquet.sql").read_text()
    # https://docs.aws.amazon.com/athena/latest/ug/ctas-considerations-limitations.html
    assert export.expression.args.get("order") is None  # Athena would ignore it
    select = translate(export.expression.sql(dialect="athena"), [f"'{days[0]}'", f"'{days[1]}'"])
    for key, body in archive.objects.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    source = (
        f"read_json_auto('{tmp_path}/raw-data/*/*.gz', union_by_name = true, hive_types = {{'dt': VARCHAR}})"
    )
    select = select.replace("FROM stock_data_table ", f"FROM {source} ")
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{tmp_path}/ticks.parquet' (FORMAT parquet, CODEC zstd)")
        rows = connection.execute(f"SELECT symbol, timestamp, price FROM '{tmp_path}/ticks.parquet'").df()
    rows = rows.sort_values(["symbol", "timestamp"], ignore_index=True)
    expected = archive.ticks[archive.ticks["timestamp"].dt.strftime("%Y-%m-%d").isin(days[:2])]
    assert 0 < len(expected) < len(archive.ticks)
    assert list(rows["symbol"]) == list(expected["symbol"])
    assert list(rows["timestamp"]) == list(expected["timestamp"])
    assert list(rows["price"]) == list(expected["price"])


@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Etc/GMT-14"])  # never the same date
def test_current_date_is_that_of_utc_wherever_the_emulator_runs(zone):
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{zone}'")
        sql = translate("SELECT current_date AS today", [])
        before = datetime.now(UTC).date()
        assert before <= connection.execute(sql).fetchall()[0][0] <= datetime.now(UTC).date()


def test_condition_on_the_day_gets_past_the_view_to_the_folders(archive, tmp_path):
    body = next(iter(archive.objects.values()))
    days = pd.date_range(end="2026-11-20", periods=365).strftime("%Y-%m-%d")
    for day in days:
        (tmp_path / f"dt={day}").mkdir()
        (tmp_path / f"dt={day}" / "a.json.gz").write_bytes(body)
    sql = translate("SELECT count(*) FROM stock_ticks WHERE dt = ?", [f"'{days[200]}'"])
    source = f"read_json_auto('{tmp_path}/*/*.gz', maximum_sample_files = 1, hive_types = {{'dt': VARCHAR}})"
    with duckdb.connect() as connection:
        sql = sql.replace("FROM stock_data_table ", f"FROM {source} ")
        plan = connection.execute(f"EXPLAIN ANALYZE {sql}").fetchall()[0][1]
    assert "Scanning Files: 1/365" in plan


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_query_reads_days_that_are_named(file):
    statement = sqlglot.parse_one(file.read_text(), read="athena")
    reading = [table for table in statement.find_all(exp.Table) if table.name == "stock_ticks"]
    for select in (table.parent_select for table in reading if table.parent_select):
        assert "dt" in {column.name for column in select.args["where"].find_all(exp.Column)}
