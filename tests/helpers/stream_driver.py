"""Lambda's stream semantics in one file: what an event source mapping does with the batches of a stream.

moto has no event source mappings, and emulators treat a partial failure as a success. This driver invokes a
handler as Lambda documents it (https://docs.aws.amazon.com/lambda/latest/dg/ + the page named in brackets):

- A shard's records come in order, one batch at a time; the next one only after this one is done or given up.
  Nothing is sent before it has arrived. [with-kinesis, with-ddb]
- ReportBatchItemFailures: an empty or null answer is a success; one that names records moves the checkpoint
  to the lowest of them, and the rest is retried; an empty, null or misspelt identifier fails the whole batch.
  With bisecting on, a partial success splits the batch there. [services-kinesis-batchfailurereporting]
- An error fails the whole batch; BisectBatchOnFunctionError retries its halves, first half first, and that
  uses up no attempt. [kinesis-on-failure-destination]
- MaximumRetryAttempts and MaximumRecordAgeInSeconds: what has used them up is discarded, and the shard goes
  on; -1 means no limit. A record older than the limit is not sent any more. [services-kinesis-parameters]
- Discarded records go, with the whole event, to the on-failure destination, an S3 object named
  aws/lambda/<mapping>/<shard>/YYYY/MM/DD/<time>-<uuid>.
  [kinesis-on-failure-destination, services-dynamodb-errors]
- Delivery is at least once: a batch may come again though it was a success, with other borders.
  [with-kinesis, with-ddb]
- Records that the filter does not match never reach the function. [with-ddb-filtering]

Not documented: what happens when the lowest failure is the batch's first record and bisecting is on. The
driver can do both: retry the batch whole, or in halves.

Time is the caller's: the driver reads time.time() and waits by calling `sleep`.
"""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

ACCOUNT = "123456789012"
STREAM_ARN = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/Stock-market-stream"
TABLE_STREAM_ARN = (
    f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/stock-market-data/stream/2026-11-22T00:00:00.000"
)
LONGEST_PAUSE = 300  # seconds between two attempts


def kinesis_record(data: bytes | str, number: int, *, shard: int = 0, arrived_at: float = 0) -> dict:
    """A record as a Kinesis trigger hands it over; data that is a str is passed on as it is."""
    sequence_number = f"4959033827149025660855969253836{number:025d}"
    shard_id = f"shardId-{shard:012d}"
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "AAPL",
            "sequenceNumber": sequence_number,
            "data": data if isinstance(data, str) else base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": arrived_at or time.time(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/Lambda_Kinesis_DynamoDB_Role",
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
    }


def dynamodb_record(item: dict, number: int, *, event_name: str = "INSERT", arrived_at: float = 0) -> dict:
    """A change of the ticks table as a DynamoDB trigger hands it over (NEW_IMAGE)."""
    change = {
        "ApproximateCreationDateTime": arrived_at or time.time(),
        "Keys": {name: item[name] for name in ("symbol", "timestamp")},
        "NewImage": item,
        "SequenceNumber": f"{number:021d}",
        "SizeBytes": len(json.dumps(item)),
        "StreamViewType": "NEW_IMAGE",
    }
    if event_name == "REMOVE":
        del change["NewImage"]
    return {
        "eventID": f"{number:032x}",
        "eventName": event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": change,
        "eventSourceARN": TABLE_STREAM_ARN,
    }


def sequence_number(record: dict) -> str:
    """The number that names a record in a response."""
    if "kinesis" in record:
        return record["kinesis"]["sequenceNumber"]
    return record["dynamodb"]["SequenceNumber"]


def arrived_at(record: dict) -> float:
    """When a record came to its stream, in epoch seconds."""
    if "kinesis" in record:
        return record["kinesis"]["approximateArrivalTimestamp"]
    return record["dynamodb"]["ApproximateCreationDateTime"]


def has_arrived(record: dict) -> bool:
    """Whether a record is on its stream by now."""
    return arrived_at(record) <= time.time()


