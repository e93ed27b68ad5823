"""The producer's parts, offline: ticks, symbols and settings, spool and state, delivery, the polling grid."""

from __future__ import annotations

import errno
import json
import math
import os
import queue
import random
import stat
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stream_stock_data as producer
from helpers.mocked_aws import quick_moto
from stream_stock_data import (
    CannotRun,
    Checkpoint,
    Heartbeat,
    InvalidQuote,
    KinesisStream,
    Producer,
    Spool,
    Undelivered,
    build_tick,
    deliver,
    format_timestamp,
    next_call,
    parse_symbols,
    parse_timestamp,
    write_durably,
)

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)

QUOTE = {
    "symbol": "AAPL",
    "open": 269.9,
    "high": 272.4,
    "low": 268.05,
    "price": 271.49,
    "previous_close": 268.23,
    "volume": 48_123_456,
    "timestamp": "2026-11-20T15:58:22.000Z",
}


def tick_of(**changes: object) -> dict:
    return build_tick(QUOTE | changes, source="yahoo", fetched_at=NOW)


def ticks_of(symbol: str, count: int, *, first: int = 0, **changes: object) -> list[dict]:
    """Ticks of one symbol, a second apart."""
    return [
        tick_of(symbol=symbol, timestamp=format_timestamp(NOW - timedelta(hours=2, seconds=-n)), **changes)
        for n in range(first, first + count)
    ]


class VirtualClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.1
        self.stopping = False

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += max(0, seconds)


class FakeStream:
    """A stream in memory; `fails(tick)` tells which entries it throttles."""

    def __init__(self, fails=lambda tick: False) -> None:
        self.fails = fails
        self.calls: list[list[dict]] = []
        self.ticks: list[dict] = []

    def put(self, ticks: list[dict]) -> list[dict]:
        self.calls.append(ticks)
        answers = []
        for tick in ticks:
            if self.fails(tick):
                answers.append(
                    {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
                )
            else:
                self.ticks.append(tick)
                answers.append({"ShardId": "shardId-0", "SequenceNumber": f"{len(self.ticks):020}"})
        return answers


def send(stream, ticks: list[dict], *, deadline: float = math.inf, clock: VirtualClock | None = None):
    return deliver(
        stream, ticks, clock=clock or VirtualClock(), deadline=deadline, on_sent=lambda tick, answer: None
    )


class ListedSource:
    """A source that gives the listed fetches one by one, then nothing."""

    name = "yahoo"
    exhausted = False

    def __init__(self, fetches: list[list[dict]], past: list[dict] = ()) -> None:
        self.fetches = iter(fetches)
        self.past = list(past)

    def fetch(self, symbols: list[str]) -> list[dict]:
        return next(self.fetches, [])

    def history(self, symbols: list[str], backfill: str) -> list[dict]:
        return [quote for quote in self.past if quote["symbol"] in symbols]


def make_producer(directory: Path, stream, source, symbols=("AAPL",), **changes: object) -> Producer:
    """A producer over a spool and state in `directory`."""
    arguments = {
        "delay": 30,
        "spool": Spool(directory),
        "checkpoint": Checkpoint(directory / "state.json", stream_created=None),
        "stream": stream,
        "clock": VirtualClock(),
        "set_status": lambda text: None,
        "heartbeat": Heartbeat(""),
    }
    return Producer(source, list(symbols), **(arguments | changes))


def at(second: int, **changes: object) -> dict:
    """A quote of AAPL of 15:00 UTC and so many seconds."""
    moment = datetime(2026, 11, 20, 15, 0, tzinfo=UTC) + timedelta(seconds=second)
    return QUOTE | {"timestamp": format_timestamp(moment)} | changes


# --- Ticks ---


def test_build_tick_valid_quote_gives_every_field_of_the_contract():
    assert tick_of(currency="USD", exchange_timezone="America/New_York", market_state=None) == {
        "symbol": "AAPL",
        "open": 269.9,
        "high": 272.4,
        "low": 268.05,
        "price": 271.49,
        "previous_close": 268.23,
        "change": 3.26,
        "change_percent": 1.2154,
        "volume": 48_123_456,
        "timestamp": "2026-11-20T15:58:22.000Z",
        "fetched_at": "2026-11-20T16:00:00.000Z",
        "source": "yahoo",
        "currency": "USD",
        "exchange_timezone": "America/New_York",
    }


@pytest.mark.parametrize(
    ("price", "previous_close", "expected"),
    [
        # price, previous close, change, change in percent
        (526.1234567, 500.00004, (526.1235, 500.0, 26.1234, 5.2247)),
        (1.083449999, 1.0812300001, (1.08345, 1.08123, 0.00222, 0.2053)),  # EURUSD=X
        (0.0007213123, 0.0007232654, (0.0007213123, 0.0007232654, -1.9531e-06, -0.27)),  # KRWUSD=X
        (1.23400004e-05, 1.21e-05, (1.234e-05, 1.21e-05, 2.4e-07, 1.9835)),  # SHIB-USD
        (99.99999, 100.00001, (99.99999, 100.0, -2e-05, -0.0)),  # the finer one's decimals
        (100.00001, 99.99999, (100.0, 99.99999, 2e-05, 0.0)),
        (1e-9, 1e-9, (1e-9, 1e-9, 0.0, 0.0)),
        (300, 240, (300.0, 240.0, 60.0, 25.0)),
    ],
)
def test_build_tick_prices_keep_four_decimals_or_seven_digits_whichever_is_finer(
    price, previous_close, expected
):
    tick = tick_of(price=price, previous_close=previous_close, open=price)
    assert tuple(tick[name] for name in ("price", "previous_close", "change", "change_percent")) == expected
    assert tick["open"] == tick["price"]
    assert {type(tick[name]) for name in ("open", "price", "previous_close", "change")} == {float}


@given(st.floats(1e-9, 1e7), st.floats(0.5, 2))
def test_build_tick_change_in_percent_is_that_of_the_unrounded_prices(previous_close, ratio):
    price = previous_close * ratio
    tick = tick_of(price=price, previous_close=previous_close)
    assert tick["change_percent"] == pytest.approx((price / previous_close - 1) * 100, abs=5.001e-5)
    assert tick["price"] == pytest.approx(price, rel=5.1e-7)


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -1, "12", True])
def test_build_tick_unknown_optional_number_is_null(unknown):
    tick = tick_of(open=unknown, high=unknown, low=unknown, volume=unknown)
    assert [tick[name] for name in ("open", "high", "low", "volume")] == [None] * 4


