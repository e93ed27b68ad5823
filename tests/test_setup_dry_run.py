"""scripts/setup.sh --dry-run prints what setup.sh does, on an empty account and on a complete one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest

from helpers.project_copy import SUBSCRIBERS, Project, snapshot

pytestmark = pytest.mark.emulator
READS = re.compile(r"((get|list|describe|batch-get|head)-|query$)")


def printed(project: Project, **settings: str) -> tuple[str, list[list[str]]]:
    """What a dry run prints, and the words of its commands; comments and the first line's export left out."""
    text = project.succeed("setup.sh", "--dry-run", **SUBSCRIBERS | settings).stdout
    commands: list[list[str]] = []
    for word in shlex.split(text, comments=True):
        if word in ("aws", "export"):
            commands.append([])
        commands[-1].append(word)
    export, *commands = commands
    assert export == ["export", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1"]
    return text, commands


def made(calls: str) -> list[str]:
    """The commands of a run that changed something."""
    return [line for line in calls.splitlines() if not READS.match(line.split()[3])]


def operations(commands: list[list[str]]) -> list[str]:
    return [" ".join(command[3:5]) for command in commands]


def test_dry_run_of_an_empty_account_prints_the_set_up_and_changes_nothing(project, deployed, set_up_once):
    text, commands = printed(project)
    assert snapshot(project) == {}
    assert not list(project.folder.glob(".local/unfinished/*"))

    # Running the printed commands makes all but the mappings, which need names that only AWS knows.
    end = text.index("# aws", text.index(" lambda create-function"))
    subprocess.run(
        ["bash", "-euc", text[:end]],
        env=project.environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=100,
    )
    project.succeed("setup.sh", **SUBSCRIBERS)
    assert snapshot(project) == snapshot(deployed)
    mappings = [line.split()[2:4] for line in made(project.calls.read_text())]
    assert (
        sorted(mappings) == [["lambda", "create-event-source-mapping"]] * 2 + [["lambda", "tag-resource"]] * 2
    )

    in_truth = made((set_up_once / "commands").read_text())
    foretold = [" ".join(words[1:]) for words in commands]
    assert sorted(map(without_what_differs, in_truth)) == sorted(map(without_what_differs, foretold))


def without_what_differs(command: str) -> str:
    """A command without its endpoint, the folder it ran in, what AWS made up, and how it is spaced."""
    stamp = r"--endpoint-url \S+|(?<=fileb://)\S+/|(?<=/stream/)(\d{4}-[\dT:.-]+|LABEL)"
    return " ".join(re.sub(stamp + r"|(?<=mapping:)([\da-f-]{36}|UUID)", "", command).split())


def test_dry_run_of_a_complete_account_prints_the_reads_only(deployed):
    before = snapshot(deployed)
    text, commands = printed(deployed)
    assert commands == []
    assert sum(line.startswith("# aws ") for line in text.splitlines()) > 30
    assert snapshot(deployed) == before


def test_dry_run_after_a_change_prints_that_change_only_and_always_the_same(deployed):
    changed = {"SHARD_COUNT": "2", "ALERT_PHONE_SIGNALS": "ANOMALY,BUY", "RETENTION_DAYS": "45"}
    text, commands = printed(deployed, **changed)
    assert operations(commands) == [
        "kinesis update-shard-count",
        "kinesis wait",
        "sns set-subscription-attributes",
        "logs put-retention-policy",
        "lambda update-function-configuration",
        "lambda wait",
        "logs put-retention-policy",
        "lambda update-function-configuration",
        "lambda wait",
    ]
    assert json.loads(commands[2][-1]) == {"signal": ["ANOMALY", "BUY"], "audience": ["all", "digest"]}
    assert printed(deployed, **changed)[0] == text


def test_dry_run_mends_what_was_changed_by_hand(own_deployed):
    s3, iam, dynamodb = map(own_deployed.client, ("s3", "iam", "dynamodb"))
    (bucket,) = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    s3.delete_public_access_block(Bucket=bucket)
    s3.delete_bucket_lifecycle(Bucket=bucket)
    role = "StockTrendLambdaRole"
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}],
    }
    iam.put_role_policy(RoleName=role, PolicyName=role, PolicyDocument=json.dumps(policy))
    policy["Statement"][0] = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "lambda.amazonaws.com"},
    }
    iam.update_assume_role_policy(RoleName="Lambda_Kinesis_DynamoDB_Role", PolicyDocument=json.dumps(policy))
    dynamodb.update_continuous_backups(
        TableName="stock-trend-alerts",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )
    own_deployed.client("sns").set_topic_attributes(
        TopicArn="arn:aws:sns:us-east-1:000000000000:Stock_Trend_Alerts",
        AttributeName="KmsMasterKeyId",
        AttributeValue="alias/other",
    )
    _, commands = printed(own_deployed)
    assert operations(commands) == [
        "dynamodb update-continuous-backups",
        "s3api put-public-access-block",
        "s3api put-bucket-lifecycle-configuration",
        "sns set-topic-attributes",
        "iam update-assume-role-policy",
        "iam put-role-policy",
    ]
    own_deployed.succeed("setup.sh", **SUBSCRIBERS)
    assert printed(own_deployed)[1] == []
