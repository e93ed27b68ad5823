"""What people do with the scripts, from the set-up to a move to another region, under AWS's own rules.

moto is a second idea of what AWS is, with other errors than MiniStack's. One journey is enough for all that
is asked about it: what came of each step, what was there after it, and which commands the CLI was given.
"""

from __future__ import annotations

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
from helpers.project_copy import BUCKET, SUBSCRIBERS, Project, project_at, snapshot
from helpers.strict_aws import make_strict

ROLES = ("Lambda_Kinesis_DynamoDB_Role", "StockTrendLambdaRole")
BOUNDARY = {"PERMISSIONS_BOUNDARY": f"arn:aws:iam::{ACCOUNT_ID}:policy/boundary"}
EUROPE = {"AWS_REGION": "eu-west-1"}

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
CHATS = {"webhook": "https://localhost/hook", "ntfy": "https://localhost/topic"}  # nobody asks there


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
    """The project with an empty moto server, the quick CLI, and AWS's own rules."""
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
        project = project_at(endpoint, folder / "project", quick_cli)
        for name in ("requirements.txt", ".env.example"):
            shutil.copy(ROOT / name, project.folder / name)
        project.put_in_front_of_aws(WHERE_MOTO_DIFFERS)
        make_strict(project)
        yield project
    finally:
        process.terminate()
        process.wait()


def travel(project: Project) -> Journey:
    """Set up, operate, watch, mistake the region, change by hand, change the shards, clean up, and move."""
    journey = Journey()
    there = journey.there
    there["bucket of another region"] = bucket_of_another_region(journey, project)
    journey.go("set-up", project, "setup.sh")
    there["set-up"] = snapshot(project)
    journey.go("second set-up", project, "setup.sh")
    there["second set-up"] = snapshot(project)
    journey.go("dry run", project, "setup.sh", "--dry-run")
    journey.go("doctor", project, "doctor.sh")
    journey.go("deployment", project, "deploy_lambdas.sh")
    journey.go("redrive", project, "redrive.sh")
    journey.go("query", project, "query.sh", "latest_quotes")
    journey.go("subscription", project, "alerts.sh", "subscribe", "sqs", "my-alerts", "--signals", "BUY")
    journey.go("subscriptions", project, "alerts.sh", "list")
    journey.go("test alert", project, "alerts.sh", "test")
    for kind, url in CHATS.items():
        journey.go(f"subscription of {kind}", project, "alerts.sh", "subscribe", kind, url)
    journey.go("monitoring", project, "monitoring.sh", "--market-hours", "--cloudtrail", "--budget", "5")
    there["chats"] = everything(project)
    for kind, url in CHATS.items():
        journey.go(f"end of {kind}", project, "alerts.sh", "unsubscribe", kind, url)
    mistake_the_region(journey, project)
    change_by_hand(journey, project)
    change_shards(journey, project)
    journey.go("clean-up", project, "cleanup.sh", "--yes")
    there["clean-up"] = everything(project)
    move(journey, project)
    return journey


def bucket_of_another_region(journey: Journey, project: Project) -> list[str]:
    """Set up and clean up in Europe with the name of a bucket in the United States; what is left of it."""
    s3 = project.client("s3")
    s3.create_bucket(Bucket="my-ticks")
    tags = {"TagSet": [{"Key": "project", "Value": "stock-market-streaming"}]}
    s3.put_bucket_tagging(Bucket="my-ticks", Tagging=tags)
    journey.go("set-up over a bucket", project, "setup.sh", **EUROPE, BUCKET_NAME="my-ticks")
    journey.go("clean-up over a bucket", project, "cleanup.sh", "--yes", **EUROPE, BUCKET_NAME="my-ticks")
    left = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket="my-ticks")
    return left