def test_build_tick_zero_open_is_unknown_but_zero_volume_is_a_volume():
    tick = tick_of(open=0, volume=0)
    assert (tick["open"], tick["volume"]) == (None, 0)


@pytest.mark.parametrize("field", ["price", "previous_close"])
@pytest.mark.parametrize(
    "value", [None, 0, -2.5, math.nan, math.inf, "270", pytest.param(10**400, id="huge"), False]
)
def test_build_tick_impossible_price_is_refused_by_name(field, value):
    with pytest.raises(InvalidQuote, match=r"AAPL: .* is not a positive number"):
        tick_of(**{field: value})


def test_build_tick_tiny_previous_close_is_refused():
    with pytest.raises(InvalidQuote, match=r"AAPL: previous close 0\.0001 is less than a thousandth"):
        tick_of(previous_close=0.0001)


def test_build_tick_previous_close_against_yahoos_own_change_is_refused():
    # ZRC-USD: a previous close three times too small, while Yahoo's own change is none.
    with pytest.raises(InvalidQuote, match=r"AAPL: previous close 87\.5 contradicts Yahoo's own change"):
        tick_of(price=271.49, previous_close=87.5, change_percent=0.0)


@pytest.mark.parametrize(
    ("previous_close", "stated"),
    [(181.0, 0.0), (135.0, 101.1), (135.0, 96.2), (135.0, None), (135.0, "0"), (600.0, -54.0)],
)
def test_build_tick_large_change_that_yahoo_states_too_or_small_one_is_taken(previous_close, stated):
    tick = tick_of(price=271.49, previous_close=previous_close, change_percent=stated)
    assert tick["change_percent"] == pytest.approx((271.49 / previous_close - 1) * 100, abs=1e-4)


@pytest.mark.parametrize(
    "odd", [None, [], {}, ["REGULAR"], 15.5, -1, True, "\x1b[2J", "x" * 65, 2**31, math.nan]
)
def test_build_tick_optional_field_of_another_type_costs_the_field_alone(odd):
    texts = ("currency", "exchange_timezone", "market_state", "replayed_from")
    changes = dict.fromkeys(texts, odd) | {"delay_minutes": odd, "volume": odd, "change_percent": odd}
    tick = tick_of(**changes)
    assert not tick.keys() & {*texts, "delay_minutes"}
    assert tick["price"] == 271.49


@pytest.mark.parametrize("timestamp", [None, "", 1763654302, "2026-11-20", "2026-13-20T15:58:22.000Z"])
def test_build_tick_without_a_time_is_refused(timestamp):
    with pytest.raises(InvalidQuote, match="AAPL: the time of the quote is not valid"):
        tick_of(timestamp=timestamp)


def test_build_tick_quote_of_the_future_is_refused():
    assert tick_of(timestamp="2026-11-20T16:04:59.000Z")["timestamp"] == "2026-11-20T16:04:59.000Z"
    with pytest.raises(InvalidQuote, match="ahead of this computer's clock"):
        tick_of(timestamp="2026-11-20T16:05:01.000Z")


@given(
    price=st.floats(allow_nan=True, allow_infinity=True),
    previous_close=st.floats(allow_nan=True, allow_infinity=True),
)
def test_build_tick_any_floats_give_a_finite_tick_or_a_refusal(price, previous_close):
    try:
        tick = tick_of(price=price, previous_close=previous_close)
    except InvalidQuote:
        return
    json.dumps(tick, allow_nan=False)
    assert tick["price"] > 0
    assert tick["previous_close"] > 0
    assert tick["change"] == pytest.approx(tick["price"] - tick["previous_close"], rel=1e-6, abs=1e-4)
    assert tick["change_percent"] == pytest.approx((price / previous_close - 1) * 100, abs=1e-4)


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_format_timestamp_parses_back_to_the_millisecond(moment):
    text = format_timestamp(moment)
    assert len(text) == len("2026-11-22T15:58:22.123Z")
    assert parse_timestamp(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_describe_tells_the_record_as_in_the_tutorial():
    answer = {"ShardId": "shardId-000000000000", "SequenceNumber": "49668899" + "0" * 40 + "12345678"}
    assert producer.describe(tick_of(currency="USD"), answer) == (
        "Sent AAPL 271.49 USD +3.26 (+1.22%) volume 48,123,456 at 2026-11-20T15:58:22.000Z "
        "-> shardId-000000000000 …000012345678"
    )
    assert producer.describe(
        tick_of(volume=None, price=0.01234, previous_close=0.0125, delay_minutes=15), {}
    ) == ("Would send AAPL 0.01234 -0.00016 (-1.28%) at 2026-11-20T15:58:22.000Z (15 min delayed)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,234.50"),
        (27.12345, "27.12345"),
        (0.0007213, "0.0007213"),
        (1.234e-05, "0.00001234"),
        (0.0, "0.00"),
    ],
)
def test_amount_shows_the_decimals_that_a_price_has(value, text):
    assert producer.amount(value) == text
    assert producer.amount(-value, "+") in (f"-{text}", f"+{text}" if not value else "")


