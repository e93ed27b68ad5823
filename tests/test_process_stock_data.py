"""ProcessStockData: every record ends up once in the table or the rejects, whatever fails on the way."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import NamedTuple

import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.aws_faults import FaultyAws, Killed, seeded
from helpers.mocked_aws import Bucket, Table, resource
from helpers.parts import parts
from helpers.stream_driver import EventSourceMapping, kinesis_record, sequence_number
from stream_stock_data import build_tick, format_timestamp

START = datetime(2026, 11, 20, 19, 0, tzinfo=UTC)


def make_tick(symbol: str = "AAPL", minute: float = 0, **quote: object) -> dict:
    """A tick as the producer builds it, quoted so many minutes after START."""
    moment = START + timedelta(minutes=minute)
    quote = {
        "symbol": symbol,
        "open": 100.5,
        "high": 112,
        "low": 99.25,
        "price": 110,
        "previous_close": 100,
        "volume": 12345,
        "timestamp": format_timestamp(moment),
        "currency": "USD",
    } | quote
    return build_tick(quote, source="yahoo", fetched_at=moment + timedelta(seconds=1))


def encode(tick: object) -> bytes:
    return json.dumps(tick).encode()


def invoke(handler: ModuleType, *payloads: bytes | str) -> dict:
    """Call the handler with a batch of one shard; numbers count from 0."""
    records = [kinesis_record(payload, number) for number, payload in enumerate(payloads)]
    return handler.lambda_handler({"Records": records}, None)


def failure(number: int) -> dict:
    """The response that makes Lambda go on from the record with this number."""
    return {"batchItemFailures": [{"itemIdentifier": sequence_number(kinesis_record(b"", number))}]}


SUCCESS = {"batchItemFailures": []}


def plain(item: dict[str, dict]) -> dict:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def stored(table: Table) -> dict[tuple[str, str], dict]:
    """The items of the table by key."""
    items = [plain(item) for item in table.items()]
    return {(item["symbol"], item["timestamp"]): item for item in items}


def archived(bucket: Bucket) -> dict[str, list[dict]]:
    """The lines of the archive by object."""
    return {
        key: [json.loads(line) for line in gzip.decompress(body).decode().splitlines()]
        for key, body in bucket.objects("raw-data/").items()
    }


def rejected(bucket: Bucket) -> dict[str, dict]:
    """The rejects by object."""
    return {key: json.loads(body) for key, body in bucket.objects("rejected-data/").items()}


# --- What is kept --------------------------------------------------------------------------------


def test_lambda_handler_tick_is_stored_with_what_the_item_adds(process_stock_data, ticks_table):
    tick = make_tick(open=None, volume=None)
    assert invoke(process_stock_data, encode(tick), encode(make_tick(minute=1))) == SUCCESS
    first, second = stored(ticks_table).values()
    assert first == {
        "symbol": "AAPL",
        "timestamp": "2026-11-20T19:00:00.000Z",
        "fetched_at": "2026-11-20T19:00:01.000Z",
        "high": 112,
        "low": Decimal("99.25"),
        "price": 110,
        "previous_close": 100,
        "change": 10,
        "change_percent": 10,
        "source": "yahoo",
        "currency": "USD",
        "anomaly": True,
        "expires_at": int(START.timestamp()) + 30 * 86_400,
    }
    assert second["average_price"] == (Decimal("100.5") + 112 + Decimal("99.25") + 110) / 4
    assert second["open"] == Decimal("100.5")
    assert second["volume"] == 12345


@pytest.mark.parametrize(
    ("price", "threshold", "anomaly"),
    [(105, "5", False), (105.01, "5", True), (94.99, "5", True), (97, "2.5", True)],
)
def test_lambda_handler_anomaly_is_a_change_above_the_threshold(
    load_handler, ticks_table, bucket, price, threshold, anomaly
):
    handler = load_handler("process_stock_data", ANOMALY_PERCENT=threshold)
    invoke(handler, encode(make_tick(price=price)))
    assert [item["anomaly"] for item in stored(ticks_table).values()] == [anomaly]


def test_lambda_handler_retention_is_a_setting(load_handler, ticks_table, bucket):
    invoke(load_handler("process_stock_data", RETENTION_DAYS="2"), encode(make_tick()))
    assert [item["expires_at"] for item in stored(ticks_table).values()] == [
        int(START.timestamp()) + 2 * 86_400
    ]


def test_lambda_handler_archive_has_an_object_a_utc_day_named_by_its_own_lines(process_stock_data, bucket):
    friday = [make_tick(minute=0), make_tick(minute=5 * 60 - 0.01)]  # the second one fetched on Saturday
    saturday = make_tick("BTC-USD", minute=6 * 60)
    payloads = [encode(friday[0]), encode(saturday), encode(friday[1])]
    assert invoke(process_stock_data, *payloads) == SUCCESS
    numbers = [sequence_number(kinesis_record(b"", number)) for number in range(3)]
    assert archived(bucket) == {
        f"raw-data/dt=2026-11-20/shardId-000000000000-{numbers[0]}-{numbers[2]}.json.gz": friday,
        f"raw-data/dt=2026-11-21/shardId-000000000000-{numbers[1]}-{numbers[1]}.json.gz": [saturday],
    }


def test_lambda_handler_same_batch_again_changes_nothing(process_stock_data, ticks_table, bucket, clock):
    payloads = [encode(make_tick(minute=minute)) for minute in range(3)] + [b"poison"]
    invoke(process_stock_data, *payloads)
    before = stored(ticks_table), bucket.objects()
    clock.shift(3600)
    invoke(process_stock_data, *payloads)
    assert (stored(ticks_table), bucket.objects()) == before


def test_lambda_handler_of_two_ticks_with_one_key_the_later_counts(process_stock_data, ticks_table, bucket):
    first, other, later = make_tick(volume=1), make_tick(minute=1), make_tick(volume=2)
    assert invoke(process_stock_data, *map(encode, (first, other, later))) == SUCCESS
    assert {key[1]: item["volume"] for key, item in stored(ticks_table).items()} == {
        first["timestamp"]: 2,
        other["timestamp"]: 12345,
    }
    assert list(archived(bucket).values()) == [[other, later]]


def test_lambda_handler_archive_keeps_numbers_as_they_came(process_stock_data, ticks_table, bucket):
    payload = encode(make_tick()).replace(b'"price": 110.0', b'"price":\n 110.10000000000000001')
    assert invoke(process_stock_data, payload) == SUCCESS
    (body,) = bucket.objects("raw-data/").values()
    assert gzip.decompress(body) == payload.replace(b"\n", b" ") + b"\n"
    assert [item["price"] for item in stored(ticks_table).values()] == [Decimal("110.10000000000000001")]


# --- Poison ----------------------------------------------------------------------------------------


def with_fields(**fields: object) -> bytes:
    return encode(make_tick() | fields)


def without(name: str) -> bytes:
    return encode({key: value for key, value in make_tick().items() if key != name})


POISON = {
    "not base64": ("AAA", "not base64: "),
    "not at all base64": ("#tick#", "not base64: "),
    "no data": (None, "not base64: "),
    "not UTF-8": (b"\xff\xfe", "not UTF-8: "),
    "not JSON": (b"<tick/>", "not JSON: "),
    "empty": (b"", "not JSON: "),
    "two objects": (encode(make_tick()) * 2, "not JSON: "),
    "nested deeply": (b"[" * 100_000, "not JSON: "),
    "number beyond any": (
        with_fields(price=1).replace(b'"price": 1', b'"price": 1e99999999999999999999'),
        "not JSON: ",
    ),
    "integer of 5,000 digits": (
        with_fields(volume=1).replace(b": 1,", b": " + b"1" * 5000 + b","),
        "not JSON: ",
    ),
    "array": (b"[1, 2]", "not a JSON object but a list"),
    "null": (b"null", "not a JSON object but a NoneType"),
    "NaN": (with_fields(price=float("nan")), "price must be a number (a price above 0), not nan"),
    "Infinity": (with_fields(high=float("inf")), "high must be a number or null, not inf"),
    "NaN in a field of its own": (with_fields(delay_minutes=float("nan")), "delay_minutes is a float: "),
    "no symbol": (without("symbol"), "symbol must be printable text, not None"),
    "empty symbol": (with_fields(symbol=" "), "symbol must be printable text, not ' '"),
    "symbol with a line break": (with_fields(symbol="A\nB"), "symbol must be printable text, not 'A\\nB'"),
    "symbol that is a number": (with_fields(symbol=7), "symbol must be printable text, not 7"),
    "long symbol": (with_fields(symbol="A" * 2049), "too large for DynamoDB: "),
    "half a surrogate pair": (
        with_fields(currency="\ud800"),
        "not a date and time, or not valid Unicode",
    ),
    "no source": (without("source"), "source must be printable text, not None"),
    "no price": (without("price"), "price must be a number (a price above 0), not None"),
    "price as a text": (with_fields(price="110"), "price must be a number (a price above 0), not '110'"),
    "price true": (with_fields(price=True), "price must be a number (a price above 0), not True"),
    "price 0": (with_fields(price=0), "price must be a number (a price above 0), not 0"),
    "previous close below 0": (
        with_fields(previous_close=-1),
        "previous_close must be a number (a price above 0)",
    ),
    "no change": (without("change"), "change must be a number"),
    "no change_percent": (without("change_percent"), "change_percent must be a number"),
    "60 digits": (
        with_fields(price=1).replace(b'"price": 1', b'"price": 1.' + b"3" * 59),
        "price does not fit into a DynamoDB number",
    ),
    "too small": (with_fields(low=1e-131), "low does not fit into a DynamoDB number"),
    "too large": (with_fields(high=1e127), "high does not fit into a DynamoDB number"),
    "largest": (with_fields(high=1e126), "high does not fit into a DynamoDB number"),
    "average too small": (
        with_fields(open=-2e-130, high=1e-130, low=1e-130, price=1e-130),
        "average_price does not fit into a DynamoDB number",
    ),
    "400 KB": (with_fields(note="x" * 400 * 1024), "too large for DynamoDB: "),
    "400 KB of 2-byte letters": (with_fields(note="é" * 205 * 1024), "too large for DynamoDB: "),
    "400 KB of names of 2-byte letters": (
        with_fields(**{f"{'é' * 100}{number:04}": True for number in range(2000)}),
        "too large for DynamoDB: ",
    ),
    "400 KB of numbers of one digit": (
        with_fields(**{f"n{number:05}": 1 for number in range(54_000)}),
        "too large for DynamoDB: ",
    ),
    "timestamp without milliseconds": (
        with_fields(timestamp="2026-11-20T19:00:00Z"),
        "timestamp must look like 2026-11-22T15:58:22.123Z, not '2026-11-20T19:00:00Z'",
    ),
    "timestamp in another zone": (
        with_fields(timestamp="2026-11-20T19:00:00.000+01:00"),
        "timestamp must look like",
    ),
    "timestamp in seconds": (with_fields(timestamp=1795201200), "timestamp must look like"),
    "timestamp of no day": (with_fields(timestamp="2026-06-31T19:00:00.000Z"), "not a date and time"),
    "timestamp of another age": (
        with_fields(timestamp="0001-01-01T00:00:00.000Z"),
        "timestamp must look like",
    ),
    "fetched_at of no time": (with_fields(fetched_at="2026-11-20T25:00:00.000Z"), "not a date and time"),
    "no fetched_at": (without("fetched_at"), "fetched_at must look like"),
    "a list in a field": (with_fields(tags=[1]), "tags is a list: "),
    "a field without a name": (with_fields(**{"": 1}), "'' is not a valid field name"),
}


def test_lambda_handler_poison_is_rejected_with_its_reason_and_the_batch_goes_on(
    process_stock_data, ticks_table, bucket
):
    ticks = [make_tick(minute=minute) for minute in range(len(POISON) + 1)]
    records, poison = [kinesis_record(encode(ticks[0]), 0)], []
    for tick, (payload, reason) in zip(ticks[1:], POISON.values(), strict=True):
        record = kinesis_record(payload or "", len(records))
        if payload is None:
            record["kinesis"]["data"] = None
        records += [record, kinesis_record(encode(tick), len(records) + 1)]
        poison.append((sequence_number(record), record["kinesis"]["data"], reason))
    assert process_stock_data.lambda_handler({"Records": records}, None) == SUCCESS
    assert [key[1] for key in stored(ticks_table)] == [tick["timestamp"] for tick in ticks]
    assert list(archived(bucket).values()) == [ticks]
    rejects = rejected(bucket)
    assert len(rejects) == len(poison)
    for number, data, reason in poison:
        reject = rejects[f"rejected-data/dt=2026-11-20/shardId-000000000000-{number}.json"]
        assert reject["reason"].startswith(reason)
        assert (reject["payload"], reject["sequence_number"]) == (data, number)


def test_lambda_handler_reject_lies_under_the_date_of_its_arrival(process_stock_data, bucket):
    arrived_at = datetime(2026, 11, 18, 23, 59, 59, tzinfo=UTC).timestamp()
    record = kinesis_record(with_fields(price=None), 0, arrived_at=arrived_at)
    assert process_stock_data.lambda_handler({"Records": [record]}, None) == SUCCESS
    assert list(rejected(bucket)) == [
        f"rejected-data/dt=2026-11-18/shardId-000000000000-{sequence_number(record)}.json"
    ]


def test_lambda_handler_large_item_is_stored(process_stock_data, ticks_table):
    assert invoke(process_stock_data, with_fields(note="x" * 390 * 1024)) == SUCCESS
    assert len(stored(ticks_table)) == 1


def test_lambda_handler_odd_symbols_are_stored(process_stock_data, ticks_table):
    symbols = {"BRK-B", "^GSPC", "EURUSD=X", "BTC-USD", "7203.T", "ÅÄÖ", "A B", "A/B", "A" * 2048}
    assert invoke(process_stock_data, *(with_fields(symbol=symbol) for symbol in symbols)) == SUCCESS
    assert {key[0] for key in stored(ticks_table)} == symbols


# --- Failures ----------------------------------------------------------------------------------------


def test_lambda_handler_error_that_nobody_foresaw_rejects_its_record_alone(
    process_stock_data, ticks_table, bucket, monkeypatch
):
    build_item = process_stock_data.build_item

    def fail_on_msft(tick: dict) -> dict:
        return build_item(tick) if tick["symbol"] != "MSFT" else {}["no such key"]

    monkeypatch.setattr(process_stock_data, "build_item", fail_on_msft)
    ticks = [make_tick("AAPL"), make_tick("MSFT"), make_tick("IBM")]
    assert invoke(process_stock_data, *map(encode, ticks)) == SUCCESS
    assert sorted(key[0] for key in stored(ticks_table)) == ["AAPL", "IBM"]
    assert list(archived(bucket).values()) == [[ticks[0], ticks[2]]]
    (reject,) = rejected(bucket).values()
    assert reject["reason"] == "KeyError('no such key')"
    assert base64.b64decode(reject["payload"]) == encode(ticks[1])


def test_lambda_handler_item_that_dynamodb_finds_invalid_is_rejected_alone(
    process_stock_data, ticks_table, bucket, faults
):
    faults.plan = lambda operation, body, count: "invalid" if b'"MSFT"' in body else None
    ticks = [make_tick(symbol, minute) for minute in range(2) for symbol in ("AAPL", "MSFT", "IBM")]
    ticks += [make_tick("ZM", minute, history=True) for minute in range(30)]
    assert invoke(process_stock_data, *map(encode, ticks)) == SUCCESS
    assert len(stored(ticks_table)) == 34
    assert [[line["symbol"] for line in lines] for lines in archived(bucket).values()] == [
        ["AAPL", "IBM"] * 2 + ["ZM"] * 30
    ]
    rejects = rejected(bucket).values()
    assert [base64.b64decode(reject["payload"]) for reject in rejects] == [encode(ticks[1]), encode(ticks[4])]
    assert all("ValidationException" in reject["reason"] for reject in rejects)


def only(*operations: str, fault: str, times: int = 1000):
    """A plan that fails these operations, each request so many times."""
    return lambda operation, body, count: fault if operation in operations and count <= times else None


def test_lambda_handler_unprocessed_items_are_written_in_the_end(
    process_stock_data, ticks_table, bucket, faults
):
    faults.plan = only("BatchWriteItem", fault="partial", times=1)
    ticks = [make_tick(symbol, minute) for minute in range(20) for symbol in ("AAPL", "MSFT", "IBM")]
    assert invoke(process_stock_data, *map(encode, ticks)) == SUCCESS
    assert len(stored(ticks_table)) == 60
    assert list(archived(bucket).values()) == [ticks]


def test_lambda_handler_backs_off_between_tries_of_unprocessed_items(process_stock_data, faults, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    faults.plan = lambda operation, body, count: "partial"
    assert invoke(process_stock_data, encode(make_tick())) == failure(0)
    assert faults.calls["BatchWriteItem"] == 8
    assert pauses[0] == 0
    assert all(0 <= pause <= 2 for pause in pauses)
    assert 0 < sum(pauses) < 10


@pytest.mark.parametrize("fault", ["throttled", "error", "unreachable", "lost"])
def test_lambda_handler_short_failure_is_ridden_out(process_stock_data, ticks_table, bucket, faults, fault):
    faults.plan = only("BatchWriteItem", "PutObject", fault=fault, times=3)
    assert invoke(process_stock_data, encode(make_tick()), b"poison") == SUCCESS
    assert len(stored(ticks_table)) == len(archived(bucket)) == len(rejected(bucket)) == 1


@pytest.mark.parametrize("fault", ["throttled", "error", "unreachable", "lost"])
def test_lambda_handler_failed_write_is_reported_and_only_what_is_before_it_is_archived(
    process_stock_data, ticks_table, bucket, faults, fault
):
    ticks = [make_tick(symbol, minute) for minute in range(2) for symbol in ("AAPL", "MSFT", "IBM")]
    second = ticks[3]["timestamp"].encode()
    faults.plan = lambda operation, body, count: (
        fault if operation == "BatchWriteItem" and second in body else None
    )
    assert invoke(process_stock_data, *map(encode, ticks)) == failure(3)
    assert list(archived(bucket).values()) == [ticks[:3]]
    faults.plan = only(fault="")
    assert invoke(process_stock_data, *map(encode, ticks[3:])) == SUCCESS
    assert len(stored(ticks_table)) == 6


def test_lambda_handler_after_a_failed_tick_the_symbol_waits(process_stock_data, ticks_table, faults):
    ticks = [make_tick("AAPL", minute) for minute in range(60)]
    faults.plan = lambda operation, body, count: (
        "throttled" if ticks[30]["timestamp"].encode() in body else None
    )
    assert invoke(process_stock_data, *map(encode, ticks)) == failure(30)
    assert sorted(key[1] for key in stored(ticks_table)) == [tick["timestamp"] for tick in ticks[:30]]


def test_lambda_handler_live_tick_waits_for_failed_history_of_its_symbol(
    process_stock_data, ticks_table, bucket, faults
):
    ticks = [make_tick(minute=100), *(make_tick(minute=minute, history=True) for minute in range(30))]
    ticks += [make_tick(minute=101)]
    faults.plan = lambda operation, body, count: "throttled" if b'"history"' in body else None
    assert invoke(process_stock_data, *map(encode, ticks)) == failure(1)
    assert [key[1] for key in stored(ticks_table)] == [ticks[0]["timestamp"]]
    assert list(archived(bucket).values()) == [ticks[:1]]


def test_lambda_handler_failed_duplicate_is_reported_in_the_place_of_the_first(
    process_stock_data, ticks_table, bucket, faults
):
    first, other = make_tick(minute=1), make_tick(minute=2)
    faults.plan = only("BatchWriteItem", fault="throttled")
    assert invoke(process_stock_data, *map(encode, (make_tick(), first, other, first))) == failure(0)
    faults.plan = lambda operation, body, count: "throttled" if first["timestamp"].encode() in body else None
    assert invoke(process_stock_data, *map(encode, (make_tick(), first, other, first))) == failure(1)
    assert [key[1] for key in stored(ticks_table)] == [make_tick()["timestamp"]]
    assert list(archived(bucket).values()) == [[make_tick()]]


def test_lambda_handler_failed_archive_is_reported(process_stock_data, ticks_table, bucket, faults):
    faults.plan = lambda operation, body, count: "error" if operation == "PutObject" else None
    ticks = [make_tick("AAPL"), make_tick("BTC-USD", 6 * 60)]
    assert invoke(process_stock_data, *map(encode, ticks)) == failure(0)
    assert len(stored(ticks_table)) == 2
    assert archived(bucket) == {}


def test_lambda_handler_failed_reject_is_reported(process_stock_data, bucket, faults):
    faults.plan = only("PutObject", fault="throttled", times=4)
    payloads = [b"poison", encode(make_tick())]
    assert invoke(process_stock_data, *payloads) == failure(0)
    assert archived(bucket) == {}
    faults.plan = only(fault="")
    assert invoke(process_stock_data, *payloads) == SUCCESS
    assert len(archived(bucket)) == len(rejected(bucket)) == 1


@pytest.mark.parametrize("operation", ["BatchWriteItem", "PutObject"])
def test_lambda_handler_error_that_no_retry_mends_is_raised(process_stock_data, faults, operation):
    faults.plan = only(operation, fault="denied")
    with pytest.raises(ClientError, match="AccessDenied"):
        invoke(process_stock_data, encode(make_tick()))


def test_lambda_handler_table_with_other_keys_is_raised_and_rejects_no_tick(
    process_stock_data, ticks_table, bucket
):
    ticks_table.client.delete_table(TableName=ticks_table.definition["TableName"])
    other = {
        "KeySchema": [
            {"AttributeName": "symbol", "KeyType": "HASH"},
            {"AttributeName": "id", "KeyType": "RANGE"},
        ]
    }
    other |= {
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("symbol", "id")]
    }
    ticks_table.client.create_table(**ticks_table.definition | other)
    with pytest.raises(ClientError, match="ValidationException"):
        invoke(process_stock_data, *map(encode, (make_tick("AAPL"), make_tick("MSFT"))))
    assert bucket.keys() == []


# --- Whatever happens --------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """What comes on the shards, and what of it is valid or poison."""

    shards: list[list[dict]]
    ticks: dict[tuple[str, str], list[dict]]
    poison: dict[str, dict]


def make_schedule(rng: random.Random) -> Schedule:
    """Ticks of some symbols across midnight UTC, with duplicates that were fetched later, and poison."""
    shards: list[list[dict]] = [[] for _ in range(rng.randint(1, 3))]
    symbols = ["AAPL", "BTC-USD", "MSFT", "7203.T", "^GSPC"][: rng.randint(1, 5)]
    sent: dict[str, list[dict]] = {symbol: [] for symbol in symbols}
    ticks: dict[tuple[str, str], list[dict]] = {}
    poison = {}
    for number in range(rng.randint(4, 24)):
        symbol, chance = rng.choice(symbols), rng.random()
        shard = symbols.index(symbol) % len(shards)
        fetched_at = format_timestamp(START + timedelta(minutes=5 * 60 + number))
        if chance < 0.15:
            payload = rng.choice(list(POISON.values()))[0] or "#"
            record = kinesis_record(payload, number, shard=shard)
            poison[sequence_number(record)] = record
        else:
            if chance < 0.3 and sent[symbol]:
                tick = rng.choice(sent[symbol]) | {"fetched_at": fetched_at}
            else:
                tick = make_tick(symbol, 4.5 * 60 + number * 3) | {"fetched_at": fetched_at}
                sent[symbol].append(tick)
            record = kinesis_record(encode(tick), number, shard=shard)
            ticks.setdefault((symbol, tick["timestamp"]), []).append(tick)
        shards[shard].append(record)
    return Schedule(shards, ticks, poison)


FAULTS = ("throttled", "error", "unreachable", "lost", "partial", "denied", "killed", "killed_after")


@pytest.mark.parametrize("part", parts(16))  # so that they run beside each other
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a seed cannot be shrunk
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_lambda_handler_under_any_schedule_keeps_every_record_once(
    process_stock_data: ModuleType,
    ticks_table: Table,
    bucket: Bucket,
    faults: FaultyAws,
    clock,
    caplog,
    part,
    seed,
):
    caplog.set_level(logging.CRITICAL)
    faults.plan = only(fault="")
    faults.revive()
    ticks_table.empty()
    bucket.empty()
    rng = random.Random(f"{part}/{seed}")
    schedule = make_schedule(rng)
    worst = rng.choice([0.0, 0.1, 0.3])
    faults.plan = seeded(rng.random(), {fault: worst * rng.random() / 2 for fault in FAULTS})

    def handler(event: dict, context: object) -> dict:
        faults.revive()
        return process_stock_data.lambda_handler(event, context)

    discarded = {}
    mapping = EventSourceMapping(
        resource("kinesis_mapping") | {"BatchSize": rng.randint(1, 20)},
        handler,
        sleep=clock.shift,
        discard=discarded.__setitem__,
        rng=rng,
        halves_first_failure=rng.random() < 0.5,
    )
    mapping.run(*schedule.shards)

    faults.plan = only(fault="")
    for body in discarded.values():
        assert handler(json.loads(json.loads(body)["payload"]), None) == SUCCESS

    items = stored(ticks_table)
    assert set(items) == set(schedule.ticks)
    rejects = rejected(bucket).values()
    assert {reject["sequence_number"]: reject["payload"] for reject in rejects} == {
        number: record["kinesis"]["data"] for number, record in schedule.poison.items()
    }
    newest: dict[tuple[str, str], dict] = {}
    for key, lines in archived(bucket).items():
        for line in lines:
            identity = line["symbol"], line["timestamp"]
            assert line in schedule.ticks[identity]
            assert f"/dt={line['timestamp'][:10]}/" in key
            newest[identity] = max(newest.get(identity, line), line, key=lambda each: each["fetched_at"])
    assert set(newest) == set(schedule.ticks)
    if not discarded:  # a batch that came late may have replaced a later fetch of the same quote
        last = {identity: ticks[-1]["fetched_at"] for identity, ticks in schedule.ticks.items()}
        assert {identity: item["fetched_at"] for identity, item in items.items()} == last
        assert {identity: line["fetched_at"] for identity, line in newest.items()} == last


@pytest.mark.parametrize("fault", ["killed", "killed_after"])
@pytest.mark.parametrize("call", range(1, 9))
def test_lambda_handler_killed_at_any_call_leaves_nothing_out_after_the_retry(
    process_stock_data, ticks_table, bucket, faults, fault, call
):
    ticks = [make_tick(symbol, minute) for minute in range(5) for symbol in ("AAPL", "MSFT", "IBM", "ZM")]
    payloads = [*map(encode, ticks), b"poison", encode(make_tick("BTC-USD", 6 * 60))]
    # 5 puts of a tick each of four symbols, one with BTC-USD; one object of rejects and two of the archive
    faults.plan = lambda operation, body, count: fault if sum(faults.calls.values()) == call else None
    with pytest.raises(Killed):
        invoke(process_stock_data, *payloads)
    faults.revive()
    faults.plan = only(fault="")
    assert invoke(process_stock_data, *payloads) == SUCCESS
    assert len(stored(ticks_table)) == 21
    assert Counter(map(len, archived(bucket).values())) == {20: 1, 1: 1}
    assert len(rejected(bucket)) == 1


# --- Reports, settings, events -----------------------------------------------------------------------


def metrics(output: str) -> list[dict]:
    """The embedded-metric-format lines of what was printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"_aws"')]


