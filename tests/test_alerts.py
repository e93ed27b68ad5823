"""scripts/alerts.sh on the emulator: who gets what it asked for, and why another gets nothing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from helpers.checkout import ROOT, load_module
from helpers.emulator import ACCOUNT_ID
from helpers.mocked_aws import client
from helpers.project_copy import TOPIC_ARN, Project, account

pytestmark = pytest.mark.xdist_group("alerts")

QUEUE_ARN = f"arn:aws:sqs:us-east-1:{ACCOUNT_ID}:my-alerts"


@pytest.fixture(scope="module")
def stack(tmp_path_factory, quick_cli) -> Iterator[Project]:
    """The project with its topic, which is all that the alerts need."""
    with account(tmp_path_factory.mktemp("alerts"), quick_cli) as project:
        yield project


@pytest.fixture
def topic(stack) -> Iterator[Project]:
    """The project with a topic that nobody is subscribed to, and no queues."""
    sns, sqs = stack.client("sns"), stack.client("sqs")
    name = TOPIC_ARN.rpartition(":")[2]
    sns.create_topic(Name=name, Tags=[{"Key": "project", "Value": "stock-market-streaming"}])
    yield stack
    sns.delete_topic(TopicArn=TOPIC_ARN)
    for url in sqs.list_queues().get("QueueUrls", []):
        sqs.delete_queue(QueueUrl=url)


def subscribers(project: Project) -> dict[tuple[str, str], dict]:
    """Attributes of the subscriptions, by protocol and endpoint."""
    sns = project.client("sns")
    return {
        (each["Protocol"], each["Endpoint"]): sns.get_subscription_attributes(
            SubscriptionArn=each["SubscriptionArn"]
        )["Attributes"]
        for each in sns.list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
    }


def filter_of(project: Project, protocol: str, endpoint: str) -> dict:
    return json.loads(subscribers(project)[protocol, endpoint].get("FilterPolicy") or "{}")


def received(project: Project, queue: str) -> list[dict]:
    """The messages that have come, each deleted."""
    sqs = project.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    result = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        result += messages
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return result


def wait_for_message(project: Project, queue: str) -> dict:
    end = time.monotonic() + 30
    while not (messages := received(project, queue)):
        assert time.monotonic() < end
        time.sleep(0.05)
    (message,) = messages
    return message


def statements(project: Project, queue: str) -> list[dict]:
    sqs = project.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return json.loads(attributes.get("Policy") or '{"Statement": []}')["Statement"]


@pytest.mark.emulator
def test_queue_is_made_tagged_and_gets_what_its_filter_lets_through(topic):
    done = topic.succeed(
        "alerts.sh", "subscribe", "sqs", "my-alerts", "--signals", "BUY,SELL", "--symbols", "aapl"
    )
    assert "queue my-alerts: created" in done.stderr
    sqs = topic.client("sqs")
    url = sqs.get_queue_url(QueueName="my-alerts")["QueueUrl"]
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"project": "stock-market-streaming"}
    (statement,) = statements(topic, "my-alerts")
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": TOPIC_ARN}}

    for arguments in ((), ("--symbol", "AAPL", "--signal", "ANOMALY"), ("--symbol", "MSFT")):
        missed = topic.succeed("alerts.sh", "test", *arguments)
        assert f"sqs {QUEUE_ARN}: does not get it: its filter is" in missed.stdout
    done = topic.succeed("alerts.sh", "test", "--symbol", "aapl", "--signal", "SELL")
    assert f"sqs {QUEUE_ARN}: gets it" in done.stdout
    assert "up to 15 minutes" in done.stderr
    message = wait_for_message(topic, "my-alerts")
    alert = json.loads(message["Body"])
    assert (alert["symbol"], alert["signal"], alert["test"]) == ("AAPL", "SELL", True)
    assert alert["message"].startswith("TEST, no real signal: SELL AAPL")
    assert message["MessageAttributes"]["signal"]["StringValue"] == "SELL"
    assert received(topic, "my-alerts") == [], "what the filter keeps back came before"


@pytest.mark.emulator
def test_subscribing_again_changes_the_filter_in_place_and_without_one_removes_it(topic):
    arn = None
    people, each = {"audience": ["all", "digest"]}, {"audience": ["all", "each"]}
    for flags, wanted in (
        (["--symbols", "AAPL,^GSPC,EURUSD=X"], each | {"symbol": ["AAPL", "^GSPC", "EURUSD=X"]}),
        (["--signals", "RULE", "--symbols", "BRK-B"], each | {"symbol": ["BRK-B"], "signal": ["RULE"]}),
        (["--signals", "BUY"], people | {"signal": ["BUY"]}),
        ([], people),
    ):
        done = topic.succeed("alerts.sh", "subscribe", "email", "a@example.com", *flags)
        assert "up to 15 minutes" in done.stderr  # the filter is new, another one, and gone
        (subscriber,) = subscribers(topic).values()
        assert arn in (None, subscriber["SubscriptionArn"])
        arn = subscriber["SubscriptionArn"]
        assert filter_of(topic, "email", "a@example.com") == wanted
        line = done.stdout.splitlines()[-1]
        assert re.fullmatch(r"email +a@example.com +confirmed +(\{\"s.*\}|all alerts)", line)
    topic.succeed("alerts.sh", "subscribe", "email", "a@example.com")
    assert "set-subscription-attributes" not in topic.calls.read_text()
    topic.succeed("alerts.sh", "unsubscribe", "email", "a@example.com")
    assert subscribers(topic) == {}
    assert "a@example.com" not in topic.succeed("alerts.sh", "list").stdout
    refused = topic.run("alerts.sh", "unsubscribe", "email", "a@example.com")
    assert refused.returncode == 1
    assert "is not subscribed" in refused.stderr


@pytest.mark.emulator
def test_queue_that_exists_keeps_its_policy_and_is_kept(topic):
    sqs = topic.client("sqs")
    url = sqs.create_queue(QueueName="my-alerts")["QueueUrl"]
    theirs = {
        "Sid": 'the "other"',
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
    }
    theirs |= {"Action": "sqs:ReceiveMessage", "Resource": QUEUE_ARN}
    policy = json.dumps({"Version": "2012-10-17", "Statement": theirs})  # valid without a list too
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    for _ in range(2):
        topic.succeed("alerts.sh", "subscribe", "sqs", QUEUE_ARN)
        assert statements(topic, "my-alerts")[0] == theirs
        assert len(statements(topic, "my-alerts")) == 2
    assert "set-queue-attributes" not in topic.calls.read_text()
    assert subscribers(topic)["sqs", QUEUE_ARN]["RawMessageDelivery"] == "true"
    topic.succeed("alerts.sh", "unsubscribe", "sqs", "my-alerts")
    assert statements(topic, "my-alerts") == [theirs]
    assert subscribers(topic) == {}
    assert not sqs.list_queue_tags(QueueUrl=url).get("Tags")


# The emulator confirms every e-mail and has no sandbox, so these tests put AWS's own answers in front of it.
AWS_ANSWERS = """
*get-sms-sandbox-account-status*) echo True; exit ;;
*list-sms-sandbox-phone-numbers*15550100200*) echo Verified; exit ;;
*list-sms-sandbox-phone-numbers* | *get-sms-attributes*) echo None; exit ;;
*list-subscriptions-by-topic*) $AWS "$@" | sed '/new@example.com/s/arn:.*/PendingConfirmation/'; exit ;;
*' sns subscribe '*symbol*)
  echo 'An error occurred (InvalidParameter) when calling the Subscribe operation: different attributes' >&2
  exit 254 ;;
