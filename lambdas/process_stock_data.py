"""ProcessStockData: store each tick of a Kinesis batch in DynamoDB and archive it in S3.

Paste this file into the Lambda console as lambda_function.py (Python 3.13, nothing to add) and give it a
Kinesis trigger with "Report batch item failures" on. No record is lost, and none blocks those behind it:

- A record that can never become a tick goes to rejected-data/, with the reason.
- A write that still fails after its retries is reported. Lambda sends the batch again from there.
- Any other error, such as a missing table, is raised. Lambda tries again and at last keeps the batch in S3.

A batch may come any number of times, whole or in part. The items and the archived ticks stay the same.

Environment: TABLE_NAME, BUCKET_NAME; ANOMALY_PERCENT (percent, default 5), RETENTION_DAYS (default 30).
"""

import base64
import gzip
import json
import logging
import os
import random
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, Rounded, Subnormal
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

REQUIRED = ("TABLE_NAME", "BUCKET_NAME")
if missing := [name for name in REQUIRED if not os.environ.get(name)]:
    raise KeyError(f"set {', '.join(missing)} in the function's configuration, as environment variables")
TABLE_NAME, BUCKET_NAME = (os.environ[name] for name in REQUIRED)
ANOMALY_PERCENT = Decimal(os.environ.get("ANOMALY_PERCENT") or "5")
RETENTION_SECONDS = int(os.environ.get("RETENTION_DAYS") or "30") * 86_400

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
PUTS_PER_CALL = 25
MAX_ITEM_BYTES = 400 * 1024
MAX_SYMBOL_BYTES = 2048
NUMBER = Context(prec=38, Emin=-130, Emax=125, traps=[Inexact, Rounded, Subnormal])
BACKOFF_SECONDS = (0, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2)  # the longest wait before each try of a call
THREADS = 16  # AWS calls in flight
THROTTLED = ("ProvisionedThroughput", "RequestLimit", "Throttl")  # the beginnings of error codes
TIMESTAMP = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
FIELD_NAME = re.compile(r"[\w.-]{1,255}")

logger = logging.getLogger()
logger.setLevel(logging.INFO)
config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5)
config = config.merge(Config(max_pool_connections=THREADS, user_agent="ProcessStockData"))
config = config.merge(Config(parameter_validation=False))  # saves CPU time
dynamodb = boto3.client("dynamodb", config=config)
s3 = boto3.client("s3", config=config)


class Reject(ValueError):
    """The record can never become a tick. The message is the reason."""


class Tick(NamedTuple):
    """A valid record: its position in the batch, its turn, its key, its item and its line in the archive.

    Of several records with the same key, only the last is kept. Its turn is the position of the first: a
    duplicate must not move a tick behind the ticks that follow it.
    """

    position: int
    turn: int
    key: tuple[str, str]
    item: dict[str, dict]
    line: str


def is_number(value: object) -> bool:
    """True for a number of JSON. Only NaN and Infinity, which JSON does not have, are read as floats."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def parse_tick(data: str) -> tuple[dict[str, Any], str]:
    """The fields and the archive line of the tick in a Kinesis record. Reject if there is none."""
    try:
        text = base64.b64decode(data, validate=True).decode()
        tick = json.loads(text, parse_float=Decimal, parse_constant=float)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        form = {"Error": "base64", "TypeError": "base64", "UnicodeDecodeError": "UTF-8"}
        raise Reject(f"not {form.get(type(error).__name__, 'JSON')}: {error}") from error
    if not isinstance(tick, dict):
        raise Reject(f"not a JSON object but a {type(tick).__name__}")
    for name in ("symbol", "source"):
        if not isinstance(tick.get(name), str) or not tick[name].strip() or not tick[name].isprintable():
            raise Reject(f"{name} must be printable text, not {tick.get(name)!r:.50}")
    for name in ("timestamp", "fetched_at"):
        if not TIMESTAMP.fullmatch(str(tick.get(name))):
            raise Reject(f"{name} must look like 2026-11-22T15:58:22.123Z, not {tick.get(name)!r:.50}")
    for name in ("price", "previous_close", "change", "change_percent"):
        if not is_number(tick.get(name)) or (name in ("price", "previous_close") and tick[name] <= 0):
            raise Reject(f"{name} must be a number (a price above 0), not {tick.get(name)!r:.50}")
    for name in ("open", "high", "low", "volume"):
        if tick.get(name) is not None and not is_number(tick[name]):
            raise Reject(f"{name} must be a number or null, not {tick[name]!r:.50}")
    return tick, text.replace("\r", " ").replace("\n", " ")


def to_attribute(name: str, value: Any) -> dict[str, Any]:
    """A field in DynamoDB's own form. Reject if DynamoDB cannot hold it exactly."""
    if not FIELD_NAME.fullmatch(name):
        raise Reject(f"{name!r:.50} is not a valid field name")
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if not is_number(value):
        raise Reject(f"{name} is a {type(value).__name__}: a tick may hold only text, numbers and booleans")
    try:
        return {"N": str(NUMBER.create_decimal(value))}
    except ArithmeticError as error:
        raise Reject(f"{name} does not fit into a DynamoDB number: 38 digits, 1E-130 to 1E+126") from error


