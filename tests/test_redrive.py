"""scripts/redrive.sh on the emulator: what Lambda gave up on lands once, whatever is redriven twice."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from helpers.checkout import ROOT
from helpers.project_copy import BUCKET
from helpers.stream_driver import kinesis_record
from stream_stock_data import build_tick

KEY = "aws/lambda/0b1c/shardId-000000000000/2026/01/05/2026-01-05T15.00.00-9d8e"
ROLE = "Lambda_Kinesis_DynamoDB_Role"


def failed_batch(ticks: list[dict]) -> dict:
    """The object that Lambda puts into the bucket for a batch of these ticks."""
    records = [kinesis_record(json.dumps(tick).encode(), number) for number, tick in enumerate(ticks)]
    return {
        "requestContext": {
            "requestId": "5e2f",
            "condition": "RecordAgeExceeded",
            "approximateInvokeCount": 9,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2026-01-05T15:00:00.000Z",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "approximateArrivalOfFirstRecord": "2026-01-05T14:00:00Z",
            "batchSize": len(records),
        },
        "payload": json.dumps({"Records": records}),
    }


@pytest.fixture
def ticks() -> list[dict]:
    now = datetime.now(UTC)
    quotes = [
        {"symbol": symbol, "price": 10.0, "previous_close": 9.9, "open": None, "high": None, "low": None}
        | {"volume": None, "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        for symbol in ("AAPL", "MSFT")
    ]
    return [build_tick(quote, source="simulated", fetched_at=now) for quote in quotes]


@pytest.mark.emulator
def test_redriven_batch_lands_once_and_is_removed(own_deployed, ticks):
    s3, dynamodb = own_deployed.client("s3"), own_deployed.client("dynamodb")
    for _ in range(2):
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=json.dumps(failed_batch(ticks)))
        listed = own_deployed.succeed("redrive.sh", "--list")
        assert "ProcessStockData, 2 record(s) of shardId-000000000000" in listed.stderr
        assert "RecordAgeExceeded" in listed.stderr
        done = own_deployed.succeed("redrive.sh")
        assert "landed" in done.stderr
        items = dynamodb.scan(TableName="stock-market-data")["Items"]
        assert sorted(item["symbol"]["S"] for item in items) == ["AAPL", "MSFT"]
        assert s3.list_objects_v2(Bucket=BUCKET, Prefix="raw-data/")["KeyCount"] == 1
    assert "No failed batches." in own_deployed.succeed("redrive.sh").stderr


@pytest.mark.emulator
def test_batch_that_fails_again_stays_until_the_cause_is_mended(own_deployed, ticks):
    s3, iam = own_deployed.client("s3"), own_deployed.client("iam")
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=json.dumps(failed_batch(ticks)))
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/unreadable", Body=b"{}")
    policy = iam.get_role_policy(RoleName=ROLE, PolicyName=ROLE)["PolicyDocument"]
    iam.delete_role_policy(RoleName=ROLE, PolicyName=ROLE)
    failed = own_deployed.run("redrive.sh")
    assert failed.returncode == 1
    assert "failed again" in failed.stderr
    assert "not the record of a failed batch" in failed.stderr
    iam.put_role_policy(RoleName=ROLE, PolicyName=ROLE, PolicyDocument=json.dumps(policy))
    s3.delete_object(Bucket=BUCKET, Key="aws/lambda/unreadable")
    assert "landed" in own_deployed.succeed("redrive.sh").stderr
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="aws/lambda/")["KeyCount"] == 0


@pytest.mark.parametrize("record", ["{}", "[]", "x", '{"KinesisBatchInfo": {}, "payload": "{}"}'])
def test_what_is_no_failed_batch_is_refused(tmp_path: Path, record):
    (tmp_path / "record").write_text(record)
    reader = ROOT / "scripts/lib/archive/failed_batch.py"
    command = [sys.executable, reader, tmp_path / "record", tmp_path / "event"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not the record of a failed batch" in done.stdout
    assert not (tmp_path / "event").exists()