"""


@pytest.fixture(params=["moto", pytest.param("ministack", marks=pytest.mark.emulator)])
def clients(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """clients("sns") of two ideas of AWS, each with the topic."""
    if request.param == "ministack":
        return request.getfixturevalue("topic").client
    request.getfixturevalue("mocked_aws")
    client("sns").create_topic(Name=TOPIC_ARN.rpartition(":")[2])
    return client


def test_each_audience_gets_its_messages_under_the_filtering_of_sns(clients):
    sns, sqs = clients("sns"), clients("sqs")
    (arn,) = [each["TopicArn"] for each in sns.list_topics()["Topics"]]
    audience = load_module("scripts/lib/resources/audience.py").with_audience
    policies = {
        "mail": audience("email", {}),
        "phone": audience("sms", {"signal": ["ANOMALY"]}),
        "chat": audience("chat", {}),
        "one-symbol": audience("email", {"symbol": ["AAPL"]}),
        "queue": audience("sqs", {}),
    }
    for name, policy in policies.items():
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
        allowed = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": allowed})
        filter_policy = {"FilterPolicy": json.dumps(policy), "RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=attributes["QueueArn"], Attributes=filter_policy)

    def publish(text: str, **attributes: str) -> None:
        values = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        sns.publish(TopicArn=arn, Message=text, MessageAttributes=values)

    publish("single", audience="all", signal="BUY", symbol="AAPL")
    publish("digest", audience="digest", signal="ANOMALY")
    publish("aapl", audience="each", signal="ANOMALY", symbol="AAPL")
    publish("msft", audience="each", signal="ANOMALY", symbol="MSFT")
    got = {}
    for name in policies:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        got[name] = sorted(message["Body"] for message in messages)
    assert got == {
        "mail": ["digest", "single"],
        "phone": ["digest"],
        "chat": ["digest", "single"],
        "one-symbol": ["aapl", "single"],
        "queue": ["aapl", "msft", "single"],
    }


@pytest.mark.emulator
def test_unconfirmed_mail_and_phone_in_the_sandbox_are_said_with_what_to_do(topic):
    project = Project(topic.folder, dict(topic.environment))
    project.put_in_front_of_aws(AWS_ANSWERS)
    mail = project.succeed("alerts.sh", "subscribe", "email", "new@example.com")
    assert re.search(r"email +new@example.com +unconfirmed", mail.stdout)
    assert "email new@example.com gets nothing: unconfirmed, open the link" in mail.stderr
    again = project.succeed("alerts.sh", "subscribe", "email", "new@example.com")
    assert "mail is sent again" in again.stderr
    assert " sns subscribe " in project.calls.read_text()
    other_filter = ("--symbols", "AAPL")
    refused = project.run("alerts.sh", "subscribe", "email", "new@example.com", *other_filter)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("confirm it, then run this again")
    refused = project.run("alerts.sh", "unsubscribe", "email", "new@example.com")
    assert "is unconfirmed" in refused.stderr

    project.succeed("alerts.sh", "subscribe", "sms", "+15550100200")
    project.succeed("alerts.sh", "subscribe", "sms", "+15550100201")
    listed = project.succeed("alerts.sh", "list")
    assert "sms +15550100201 gets nothing: the account is in the SMS sandbox" in listed.stderr
    assert "--phone-number +15550100201" in listed.stderr
    assert "+15550100200" not in listed.stderr
    assert "stop at $1 a month" in listed.stderr
    mail, verified, unverified = project.succeed("alerts.sh", "test").stdout.splitlines()
    assert mail.startswith("email new@example.com: does not get it: unconfirmed")
    assert verified == "sms +15550100200: gets it"
    assert unverified.startswith("sms +15550100201: does not get it: the account is in the SMS sandbox")


@pytest.mark.emulator
def test_before_the_set_up_it_says_what_to_run(stack):
    for arguments in (["list"], ["test"], ["subscribe", "sqs", "my-alerts"]):
        refused = stack.run("alerts.sh", *arguments, TOPIC_NAME="none-yet")
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].endswith("run scripts/setup.sh first")
    assert not stack.client("sqs").list_queues().get("QueueUrls")


@pytest.mark.emulator
def test_queue_that_cannot_be_subscribed_is_refused(topic):
    for queue, hint in (
        ("arn:aws:sqs:us-east-1:111111111111:theirs", "its owner has to subscribe it"),
        ("arn:aws:sqs:eu-west-1:000000000000:far", "its owner has to subscribe it"),
        ("orders.fifo", "FIFO"),
    ):
        refused = topic.run("alerts.sh", "subscribe", "sqs", queue)
        assert refused.returncode == 1
        assert hint in refused.stderr.splitlines()[-1]
    assert subscribers(topic) == {}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["subscribe"], "expected email ADDRESS, sms NUMBER, sqs QUEUE, telegram CHAT_ID"),
        (["subscribe", "fax", "1"], "expected email ADDRESS"),
        (["subscribe", "email", "nobody"], "no e-mail address"),
        (["subscribe", "email"], "no e-mail address"),
        (["subscribe", "sms", "0555"], "+15551234567"),
        (["subscribe", "sqs", "my queue"], "my\\ queue is no name"),
        (["subscribe", "sms", "+15550100200", "--signals", "SALE"], "BUY, SELL, ANOMALY or RULE"),
        (["subscribe", "sms", "+15550100200", "--symbols", "AAPL, MSFT"], "without spaces"),
        (["subscribe", "sms", "+15550100200", "--symbols"], "--symbols needs a value"),
        (["unsubscribe", "email", "a@example.com", "--symbols", "AAPL"], "does not take --symbols"),
        (["test", "--symbol", "AAPL,MSFT"], "symbol AAPL"),
        (["test", "--signal", "buy"], "BUY, SELL, ANOMALY or RULE"),
        (["list", "--all"], "does not take --all"),
        (["try"], "try needs a rule"),
        (["try", "AAPL price > 3", "--days", "0"], "a number of days from 1 to 99"),
        (["try", "AAPL price > 3", "--symbols", "AAPL"], "try does not take --symbols"),
        (["try", 'AAPL price > "3"'], "ALERT_RULES="),
    ],
)
def test_bad_input_is_one_clear_line(offline, arguments, hint):
    done = offline.run("alerts.sh", *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert hint in line


@pytest.mark.parametrize("signal", ["BUY", "ANOMALY"])
def test_test_alert_has_the_form_of_a_real_one(load_handler, ticks_table, alerts_table, monkeypatch, signal):
    handler = load_handler("stock_trend_analysis", ALERT_MAX_AGE_MINUTES="0")
    event = json.loads((ROOT / "tests/events/dynamodb_batch.json").read_text())
    items = [record["dynamodb"]["NewImage"] for record in event["Records"]]
    symbol = items[0]["symbol"]["S"]
    for start in range(0, len(items), 25):
        ticks_table.put(*items[start : start + 25])
    messages: list[dict] = []
    monkeypatch.setattr(handler.sns, "publish", lambda **message: messages.append(message))
    handler.lambda_handler(event, None)
    (published,) = [each for each in messages if each["MessageAttributes"]["signal"]["StringValue"] == signal]
    now = datetime(2026, 11, 20, 20, tzinfo=UTC)
    made = load_module("scripts/lib/alerts/build_test_alert.py").build(
        published["TopicArn"], symbol, signal, "5", "20", now=now
    )
    assert made.keys() == published.keys()
    assert made["MessageStructure"] == published["MessageStructure"]
    assert made["MessageAttributes"] == published["MessageAttributes"]
    mine, real = json.loads(made["Message"]), json.loads(published["Message"])
    assert mine.keys() == real.keys()
    for protocol in ("sqs", "lambda", "http", "https"):
        alert, real_alert = json.loads(mine[protocol]), json.loads(real[protocol])
        assert alert.pop("test") is True
        assert {k: type(v) for k, v in alert.items()} == {k: type(v) for k, v in real_alert.items()}
    for protocol in ("default", "email", "sms"):
        assert mine[protocol].startswith(f"TEST, no real signal: {signal} {symbol}")
        assert mine[protocol].partition("\n")[0].endswith("2026-11-20 20:00 UTC. No investment advice.")
    assert len(made["Subject"]) < 100


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        ({}, "yes"),
        ({"symbol": ["AAPL", "MSFT"]}, "yes"),
        ({"symbol": ["AAPL"], "signal": ["SELL"]}, "no"),
        ({"symbol": [{"prefix": "A"}]}, "unknown"),
        ({"price": ["5"]}, "unknown"),
        ({"audience": ["all", "digest"], "symbol": ["AAPL"]}, "yes"),
        ({"audience": ["digest"]}, "no"),
    ],
)
def test_filter_is_judged_as_sns_does_or_not_at_all(policy, verdict):
    attributes = {"symbol": "AAPL", "signal": "BUY", "audience": "all"}
    assert load_module("scripts/lib/alerts/filter_verdict.py").verdict(policy, attributes) == verdict
