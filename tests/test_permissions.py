"""The handlers' own AWS calls under IAM: each role's policy is enough, and nothing in it is too much."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from helpers.chats import Chats
from helpers.checkout import as_list, load_module, rendered
from helpers.emulator import ACCOUNT_ID, aws_environment, ministack

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("permissions")]

SETTINGS = {
    "ACCOUNT_ID": ACCOUNT_ID,
    "AWS_REGION": "us-east-1",
    "STREAM_NAME": "Stock-market-stream",
    "TABLE_NAME": "stock-market-data",
    "ALERTS_TABLE_NAME": "stock-trend-alerts",
    "BUCKET_NAME": "stock-market-data-bucket",
    "ADDRESSES_PARAMETER": "/stock-market-streaming/alert-addresses",
    "SNS_TOPIC_ARN": f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:Stock_Trend_Alerts",
}
HANDLERS = ("process_stock_data", "stock_trend_analysis", "forward_alerts")


def own_permissions() -> list[tuple[str, str, str, str]]:
    """(handler, Sid, action, resource) of all that the policies allow for the handlers' own calls.

    Statements whose Sid begins with Lambda are for what Lambda itself does with the role. The emulator does
    not check these; tests/test_policies.py compares them with AWS's lists. One of them is for a handler too.
    """
    permissions = []
    for handler in HANDLERS:
        for statement in rendered(f"scripts/policies/{handler}.json", SETTINGS)["Statement"]:
            is_shared = (handler, statement["Sid"]) == ("process_stock_data", "LambdaStoresFailedBatches")
            if is_shared or not statement["Sid"].startswith("Lambda"):
                for action in as_list(statement["Action"]):
                    for resource in as_list(statement["Resource"]):
                        permissions.append((handler, statement["Sid"], action, resource))
    return permissions


def without(policy: dict[str, Any], sid: str, action: str, resource: str) -> dict[str, Any]:
    """The policy less one action on one resource."""
    statements = []
    for statement in policy["Statement"]:
        if statement["Sid"] != sid:
            statements.append(statement)
            continue
        for kept_action in as_list(statement["Action"]):
            for kept_resource in as_list(statement["Resource"]):
                if (kept_action, kept_resource) != (action, resource):
                    statements.append(statement | {"Action": kept_action, "Resource": kept_resource})
    return policy | {"Statement": statements}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chats]:
    """A web hook that takes alerts, and one that fails."""
    with Chats(tmp_path_factory.mktemp("chats")) as chats:
        chats.answers["/bad"] = [500]
        yield chats


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory, chats: Chats) -> Iterator[str]:
    """A MiniStack with tables, bucket, topic and addresses; no mappings, and a function that does nothing."""
    with ministack(tmp_path_factory.mktemp("permissions")) as url:
        root = root_session(url)
        for table in ("ticks_table", "alerts_table"):
            root("dynamodb").create_table(**rendered(f"scripts/resources/{table}.json", SETTINGS))
        root("s3").create_bucket(Bucket=SETTINGS["BUCKET_NAME"])
        root("sns").create_topic(Name="Stock_Trend_Alerts")
        addresses = [
            {"id": "good", "kind": "webhook", "url": f"{chats.base}/good"},
            {"id": "bad", "kind": "webhook", "url": f"{chats.base}/bad"},
        ]
        name = SETTINGS["ADDRESSES_PARAMETER"]
        root("ssm").put_parameter(Name=name, Type="SecureString", Value=json.dumps(addresses))
        definition = rendered("scripts/resources/forward_alerts.json", SETTINGS)
        trust = json.dumps(rendered("scripts/policies/lambda_trust.json", SETTINGS))
        root("iam").create_role(RoleName="ForwardAlertsRole", AssumeRolePolicyDocument=trust)
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("lambda_function.py", "def lambda_handler(event, context): pass")
        root("lambda").create_function(**definition, Code={"ZipFile": code.getvalue()})
        yield url


def root_session(endpoint: str) -> Callable[[str], Any]:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return lambda service: session.client(service, endpoint_url=endpoint)


@pytest.fixture
def call_as(
    endpoint: str, chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, Any], str], Any]:
    """call_as(handler, policy, symbol): call the handler as a role that has the policy."""

    def call(handler: str, policy: dict[str, Any], symbol: str) -> Any:
        root = root_session(endpoint)
        event = EVENTS[handler](root, symbol)
        role = f"role-{symbol}"
        trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ID}, "Action": "sts:AssumeRole"}
        arn = root("iam").create_role(
            RoleName=role,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )["Role"]["Arn"]
        root("iam").put_role_policy(RoleName=role, PolicyName="test", PolicyDocument=json.dumps(policy))
        credentials = root("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in (
            aws_environment(endpoint)
            | SETTINGS
            | {
                "ALERT_COOLDOWN_MINUTES": "5",
                "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
                "AWS_SESSION_TOKEN": credentials["SessionToken"],
            }
        ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SSL_CERT_FILE", str(chats.certificates))
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        return load_module(f"lambdas/{handler}.py").lambda_handler(event, CONTEXT)

    return call


def tick_at(symbol: str, instant: datetime, price: float) -> dict[str, Any]:
    timestamp = instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        **{"symbol": symbol, "open": 100, "high": 100, "low": 100, "price": price, "previous_close": 100},
        **{"change": price - 100, "change_percent": price - 100, "volume": 1, "source": "simulated"},
        **{"timestamp": timestamp, "fetched_at": timestamp},
    }


def kinesis_event(_root: Callable[[str], Any], symbol: str) -> dict[str, Any]:
    """A tick and a record that is none."""
    tick = json.dumps(tick_at(symbol, datetime.now(UTC), 100)).encode()
    return {
        "Records": [
            {
                "eventID": f"shardId-000000000000:{number}",
                "kinesis": {
                    "sequenceNumber": str(number),
                    "approximateArrivalTimestamp": 1_795_000_000.0,
                    "data": base64.b64encode(payload).decode(),
                },
            }
            for number, payload in enumerate((tick, b"not a tick"))
        ]
    }


def table_event(root: Callable[[str], Any], symbol: str) -> dict[str, Any]:
    """The last of 21 stored ticks, the one at which the averages cross."""
    start = datetime.now(UTC) - timedelta(seconds=30)
    for number in range(21):
        tick = tick_at(symbol, start + timedelta(seconds=number), 104 if number == 20 else 100 - number / 10)
        image = {
            name: {"S": value} if isinstance(value, str) else {"N": str(value)}
            for name, value in tick.items()
        }
        root("dynamodb").put_item(TableName=SETTINGS["TABLE_NAME"], Item=image)
    return {"Records": [{"eventName": "INSERT", "dynamodb": {"SequenceNumber": "1", "NewImage": image}}]}


def alert_event(_root: Callable[[str], Any], symbol: str) -> dict[str, Any]:
    """An alert, which the bad address does not take: the function hands it to itself."""
    alert = {"symbol": symbol, "timestamp": "2026-11-20T20:00:00.000Z", "message": f"BUY {symbol}"}
    return {"Records": [{"Sns": {"Message": json.dumps(alert)}}]}


EVENTS = {
    "process_stock_data": kinesis_event,
    "stock_trend_analysis": table_event,
    "forward_alerts": alert_event,
}
CONTEXT = SimpleNamespace(
    invoked_function_arn=f"arn:aws:lambda:us-east-1:{ACCOUNT_ID}:function:ForwardAlerts",
    get_remaining_time_in_millis=lambda: 60_000,
)


@pytest.mark.parametrize("handler", HANDLERS)
def test_policy_of_the_role_is_enough_for_the_handler(handler: str, call_as: Callable, endpoint: str) -> None:
    answer = call_as(
        handler, rendered(f"scripts/policies/{handler}.json", SETTINGS), f"ENOUGH-{handler[0].upper()}"
    )
    assert answer == ({"done": 1, "later": 1} if handler == "forward_alerts" else {"batchItemFailures": []})
    if handler == "stock_trend_analysis":
        alerts = root_session(endpoint)("dynamodb").scan(TableName=SETTINGS["ALERTS_TABLE_NAME"])["Items"]
        assert {alert["status"]["S"] for alert in alerts if alert["symbol"]["S"] == "ENOUGH-S"} == {"sent"}


@pytest.mark.parametrize(("handler", "sid", "action", "resource"), own_permissions())
def test_policy_less_one_permission_is_denied(
    handler: str, sid: str, action: str, resource: str, call_as: Callable
) -> None:
    policy = without(rendered(f"scripts/policies/{handler}.json", SETTINGS), sid, action, resource)
    with pytest.raises(ClientError) as denied:
        call_as(handler, policy, f"LESS-{uuid4().hex}")
    assert denied.value.response["Error"]["Code"] in {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
    }