def test_lambda_handler_reports_a_line_and_metrics_a_batch(process_stock_data, faults, capsys, caplog):
    caplog.set_level(logging.INFO)
    ticks = [make_tick(minute=minute) for minute in (59, 59.5)]
    invoke(process_stock_data, *map(encode, ticks), b"poison")
    (line,) = metrics(capsys.readouterr().out)
    assert {name: line[name] for name in ("Records", "Ticks", "Rejects", "Retries", "Lag")} == {
        "Records": 3,
        "Ticks": 2,
        "Rejects": 1,
        "Retries": 0,
        "Lag": 60_000,
    }
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "StockMarketStreaming"
    assert directive["Dimensions"] == [["FunctionName"]]
    assert line["FunctionName"] == "ProcessStockData"
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert units == dict.fromkeys(("Records", "Ticks", "Rejects", "Retries"), "Count") | {
        "Lag": "Milliseconds"
    }
    assert line["_aws"]["Timestamp"] == int(time.time() * 1000)
    assert "Records 3, Ticks 2, Rejects 1, Retries 0, Lag 60000" in caplog.messages


def test_lambda_handler_counts_what_lambda_will_send_again(process_stock_data, faults, capsys):
    faults.plan = lambda operation, body, count: "throttled" if operation == "BatchWriteItem" else None
    invoke(process_stock_data, *(encode(make_tick(minute=minute)) for minute in range(4)))
    (line,) = metrics(capsys.readouterr().out)
    assert (line["Ticks"], line["Retries"]) == (0, 4)


