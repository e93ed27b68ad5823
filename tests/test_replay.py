from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import time_machine

from sources.replay import ReplaySource

SAMPLE_DATA = Path(__file__).parent.parent / "sample_data"
SAMPLE = SAMPLE_DATA / "four_stocks.csv"
HEADER = "symbol,date,open,high,low,close,volume\n"
ROW = "AAPL,2012-03-01,548.17,548.21,538.77,544.47,24402500\n"
NEXT_ROW = "AAPL,2012-03-02,544.24,546.80,542.52,545.18,15418300\n"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def write(tmp_path):
    def write(text, name="bars.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def drain(replay):
    """Every fetch until the replay is exhausted."""
    fetches = []
    while not replay.exhausted:
        fetches.append(replay.fetch(replay.symbols))
    return fetches


def test_fetch_gives_the_bar_as_a_quote_of_now(write):
    replay = ReplaySource(write(HEADER + ROW + NEXT_ROW), symbols=None)
    with time_machine.travel(NOON, tick=False):
        first = replay.fetch(["AAPL"])
        second = replay.fetch(["AAPL"])

    assert first == [
        {
            "symbol": "AAPL",
            "open": 548.17,
            "high": 548.21,
            "low": 538.77,
            "price": 544.47,
            "previous_close": 548.17,  # its own open stands in
            "volume": 24402500,
            "timestamp": "2026-11-20T12:00:00.000Z",
            "replayed_from": "2012-03-01",
        }
    ]
    assert second[0]["previous_close"] == 544.47
    assert second[0]["timestamp"] == "2026-11-20T12:00:00.001Z"
    assert second[0]["replayed_from"] == "2012-03-02"


def test_exhausted_only_after_the_last_bar(write):
    replay = ReplaySource(write(HEADER + ROW + NEXT_ROW), symbols=None)
    exhausted = []
    for _ in range(3):
        exhausted.append(replay.exhausted)
        replay.fetch(["AAPL"])

    assert exhausted == [False, False, True]
    assert replay.fetch(["AAPL"]) == []


def test_fetch_symbols_go_in_step_by_date(write):
    replay = ReplaySource(
        write(
            HEADER
            + "AAPL,2012-03-01,1,1,1,1,1\nAAPL,2012-03-02,1,1,1,2,1\nAAPL,2012-03-05,1,1,1,3,1\n"
            + "IBM,2012-03-02,1,1,1,20,1\nIBM,2012-03-05,1,1,1,30,1\n"
        ),
        symbols=None,
    )

    assert replay.symbols == ["AAPL", "IBM"]
    assert [
        [(quote["symbol"], quote["price"], quote["previous_close"]) for quote in quotes]
        for quotes in drain(replay)
    ] == [
        [("AAPL", 1.0, 1.0)],
        [("AAPL", 2.0, 1.0), ("IBM", 20.0, 1.0)],
        [("AAPL", 3.0, 2.0), ("IBM", 30.0, 20.0)],
    ]


def test_symbols_given_are_the_only_ones_replayed():
    replay = ReplaySource(SAMPLE, symbols=["MSFT", "AAPL"])

    assert replay.symbols == ["MSFT", "AAPL"]
    assert {quote["symbol"] for quotes in drain(replay) for quote in quotes} == {"AAPL", "MSFT"}


def test_symbols_not_in_the_file_are_named():
    with pytest.raises(ValueError, match=r"has no bars of TSLA, FOO, only of AAPL, GOOG, IBM, MSFT$"):
        ReplaySource(SAMPLE, symbols=["AAPL", "TSLA", "FOO"])


def test_history_is_empty():
    assert ReplaySource(SAMPLE, symbols=None).history(["AAPL"], "60") == []


def test_timestamp_column_spaces_upper_and_lower_case_byte_order_mark_and_blank_lines_are_taken(write):
    path = write(
        "\ufeffTimestamp, Symbol ,Open,High,Low,Close,Volume,Note\n"
        "\n2026-11-20T09:30:00-05:00, aapl ,,,,10.5,,x\n   \n2026-11-20T14:31:00Z,AAPL,10,11,9,10,5,\n\n"
    )
    replay = ReplaySource(path, symbols=None)
    first, second = (quotes[0] for quotes in drain(replay))

    assert first["replayed_from"] == "2026-11-20T09:30:00-05:00"
    assert [first[name] for name in ("open", "high", "low", "volume")] == [None] * 4
    assert first["previous_close"] == first["price"] == 10.5
    assert second["previous_close"] == 10.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no bars; expected a header line"),
        (HEADER, "has no bars; expected a header line"),
        (
            "symbol,date,open,high,low,close\n" + ROW,
            "line 1: the header lacks volume; expected the columns symbol",
        ),
        ("symbol,open,high,low,close,volume\n", "line 1: the header lacks date or timestamp; expected"),
        (ROW, "line 1: the header lacks symbol, date or timestamp, open, high, low, close, volume; expected"),
        (
            HEADER + NEXT_ROW + "\n" + ROW,
            "line 4: 2012-03-01 is not later than the AAPL bar before it; expected",
        ),
        (HEADER + ROW + ROW, "line 3: 2012-03-01 is not later than the AAPL bar before it; expected"),
        (HEADER + ROW + "AAPL,2012-03-02\n", "line 3: has 2 cells; expected 7: symbol, date, open"),
        (HEADER + ",2012-03-01,1,1,1,1,1\n", "line 2: symbol is empty; expected one such as AAPL"),
        (HEADER + "AAPL,03/01/2012,1,1,1,1,1\n", "line 2: date is '03/01/2012'; expected ISO 8601, such as"),
        (HEADER + "AAPL,2012-03-01,1,1,1,,1\n", "line 2: close is empty; expected a price"),
        (HEADER + "AAPL,2012-03-01,1,1,1,$5,1\n", "line 2: close is '$5'; expected a price above 0"),
        (HEADER + "AAPL,2012-03-01,0,1,1,1,1\n", "line 2: open is '0'; expected a price above 0"),
        (HEADER + "AAPL,2012-03-01,1,nan,1,1,1\n", "line 2: high is 'nan'; expected a price above 0"),
        (HEADER + "AAPL,2012-03-01,1,1,inf,1,1\n", "line 2: low is 'inf'; expected a price above 0"),
        (HEADER + "AAPL,2012-03-01,1,1,1,1,many\n", "line 2: volume is 'many'; expected a number of shares"),
        (HEADER + "AAPL,2012-03-01,1,1,1,1,-5\n", "line 2: volume is '-5'; expected a number of shares"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not a CSV file in UTF-8; expected the columns symbol"),
        (HEADER + '"' + "x" * 200_000, "is not a CSV file in UTF-8; expected the columns symbol"),
    ],
)
def test_bad_file_is_refused_with_one_line_that_names_file_line_and_what_is_expected(write, text, message):
    path = write(text)

    with pytest.raises(ValueError) as refusal:  # noqa: PT011 (the text is compared below)
        ReplaySource(path, symbols=None)

    assert str(refusal.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refusal.value)


