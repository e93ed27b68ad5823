"""The IAM policies as scripts/setup.sh puts them: well-formed, by ARN, with all that AWS says Lambda needs.

(That they are enough for the handlers, and no more than that, is tested on the emulator.)
"""

from __future__ import annotations

import json
import re

import pytest
from parliament import analyze_policy_string

from helpers.checkout import ROOT, as_list, rendered

POLICIES = ROOT / "scripts" / "policies"
VALUES = {
    "ACCOUNT_ID": "123456789012",
    "ADDRESSES_PARAMETER": "/stock-market-streaming/alert-addresses",
    "ALERTS_TABLE_NAME": "stock-trend-alerts",
    "AWS_REGION": "us-east-1",
    "BUCKET_NAME": "stock-market-data-bucket-123456789012-us-east-1",
    "OPERATIONS_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:stock-market-streaming-operations",
    "QUEUE_ARN": "arn:aws:sqs:us-east-1:123456789012:alerts",
    "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:Stock_Trend_Alerts",
    "STREAM_NAME": "Stock-market-stream",
    "TABLE_NAME": "stock-market-data",
    "TOPIC_NAME": "Stock_Trend_Alerts",
}
IDENTITY_POLICIES = [
    "process_stock_data.json",
    "stock_trend_analysis.json",
    "forward_alerts.json",
    "producer.json",
    "dashboard.json",
    "setup.json",
    "operations.json",
]
RESOURCE_POLICIES = ["bucket.json", "operations_topic.json", "queue.json"]
TRUST_POLICIES = ["lambda_trust.json", "lambda_trust_any_account.json"]

# AWS managed policies, the documented lists of what Lambda itself does with an execution role:
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSLambdaKinesisExecutionRole.html
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSLambdaDynamoDBExecutionRole.html
# and for a failed batch in S3: https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
# and https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
ON_FAILURE = {"s3:ListBucket", "s3:PutObject"}
DOCUMENTED = {
    "process_stock_data.json": LOGS
    | ON_FAILURE
    | {f"kinesis:{action}" for action in ("DescribeStream", "DescribeStreamSummary", "GetRecords")}
    | {
        f"kinesis:{action}"
        for action in ("GetShardIterator", "ListShards", "ListStreams", "SubscribeToShard")
    },
    "stock_trend_analysis.json": LOGS
    | ON_FAILURE
    | {
        f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
    },
    "forward_alerts.json": LOGS | ON_FAILURE,
}
LEFT_OUT = {
    "logs:CreateLogGroup": "setup.sh makes the group; a late invocation must not make it again",
    "kinesis:SubscribeToShard": "for enhanced fan-out consumers; this mapping reads the shards",
}
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
WITHOUT_ARN = {
    *("cloudtrail:DescribeTrails", "cloudwatch:GetMetricData", "cloudwatch:ListDashboards"),
    *("dynamodb:ListStreams", "dynamodb:ListTables", "kinesis:ListStreams", "kinesis:UpdateShardCount"),
    *("kinesis:UpdateStreamMode", "lambda:CreateEventSourceMapping", "lambda:GetAccountSettings"),
    *("lambda:ListEventSourceMappings", "logs:DescribeLogGroups", "s3:ListAllMyBuckets"),
    *("sms-voice:DescribePhoneNumbers", "sns:GetSMSAttributes", "sns:GetSMSSandboxAccountStatus"),
    *("sns:GetSubscriptionAttributes", "sns:ListSMSSandboxPhoneNumbers", "sns:SetSubscriptionAttributes"),
    *("sns:Unsubscribe", "tag:GetResources"),
}
# Findings of parliament in setup.json that are meant.
MEANT = {
    "RESOURCE_POLICY_PRIVILEGE_ESCALATION": "who sets up the bucket's policy could open it for himself",
    "kinesis:StartStreamEncryption": "it takes the stream and the key, in two statements",
    "athena:ListTagsForResource": "of a workgroup; it also takes other resources",
}


def render(name: str) -> dict:
    policy = rendered(f"scripts/policies/{name}", VALUES)
    # The file for a queue is one statement, because the queue may have a policy already.
    return policy if "Statement" in policy else {"Version": "2012-10-17", "Statement": [policy]}


def actions(name: str, sid: str = "") -> set[str]:
    statements = [s for s in render(name)["Statement"] if s["Sid"].startswith(sid)]
    return {action for statement in statements for action in as_list(statement["Action"])}


@pytest.mark.parametrize("name", [*IDENTITY_POLICIES, *RESOURCE_POLICIES])
def test_policy_has_no_finding_of_parliament(name):
    findings = analyze_policy_string(json.dumps(render(name))).findings
    texts = [f"{finding.issue} {finding.detail}" for finding in findings]
    assert [text for text in texts if name != "setup.json" or not any(meant in text for meant in MEANT)] == []


def test_all_policies_are_tested_here():
    names = {path.name for path in POLICIES.glob("*.json")}
    assert names == {*IDENTITY_POLICIES, *RESOURCE_POLICIES, *TRUST_POLICIES}