def build_item(tick: dict[str, Any]) -> dict[str, dict]:
    """The DynamoDB item of a tick: its known fields, and anomaly, average_price and expires_at.

    average_price is (open + high + low + price) / 4. In a live tick open, high and low are those of the
    session so far; in a tick of history and in a replayed one they are the bar's own.
    """
    item = {name: to_attribute(name, value) for name, value in tick.items() if value is not None}
    try:
        quoted_at, _ = (datetime.fromisoformat(tick[name]) for name in ("timestamp", "fetched_at"))
        # 1: a number takes up to one byte more than it has digits.
        size = sum(len(name.encode() + str(*value.values()).encode()) + 1 for name, value in item.items())
        symbol_size = len(tick["symbol"].encode())
    except ValueError as error:  # 31 June; or half a surrogate pair, which JSON can write and UTF-8 cannot
        raise Reject(f"not a date and time, or not valid Unicode: {error}") from error
    if size > MAX_ITEM_BYTES - 100 or symbol_size > MAX_SYMBOL_BYTES:  # 100 bytes for the fields below
        raise Reject(f"too large for DynamoDB: an item of {size} bytes, a symbol of {symbol_size}")
    item["anomaly"] = {"BOOL": abs(tick["change_percent"]) > ANOMALY_PERCENT}
    item["expires_at"] = {"N": str(int(quoted_at.timestamp()) + RETENTION_SECONDS)}
    if all(name in item for name in ("open", "high", "low")):
        average = (tick["open"] + tick["high"] + tick["low"] + tick["price"]) / Decimal(4)
        item["average_price"] = to_attribute("average_price", average)
    return item


def is_history(item: dict[str, dict]) -> bool:
    """True for a tick that fills in the past."""
    return item.get("history") == {"BOOL": True}


def build_reject(position: int, record: dict[str, Any], reason: str) -> tuple[int, str, bytes]:
    """Position, key and body of the object that keeps a rejected record."""
    kinesis, shard = record["kinesis"], record["eventID"].split(":")[0]
    arrived_on = datetime.fromtimestamp(kinesis["approximateArrivalTimestamp"], UTC).date()
    key = f"rejected-data/dt={arrived_on}/{shard}-{kinesis['sequenceNumber']}.json"
    body = {"reason": reason, "sequence_number": kinesis["sequenceNumber"], "payload": kinesis["data"]}
    return position, key, json.dumps(body).encode()


def build_archive(ticks: list[Tick], records: list[dict[str, Any]]) -> list[tuple[int, str, bytes]]:
    """Position of the first tick, key and body of archive objects: one a UTC date, gzip, a line a tick."""
    days: dict[str, list[Tick]] = {}
    for tick in ticks:
        days.setdefault(tick.key[1][:10], []).append(tick)
    objects = []
    for day, group in days.items():
        first, last = (records[tick.position]["kinesis"]["sequenceNumber"] for tick in (group[0], group[-1]))
        shard = records[group[0].position]["eventID"].split(":")[0]
        body = gzip.compress("".join(f"{tick.line}\n" for tick in group).encode(), mtime=0)
        objects.append((group[0].position, f"raw-data/dt={day}/{shard}-{first}-{last}.json.gz", body))
    return objects


def build_lanes(ticks: Iterable[Tick]) -> list[list[list[Tick]]]:
    """Plan the BatchWriteItem calls. Lanes run at the same time; the calls of a lane run one after the other.

    DynamoDB runs the puts of a call in any order, and may refuse some of them and store the rest. So a call
    holds at most one live tick of each symbol. History may share a call, because nobody is alerted on it.
    """
    symbols: dict[str, list[list[Tick]]] = {}  # the steps of each symbol: ticks that may share a call
    for tick in ticks:
        steps = symbols.setdefault(tick.key[0], [])
        if steps and is_history(tick.item) and is_history(steps[-1][-1].item):
            steps[-1].append(tick)
        else:
            steps.append([tick])
    longest_first = sorted(symbols.values(), key=len, reverse=True)  # symbols with as many steps share a lane
    lanes = []
    for start in range(0, len(longest_first), PUTS_PER_CALL):
        calls = []
        for steps in zip_longest(*longest_first[start : start + PUTS_PER_CALL], fillvalue=[]):
            puts = list(chain.from_iterable(steps))
            calls += [puts[place : place + PUTS_PER_CALL] for place in range(0, len(puts), PUTS_PER_CALL)]
        lanes.append(calls)
    return lanes