def test_missing_file_and_folder_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.csv: No such file or directory; expected a CSV file with"):
        ReplaySource(tmp_path / "nowhere.csv", symbols=None)
    with pytest.raises(ValueError, match=r"Is a directory; expected a CSV file with"):
        ReplaySource(tmp_path, symbols=None)


# --- The sample data ------------------------------------------------------------------------------


def test_sample_data_is_sound():
    bars = pd.read_csv(SAMPLE, parse_dates=["date"])

    assert list(bars.columns) == ["symbol", "date", "open", "high", "low", "close", "volume"]
    assert bars.groupby("symbol").size().to_dict() == {"AAPL": 251, "GOOG": 251, "IBM": 251, "MSFT": 251}
    assert not bars.isna().any(axis=None)
    assert not bars.duplicated(["symbol", "date"]).any()
    assert bars["date"].min() == pd.Timestamp("2012-03-01")
    assert bars["date"].max() == pd.Timestamp("2013-03-01")
    assert (bars["date"].dt.day_of_week < 5).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["volume"] > 0).all()
    # Unadjusted prices of a year without a split move, but never by a half.
    assert (bars.groupby("symbol")["close"].pct_change().abs().dropna() < 0.13).all()


def test_sample_data_of_aapl_is_that_of_the_four_stocks():
    header, *lines = SAMPLE.read_text().splitlines()

    assert (SAMPLE_DATA / "AAPL.csv").read_text().splitlines() == [
        header,
        *(line for line in lines if line.startswith("AAPL,")),
    ]


def test_sample_data_replays_every_bar_with_the_close_before_it():
    bars = pd.read_csv(SAMPLE)
    quotes = [quote for quotes in drain(ReplaySource(SAMPLE, symbols=None)) for quote in quotes]
    replayed = pd.DataFrame(quotes)

    for symbol, expected in bars.groupby("symbol"):
        actual = replayed[replayed["symbol"] == symbol].reset_index(drop=True)
        expected = expected.reset_index(drop=True)
        assert actual["replayed_from"].tolist() == expected["date"].tolist()
        assert actual["price"].tolist() == expected["close"].tolist()
        assert actual["volume"].tolist() == expected["volume"].tolist()
        assert actual["previous_close"].tolist() == [expected["open"][0], *expected["close"][:-1]]
        assert actual["timestamp"].is_monotonic_increasing
        assert actual["timestamp"].is_unique


def test_sample_data_has_crossovers_of_both_kinds_and_anomalies():
    close = pd.read_csv(SAMPLE_DATA / "AAPL.csv")["close"]
    difference = (close.rolling(5).mean() - close.rolling(20).mean()).dropna()
    side = difference.gt(0).astype(int)
    crossings = side.diff()

    assert (difference.abs() > 1e-6).all()  # no touch of zero: every change of side is a crossover
    assert (crossings == 1).sum() == 6
    assert (crossings == -1).sum() == 7
    change = close.pct_change() * 100
    assert (change > 5).any()
    assert (change < -5).any()