@pytest.mark.parametrize("name", IDENTITY_POLICIES)
def test_policy_names_actions_one_by_one_and_resources_by_arn(name):
    for statement in render(name)["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert "*" not in action
            for resource in as_list(statement["Resource"]):
                if resource == "*":
                    assert action in WITHOUT_ARN, action
                else:
                    assert re.match(r"arn:aws:\w+:[\w-]*:(123456789012)?:[\w/.*-]+", resource), resource


@pytest.mark.parametrize("name", DOCUMENTED)
def test_role_has_what_aws_documents_that_lambda_uses(name):
    assert actions(name, "Lambda") == DOCUMENTED[name] - set(LEFT_OUT)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_failed_batches_may_go_to_the_bucket_and_nowhere_else(name):
    (store,) = [s for s in render(name)["Statement"] if s["Sid"] == "LambdaStoresFailedBatches"]
    # With less than the whole bucket Lambda is said to refuse it as a destination.
    assert store["Resource"] == f"arn:aws:s3:::{VALUES['BUCKET_NAME']}/*"
    (find,) = [s for s in render(name)["Statement"] if s["Sid"] == "LambdaFindsFailureBucket"]
    assert find["Resource"] == f"arn:aws:s3:::{VALUES['BUCKET_NAME']}"


@pytest.mark.parametrize("name", DOCUMENTED)
def test_role_writes_to_a_bucket_of_this_account_only(name):
    """If the bucket is deleted, somebody else can make one of its name, and would get the records."""
    statements = [s for s in render(name)["Statement"] if "arn:aws:s3:::" in json.dumps(s["Resource"])]
    assert statements
    for statement in statements:
        assert statement["Condition"] == {"StringEquals": {"s3:ResourceAccount": "123456789012"}}


def test_producer_may_put_on_the_stream_and_nothing_else():
    (statement,) = render("producer.json")["Statement"]
    assert set(statement["Action"]) == {
        "kinesis:DescribeStreamSummary",
        "kinesis:PutRecord",
        "kinesis:PutRecords",
    }
    assert statement["Resource"] == "arn:aws:kinesis:us-east-1:123456789012:stream/Stock-market-stream"


def test_only_lambda_of_this_account_may_take_the_roles():
    (statement,) = render("lambda_trust.json")["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_trust_without_the_condition_differs_in_nothing_else():
    (strict,), (loose,) = (render(name)["Statement"] for name in TRUST_POLICIES)
    assert loose == {name: strict[name] for name in ("Effect", "Principal", "Action")} | {"Sid": loose["Sid"]}


def test_bucket_refuses_everybody_without_tls():
    (statement,) = [s for s in render("bucket.json")["Statement"] if s["Effect"] == "Deny"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    bucket = f"arn:aws:s3:::{VALUES['BUCKET_NAME']}"
    assert statement["Resource"] == [bucket, f"{bucket}/*"]


@pytest.mark.parametrize("name", RESOURCE_POLICIES)
def test_services_are_let_in_for_this_project_only_and_by_name_and_arn(name):
    for statement in render(name)["Statement"]:
        if statement["Effect"] == "Allow":
            assert set(statement["Principal"]) == {"Service"}
            conditions = {
                key: value for each in statement["Condition"].values() for key, value in each.items()
            }
            assert "123456789012" in conditions["aws:SourceArn"] + conditions.get("aws:SourceAccount", "")
            assert "*" not in statement["Action"]
            assert statement["Resource"].startswith("arn:aws:")


def test_trail_may_write_under_its_prefix_in_the_bucket_and_nowhere_else():
    (write,) = [s for s in render("bucket.json")["Statement"] if s["Action"] == "s3:PutObject"]
    assert write["Resource"] == f"arn:aws:s3:::{VALUES['BUCKET_NAME']}/cloudtrail/AWSLogs/123456789012/*"
    trail = "arn:aws:cloudtrail:us-east-1:123456789012:trail/stock-market-streaming"
    assert write["Condition"]["StringEquals"]["aws:SourceArn"] == trail


@pytest.mark.parametrize("name", ["process_stock_data", "stock_trend_analysis", "forward_alerts"])
def test_function_gets_every_variable_that_its_handler_reads(name):
    code = (ROOT / "lambdas" / f"{name}.py").read_text()
    names = {"TABLE_NAME", "ALERTS_TABLE_NAME", "BUCKET_NAME", "SNS_TOPIC_ARN", "SMA_SHORT", "SMA_LONG"}
    names |= {"ANOMALY_PERCENT", "ALERT_MAX_AGE_MINUTES", "ALERT_COOLDOWN_MINUTES", "RETENTION_DAYS"}
    names |= {"ALERT_DIGEST_ABOVE", "ALERT_RULES"}
    names |= {
        "ADDRESSES_PARAMETER",
        "ANOMALY_PERCENT",
        "ALERT_MAX_AGE_MINUTES",
        "ALERT_COOLDOWN_MINUTES",
        "RETENTION_DAYS",
    }
    read = set(re.findall(r'"([A-Z_]+)"', code)) & names
    definition = json.loads((ROOT / "scripts" / "resources" / f"{name}.json").read_text())
    variables = definition["Environment"]["Variables"]
    assert read == set(variables)
    assert all(variables[variable] == f"${{{variable}}}" for variable in variables)
