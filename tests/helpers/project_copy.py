"""A copy of the project, whose scripts run as a user runs them, and a view of the account that they fill."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from helpers.checkout import ROOT, as_list, rendered
from helpers.emulator import ACCOUNT_ID, aws_environment, emulator_client, ministack

BUCKET = f"stock-market-data-bucket-{ACCOUNT_ID}-us-east-1"
TOPIC_ARN = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:Stock_Trend_Alerts"
# See as_user: services, and one action.
WITHOUT_TRUE_ARN = r"(athena|budgets|cloudtrail|cloudwatch|glue|lambda|sns):|dynamodb:ListTagsOfResource"
SUBSCRIBERS = {"ALERT_EMAIL": "a@example.com", "ALERT_PHONE": "+15550100200"}


@dataclass
class Project:
    """A copy of what the scripts need, and the environment to run them in."""

    folder: Path
    environment: dict[str, str]
    calls: Path = field(init=False)
    clients: dict[tuple[str, str], object] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.calls = self.folder / "calls.log"

    def run(
        self, script: str, *arguments: str, stdin: str = "", **settings: str
    ) -> subprocess.CompletedProcess:
        self.calls.unlink(missing_ok=True)
        return subprocess.run(
            [self.folder / "scripts" / script, *arguments],
            env=self.environment | {"AWS_CALL_LOG": str(self.calls)} | settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def succeed(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
        done = self.run(script, *arguments, **settings)
        assert done.returncode == 0, done.stderr
        return done

    def put_in_front_of_aws(self, cases: str) -> None:
        """Put an `aws` first on the PATH. It runs the shell `cases`, else the next `aws` ($AWS)."""
        folder = self.folder / "front"
        folder.mkdir()
        behind = shutil.which("aws", path=self.environment["PATH"])
        (folder / "aws").write_text(f'#!/bin/sh\nAWS={behind}\ncase "$*" in\n{cases}\nesac\nexec $AWS "$@"\n')
        (folder / "aws").chmod(0o755)
        self.environment["PATH"] = f"{folder}{os.pathsep}{self.environment['PATH']}"

    def client(self, service: str, region: str = "us-east-1") -> object:
        """A boto3 client of the account, as its owner. Each is made once: that takes longer than a call."""
        if (service, region) not in self.clients:
            endpoint = self.environment["AWS_ENDPOINT_URL"]
            self.clients[service, region] = emulator_client(endpoint, service, region)
        return self.clients[service, region]


def copy_project(folder: Path) -> Path:
    for name in ("scripts", "lambdas", "athena"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def project_at(endpoint: str, folder: Path, quick_cli: Path) -> Project:
    """A copy of the project in a folder, with the quick CLI and the account behind an endpoint."""
    environment = aws_environment(endpoint)
    environment["PATH"] = f"{quick_cli}{os.pathsep}{environment['PATH']}"
    return Project(copy_project(folder), environment)


@contextmanager
def account(folder: Path, quick_cli: Path, *, keep: bool = False) -> Iterator[Project]:
    """The project with a MiniStack, empty or with the state that was kept in `folder`, and the quick CLI."""
    with ministack(folder / "ministack", keep=keep) as endpoint:
        yield project_at(endpoint, folder / "project", quick_cli)


@contextmanager
def account_like(kept: Path, folder: Path, quick_cli: Path) -> Iterator[Project]:
    """The project with its own MiniStack, which starts from the state kept in another folder."""
    shutil.copytree(kept / "ministack", folder / "ministack")
    with account(folder, quick_cli, keep=True) as project:
        yield project


def as_user(project: Project, *policies: str) -> Project:
    """The same project, run by a user of its account who has these policies of scripts/policies.

    MiniStack 1.5.33 takes other ARNs than AWS for some actions. So of these only the names count, and of
    those of budgets, which have other names, nothing.
    """
    iam = project.client("iam")
    names = {
        "ACCOUNT_ID": ACCOUNT_ID,
        "ALERTS_TABLE_NAME": "stock-trend-alerts",
        "AWS_REGION": "us-east-1",
        "BUCKET_NAME": BUCKET,
        "STREAM_NAME": "Stock-market-stream",
        "TABLE_NAME": "stock-market-data",
        "TOPIC_NAME": "Stock_Trend_Alerts",
    }
    user = "+".join(policies)
    iam.create_user(UserName=user)
    for policy in policies:
        document = rendered(f"scripts/policies/{policy}", names)
        actions = [action for each in document["Statement"] for action in as_list(each["Action"])]
        by_name_alone = {re.sub("^budgets:.*", "budgets:*", each) for each in actions}
        by_name_alone = sorted(each for each in by_name_alone if re.match(WITHOUT_TRUE_ARN, each))
        document["Statement"].append({"Effect": "Allow", "Action": by_name_alone, "Resource": "*"})
        iam.put_user_policy(UserName=user, PolicyName=policy, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return Project(project.folder, project.environment | keys)


def snapshot(project: Project) -> dict[str, object]:
    """All resources of the project as AWS describes them, without ids and dates."""
    client = project.client
    kinesis, dynamodb, s3, sns = map(client, ("kinesis", "dynamodb", "s3", "sns"))
    iam, awslambda, logs = map(client, ("iam", "lambda", "logs"))
    glue, athena = map(client, ("glue", "athena"))
    seen: dict[str, object] = {}

    def look(name: str, ask: Callable[..., dict], **arguments: object) -> None:
        try:
            seen[name] = timeless(ask(**arguments))
        except ask.__self__.exceptions.ClientError as error:  # type: ignore[attr-defined]
            code = error.response["Error"]["Code"]
            assert re.search("NotFound|NoSuch|404|InvalidRequest|AccessDenied", code), (name, code)

    look("stream", kinesis.describe_stream_summary, StreamName="Stock-market-stream")
    look("stream tags", kinesis.list_tags_for_stream, StreamName="Stock-market-stream")
    for table in ("stock-market-data", "stock-trend-alerts"):
        arn = f"arn:aws:dynamodb:us-east-1:{ACCOUNT_ID}:table/{table}"
        look(table, dynamodb.describe_table, TableName=table)
        look(f"{table} ttl", dynamodb.describe_time_to_live, TableName=table)
        look(f"{table} backups", dynamodb.describe_continuous_backups, TableName=table)
        look(f"{table} tags", dynamodb.list_tags_of_resource, ResourceArn=arn)
    for what in ("tagging", "encryption", "lifecycle_configuration", "ownership_controls", "policy"):
        look(f"bucket {what}", getattr(s3, f"get_bucket_{what}"), Bucket=BUCKET)
    look("bucket access", s3.get_public_access_block, Bucket=BUCKET)
    look("topic", sns.get_topic_attributes, TopicArn=TOPIC_ARN)
    look("topic tags", sns.list_tags_for_resource, ResourceArn=TOPIC_ARN)
    look("subscriptions", sns.list_subscriptions_by_topic, TopicArn=TOPIC_ARN)
    for role in ("Lambda_Kinesis_DynamoDB_Role", "StockTrendLambdaRole", "ForwardAlertsRole"):
        look(role, iam.get_role, RoleName=role)
        look(f"{role} policy", iam.get_role_policy, RoleName=role, PolicyName=role)
    for function in ("ProcessStockData", "StockTrendAnalysis", "ForwardAlerts"):
        look(function, awslambda.get_function_configuration, FunctionName=function)
        look(f"{function} tags", awslambda.get_function, FunctionName=function)
        look(f"{function} mappings", awslambda.list_event_source_mappings, FunctionName=function)
    look("retries", awslambda.get_function_event_invoke_config, FunctionName="ForwardAlerts")
    look("addresses", client("ssm").get_parameter, Name="/stock-market-streaming/alert-addresses")
    look("log groups", logs.describe_log_groups, logGroupNamePrefix="/aws/lambda/")
    look("database", glue.get_database, Name="stock_data_db")
    look("glue table", glue.get_table, DatabaseName="stock_data_db", Name="stock_data_table")
    look("workgroup", athena.get_work_group, WorkGroup="stock-market-analytics")
    return {name: value for name, value in seen.items() if not is_empty(value)}


def is_empty(answer: object) -> bool:
    return isinstance(answer, dict) and not any(answer.values())


def timeless(value: object) -> object:
    volatile = r"UUID|EventSourceMappingArn|(Revision|Table|Role|Catalog|Version|Request)Id|SubscriptionArn"
    volatile += r"|.*(Date|Time|DateTime|Timestamp|Modified.*)|creationTime|StateTransitionReason|Policy|Code"
    volatile += r"|LatestStream.*|storedBytes|(?!Open).*Count|LastProcessingResult|ResponseMetadata|NextToken"
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not re.fullmatch(volatile, k)}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return re.sub(r"/stream/[\dT:.-]+", "/stream/*", value) if isinstance(value, str) else value
