"""The handlers as they are pasted into the Lambda console: one file in an empty folder, and boto3 alone."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from helpers.checkout import ROOT
from helpers.make_events import make_events
from helpers.mocked_aws import SETTINGS, resource

BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
RUN = """
import json, sys
from lambda_function import lambda_handler
print("RESULT", json.dumps(lambda_handler(json.load(sys.stdin), None)))
"""


def find_python(version: str) -> str | None:
    """An interpreter of this version that runs, if this machine has one."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for candidate in filter(None, candidates):
        shown = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
        if shown.stdout.startswith(f"Python {version}."):
            return candidate
    return None


@pytest.fixture(params=["this", "3.13"])
def python(request: pytest.FixtureRequest) -> str:
    """This Python, and that of Lambda's runtime."""
    path = sys.executable if request.param == "this" else find_python(request.param)
    if path is None:
        pytest.skip("no Python 3.13 on this machine")
    return path


@pytest.fixture
def endpoint() -> Iterator[str]:
    """AWS on a port of this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    urllib.request.urlopen(
        urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    ).close()
    server.stop()


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with boto3 and what it needs, which is Python only and runs on any version."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in BOTO3:
        origin = Path(find_spec(name).origin)
        target = origin if name == "six" else origin.parent
        (folder / target.name).symlink_to(target)
    return folder


def run(python: str, packages: Path, folder: Path, *, name: str, event: dict, **environment: str) -> dict:
    """Run a handler as lambda_function.py in an empty folder."""
    folder.mkdir()
    shutil.copy(ROOT / f"lambdas/{name}.py", folder / "lambda_function.py")
    environment |= {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    command = [python, "-S", "-c", RUN]  # -S: no installed package but those
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (result,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(result.removeprefix("RESULT "))


def test_handlers_pasted_alone_run_the_test_events_of_the_console(
    aws_credentials, python, endpoint, packages, tmp_path
):
    dynamodb, s3, sns = (boto3.client(name, endpoint_url=endpoint) for name in ("dynamodb", "s3", "sns"))
    for table in ("ticks_table", "alerts_table"):
        dynamodb.create_table(**resource(table))
    s3.create_bucket(Bucket=SETTINGS["BUCKET_NAME"])
    sns.create_topic(Name=SETTINGS["SNS_TOPIC_ARN"].rpartition(":")[2])
    events = {path.name: json.loads(path.read_text()) for path in (ROOT / "tests/events").glob("*.json")}
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    runs = [("process_stock_data", "kinesis_batch.json"), ("stock_trend_analysis", "dynamodb_batch.json")]
    for name, event in runs:
        environment = credentials | resource(name)["Environment"]["Variables"]
        environment |= {"AWS_ENDPOINT_URL": endpoint, "ALERT_MAX_AGE_MINUTES": "0"}
        result = run(python, packages, tmp_path / name, name=name, event=events[event], **environment)
        assert result == {"batchItemFailures": []}

    stored = dynamodb.scan(TableName=SETTINGS["TABLE_NAME"])["Items"]
    images = [record["dynamodb"]["NewImage"] for record in events["dynamodb_batch.json"]["Records"]]
    assert sorted(stored, key=lambda item: item["timestamp"]["S"]) == images
    alerts = dynamodb.scan(TableName=SETTINGS["ALERTS_TABLE_NAME"])["Items"]
    assert {(alert["signal"]["S"], alert["status"]["S"]) for alert in alerts} == {
        ("BUY", "sent"),
        ("ANOMALY", "sent"),
    }
    (archive,) = s3.list_objects_v2(Bucket=SETTINGS["BUCKET_NAME"])["Contents"]
    assert archive["Key"].startswith("raw-data/dt=2026-11-20/shardId-000000000000-")


def test_events_are_what_producer_and_handler_make_today(aws_credentials, monkeypatch):
    """If this fails, run tests/helpers/make_events.py."""
    for name, value in resource("process_stock_data")["Environment"]["Variables"].items():
        monkeypatch.setenv(name, value)
    files = {path.name: json.loads(path.read_text()) for path in (ROOT / "tests/events").glob("*.json")}
    assert files == make_events()


@pytest.mark.parametrize(
    ("name", "lines"), [("process_stock_data", 300), ("stock_trend_analysis", 364), ("forward_alerts", 200)]
)
def test_handlers_stay_short_enough_to_paste_and_read(name, lines):
    assert len((ROOT / f"lambdas/{name}.py").read_text().splitlines()) <= lines


def test_handlers_that_need_the_same_function_have_the_same_one():
    functions: dict[str, set[str]] = {}
    for path in (ROOT / "lambdas").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name in ("is_history", "tolerate_transient_errors"):
                functions.setdefault(node.name, set()).add(ast.unparse(node))
    assert {name: len(bodies) for name, bodies in functions.items()} == {
        "is_history": 1,
        "tolerate_transient_errors": 1,
    }