@pytest.mark.parametrize(("history", "lag"), [(True, 0), (False, 3_600_000), (None, 3_600_000)])
def test_lambda_handler_history_does_not_count_as_lag(process_stock_data, capsys, history, lag):
    invoke(process_stock_data, with_fields(history=history))
    assert [line.get("Lag", 0) for line in metrics(capsys.readouterr().out)] == [lag]


@pytest.mark.parametrize("name", ["TABLE_NAME", "BUCKET_NAME"])
@pytest.mark.parametrize("is_empty", [True, False])
def test_import_missing_variable_is_named(load_handler, process_stock_data, monkeypatch, name, is_empty):
    if is_empty:
        with pytest.raises(KeyError, match=f"set {name} in"):
            load_handler("process_stock_data", **{name: ""})
    else:
        delete = monkeypatch.delenv
        monkeypatch.setattr(monkeypatch, "setenv", lambda *given: None)
        delete(name)
        with pytest.raises(KeyError, match=f"set {name} in"):
            load_handler("process_stock_data")


@pytest.mark.parametrize(
    "event",
    [{"key1": "value1"}, {}, [], None, {"Records": None}, {"Records": [{"dynamodb": {}}]}, {"Records": [1]}],
    ids=str,
)
def test_lambda_handler_other_event_says_which_trigger_it_expects(process_stock_data, event):
    with pytest.raises(ValueError, match="add a Kinesis trigger on the data stream"):
        process_stock_data.lambda_handler(event, None)