# --- Symbols ---


def test_parse_symbols_accepts_what_yahoo_writes():
    text = "BRK-B,^GSPC EURUSD=X\nBTC-USD # bitcoin\n\n# none here\n005930.KS\taapl, AAPL,M&M.NS"
    expected = ["BRK-B", "^GSPC", "EURUSD=X", "BTC-USD", "005930.KS", "AAPL", "M&M.NS"]
    assert parse_symbols(text, origin="x") == expected


@pytest.mark.parametrize("word", ["A$APL", "-AAPL", "ÄPL", "A" * 33, "<script>"])
def test_parse_symbols_impossible_symbol_is_named_with_its_line(word):
    with pytest.raises(CannotRun, match=r"symbols\.txt, line 3: .* is not a symbol"):
        parse_symbols(f"AAPL\n\n{word}", origin="symbols.txt")


def test_parse_symbols_ten_thousand_lines_keep_order_and_drop_repeats():
    lines = [f"s{n % 4000:04}" if n % 3 else "# comment" for n in range(10_000)]
    symbols = parse_symbols("\n".join(lines), origin="x")
    assert symbols == list(dict.fromkeys(line.upper() for line in lines if line[0] == "s"))


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", " , ,"])
def test_parse_symbols_without_any_is_refused(text):
    with pytest.raises(CannotRun, match=r"symbols\.txt: no symbols"):
        parse_symbols(text, origin="symbols.txt")


@given(st.lists(st.integers(), max_size=700), st.integers(1, 99))
def test_chunks_keep_all_items_in_the_fewest_lists(items, size):
    lists = producer.split_evenly(items, size)
    assert [item for part in lists for item in part] == items
    assert len(lists) == math.ceil(len(items) / size)
    assert all(0 < len(part) <= size for part in lists)


# --- Delivery ---


def test_next_call_takes_one_live_tick_a_symbol():
    ticks = ticks_of("AAPL", 3) + ticks_of("MSFT", 2)
    assert next_call(ticks) == [ticks[0], ticks[3]]


def test_next_call_history_goes_together_but_a_live_tick_waits_behind_it():
    history, live = ticks_of("AAPL", 3, history=True), ticks_of("AAPL", 1, first=3)
    assert next_call(history + live) == history
    assert next_call(live + history) == live


def test_next_call_takes_at_most_500_records():
    ticks = [tick_of(symbol=f"S{n}") for n in range(501)]
    assert next_call(ticks) == ticks[:500]


def test_next_call_takes_at_most_five_mebibytes():
    ticks = [tick_of(symbol=f"S{n}") | {"currency": "x" * 1_000_000} for n in range(7)]
    assert next_call(ticks) == ticks[:5]


def test_deliver_throttled_entries_alone_are_sent_again():
    refused = {"MSFT": 2}

    def fails(tick: dict) -> bool:
        refused[tick["symbol"]] = refused.get(tick["symbol"], 0) - 1
        return refused[tick["symbol"]] >= 0

    stream = FakeStream(fails)
    ticks = [tick_of(symbol=symbol) for symbol in ("AAPL", "MSFT", "GOOG")]
    assert send(stream, ticks) == ([], "")
    assert [[tick["symbol"] for tick in call] for call in stream.calls] == [
        ["AAPL", "MSFT", "GOOG"],
        ["MSFT"],
        ["MSFT"],
    ]


@given(st.lists(st.sampled_from("ABCDE"), max_size=60), st.integers(0, 2**32))
def test_deliver_under_throttling_keeps_each_symbols_order(symbols, seed):
    dice = random.Random(seed)
    stream = FakeStream(lambda tick: dice.random() < 0.3)
    ticks = [
        tick_of(symbol=symbol, timestamp=f"2026-11-20T15:00:{n:02}.000Z") for n, symbol in enumerate(symbols)
    ]
    rest, _ = send(stream, ticks)
    for symbol in set(symbols):
        of_symbol = [tick for tick in ticks if tick["symbol"] == symbol]
        arrived = [tick for tick in stream.ticks if tick["symbol"] == symbol]
        assert arrived + [tick for tick in rest if tick["symbol"] == symbol] == of_symbol


def test_deliver_gives_up_for_now_when_nothing_gets_through():
    stream, ticks = FakeStream(lambda tick: True), ticks_of("AAPL", 3)
    rest, reason = send(stream, ticks)
    assert rest == ticks
    assert reason == "ProvisionedThroughputExceededException: slow down"
    assert len(stream.calls) == producer.MAX_FAILED_CALLS


def test_deliver_stops_at_the_deadline_with_the_rest_in_order():
    clock, ticks = VirtualClock(), ticks_of("AAPL", 3)
    rest, _ = send(FakeStream(), ticks, deadline=clock.monotonic(), clock=clock)
    assert rest == ticks[1:]


def test_deliver_outage_returns_all_with_the_reason():
    class Away:
        def put(self, ticks):
            raise Undelivered("away")

    ticks = ticks_of("AAPL", 2)
    assert send(Away(), ticks) == (ticks, "away")


# --- Kinesis, emulated ---


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with quick_moto():
        client = boto3.client("kinesis", region_name="us-east-1")
        client.create_stream(StreamName="ticks", ShardCount=2)
        yield client