def mistake_the_region(journey: Journey, project: Project) -> None:
    """Run everything in a region where nothing is."""
    journey.there["before"] = everything(project)
    for script, *arguments in (
        ["setup.sh"],
        ["doctor.sh"],
        ["monitoring.sh", "--budget", "9"],
        ["monitoring.sh", "--remove"],
        ["cleanup.sh", "--yes"],
    ):
        journey.go(f"{' '.join([script, *arguments])} elsewhere", project, script, *arguments, **EUROPE)
    journey.there["after"] = everything(project)
    journey.there["streams elsewhere"] = project.client("kinesis", "eu-west-1").list_streams()["StreamNames"]


def change_by_hand(journey: Journey, project: Project) -> None:
    """Change resources and code, and leave a failed batch; then ask the doctor, plan, deploy, and redrive."""
    kinesis, awslambda, s3 = map(project.client, ("kinesis", "lambda", "s3"))
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
    journey.go(
        "dry run of changes", project, "setup.sh", "--dry-run", **changed, **BOUNDARY, BUCKET_NAME="other"
    )
    journey.go("dry run of a mode", project, "setup.sh", "--dry-run", STREAM_MODE="ON_DEMAND")
    journey.go("deployment of a change", project, "deploy_lambdas.sh")
    journey.go("redrive of a batch", project, "redrive.sh")


def change_shards(journey: Journey, project: Project) -> None:
    """Ask for other numbers of shards and other modes, until AWS refuses them for the day."""
    shards = journey.there["shards"] = {}
    for name, settings in {
        "more shards": {"SHARD_COUNT": "5"},
        "on demand": {"STREAM_MODE": "ON_DEMAND"},
        "provisioned": {"STREAM_MODE": "PROVISIONED", "SHARD_COUNT": "1"},
        "on demand again": {"STREAM_MODE": "ON_DEMAND"},
        "far too many shards": {"SHARD_COUNT": "99"},
    }.items():
        journey.go(name, project, "setup.sh", **settings)
        stream = project.client("kinesis").describe_stream_summary(StreamName="Stock-market-stream")
        shards[name] = stream["StreamDescriptionSummary"]["OpenShardCount"]


def move(journey: Journey, project: Project) -> None:
    """Set up, look, and clean up in Europe, where AWS refuses a condition of the roles and has no arm64."""
    europe = EUROPE | {"AWS_NO_ARM64": "eu-west-1", "AWS_REFUSE_CONDITION": "1"}
    iam, awslambda = project.client("iam"), project.client("lambda", "eu-west-1")
    journey.go("move", project, "setup.sh", **europe)
    journey.there["roles"] = [iam.get_role(RoleName=role)["Role"] for role in ROLES]
    journey.there["architectures"] = [
        each["Architectures"] for each in awslambda.list_functions()["Functions"]
    ]
    journey.go("move again", project, "setup.sh", **europe, **BOUNDARY)
    journey.there["roles again"] = [iam.get_role(RoleName=role)["Role"] for role in ROLES]
    journey.go("doctor after the move", project, "doctor.sh", **europe, **BOUNDARY)
    project.client("s3").create_bucket(Bucket=BUCKET)
    journey.go("clean-up of the other region", project, "cleanup.sh", "--yes", **europe)
    journey.there["streams at the end"] = project.client("kinesis", "eu-west-1").list_streams()["StreamNames"]


def everything(project: Project) -> dict[str, object]:
    """All resources of the project, and what the scripts make besides it, as far as they exist."""
    cloudwatch, budgets = project.client("cloudwatch"), project.client("budgets")
    found = snapshot(project) | {
        "alarms": cloudwatch.describe_alarms()["MetricAlarms"],
        "trails": project.client("cloudtrail").describe_trails()["trailList"],
        "queues": project.client("sqs").list_queues().get("QueueUrls"),
        "budgets": [
            each["BudgetName"] for each in budgets.describe_budgets(AccountId=ACCOUNT_ID).get("Budgets", [])
        ],
        "dashboards": [each["DashboardName"] for each in cloudwatch.list_dashboards()["DashboardEntries"]],
    }
    return {name: value for name, value in found.items() if value}
