"""What people do with the scripts, from the set-up to the clean-up, on moto's server instead of MiniStack.

moto is a second idea of what AWS is, with other errors than MiniStack's. One journey is enough for all that
is asked about it: what came of each step, what was there after it, and which commands the CLI was given.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from helpers.checkout import ROOT
from helpers.emulator import ACCOUNT_ID, aws_environment, free_port, wait_until_it_answers
from helpers.project_copy import BUCKET, SUBSCRIBERS, Project, copy_project, snapshot

# What moto 5.2.5 answers otherwise than AWS: an absent workgroup is null instead of an error, an absent log
# group has tags: none, or those of the one that was deleted; and it knows no sandbox and no numbers for SMS.
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
  $AWS "$@" >&2
  echo False
  exit ;;
*'pinpoint-sms-voice-v2 describe-phone-numbers'*) echo 1; exit ;;
"""


@dataclass
class Journey:
    """The steps of the journey by name, the resources after some of them, and all commands of the CLI."""

    steps: dict[str, subprocess.CompletedProcess] = field(default_factory=dict)
    there: dict[str, dict[str, object]] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)

    def go(self, name: str, project: Project, script: str, *arguments: str, **settings: str) -> None:
        """Run a script as the next step. Note its commands, even those that a dry run only prints."""
        done = self.steps[name] = project.run(script, *arguments, **SUBSCRIBERS | settings)
        for line in project.calls.read_text().splitlines():
            if " configure " not in f" {line} " and "--version" not in line:
                self.note(line.split())
        if "--dry-run" in arguments:
            words: list[str] = []
            printed = re.sub(r"^# (?=aws )", "", done.stdout, flags=re.MULTILINE)
            for word in [*shlex.split(printed), "aws"]:
                if word == "aws" and words[:1] == ["aws"]:
                    self.note(words[1:])
                words = [word] if word in ("aws", "export") else [*words, word]

    def note(self, words: list[str]) -> None:
        """Note a command of the CLI by its words."""
        self.commands.append(words[2:] if words[0] == "--endpoint-url" else words)


@contextmanager
def moto_account(folder: Path, quick_cli: Path) -> Iterator[Project]:
    """The project with an empty moto server and the quick CLI."""
    port, log = free_port(), folder / "moto.log"
    endpoint = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env=aws_environment() | {"MOTO_ACCOUNT_ID": ACCOUNT_ID},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_it_answers(f"{endpoint}/moto-api/", process, log)
        environment = aws_environment(endpoint)
        environment["PATH"] = f"{quick_cli}{os.pathsep}{environment['PATH']}"
        project = Project(copy_project(folder / "project"), environment)
        for name in ("requirements.txt", ".env.example"):
            shutil.copy(ROOT / name, project.folder / name)
        project.put_in_front_of_aws(WHERE_MOTO_DIFFERS)
        yield project
    finally:
        process.terminate()
        process.wait()


def travel(project: Project) -> Journey:
    """Set up, look, change by hand, operate, watch, and clean up."""
    journey, client = Journey(), project.client
    journey.go("set-up", project, "setup.sh")
    journey.there["set-up"] = snapshot(project)
    journey.go("second set-up", project, "setup.sh")
    journey.there["second set-up"] = snapshot(project)
    journey.go("dry run", project, "setup.sh", "--dry-run")
    journey.go("doctor", project, "doctor.sh")
    journey.go("deployment", project, "deploy_lambdas.sh")
    journey.go("redrive", project, "redrive.sh")

    kinesis, awslambda, s3 = client("kinesis"), client("lambda"), client("s3")
    kinesis.stop_stream_encryption(
        StreamName="Stock-market-stream", EncryptionType="KMS", KeyId="alias/aws/kinesis"
    )
    journey.go("doctor of a sick one", project, "doctor.sh")
    journey.go("doctor of another stream", project, "doctor.sh", STREAM_NAME="other")
    (mapping,) = awslambda.list_event_source_mappings(FunctionName="ProcessStockData")["EventSourceMappings"]
    awslambda.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=7)
    s3.delete_bucket_ownership_controls(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/x", Body=b"{}")
    handler = project.folder / "lambdas/process_stock_data.py"
    handler.write_text(handler.read_text() + "\n")
    changed = {"SHARD_COUNT": "2", "RETENTION_DAYS": "3", "ALERT_PHONE_SIGNALS": "BUY"}
    changed["PERMISSIONS_BOUNDARY"] = "arn:aws:iam::aws:policy/PowerUserAccess"
    journey.go("dry run of changes", project, "setup.sh", "--dry-run", **changed, BUCKET_NAME="other")
    journey.go("dry run of a mode", project, "setup.sh", "--dry-run", STREAM_MODE="ON_DEMAND")
    journey.go("deployment of a change", project, "deploy_lambdas.sh")
    journey.go("redrive of a batch", project, "redrive.sh")

    journey.go("query", project, "query.sh", "latest_quotes")
    journey.go("subscription", project, "alerts.sh", "subscribe", "sqs", "my-alerts", "--signals", "BUY")
    journey.go("subscriptions", project, "alerts.sh", "list")
    journey.go("test alert", project, "alerts.sh", "test")
    journey.go("monitoring", project, "monitoring.sh", "--market-hours", "--cloudtrail", "--budget", "5")
    journey.there["monitoring"] = monitoring(project)
    journey.go("clean-up", project, "cleanup.sh", "--yes")
    journey.there["clean-up"] = snapshot(project) | monitoring(project)
    return journey


def monitoring(project: Project) -> dict[str, object]:
    """What the scripts make besides the pipeline. Only what exists is in the result."""
    found = {
        "alarms": project.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "trails": project.client("cloudtrail").describe_trails()["trailList"],
        "queues": project.client("sqs").list_queues().get("QueueUrls"),
    }
    return {name: value for name, value in found.items() if value}
