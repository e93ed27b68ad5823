"""Makes MiniStack's streams last: for longer than a day, over a restart, and over a failed record.

MiniStack 1.5.33 drops records of a Kinesis data stream that are a day old, but goes on counting the places of
its readers from the oldest record. So after a day nobody gets a new record any more. At every call it looks
through all records, too. Its saved state holds how far a table's stream was read, but not the records. And a
batch counts as done when the function reports that a record failed.
"""

import threading
import time
from collections.abc import Callable
from typing import Any


def make_streams_last(dynamodb: Any, kinesis: Any, awslambda: Any) -> None:
    """Replace the faulty parts of these three modules of `ministack.services`."""
    expiry = Expiry(kinesis, awslambda)
    kinesis._expire_records = lambda stream: None
    kinesis._get_records = expiry.never_during(kinesis._get_records)
    kinesis._get_shard_iterator = expiry.never_during(kinesis._get_shard_iterator)
    awslambda._poll_kinesis = expiry.before(awslambda._poll_kinesis)
    awslambda._execute_function = with_failed_records(awslambda._execute_function)
    dynamodb.get_state = with_unread_records(dynamodb.get_state, dynamodb, awslambda)
    dynamodb.load_persisted_state = with_saved_records(dynamodb.load_persisted_state, dynamodb)


class Expiry:
    """Drops old records of the data streams, and moves the places of their readers along.

    It runs in the thread that keeps the functions' places. Those who read by iterators wait meanwhile.
    """

    def __init__(self, kinesis: Any, awslambda: Any) -> None:
        self._kinesis, self._lambda, self._lock = kinesis, awslambda, threading.Lock()

    def never_during(self, read: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        """Wrap a call that reads records or makes an iterator."""

        def read_alone(data: dict[str, Any]) -> Any:
            with self._lock:
                return read(data)

        return read_alone

    def before(self, poll: Callable[[], bool]) -> Callable[[], bool]:
        """Wrap the functions' poll of all data streams."""

        def expire_and_poll() -> bool:
            with self._lock:
                for stream in self._kinesis._streams.all_values():
                    self._expire(stream)
            return poll()

        return expire_and_poll

    def _expire(self, stream: dict[str, Any]) -> None:
        cutoff = time.time() - stream["RetentionPeriodHours"] * 3600
        for shard_id, shard in stream["shards"].items():
            ages = enumerate(record["ApproximateArrivalTimestamp"] for record in shard["records"])
            if old := next((place for place, arrival in ages if arrival >= cutoff), len(shard["records"])):
                del shard["records"][:old]
                self._move_places(stream["StreamARN"], shard_id, old)

    def _move_places(self, stream_arn: str, shard_id: str, dropped: int) -> None:
        for (account, region, uuid), mapping in self._lambda._esms.all_items():
            places = self._lambda._kinesis_positions.get_scoped(account, region, uuid) or {}
            if mapping["EventSourceArn"] == stream_arn and shard_id in places:
                places[shard_id] = max(0, places[shard_id] - dropped)
        for iterator in self._kinesis._shard_iterators.all_values():
            if iterator["stream_arn"] == stream_arn and iterator["shard_id"] == shard_id:
                iterator["position"] = max(0, iterator["position"] - dropped)


def with_unread_records(get_state: Callable[[], dict], dynamodb: Any, awslambda: Any) -> Callable[[], dict]:
    """Wrap `get_state` of DynamoDB: the state also holds what a function has not read of a table's stream."""

    def get_state_and_records() -> dict:
        records, trimmed = type(dynamodb._stream_records)(), type(dynamodb._stream_trimmed)()
        for (account, region, table), all_records in dynamodb._stream_records.all_items():
            start = dynamodb._stream_trimmed.get_scoped(account, region, table, 0)
            places = [
                awslambda._dynamodb_stream_positions.get_scoped(account, region, mapping["UUID"], start)
                for mapping in awslambda._esms.values_scoped(account, region)
                if f":table/{table}/stream/" in mapping["EventSourceArn"]
            ]
            first = max(start, min(places, default=start))
            records.set_scoped(account, region, table, all_records[first - start :])
            trimmed.set_scoped(account, region, table, first)
        return get_state() | {"stream_records": records, "stream_trimmed": trimmed}

    return get_state_and_records


def with_saved_records(load: Callable[[dict], None], dynamodb: Any) -> Callable[[dict], None]:
    """Wrap `load_persisted_state` of DynamoDB, for what `with_unread_records` has saved."""

    def load_with_records(data: dict | None) -> None:
        load(data)
        if data:
            dynamodb._stream_records.update(data.get("stream_records", {}))
            dynamodb._stream_trimmed.update(data.get("stream_trimmed", {}))

    return load_with_records


def with_failed_records(execute: Callable[[dict, dict], dict]) -> Callable[[dict, dict], dict]:
    """Wrap `_execute_function`: a batch of a stream with a record that failed is sent again, all of it.

    Lambda would send it from that record on. A function must accept the others twice on AWS, too.
    """

    def execute_and_look(function: dict, event: dict) -> dict:
        result = execute(function, event)
        records, body = (each if isinstance(each, dict) else {} for each in (event, result.get("body")))
        first = (records.get("Records") or [{}])[0]
        is_stream = first.get("eventSource") in ("aws:kinesis", "aws:dynamodb")
        if is_stream and (failures := body.get("batchItemFailures")):
            error = {"errorType": "PartialFailure", "errorMessage": f"go on from {failures[0]}"}
            return result | {"error": True, "body": error}
        return result

    return execute_and_look
