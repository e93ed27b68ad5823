"""scripts/lib/local/: MiniStack's streams outlast a day, a restart and a failure."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace
from unittest import mock

import pytest

from helpers.checkout import ROOT, load_module

with mock.patch("threading.Thread.start"):  # a thread that sleeps would move the clock of other tests
    from ministack.core.persistence import _json_default, _json_object_hook
    from ministack.core.responses import AccountRegionScopedDict
    from ministack.services import dynamodb, kinesis, lambda_svc

lasting_streams = load_module("scripts/lib/local/lasting_streams.py")
with mock.patch.object(sys, "path", [str(ROOT / "scripts/lib/local"), *sys.path]):
    patches = load_module("scripts/lib/local/patches.py")

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/quotes"
TABLE_STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/ticks/stream/now"
HOUR = 3600


def stand_in(original, names):
    """The module with empty stores instead of its own."""
    return SimpleNamespace(**{**vars(original), **{name: AccountRegionScopedDict() for name in names}})


@pytest.fixture
def services():
    """dynamodb, kinesis and lambda_svc with empty stores, patched."""
    modules = (
        stand_in(dynamodb, ["_stream_records", "_stream_trimmed"]),
        stand_in(kinesis, ["_streams", "_shard_iterators"]),
        stand_in(lambda_svc, ["_esms", "_kinesis_positions", "_dynamodb_stream_positions"]),
    )
    modules[0].get_state = lambda: {"tables": {}}
    modules[0].load_persisted_state = lambda data: None
    modules[2]._poll_kinesis = lambda: "polled"
    modules[2]._execute_function = lambda function, event: {"body": function["answers"], "log": "…"}
    lasting_streams.make_streams_last(*modules)
    return modules


def test_poll_of_a_day_old_stream_keeps_every_reader_at_its_record(services):
    _, streams, functions = services
    now = time.time()
    arrivals = [now - 26 * HOUR, now - 25 * HOUR, now - 23 * HOUR, now - 1, now]
    records = [{"ApproximateArrivalTimestamp": arrival, "n": n} for n, arrival in enumerate(arrivals)]
    shard = {"records": records}
    streams._streams["quotes"] = {"StreamARN": ARN, "RetentionPeriodHours": 24, "shards": {"shard-0": shard}}
    for uuid, place in (("behind", 1), ("next", 4), ("through", 5)):
        functions._esms[uuid] = {"UUID": uuid, "EventSourceArn": ARN}
        functions._kinesis_positions[uuid] = {"shard-0": place}
    functions._esms["other"] = {"UUID": "other", "EventSourceArn": f"{ARN}2"}
    functions._kinesis_positions["other"] = {"shard-0": 4}
    streams._shard_iterators["watch"] = {"stream_arn": ARN, "shard_id": "shard-0", "position": 3}

    assert functions._poll_kinesis() == "polled"

    assert [record["n"] for record in shard["records"]] == [2, 3, 4]
    places = {uuid: functions._kinesis_positions[uuid]["shard-0"] for uuid in functions._esms}
    assert places == {"behind": 0, "next": 2, "through": 3, "other": 4}
    assert streams._shard_iterators["watch"]["position"] == 1


def test_a_call_of_kinesis_drops_no_record_by_itself(services):
    _, streams, _ = services
    stream = {"RetentionPeriodHours": 24, "shards": {"s": {"records": [{"ApproximateArrivalTimestamp": 0}]}}}
    streams._expire_records(stream)
    assert len(stream["shards"]["s"]["records"]) == 1


def test_saved_state_goes_on_with_the_first_record_that_a_function_has_not_read(services):
    tables, _, functions = services
    tables._stream_records["ticks"] = [{"n": n} for n in range(10, 20)]
    tables._stream_trimmed["ticks"] = 10
    for uuid, place in (("ahead", 18), ("behind", 17)):
        functions._esms[uuid] = {"UUID": uuid, "EventSourceArn": TABLE_STREAM}
        functions._dynamodb_stream_positions[uuid] = place
    saved = json.dumps(tables.get_state(), default=_json_default)
    assert saved.count('"n"') == 3

    tables._stream_records.clear()
    tables._stream_trimmed.clear()
    tables.load_persisted_state(json.loads(saved, object_hook=_json_object_hook))
    assert tables._stream_records["ticks"] == [{"n": 17}, {"n": 18}, {"n": 19}]
    assert tables._stream_trimmed["ticks"] == 17


def test_saved_state_of_a_table_without_a_function_has_all_records(services):
    tables, _, _ = services
    tables._stream_records["ticks"] = [{"n": 0}, {"n": 1}]
    state = tables.get_state()
    assert state["stream_records"]["ticks"] == [{"n": 0}, {"n": 1}]
    assert state["tables"] == {}


@pytest.mark.parametrize(
    ("source", "answer", "is_failure"),
    [
        ("aws:kinesis", {"batchItemFailures": [{"itemIdentifier": "7"}]}, True),
        ("aws:dynamodb", {"batchItemFailures": [{"itemIdentifier": "7"}]}, True),
        ("aws:dynamodb", {"batchItemFailures": []}, False),
        ("aws:kinesis", None, False),
        ("aws:sqs", {"batchItemFailures": [{"itemIdentifier": "7"}]}, False),  # MiniStack knows these
        (None, {"batchItemFailures": [{"itemIdentifier": "7"}]}, False),
    ],
)
def test_function_that_reports_a_failed_record_gets_the_batch_again(services, source, answer, is_failure):
    event = {"Records": [{"eventSource": source}]} if source else {}
    result = services[2]._execute_function({"answers": answer}, event)
    assert result.get("error", False) is is_failure
    assert result["log"] == "…"


def test_other_version_runs_as_it_is_and_says_so(monkeypatch, capsys):
    patched = mock.Mock()
    for name in ("make_items_lean", "make_queries_quick", "make_streams_last", "poll_tables_beside"):
        monkeypatch.setattr(patches, name, patched)
    monkeypatch.setattr(patches, "version", lambda name: "9.9")
    patches.patch_ministack()
    assert not patched.called
    assert "only version 1.5.33 is patched" in capsys.readouterr().err
    monkeypatch.setattr(patches, "version", lambda name: patches.TESTED_VERSION)
    patches.patch_ministack()
    assert patched.call_count == 4


def test_tested_version_is_the_one_that_is_installed():
    assert patches.version("ministack") == patches.TESTED_VERSION