class EventSourceMapping:
    """One event source mapping: hands the records of shards to a handler until each is done or discarded.

    Args:
        settings: What scripts/resources/*_mapping.json deploys, in the names of Lambda's API.
        handler: `lambda_handler(event, context)`.
        sleep: Lets so many seconds pass.
        discard: Takes key and body of an object of the on-failure destination.
        rng: Makes delivery unsteady: batches of any size up to BatchSize, shards in any order, and at times
            a batch again after it was a success. None: full batches, shard after shard, each once.
        halves_first_failure: Whether a batch whose first record failed is retried in halves.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        handler: Callable[[dict, Any], Any],
        *,
        sleep: Callable[[float], Any],
        discard: Callable[[str, bytes], Any],
        rng: random.Random | None = None,
        halves_first_failure: bool = False,
    ) -> None:
        self.settings = settings
        self.handler = handler
        self.sleep = sleep
        self.discard = discard
        self.rng = rng
        self.halves_first_failure = halves_first_failure
        self.uuid = str(uuid.UUID(int=0))
        self.reports = "ReportBatchItemFailures" in settings.get("FunctionResponseTypes", [])

    def run(self, *shards: Iterable[dict]) -> None:
        """Work through the records of each shard."""
        left = [[record for record in shard if self._is_wanted(record)] for shard in shards]
        while left := [records for records in left if records]:
            self._wait_for(left)
            ready = [records for records in left if has_arrived(records[0])]
            records = self.rng.choice(ready) if self.rng else ready[0]
            size = self.settings["BatchSize"]
            batch = records[: self.rng.randint(1, size) if self.rng else size]
            batch = list(takewhile(has_arrived, batch))
            self._work_through(batch)
            if not (self.rng and self.rng.random() < 0.15):  # else the checkpoint was lost
                del records[: len(batch)]

    def _wait_for(self, shards: list[list[dict]]) -> None:
        """Let time pass until the first record of a shard has arrived."""
        if (pause := min(arrived_at(records[0]) for records in shards) - time.time()) > 0:
            self.sleep(pause)

    def _is_wanted(self, record: dict) -> bool:
        patterns = [
            json.loads(each["Pattern"]) for each in self.settings.get("FilterCriteria", {}).get("Filters", [])
        ]
        return not patterns or any(
            all(record.get(name) in values for name, values in pattern.items()) for pattern in patterns
        )

    def _work_through(self, batch: list[dict]) -> None:
        todo = [(batch, 0)]  # parts of the batch and their retries, the next one last
        pause = 1
        while todo:
            records, retries = todo.pop()
            records = self._discard_aged(records)
            if not records:
                continue
            failed = self._invoke(records)
            if failed is None:
                pause = 1
                continue
            halves = self.settings["BisectBatchOnFunctionError"] and len(records) > 1
            if failed > 0:
                todo.append((records[failed:], retries))
            elif halves and (failed < 0 or self.halves_first_failure):
                middle = (len(records) + 1) // 2
                todo += [(records[middle:], retries), (records[:middle], retries)]
            elif retries == self.settings["MaximumRetryAttempts"]:
                self._discard(records, "RetryAttemptsExhausted")
            else:
                todo.append((records, retries + 1))
            self.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _invoke(self, records: list[dict]) -> int | None:
        """None for a success, the place of the lowest failure, or -1 if the batch failed as a whole."""
        event = json.loads(json.dumps({"Records": records}))
        try:
            response = json.loads(json.dumps(self.handler(event, None)))
        except Exception:  # whatever it was: Lambda sees an invocation that failed
            return -1
        failures = response.get("batchItemFailures") if self.reports and response else None
        if not failures:
            return None
        numbers = [sequence_number(record) for record in records]
        identifiers = [failure.get("itemIdentifier") for failure in failures]
        if not set(identifiers) <= set(numbers):
            return -1
        return min(numbers.index(identifier) for identifier in identifiers)

    def _discard_aged(self, records: list[dict]) -> list[dict]:
        limit = self.settings["MaximumRecordAgeInSeconds"]
        if limit == -1:
            return records
        aged = [record for record in records if time.time() - arrived_at(record) > limit]
        if aged:
            self._discard(aged, "RecordAgeExceeded")
        return records[len(aged) :]

    def _discard(self, records: list[dict], condition: str) -> None:
        first, last, now = records[0], records[-1], datetime.fromtimestamp(time.time(), UTC)
        is_kinesis = "kinesis" in first
        shard = first["eventID"].split(":")[0] if is_kinesis else "shardId-00000001573689847184-864758bb"
        arrivals = [datetime.fromtimestamp(arrived_at(record), UTC).isoformat() for record in (first, last)]
        body = {
            "requestContext": {"requestId": str(uuid.uuid4()), "condition": condition},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
            "version": "1.0",
            "timestamp": now.isoformat(),
            "KinesisBatchInfo" if is_kinesis else "DDBStreamBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": sequence_number(first),
                "endSequenceNumber": sequence_number(last),
                "approximateArrivalOfFirstRecord": arrivals[0],
                "approximateArrivalOfLastRecord": arrivals[1],
                "batchSize": len(records),
                "streamArn": first["eventSourceARN"],
            },
            "payload": json.dumps({"Records": records}),
        }
        key = f"aws/lambda/{self.uuid}/{shard}/{now:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        self.discard(key, json.dumps(body).encode())