@pytest.mark.parametrize(
    ("symbols", "minutes", "history", "calls"),
    [(500, 1, None, 20), (20, 25, None, 25), (1, 500, True, 20), (20, 25, True, 20), (1, 60, None, 60)],
)
def test_lambda_handler_makes_few_calls(process_stock_data, faults, symbols, minutes, history, calls):
    ticks = [
        make_tick(f"S{number}", minute, history=history)
        for minute in range(minutes)
        for number in range(symbols)
    ]
    assert invoke(process_stock_data, *map(encode, ticks)) == SUCCESS
    assert faults.calls == {"BatchWriteItem": calls, "PutObject": len({t["timestamp"][:10] for t in ticks})}


# --- Order ---------------------------------------------------------------------------------------------


@pytest.fixture
def put_calls(faults) -> list[list[dict]]:
    """The items of each BatchWriteItem that is made from now on."""
    calls: list[list[dict]] = []

    def plan(operation: str, body: bytes, count: int) -> None:
        if operation == "BatchWriteItem":
            (puts,) = json.loads(body)["RequestItems"].values()
            calls.append([plain(put["PutRequest"]["Item"]) for put in puts])

    faults.plan = plan
    return calls


def test_lambda_handler_call_holds_one_live_tick_a_symbol_and_symbols_stay_in_order(
    process_stock_data, put_calls
):
    rng = random.Random(13)
    ticks = [
        make_tick(f"S{number}", minute, history=rng.choice([None, None, False, True]))
        for number in range(60)
        for minute in range(rng.randint(1, 9))
    ]
    assert invoke(process_stock_data, *map(encode, ticks)) == SUCCESS
    for items in put_calls:
        live = [item["symbol"] for item in items if not item.get("history")]
        assert len(live) == len(set(live))
        assert len(items) <= 25
    sent: dict[str, list[str]] = {}
    for item in (item for items in put_calls for item in items):
        sent.setdefault(item["symbol"], []).append(item["timestamp"])
    assert all(times == sorted(times) for times in sent.values())
    assert sum(map(len, sent.values())) == len(ticks)


def test_lambda_handler_duplicate_takes_the_place_of_the_first(process_stock_data, put_calls):
    first, other, later = make_tick(volume=1), make_tick(minute=1), make_tick(volume=2)
    assert invoke(process_stock_data, *map(encode, (first, other, later))) == SUCCESS
    assert [[(item["timestamp"], item["volume"]) for item in items] for items in put_calls] == [
        [(first["timestamp"], 2)],
        [(other["timestamp"], 12345)],
    ]


def test_lambda_handler_has_several_calls_in_flight(process_stock_data, monkeypatch):
    in_flight = threading.Barrier(4)

    def batch_write_item(**_: object) -> dict:
        in_flight.wait(timeout=10)
        return {}

    monkeypatch.setattr(process_stock_data.dynamodb, "batch_write_item", batch_write_item)
    ticks = [make_tick(f"S{number}") for number in range(100)]
    assert invoke(process_stock_data, *map(encode, ticks)) == SUCCESS


def test_clients_have_a_connection_for_each_thread(process_stock_data):
    for client in (process_stock_data.dynamodb, process_stock_data.s3):
        assert client.meta.config.max_pool_connections == process_stock_data.THREADS