@contextmanager
def tolerate_transient_errors(what: str) -> Iterator[None]:
    """Log an error that may pass and leave the block: botocore has retried already. Raise any other error."""
    try:
        yield
    except (ConnectionError, HTTPClientError, ClientError) as error:
        answer = getattr(error, "response", None)  # without one, or with theirs or a throttle: it may pass
        is_ours = answer and answer["ResponseMetadata"]["HTTPStatusCode"] < 500
        if is_ours and not answer["Error"]["Code"].startswith(THROTTLED):
            raise
        logger.warning("%s: %s", what, error)


def put_ticks(ticks: list[Tick]) -> list[tuple[Tick, str]]:
    """Put ticks in one call. Returns those not written, with the reason if DynamoDB can never store one."""
    try:
        with tolerate_transient_errors(f"{len(ticks)} ticks not written"):
            for delay in BACKOFF_SECONDS:
                time.sleep(random.uniform(0, delay))
                puts = [{"PutRequest": {"Item": tick.item}} for tick in ticks]
                answer = dynamodb.batch_write_item(RequestItems={TABLE_NAME: puts})
                refused = answer.get("UnprocessedItems", {}).get(TABLE_NAME, [])
                items = [put["PutRequest"]["Item"] for put in refused]
                keys = {(item["symbol"]["S"], item["timestamp"]["S"]) for item in items}
                if not (ticks := [tick for tick in ticks if tick.key in keys]):
                    break
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException" or re.search(r"\bkeys?\b", str(error)):
            raise  # wrong keys are the table's fault, because those of a tick are valid here
        if len(ticks) == 1:
            return [(ticks[0], str(error))]
        return [each for tick in ticks for each in put_ticks([tick])]  # find the one that is invalid
    return [(tick, "") for tick in ticks]


def write_lane(calls: list[list[Tick]]) -> list[tuple[Tick, str]]:
    """Make the calls of a lane until one fails. Returns the ticks not written, as put_ticks does."""
    unwritten = []
    for number, ticks in enumerate(calls):
        unwritten += put_ticks(ticks)
        if not all(reason for _, reason in unwritten):
            return unwritten + [(tick, "") for tick in chain.from_iterable(calls[number + 1 :])]
    return unwritten


def put_object(position_key_body: tuple[int, str, bytes]) -> list[int]:
    """Put an object. Returns its position in the batch if that failed."""
    position, key, body = position_key_body
    with tolerate_transient_errors(key):
        s3.put_object(Bucket=BUCKET_NAME, Key=key, Body=body)
        return []
    return [position]


def report(**metrics: int) -> None:
    """Log one line for the batch, and print the line that CloudWatch turns into metrics (the EMF format)."""
    logger.info(", ".join(f"{name} {value}" for name, value in metrics.items()))
    units = [{"Name": name, "Unit": "Milliseconds" if name == "Lag" else "Count"} for name in metrics]
    directive = {"Namespace": "StockMarketStreaming", "Dimensions": [["FunctionName"]], "Metrics": units}
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": metadata, "FunctionName": "ProcessStockData", **metrics}))


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Store and archive a Kinesis batch. Returns the record that Lambda must go on from, if there is one."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(r, dict) and "kinesis" in r for r in records):
        raise ValueError("not a Kinesis event (Records[].kinesis): add a Kinesis trigger on the data stream")
    ticks: dict[tuple[str, str], Tick] = {}
    rejects: dict[int, str] = {}
    for position, record in enumerate(records):
        try:
            fields, line = parse_tick(record["kinesis"]["data"])
            key = fields["symbol"], fields["timestamp"]
            turn = ticks[key].turn if key in ticks else position
            ticks[key] = Tick(position, turn, key, build_item(fields), line)
        except Exception as error:  # even an unforeseen one: this record would cause it at each retry
            rejects[position] = str(error) if isinstance(error, Reject) else repr(error)

    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        unwritten = list(chain.from_iterable(pool.map(write_lane, build_lanes(ticks.values()))))
        failed = [tick.turn for tick, reason in unwritten if not reason]
        rejects |= {tick.position: reason for tick, reason in unwritten if reason}
        for position, reason in rejects.items():
            logger.warning("rejected %s: %s", records[position]["kinesis"]["sequenceNumber"], reason)
        objects = [build_reject(position, records[position], reason) for position, reason in rejects.items()]
        failed += chain.from_iterable(pool.map(put_object, objects))
        # Lambda goes on from the first failure. The ticks after it come again, and are archived then.
        end = min(failed, default=len(records))
        stored = sorted(t for t in ticks.values() if t.position < end and t.position not in rejects)
        failed += chain.from_iterable(pool.map(put_object, build_archive(stored, records)))

    live = [tick.key[1] for tick in stored if not is_history(tick.item)]
    lag = int((time.time() - datetime.fromisoformat(min(live)).timestamp()) * 1000) if live else 0
    again = records[min(failed) :] if failed else []
    report(Records=len(records), Ticks=len(stored), Rejects=len(rejects), Retries=len(again), Lag=lag)
    return {"batchItemFailures": [{"itemIdentifier": again[0]["kinesis"]["sequenceNumber"]}] if again else []}