def records_of(client) -> list[tuple[str, dict]]:
    """Partition key and tick of each record on the stream."""
    records = []
    for shard in client.list_shards(StreamName="ticks")["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName="ticks", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records += client.get_records(ShardIterator=iterator)["Records"]
    return [(record["PartitionKey"], json.loads(record["Data"])) for record in records]


@pytest.mark.parametrize("count", [1, 500])
def test_kinesis_stream_put_stores_each_tick_under_its_symbol(kinesis, count):
    ticks = [tick_of(symbol=f"S{n}") for n in range(count)]
    answers = KinesisStream(lambda: kinesis, "ticks").put(ticks)
    assert all(answer["SequenceNumber"] for answer in answers)
    stored = records_of(kinesis)
    assert sorted(key for key, _ in stored) == sorted(tick["symbol"] for tick in ticks)
    assert all(tick in ticks and key == tick["symbol"] for key, tick in stored)


def test_kinesis_stream_that_is_missing_cannot_run_and_says_what_to_do(kinesis):
    with pytest.raises(CannotRun, match=r"no such stream nowhere in us-east-1: run scripts/setup\.sh"):
        KinesisStream(lambda: kinesis, "nowhere").creation_time()


def test_kinesis_stream_deleted_meanwhile_is_undelivered(kinesis):
    stream = KinesisStream(lambda: kinesis, "ticks")
    kinesis.delete_stream(StreamName="ticks")
    with pytest.raises(Undelivered, match="no such stream"):
        stream.put([tick_of()])


# --- Spool and state ---


def test_spool_keeps_ticks_in_order_over_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(producer, "SEGMENT_BYTES", 1000)
    spool, ticks = Spool(tmp_path), ticks_of("AAPL", 10)
    for tick in ticks:
        spool.append([tick])
    assert len(spool.segments()) > 1
    assert [tick for segment in spool.segments() for tick in spool.read(segment)] == ticks


def test_spool_torn_last_line_is_left_out_and_later_ticks_are_whole(tmp_path, caplog):
    ticks = ticks_of("AAPL", 3)
    with_torn_line = b"".join(producer.encode(tick) + b"\n" for tick in ticks[:2]) + b'{"symbol":"AA'
    (tmp_path / "spool-00000007.jsonl").write_bytes(with_torn_line)
    spool = Spool(tmp_path)
    spool.append([ticks[2]])
    assert [tick for segment in spool.segments() for tick in spool.read(segment)] == ticks
    assert "incomplete" in caplog.text


def test_spool_file_with_nothing_but_a_torn_line_goes_away(tmp_path):
    (tmp_path / "spool-00000001.jsonl").write_bytes(b'{"symbol":"AA')
    make_producer(tmp_path, FakeStream(), ListedSource([[at(1)]])).run(1)
    assert list(tmp_path.glob("spool-*")) == []


def test_spool_damaged_line_is_named_and_not_lost(tmp_path):
    damaged = tmp_path / "spool-00000001.jsonl"
    damaged.write_bytes(b"{}\nnot JSON\n{}\n")
    spool = Spool(tmp_path)
    with pytest.raises(CannotRun, match=r"spool-00000001\.jsonl is damaged"):
        spool.read(damaged)
    assert damaged.exists()


def test_write_durably_new_name_reaches_the_disk_after_the_data(tmp_path, monkeypatch):
    synced: list[tuple[str, list[str]]] = []

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, sorted(path.name for path in tmp_path.iterdir())))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(tmp_path / "segment", b"1", append=True)
    assert synced == [("file", ["segment"]), ("folder", ["segment"])]
    synced.clear()
    write_durably(tmp_path / "segment", b"2", append=True)
    assert synced == [("file", ["segment"])]
    synced.clear()
    write_durably(tmp_path / "segment", b"3")
    assert synced == [("file", ["segment", "segment.new"]), ("folder", ["segment"])]
    assert (tmp_path / "segment").read_bytes() == b"3"


def test_spool_in_a_new_folder_makes_its_name_durable(tmp_path, monkeypatch):
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    Spool(tmp_path / "state" / "stream")
    assert synced == {folder.stat().st_ino for folder in (tmp_path, tmp_path / "state")}


def test_spool_second_producer_on_a_directory_is_refused(tmp_path):
    first = Spool(tmp_path)
    with pytest.raises(CannotRun, match="another producer is running"):
        Spool(tmp_path)
    del first
    Spool(tmp_path)


def test_checkpoint_survives_a_restart_but_not_a_new_stream(tmp_path):
    state, (old, new) = tmp_path / "state.json", ticks_of("AAPL", 2)
    checkpoint = Checkpoint(state, stream_created="2026-11-01T00:00:00.000Z")
    checkpoint.add([old])
    checkpoint.save()
    for created in ("2026-11-01T00:00:00.000Z", None):
        again = Checkpoint(state, stream_created=created)
        assert (again.has(old), again.has(new)) == (True, False)
    assert not Checkpoint(state, stream_created="2026-11-21T00:00:00.000Z").has(old)


