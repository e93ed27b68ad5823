"""The driver of Lambda's stream semantics itself: each rule that it documents."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import pytest
import time_machine

from helpers.stream_driver import (
    LONGEST_PAUSE,
    EventSourceMapping,
    dynamodb_record,
    kinesis_record,
    sequence_number,
)

SETTINGS = {
    "BatchSize": 4,
    "MaximumRecordAgeInSeconds": 3600,
    "MaximumRetryAttempts": -1,
    "BisectBatchOnFunctionError": True,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
}


def records(count: int, *, shard: int = 0) -> list[dict]:
    return [kinesis_record(str(number).encode(), number, shard=shard) for number in range(count)]


def numbers(event: dict) -> list[int]:
    return [int(sequence_number(record)[-25:]) for record in event["Records"]]


class Lambda:
    """A mapping and a function: `outcome` takes the numbers of a batch and says what the function does."""

    def __init__(
        self, clock: time_machine.Coordinates, outcome: Callable[[list[int]], object], **settings
    ) -> None:
        self.outcome = outcome
        self.batches: list[list[int]] = []
        self.discarded: dict[str, dict] = {}
        options = {name: settings.pop(name) for name in ("rng", "halves_first_failure") if name in settings}
        self.mapping = EventSourceMapping(
            SETTINGS | settings, self.handle, sleep=clock.shift, discard=self.discard, **options
        )

    def handle(self, event: dict, context: object) -> object:
        self.batches.append(numbers(event))
        return self.outcome(self.batches[-1])

    def discard(self, key: str, body: bytes) -> None:
        self.discarded[key] = json.loads(body)

    def lost(self) -> list[list[int]]:
        return [numbers(json.loads(body["payload"])) for body in self.discarded.values()]


def failing(*bad: int) -> Callable[[list[int]], dict]:
    """A function that reports these numbers, whenever they are in the batch."""

    def outcome(batch: list[int]) -> dict:
        failures = [sequence_number(records(number + 1)[-1]) for number in batch if number in bad]
        return {"batchItemFailures": [{"itemIdentifier": failure} for failure in failures]}

    return outcome


def raising(*bad: int) -> Callable[[list[int]], None]:
    """A function that fails as a whole if one of these numbers is in the batch."""

    def outcome(batch: list[int]) -> None:
        if set(bad) & set(batch):
            raise RuntimeError

    return outcome


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_run_empty_answer_is_success_and_batches_follow_in_order(clock, answer):
    function = Lambda(clock, lambda batch: answer)
    function.mapping.run(records(10))
    assert function.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_run_reported_failures_retries_from_the_lowest(clock):
    tries = iter([failing(2, 3, 1), failing(2), failing()])
    function = Lambda(clock, lambda batch: next(tries, failing())(batch))
    function.mapping.run(records(6))
    assert function.batches == [[0, 1, 2, 3], [1, 2, 3], [2, 3], [4, 5]]


@pytest.mark.parametrize("failure", [{"itemIdentifier": ""}, {"itemIdentifier": None}, {"identifier": "1"}])
def test_run_bad_identifier_fails_the_whole_batch(clock, failure):
    tries = iter([{"batchItemFailures": [failure]}])
    function = Lambda(clock, lambda batch: next(tries, None), BisectBatchOnFunctionError=False)
    function.mapping.run(records(3))
    assert function.batches == [[0, 1, 2], [0, 1, 2]]


def test_run_reports_without_the_response_type_are_ignored(clock):
    function = Lambda(clock, failing(1), FunctionResponseTypes=[])
    function.mapping.run(records(3))
    assert function.batches == [[0, 1, 2]]


def test_run_error_bisects_in_order_until_the_poison_is_alone(clock):
    function = Lambda(clock, raising(2), MaximumRetryAttempts=1)
    function.mapping.run(records(6))
    assert function.batches == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [2], [3], [4, 5]]
    assert function.lost() == [[2]]


@pytest.mark.parametrize(
    ("halves", "batches"), [(False, [[0, 1, 2, 3]] * 2), (True, [[0, 1, 2, 3], [0, 1], [2, 3]])]
)
def test_run_first_record_failed_is_retried_either_way(clock, halves, batches):
    tries = iter([failing(0)])
    function = Lambda(clock, lambda batch: next(tries, failing())(batch), halves_first_failure=halves)
    function.mapping.run(records(4))
    assert function.batches == batches


def test_run_attempts_used_up_discards_the_batch_with_its_payload_and_goes_on(clock):
    function = Lambda(clock, raising(1), MaximumRetryAttempts=2, BisectBatchOnFunctionError=False)
    sent = records(6)
    function.mapping.run(sent)
    assert function.batches == [[0, 1, 2, 3]] * 3 + [[4, 5]]
    ((key, body),) = function.discarded.items()
    assert key.startswith(
        "aws/lambda/00000000-0000-0000-0000-000000000000/shardId-000000000000/2026/11/20/2026-11-20T20."
    )
    assert json.loads(body["payload"]) == {"Records": sent[:4]}
    assert body["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert body["KinesisBatchInfo"]["startSequenceNumber"] == sequence_number(sent[0])
    assert body["KinesisBatchInfo"]["endSequenceNumber"] == sequence_number(sent[3])
    assert body["KinesisBatchInfo"]["batchSize"] == 4


def test_run_unlimited_attempts_ends_at_the_maximum_age(clock):
    start = time.time()
    function = Lambda(clock, raising(0), BisectBatchOnFunctionError=False)
    function.mapping.run(records(2))
    assert function.lost() == [[0, 1]]
    assert [body["requestContext"]["condition"] for body in function.discarded.values()] == [
        "RecordAgeExceeded"
    ]
    assert 3600 < time.time() - start < 3600 + 2 * LONGEST_PAUSE


def test_run_without_limits_never_gives_up(clock):
    start = time.time()
    function = Lambda(
        clock,
        lambda batch: raising(0 if time.time() < start + 86_400 else 9)(batch),
        MaximumRecordAgeInSeconds=-1,
    )
    function.mapping.run(records(2))
    assert function.lost() == []
    assert function.batches[-1] == [1]


def test_run_aged_records_are_discarded_without_an_invocation(clock):
    aged = [kinesis_record(b"", number, arrived_at=time.time() - 4000) for number in range(2)]
    function = Lambda(clock, failing())
    function.mapping.run([*aged, *records(4)[2:]])
    assert function.lost() == [[0, 1]]
    assert function.batches == [[2, 3]]


def test_run_sends_no_record_before_it_has_arrived(clock):
    start = time.time()
    shard = [kinesis_record(b"", number, arrived_at=start + 30 * number) for number in range(3)]
    times = []
    function = Lambda(clock, lambda batch: times.append(time.time() - start))
    function.mapping.run(shard)
    assert function.batches == [[0], [1], [2]]
    assert times == [0, 30, 60]


def test_run_filter_keeps_what_does_not_match_away(clock):
    item = {"symbol": {"S": "AAPL"}, "timestamp": {"S": "2026-11-20T20:00:00.000Z"}}
    kinds = ["INSERT", "MODIFY", "REMOVE", "INSERT"]
    function = Lambda(
        clock, failing(), FilterCriteria={"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]}
    )
    function.mapping.run(
        [dynamodb_record(item, number, event_name=kind) for number, kind in enumerate(kinds)]
    )
    assert function.batches == [[0, 3]]


def test_run_unsteady_delivery_keeps_order_loses_nothing_and_repeats(clock):
    function = Lambda(clock, failing(), rng=random.Random(1))
    function.mapping.run(records(40), [kinesis_record(b"", 100 + number, shard=1) for number in range(40)])
    assert {number for batch in function.batches for number in batch} == {*range(40), *range(100, 140)}
    assert sum(map(len, function.batches)) > 80
    assert len({len(batch) for batch in function.batches}) > 2
    for shard in (range(40), range(100, 140)):
        batches = [batch for batch in function.batches if batch[0] in shard]
        assert all(batch == list(range(batch[0], batch[-1] + 1)) for batch in batches)
        firsts = [batch[0] for batch in batches]
        assert firsts == sorted(firsts)
