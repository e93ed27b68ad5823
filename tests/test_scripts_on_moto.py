"""The scripts against moto's server: a second idea of what AWS is, with other errors than MiniStack's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import ACCOUNT_ID, aws_environment, free_port
from project_copy import SUBSCRIBERS, Project, copy_project, snapshot

pytestmark = pytest.mark.emulator
ROOT = Path(__file__).resolve().parent.parent

# What moto 5.2.5 answers otherwise than AWS: an absent workgroup is null instead of an error, an absent log
# group has tags: none, or those of the one that was deleted; and it knows no sandbox for SMS.
WHERE_MOTO_DIFFERS = """
*'athena get-work-group'*)
  answer=$($AWS "$@") || exit
  case $answer in *'"is": null'*)
    echo 'An error occurred (InvalidRequestException) when calling GetWorkGroup: absent' >&2
    exit 254 ;;
  esac
  printf '%s\\n' "$answer"
  exit ;;
*'logs list-tags-for-resource'*)
  name=${6##*:log-group:}
  there=$($AWS "$1" "$2" logs describe-log-groups --log-group-name-prefix "$name" --output text) || exit
  if [ -z "$there" ]; then
    echo 'An error occurred (ResourceNotFoundException) when calling ListTagsForResource: absent' >&2
    exit 254
  fi ;;
*'get-sms-sandbox-account-status'*)
  echo False
  exit ;;
"""


@pytest.fixture
def on_moto(tmp_path, quick_cli) -> Iterator[Project]:
    """The project with an empty moto server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=aws_environment() | {"MOTO_ACCOUNT_ID": ACCOUNT_ID},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        wait_for(f"{endpoint}/moto-api/", process)
        environment = aws_environment(endpoint)
        environment["PATH"] = f"{quick_cli}{os.pathsep}{environment['PATH']}"
        project = Project(copy_project(tmp_path / "project"), environment)
        project.put_in_front_of_aws(WHERE_MOTO_DIFFERS)
        yield project
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("moto's server did not start")


def test_scripts_do_on_moto_what_they_do_on_the_emulator(on_moto):
    on_moto.succeed("setup.sh", **SUBSCRIBERS)
    there = snapshot(on_moto)
    for name in (
        "stream",
        "stock-market-data",
        "topic",
        "ProcessStockData mappings",
        "glue table",
        "workgroup",
    ):
        assert name in there
    assert len(there["subscriptions"]["Subscriptions"]) == 2

    on_moto.succeed("setup.sh", **SUBSCRIBERS)
    assert snapshot(on_moto) == there
    dry = on_moto.succeed("setup.sh", "--dry-run", **SUBSCRIBERS)
    assert [line for line in dry.stdout.splitlines() if not line.startswith("# ")] == [
        "export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
    ]

    for name in ("requirements.txt", ".env.example"):
        shutil.copy(ROOT / name, on_moto.folder / name)
    assert "WRONG" not in on_moto.succeed("doctor.sh", **SUBSCRIBERS).stdout
    on_moto.client("kinesis").stop_stream_encryption(
        StreamName="Stock-market-stream", EncryptionType="KMS", KeyId="alias/aws/kinesis"
    )
    sick = on_moto.run("doctor.sh", **SUBSCRIBERS)
    assert sick.returncode == 1
    (wrong,) = [line for line in sick.stdout.splitlines() if line.startswith("WRONG")]
    assert "kinesis start-stream-encryption" in wrong

    assert "up to date" in on_moto.succeed("deploy_lambdas.sh").stderr
    assert "No failed batches." in on_moto.succeed("redrive.sh").stderr
    on_moto.succeed("alerts.sh", "subscribe", "sqs", "my-alerts", "--signals", "BUY")
    assert "my-alerts" in on_moto.succeed("alerts.sh", "list").stdout
    watch = ("monitoring.sh", "--market-hours", "--cloudtrail", "--budget", "5")
    assert "Dashboard: https://" in on_moto.succeed(*watch, **SUBSCRIBERS).stdout
    assert len(on_moto.client("cloudwatch").describe_alarms()["MetricAlarms"]) == 6

    done = on_moto.succeed("cleanup.sh", "--yes")
    assert "Nothing of the project is left, by name and by tag." in done.stderr
    assert snapshot(on_moto) == {}
    assert on_moto.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert on_moto.client("cloudtrail").describe_trails()["trailList"] == []
    assert not on_moto.client("sqs").list_queues().get("QueueUrls")