def test_checkpoint_history_is_judged_by_the_spans_loaded_not_by_the_newest_quote():
    history, checkpoint = ticks_of("AAPL", 12, history=True), Checkpoint(None, stream_created=None)
    checkpoint.add(ticks_of("AAPL", 1, first=3))
    assert not any(checkpoint.has(tick) for tick in history)
    for first, last in ((1, 3), (8, 10)):
        checkpoint.add(history[first : last + 1])
    assert [n for n in range(12) if checkpoint.has(history[n])] == [1, 2, 3, 8, 9, 10]
    checkpoint.add(history[2:6])
    assert [n for n in range(12) if checkpoint.has(history[n])] == [1, 2, 3, 4, 5, 8, 9, 10]
    checkpoint.add([history[0], history[9]])  # one answer, without bars in between
    assert all(checkpoint.has(tick) for tick in history[:11])
    assert checkpoint.spans == {"AAPL": [[history[0]["timestamp"], history[10]["timestamp"]]]}


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=12))
def test_checkpoint_any_answers_count_exactly_what_they_covered(answers):
    history, checkpoint, covered = (
        ticks_of("AAPL", 50, history=True),
        Checkpoint(None, stream_created=None),
        set(),
    )
    for first, count in answers:
        checkpoint.add(history[first : first + count])
        covered |= set(range(first, first + count))
    assert {n for n in range(50) if checkpoint.has(history[n])} == covered
    spans = checkpoint.spans.get("AAPL", [])
    assert all(earlier[1] < later[0] for earlier, later in pairwise(spans))


def test_checkpoint_state_of_an_earlier_version_is_taken_and_its_history_loaded_again(tmp_path):
    (live,), (past,) = ticks_of("AAPL", 1), ticks_of("AAPL", 1, history=True)
    timestamp = live["timestamp"]
    state = {"stream_created": None, "newest": {"AAPL": timestamp}, "backfilled": {"AAPL": [timestamp] * 2}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    checkpoint = Checkpoint(tmp_path / "state.json", stream_created=None)
    assert (checkpoint.has(live), checkpoint.has(past)) == (True, False)


def test_checkpoint_damaged_state_is_named(tmp_path):
    (tmp_path / "state.json").write_text("nonsense")
    with pytest.raises(CannotRun, match=r"state\.json is damaged .* remove it"):
        Checkpoint(tmp_path / "state.json", stream_created=None)


# --- The polling loop ---


def test_run_a_thousand_polls_stay_on_the_grid(tmp_path):
    starts, clock = [], VirtualClock()

    class Source(ListedSource):
        def fetch(self, symbols):
            starts.append(clock.monotonic())
            clock.sleep(random.uniform(0, 29))
            return []

    make_producer(tmp_path, FakeStream(), Source([]), clock=clock).run(1000)
    # The error is that of one float, and does not grow.
    assert starts == pytest.approx([1000.1 + 30 * n for n in range(1000)], rel=0, abs=1e-9)


def test_run_a_slow_poll_skips_slots_and_never_bunches(tmp_path):
    starts, clock = [], VirtualClock()
    durations = iter([1, 65, 1, 30, 1])

    class Source(ListedSource):
        def fetch(self, symbols):
            starts.append(clock.monotonic())
            clock.sleep(next(durations))
            return []

    make_producer(tmp_path, FakeStream(), Source([]), clock=clock).run(5)
    assert [round((start - starts[0]) / 30, 6) for start in starts] == [0, 1, 4, 5, 6]


def test_run_stops_after_the_poll_in_hand(tmp_path):
    clock, stream = VirtualClock(), FakeStream()

    class Source(ListedSource):
        def fetch(self, symbols):
            assert not clock.stopping, "polled again"
            clock.stopping = True
            return [at(1)]

    stopped = make_producer(tmp_path, stream, Source([]), clock=clock)
    stopped.run(None)
    assert (stopped.totals["polls"], len(stream.ticks)) == (1, 1)


@pytest.mark.parametrize("segment_bytes", [1, 10**6], ids=["many files", "one file"])
def test_run_stopped_while_the_spool_drains_stops_after_the_call_in_hand(
    tmp_path, monkeypatch, segment_bytes
):
    monkeypatch.setattr(producer, "SEGMENT_BYTES", segment_bytes)
    down = make_producer(tmp_path, FakeStream(lambda tick: True), ListedSource([[at(n)] for n in range(9)]))
    down.run(9)
    del down
    clock, stream = VirtualClock(), FakeStream()
    stream.fails = lambda tick: setattr(clock, "stopping", len(stream.calls) >= 3)
    draining = make_producer(tmp_path, stream, ListedSource([[at(9)]]), clock=clock)
    draining.run(None)
    assert [tick["timestamp"][17:19] for tick in stream.ticks] == ["00", "01", "02"]
    kept = [tick for segment in draining.spool.segments() for tick in draining.spool.read(segment)]
    assert [tick["timestamp"][17:19] for tick in kept] == ["03", "04", "05", "06", "07", "08", "09"]
    assert draining.waiting == 7


def test_cycle_sends_only_what_is_newer_also_after_a_restart(tmp_path):
    stream = FakeStream()
    first = make_producer(tmp_path, stream, ListedSource([[at(1)], [at(1, price=99.0)], [at(0)], [at(2)]]))
    first.run(4)
    del first
    second = make_producer(tmp_path, stream, ListedSource([[at(2)], [at(3)]]))
    second.run(2)
    assert [tick["timestamp"][17:19] for tick in stream.ticks] == ["01", "02", "03"]
    assert second.totals["unchanged"] == 1


def test_cycle_invalid_quote_is_counted_told_once_and_costs_no_other(tmp_path, caplog):
    stream = FakeStream()
    vix = QUOTE | {"symbol": "^VIX", "previous_close": 0}
    polls = [[at(1), vix], [at(2), vix]]
    skipping = make_producer(tmp_path, stream, ListedSource(polls), symbols=("AAPL", "^VIX"))
    skipping.run(2)
    assert (len(stream.ticks), skipping.totals["invalid"]) == (2, 2)
    assert caplog.text.count("Skipped ^VIX: previous close 0 is not a positive number") == 1


def test_cycle_odd_optional_fields_of_a_silent_symbol_end_nothing(tmp_path, caplog):
    caplog.set_level("INFO", logger="producer")
    odd = at(0, market_state=["REGULAR"], delay_minutes="15")
    make_producer(tmp_path, FakeStream(), ListedSource([[odd], [odd]])).run(2)
    assert "AAPL: no new quote since 2026-11-20T15:00:00.000Z, market in an unknown state" in caplog.messages


def test_cycle_outage_spools_and_recovery_sends_the_oldest_first(tmp_path):
    outage = FakeStream(lambda tick: True)
    down = make_producer(tmp_path, outage, ListedSource([[at(1)], [at(2)], [at(3)]]))
    down.run(3)
    assert down.waiting == 3
    del down
    recovered = FakeStream()
    up = make_producer(tmp_path, recovered, ListedSource([[at(4)]]))
    up.run(1)
    assert [tick["timestamp"][17:19] for tick in recovered.ticks] == ["01", "02", "03", "04"]
    assert (up.waiting, up.spool.segments()) == (0, [])


def test_cycle_part_refused_keeps_exactly_that_part(tmp_path):
    stream = FakeStream(lambda tick: tick["symbol"] == "MSFT")
    polls = [[at(n), at(n, symbol="MSFT")] for n in range(3)]
    partly = make_producer(tmp_path, stream, ListedSource(polls), symbols=("AAPL", "MSFT"))
    partly.run(3)
    (segment,) = partly.spool.segments()
    waiting = partly.spool.read(segment)
    assert [(tick["symbol"], tick["timestamp"][17:19]) for tick in waiting] == [
        ("MSFT", "00"),
        ("MSFT", "01"),
        ("MSFT", "02"),
    ]
    assert [tick["symbol"] for tick in stream.ticks] == ["AAPL"] * 3


def test_cycle_full_spool_keeps_the_oldest_and_says_what_is_lost(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(producer, "SPOOL_BYTES", 300)
    down = make_producer(tmp_path, FakeStream(lambda tick: True), ListedSource([[at(n)] for n in range(4)]))
    down.run(4)
    kept = [tick for segment in down.spool.segments() for tick in down.spool.read(segment)]
    assert [tick["timestamp"][17:19] for tick in kept] == ["00", "01"]
    assert (down.totals["lost"], down.waiting) == (2, 2)
    assert "THE SPOOL IS FULL" in caplog.text


@pytest.fixture
def disk(monkeypatch):
    """`disk["full"] = True` lets each write fail after its first bytes, as a full disk does."""
    disk, fsync = {"full": False}, os.fsync

    def fail(descriptor: int) -> None:
        if disk["full"] and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.truncate(descriptor, max(1, os.fstat(descriptor).st_size - 20))
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    return disk


def seconds_of(ticks: list[dict]) -> list[str]:
    return [tick["timestamp"][17:19] for tick in ticks]


def test_cycle_full_disk_sends_from_memory(tmp_path, disk, caplog):
    stream = FakeStream()
    going_on = make_producer(tmp_path, stream, ListedSource([[at(1)], [at(2)], [at(3)]]))
    going_on.cycle(0)
    disk["full"] = True
    going_on.cycle(0)
    assert (seconds_of(stream.ticks), going_on.waiting, going_on.unsaved) == (["01", "02"], 0, [])
    assert (
        "No space left on device): make room, or set STATE_DIR. Ticks that a crash would lose: 1"
        in caplog.text
    )
    disk["full"] = False
    going_on.cycle(0)
    assert seconds_of(stream.ticks) == ["01", "02", "03"]
    assert going_on.spool.segments() == []


def test_cycle_full_disk_in_an_outage_keeps_ticks_in_memory_and_in_order(tmp_path, disk):
    stream = FakeStream(lambda tick: True)
    down = make_producer(tmp_path, stream, ListedSource([[at(n)] for n in range(1, 5)]))
    down.cycle(0)
    disk["full"] = True
    down.cycle(0)
    down.cycle(0)
    assert (down.waiting, seconds_of(down.unsaved)) == (3, ["02", "03"])
    disk["full"], stream.fails = False, lambda tick: False
    down.run(1)
    assert seconds_of(stream.ticks) == ["01", "02", "03", "04"]
    assert (down.waiting, down.unsaved, down.spool.segments()) == (0, [], [])


def test_cycle_full_disk_does_not_hide_what_a_part_of_the_spool_still_waits_for(tmp_path, disk):
    stream = FakeStream(lambda tick: True)
    polls = [[at(1), at(1, symbol="MSFT")], []]
    down = make_producer(tmp_path, stream, ListedSource(polls), symbols=("AAPL", "MSFT"))
    down.cycle(0)
    disk["full"], stream.fails = True, lambda tick: tick["symbol"] == "MSFT"
    down.cycle(0)
    assert down.waiting == 2  # the file could not be shortened, so AAPL is sent again: the same item
    disk["full"], stream.fails = False, lambda tick: False
    assert down.send_spool(0)
    assert [tick["symbol"] for tick in stream.ticks] == ["AAPL", "AAPL", "MSFT"]


def test_run_full_disk_at_the_end_of_an_outage_says_what_is_lost(tmp_path, disk, caplog):
    disk["full"] = True
    down = make_producer(tmp_path, FakeStream(lambda tick: True), ListedSource([[at(1)]]))
    down.run(1)
    assert down.totals["lost"] == 1
    assert "1 ticks are lost: they could be neither sent nor written" in caplog.text


def test_run_disk_with_room_again_at_the_end_writes_what_was_in_memory(tmp_path, disk):
    disk["full"] = True
    down = make_producer(tmp_path, FakeStream(lambda tick: True), ListedSource([[at(1)], [at(2)]]))
    down.cycle(0)
    disk["full"] = False
    down.run(1)
    (segment,) = down.spool.segments()
    assert seconds_of(down.spool.read(segment)) == ["01", "02"]
    assert (down.totals["lost"], down.waiting) == (0, 2)


def test_cycle_full_disk_and_full_memory_says_what_is_lost(tmp_path, monkeypatch, disk):
    monkeypatch.setattr(producer, "UNSAVED_TICKS", 2)
    disk["full"] = True
    down = make_producer(tmp_path, FakeStream(lambda tick: True), ListedSource([[at(n)] for n in range(4)]))
    for _ in range(4):
        down.cycle(0)
    assert (seconds_of(down.unsaved), down.totals["lost"]) == (["00", "01"], 2)


def test_crash_between_sending_and_saving_sends_the_very_same_ticks_again(tmp_path, monkeypatch):
    stream = FakeStream()
    crashing = make_producer(tmp_path, stream, ListedSource([[at(1)]]))

    def crash() -> None:
        raise RuntimeError("kill -9")

    monkeypatch.setattr(crashing.checkpoint, "save", crash)
    with pytest.raises(RuntimeError):
        crashing.run(1)
    del crashing
    monkeypatch.undo()
    restarted = make_producer(tmp_path, stream, ListedSource([[at(1, price=99.0)]]))
    restarted.run(1)
    assert len(stream.ticks) == 2
    assert stream.ticks[0] == stream.ticks[1]


def test_backfill_sends_history_once_and_live_quotes_after_it(tmp_path):
    stream = FakeStream()
    past = [at(n, history=True) for n in range(5)]
    for _ in range(2):
        loading = make_producer(tmp_path, stream, ListedSource([[at(10)]], past))
        loading.backfill("60")
        loading.run(1)
        del loading
    assert [tick["timestamp"][17:19] for tick in stream.ticks] == ["00", "01", "02", "03", "04", "10"]
    assert [tick.get("history", False) for tick in stream.ticks] == [True] * 5 + [False]


def test_silent_symbol_is_told_once_until_it_speaks_again(tmp_path, caplog):
    caplog.set_level("INFO", logger="producer")
    closed = at(0, market_state="CLOSED")
    spoken = at(4000, market_state="REGULAR")
    silent = make_producer(
        tmp_path, FakeStream(), ListedSource([[closed]] * 4 + [[spoken]] * 2), clock=VirtualClock()
    )
    silent.run(6)
    told = [line for line in caplog.messages if "no new quote" in line]
    assert told == [
        "AAPL: no new quote since 2026-11-20T15:00:00.000Z, market closed",
        "AAPL: no new quote since 2026-11-20T16:06:40.000Z, market open",
    ]


def test_silent_symbols_of_one_market_share_a_line(tmp_path, caplog):
    caplog.set_level("INFO", logger="producer")
    symbols = [f"S{n}" for n in range(500)]
    quotes = [at(0, symbol=symbol, market_state="POST") for symbol in symbols]
    make_producer(tmp_path, FakeStream(), ListedSource([quotes] * 3), symbols=symbols).run(3)
    assert [line for line in caplog.messages if "no new quote" in line] == [
        "S0, S1, S2 and 497 more: no new quote since 2026-11-20T15:00:00.000Z, market closed"
    ]


def test_many_symbols_print_one_line_a_poll(tmp_path, capsys):
    symbols = [f"S{n}" for n in range(11)]
    quotes = [at(0, symbol=symbol, delay_minutes=15) for symbol in symbols]
    make_producer(tmp_path, FakeStream(), ListedSource([quotes]), symbols=symbols).run(1)
    (line,) = capsys.readouterr().out.splitlines()
    assert "11 of 11 quotes: 11 sent, 11 delayed by up to 15 min, 0 unchanged, 0 invalid" in line


# --- Settings ---


def test_load_settings_environment_wins_over_the_file(tmp_path, monkeypatch):
    for name in ("STOCK_SYMBOLS", "DELAY_SECONDS"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("STREAM_NAME", "mine")
    monkeypatch.setenv("STOCK_SYMBOL", "TSLA")
    (tmp_path / ".env").write_text("STREAM_NAME=theirs\nDELAY_SECONDS=7\nSTOCK_SYMBOLS=MSFT\n")
    producer.load_settings(tmp_path / ".env")
    settings = [producer.setting(name, "") for name in ("STREAM_NAME", "DELAY_SECONDS", "STOCK_SYMBOLS")]
    assert settings == ["mine", "7", "TSLA"]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://localhost:4566", True),
        ("http://[::1]:4566", True),
        ("https://kinesis.us-east-1.amazonaws.com", False),
        ("https://localhost.example.com", False),
    ],
)
def test_is_local_tells_this_machine_from_aws(url, local):
    assert producer.is_local(url) is local


def test_state_directory_never_mixes_streams_endpoints_or_kinds_of_quotes(monkeypatch):
    monkeypatch.setenv("STATE_DIR", "/state")
    aws, local = "https://kinesis.us-east-1.amazonaws.com", "http://127.0.0.1:4566"
    names = {
        producer.state_directory(source, stream, endpoint)
        for source in ("yahoo", "websocket", "simulated", "replay")
        for stream in ("a", "b")
        for endpoint in (aws, local)
    }
    assert len(names) == 3 * 2 * 2  # yahoo and websocket bring the same quotes


def test_state_directory_of_a_local_stack_on_another_port_is_the_same(monkeypatch):
    monkeypatch.setenv("STATE_DIR", "/state")
    ports = ("http://127.0.0.1:4566", "http://127.0.0.1:40123", "http://localhost:4566")
    assert len({producer.state_directory("yahoo", "stream", endpoint) for endpoint in ports}) == 1


# --- The heartbeat ---


class CountedHeartbeat:
    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


def test_heartbeat_beats_after_polls_that_brought_quotes_and_left_nothing_waiting(tmp_path):
    heartbeat, stream = CountedHeartbeat(), FakeStream(fails=lambda tick: tick["price"] == 66)
    polls = [
        [at(0)],  # good
        [at(0)],  # good: the market is closed, so nothing is new
        [],  # no answer
        [at(1, price=-1)],  # no valid quote
        [at(2, price=66)],  # not delivered
        [at(2, price=66)],  # still not
    ]
    source = ListedSource([*polls, [at(3)]])
    producing = make_producer(tmp_path, stream, source, heartbeat=heartbeat)
    beats = []
    for _ in polls:
        producing.cycle(math.inf)
        beats.append(heartbeat.beats)
    assert beats == [1, 2, 2, 2, 2, 2]
    stream.fails = lambda tick: False
    producing.cycle(math.inf)
    assert heartbeat.beats == 3


@pytest.fixture
def watcher():
    """A service on loopback that watches: `asked` has each request's path once it has come."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.put(self.path)
            server.may_answer.wait(30)
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.may_answer, server.status = queue.Queue(), threading.Event(), 200
    server.url = f"http://127.0.0.1:{server.server_port}/secret"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()


def test_heartbeat_whose_service_hangs_holds_nothing_up_and_is_one_request_at_a_time(watcher):
    heartbeat = Heartbeat(watcher.url)
    for _ in range(3):
        heartbeat.beat()
    assert watcher.asked.get(timeout=30) == "/secret"
    heartbeat.beat()
    watcher.may_answer.set()
    heartbeat.finish()
    assert watcher.asked.empty()
    heartbeat.beat()
    assert watcher.asked.get(timeout=30) == "/secret"
    heartbeat.finish()


def test_heartbeat_that_fails_is_logged_once_and_by_host_alone(watcher, caplog):
    caplog.set_level("DEBUG")
    watcher.may_answer.set()
    heartbeat = Heartbeat(watcher.url)
    for watcher.status in (404, 404, 200, 200):
        heartbeat.beat()
        heartbeat.finish()
    assert [record.getMessage() for record in caplog.records] == [
        "The heartbeat does not reach 127.0.0.1 (HTTP 404); the polls go on",
        "The heartbeat reaches 127.0.0.1 again",
    ]


@pytest.mark.parametrize(
    ("host", "problem"),
    [("127.0.0.1:1", "ConnectionRefusedError"), ("127.0.0.1:port", "InvalidURL")],
)
def test_heartbeat_to_nowhere_never_shows_its_url(host, problem, caplog):
    heartbeat = Heartbeat(f"http://{host}/secret")
    heartbeat.beat()
    heartbeat.finish()
    assert f"does not reach 127.0.0.1 ({problem})" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["hc-ping.com/secret", "ftp://host/secret", "https:///secret", "https://host/se cret", "http://[::1/se"],
)
def test_heartbeat_url_that_is_none_is_refused_without_showing_it(url):
    with pytest.raises(CannotRun, match=r"^HEARTBEAT_URL: expected an address") as refused:
        Heartbeat(url)
    assert "secret" not in str(refused.value)


def test_backfill_over_a_gap_loads_what_lies_between_two_earlier_spans(tmp_path):
    stream, bars = FakeStream(), [at(60 * n, history=True) for n in range(24)]
    for answer in (bars[:6], bars[18:], bars, bars):
        loading = make_producer(tmp_path, stream, ListedSource([], answer))
        loading.backfill("60")
        del loading
    sent = [tick["timestamp"] for tick in stream.ticks]
    assert sorted(sent) == [bar["timestamp"] for bar in bars]


def test_backfill_over_a_gap_after_a_crash_loads_it_too(tmp_path):
    bars = [at(60 * n, history=True) for n in range(24)]
    for answer in (bars[:6], bars[18:]):  # both wait in the spool, and no state has been saved
        down = make_producer(tmp_path, FakeStream(lambda tick: True), ListedSource([], answer))
        down.backfill("60")
        del down
    stream = FakeStream()
    make_producer(tmp_path, stream, ListedSource([], bars)).backfill("60")
    assert sorted(tick["timestamp"] for tick in stream.ticks) == [bar["timestamp"] for bar in bars]


def test_backfill_stopped_while_it_sends_says_nothing_of_the_stream(tmp_path, caplog):
    clock, stream = VirtualClock(), FakeStream()
    stream.fails = lambda tick: setattr(clock, "stopping", True)
    past = [at(n, history=True) for n in range(501)]
    loading = make_producer(tmp_path, stream, ListedSource([], past), clock=clock)
    loading.backfill("60")
    assert (len(stream.ticks), loading.waiting) == (500, 1)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["Not sent: the producer is stopping. Waiting in the spool: 1 ticks"]


def test_cycle_price_corrected_under_the_same_time_is_not_sent(tmp_path):
    # Yahoo does so after the close. What was sent stands: its alerts have been judged.
    stream = FakeStream()
    correcting = make_producer(tmp_path, stream, ListedSource([[at(1, price=526.08)], [at(1, price=526.12)]]))
    correcting.run(2)
    assert [tick["price"] for tick in stream.ticks] == [526.08]
    assert correcting.totals["unchanged"] == 1
