"""scripts/monitoring.sh on the emulator: alarms that can go off, reach somebody, and go without a trace."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from helpers.checkout import ROOT, rendered
from helpers.emulator import ACCOUNT_ID
from helpers.project_copy import BUCKET, Project, account_like, snapshot, timeless

pytestmark = pytest.mark.xdist_group("monitoring")

NAME = "stock-market-streaming"
TOPIC_ARN = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:{NAME}-operations"
FUNCTIONS = ("ProcessStockData", "StockTrendAnalysis")
KINDS = ("iterator-age", "errors", "undelivered")  # of the alarms that each function has
EVERYTHING = ("--market-hours", "--cloudtrail", "--budget", "20")
RESOURCES = ROOT / "scripts" / "resources"
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html,
# https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-cloudwatch.html and
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
AWS_METRICS = {
    ("AWS/Lambda", "FunctionName"): {"DestinationDeliveryFailures", "Errors", "IteratorAge", "Throttles"},
    ("AWS/Kinesis", "StreamName"): {"IncomingRecords", "WriteProvisionedThroughputExceeded"},
    ("AWS/DynamoDB", "TableName"): {"WriteThrottleEvents"},
}


def deadline(condition, seconds: float = 30):
    """What `condition` gives, once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def watched(project: Project) -> dict[str, object]:
    """All that monitoring.sh makes, as AWS describes it; what is absent is left out."""
    cloudwatch, sns, s3 = map(project.client, ("cloudwatch", "sns", "s3"))
    cloudtrail, budgets = map(project.client, ("cloudtrail", "budgets"))
    of_budget = {"AccountId": ACCOUNT_ID, "BudgetName": NAME}
    seen: dict[str, object] = {
        alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
    }
    for name in list(seen):
        arn = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT_ID}:alarm:{name}"
        seen[f"{name} tags"] = cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]
        del seen[name]["StateReason"]
        seen[name].pop("StateReasonData", None)
    for entry in cloudwatch.list_dashboards()["DashboardEntries"]:
        body = cloudwatch.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
        seen["dashboard"] = json.loads(body)
    if any(topic["TopicArn"] == TOPIC_ARN for topic in sns.list_topics()["Topics"]):
        seen["topic"] = sns.get_topic_attributes(TopicArn=TOPIC_ARN)["Attributes"]
        seen["topic policy"] = json.loads(seen["topic"]["Policy"])
        seen["topic tags"] = sns.list_tags_for_resource(ResourceArn=TOPIC_ARN)["Tags"]
        subscriptions = sns.list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
        seen["subscriptions"] = sorted((each["Protocol"], each["Endpoint"]) for each in subscriptions)
    if any(bucket["Name"] == BUCKET for bucket in s3.list_buckets()["Buckets"]):
        notifications = s3.get_bucket_notification_configuration(Bucket=BUCKET)
        seen["notifications"] = notifications.get("TopicConfigurations", [])
    for trail in cloudtrail.describe_trails(trailNameList=[NAME])["trailList"]:
        seen["trail"] = trail | {"logs": cloudtrail.get_trail_status(Name=trail["Name"])["IsLogging"]}
    if budgets.describe_budgets(AccountId=ACCOUNT_ID).get("Budgets"):
        seen["budget"] = budgets.describe_budget(**of_budget)["Budget"]
        notifications = budgets.describe_notifications_for_budget(**of_budget)["Notifications"]
        for each in notifications:
            who = budgets.describe_subscribers_for_notification(**of_budget, Notification=each)["Subscribers"]
            seen[f"budget {each['NotificationType']}"] = each | {"who": who}
    return {key: timeless(value) for key, value in seen.items() if value}


@pytest.fixture(scope="module")
def stack(tmp_path_factory, quick_cli, set_up_once) -> Iterator[Project]:
    """The project after one set-up."""
    with account_like(set_up_once, tmp_path_factory.mktemp("monitoring"), quick_cli) as project:
        yield project


@pytest.fixture
def unwatched(stack) -> Iterator[Project]:
    """The project without monitoring, before and after the test."""
    yield stack
    stack.succeed("monitoring.sh", "--remove")
    assert watched(stack) == {}


@pytest.mark.emulator
def test_all_of_it_is_made_tagged_and_once_and_removed_without_a_trace(unwatched):
    before = snapshot(unwatched)
    done = unwatched.succeed("monitoring.sh", *EVERYTHING, ALERT_EMAIL="a@example.com")
    there = watched(unwatched)
    alarms = [f"{NAME}-{kind}-{function}" for kind in KINDS for function in FUNCTIONS]
    for name in (*alarms, f"{NAME}-rejects", f"{NAME}-no-data"):
        assert there[name]["AlarmActions"] == [TOPIC_ARN]
        assert there[f"{name} tags"] == [{"Key": "project", "Value": NAME}]
    assert there[f"{NAME}-iterator-age-StockTrendAnalysis"]["Dimensions"] == [
        {"Name": "FunctionName", "Value": "StockTrendAnalysis"}
    ]
    assert there["topic tags"] == [{"Key": "project", "Value": NAME}]
    assert there["topic"].get("KmsMasterKeyId", "") == "", "CloudWatch cannot publish to an encrypted one"
    assert {s["Principal"]["Service"] for s in there["topic policy"]["Statement"]} == {
        f"{service}.amazonaws.com" for service in ("cloudwatch", "s3", "budgets")
    }
    assert there["subscriptions"] == [("email", "a@example.com")]
    assert (there["trail"]["S3BucketName"], there["trail"]["S3KeyPrefix"]) == (BUCKET, "cloudtrail")
    assert there["trail"]["logs"]
    assert there["trail"]["LogFileValidationEnabled"]
    assert not there["trail"]["IsMultiRegionTrail"]
    assert there["budget"]["BudgetLimit"] == {"Amount": "20", "Unit": "USD"}
    for kind, threshold in (("ACTUAL", 80), ("FORECASTED", 100)):
        assert there[f"budget {kind}"]["Threshold"] == threshold
        assert there[f"budget {kind}"]["who"] == [{"SubscriptionType": "SNS", "Address": TOPIC_ARN}]
    assert re.search(r"metrics, 9 .* 2\.70 .* free", done.stdout)
    assert re.search(r"alarms, 8 .* 0\.80 .* free", done.stdout)
    assert "Alarms go to a@example.com." in done.stdout
    assert "#dashboards" not in done.stdout  # the emulator has no console
    for cost in (r"trail .*: nothing for the events; its files", r"budget .*: free"):
        said, made = (re.search(words, done.stderr) for words in (cost, f"{cost.split()[0]} .*: created"))
        assert said.start() < made.start(), "the cost is said before"

    unwatched.succeed("monitoring.sh", ALERT_EMAIL="a@example.com")
    assert watched(unwatched) == there
    changes = re.findall(r" (?:put|create|set|update|delete|add|start)-\S+", unwatched.calls.read_text())
    assert changes == []
    unwatched.succeed("monitoring.sh", "--remove")
    assert watched(unwatched) == {}
    assert snapshot(unwatched) == before


@pytest.mark.emulator
def test_settings_are_applied_to_what_exists_and_what_was_changed_by_hand_is_mended(unwatched):
    cloudtrail = unwatched.client("cloudtrail")
    cloudtrail.create_trail(Name="of-the-company", S3BucketName="somebody-elses", IsMultiRegionTrail=True)
    done = unwatched.succeed("monitoring.sh", "--cloudtrail", "--budget", "20", "--email", "old@example.com")
    assert "$2 per 100,000 events, because there is the trail of-the-company already" in done.stderr
    cloudtrail.delete_trail(Name="of-the-company")
    before = watched(unwatched)
    cloudwatch, sns = map(unwatched.client, ("cloudwatch", "sns"))
    alarm = before[f"{NAME}-rejects"] | {"Threshold": 1000.0}
    taken = ("AlarmName", "MetricName", "Namespace", "Period", "EvaluationPeriods", "Threshold", "Statistic")
    cloudwatch.put_metric_alarm(**{k: alarm[k] for k in (*taken, "ComparisonOperator")})
    cloudwatch.put_dashboard(DashboardName=NAME, DashboardBody='{"widgets": []}')
    policy = {"Version": "2012-10-17", "Statement": []}
    sns.set_topic_attributes(TopicArn=TOPIC_ARN, AttributeName="Policy", AttributeValue=json.dumps(policy))
    done = unwatched.succeed("monitoring.sh", "--budget", "7.50", "--email", "new@example.com")
    assert "also subscribed: old@example.com" in done.stderr
    there = watched(unwatched)
    assert there.pop("subscriptions") == [("email", "new@example.com"), ("email", "old@example.com")]
    assert there["budget"].pop("BudgetLimit")["Amount"] == "7.50"
    assert "budget ACTUAL" in there
    del before["subscriptions"], before["budget"]["BudgetLimit"]
    for each in (before, there):
        del each["topic"]  # counts its subscriptions
    assert there == before
    done = unwatched.succeed("monitoring.sh", "--budget", "7.5")
    assert "already exists, $7.5 a month" in done.stderr, "7.50 and 7.5 are the same"


@pytest.mark.emulator
def test_failed_batch_and_alarm_are_told_through_the_topic(unwatched):
    unwatched.succeed("monitoring.sh")
    sns, sqs, s3, cloudwatch = map(unwatched.client, ("sns", "sqs", "s3", "cloudwatch"))
    queue = sqs.create_queue(QueueName="operators")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT_ID}:operators"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    sqs.set_queue_attributes(
        QueueUrl=queue,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})},
    )
    sns.subscribe(TopicArn=TOPIC_ARN, Protocol="sqs", Endpoint=arn)

    def message_with(text: str) -> bool:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return any(text in message["Body"] for message in messages)

    s3.put_object(Bucket=BUCKET, Key="raw-data/dt=2026-01-05/x.json.gz", Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/1f/shardId-0/2026/01/05/batch", Body=b"x")
    deadline(lambda: message_with("aws/lambda/1f/shardId-0/2026/01/05/batch"))
    cloudwatch.set_alarm_state(AlarmName=f"{NAME}-rejects", StateValue="ALARM", StateReason="a test")
    deadline(lambda: message_with(f"{NAME}-rejects"))
    assert not message_with("raw-data"), "only failed batches are told"
    sqs.delete_queue(QueueUrl=queue)
    s3.delete_object(Bucket=BUCKET, Key="aws/lambda/1f/shardId-0/2026/01/05/batch")


@pytest.mark.emulator
def test_notifications_and_trails_of_others_are_left_alone(unwatched):
    s3, sns, cloudtrail = map(unwatched.client, ("s3", "sns", "cloudtrail"))
    other = sns.create_topic(Name="somebody-elses")["TopicArn"]
    theirs = {"Id": "theirs", "TopicArn": other, "Events": ["s3:ObjectCreated:*"]}
    theirs |= {"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "raw-data/"}]}}}
    configure = s3.put_bucket_notification_configuration
    configure(Bucket=BUCKET, NotificationConfiguration={"TopicConfigurations": [theirs]})
    cloudtrail.create_trail(Name=NAME, S3BucketName="somebody-elses")
    refused = unwatched.run("monitoring.sh", "--cloudtrail")
    assert refused.returncode == 1
    assert "writes to the bucket somebody-elses" in refused.stderr
    assert {each["Id"] for each in watched(unwatched)["notifications"]} == {
        "theirs",
        f"{NAME}-failed-batches",
    }
    unwatched.succeed("monitoring.sh", "--remove")
    assert set(watched(unwatched)) == {"trail", "notifications"}
    assert [each["Id"] for each in watched(unwatched)["notifications"]] == ["theirs"]
    cloudtrail.delete_trail(Name=NAME)
    configure(Bucket=BUCKET, NotificationConfiguration={})
    sns.delete_topic(TopicArn=other)


# Every step on demand: EVERY_STEP=1 pytest tests/test_monitoring.py -k interrupted
STEPS = range(1, 38) if os.environ.get("EVERY_STEP") else [random.Random(5).randrange(3, 38)]


@pytest.mark.emulator
def test_interrupted_at_any_call_and_run_again_it_is_complete(unwatched):
    arguments = (*EVERYTHING, "--email", "a@example.com")
    unwatched.succeed("monitoring.sh", *arguments)
    whole = watched(unwatched)
    unwatched.succeed("monitoring.sh", "--remove")
    for step in STEPS:
        lost_answer = {"AWS_FAIL_AFTER": "1"} if step % 2 else {}
        first = unwatched.run("monitoring.sh", *arguments, AWS_FAIL_AT=str(step), **lost_answer)
        if first.returncode == 0:  # that call had to fail anyway, with the same error
            assert lost_answer, step
        else:
            assert "injected" in first.stderr
        unwatched.succeed("monitoring.sh", *arguments)
        assert watched(unwatched) == whole, step
        unwatched.run("monitoring.sh", "--remove", AWS_FAIL_AT=str(step % 17 + 1), **lost_answer)
        unwatched.succeed("monitoring.sh", "--remove")
        assert watched(unwatched) == {}, step


@pytest.mark.emulator
def test_cleanup_removes_it_with_the_rest(own_deployed):
    own_deployed.client("sqs").create_queue(QueueName="alerts", tags={"project": NAME})
    own_deployed.succeed("monitoring.sh", *EVERYTHING)
    done = own_deployed.succeed("cleanup.sh", "--yes")
    assert "by name and by tag" in done.stderr
    assert watched(own_deployed) == {}
    assert snapshot(own_deployed) == {}
    assert not own_deployed.client("sqs").list_queues().get("QueueUrls")


@pytest.mark.emulator
def test_cleanup_needs_no_rights_on_trails_and_budgets_of_who_never_made_any(project):
    denied = "An error occurred (AccessDeniedException) when calling the operation: not authorized"
    project.put_in_front_of_aws(f"*' budgets '* | *' cloudtrail '*) echo '{denied}' >&2; exit 254 ;;")
    assert "Nothing of the project is in us-east-1." in project.succeed("cleanup.sh", "--yes").stderr


@pytest.mark.emulator
def test_before_the_set_up_it_says_what_to_run(project):
    refused = project.run("monitoring.sh")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("run scripts/setup.sh first")
    assert watched(project) == {}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--budget"], "USD a month"),
        (["--budget", "0"], "USD a month"),
        (["--budget", "20 USD"], "USD a month"),
        (["--email"], "needs an address"),
        (["--email", "nobody"], "nobody: expected an e-mail address"),
    ],
)
def test_bad_input_is_one_clear_line(offline, arguments, hint):
    done = offline.run("monitoring.sh", *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert hint in line


def resource(name: str, **values: str) -> dict:
    values |= {"OPERATIONS_TOPIC_ARN": TOPIC_ARN, "AWS_REGION": "us-east-1", "STREAM_NAME": "s"}
    return rendered(f"scripts/resources/{name}.json", values | {"TABLE_NAME": "t"})


def own_metrics(function: str) -> set[str]:
    """The names that a handler's call of report() gives to CloudWatch."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", function).lower()
    source = (ROOT / f"lambdas/{name}.py").read_text()
    assert '"Namespace": "StockMarketStreaming", "Dimensions": [["FunctionName"]]' in source
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    (report,) = [call for call in calls if getattr(call.func, "id", "") == "report"]
    return {keyword.arg for keyword in report.keywords}


def all_metrics() -> list[tuple[str, str, str, str]]:
    """Namespace, name, dimension and its value of each metric in the alarms and on the dashboard."""
    metrics = []
    for function in FUNCTIONS:
        for path in RESOURCES.glob("alarm_*.json"):
            alarm = resource(path.stem, FUNCTION=function)
            watches = [
                each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each
            ]
            for each in watches or [alarm]:
                (dimension,) = each["Dimensions"]
                metrics.append((each["Namespace"], each["MetricName"], dimension["Name"], dimension["Value"]))
    for widget in resource("cloudwatch_dashboard")["widgets"]:
        metrics += [tuple(metric[:4]) for metric in widget["properties"]["metrics"]]
    return metrics


def test_alarms_and_dashboard_name_metrics_that_exist():
    metrics = all_metrics()
    assert len(metrics) > 20
    for namespace, name, dimension, value in metrics:
        if namespace == "StockMarketStreaming":
            assert dimension == "FunctionName"
            assert name in own_metrics(value)
        else:
            assert name in AWS_METRICS[namespace, dimension]


def test_summary_counts_the_metrics_that_the_functions_make():
    count = sum(len(own_metrics(function)) for function in FUNCTIONS)
    assert f"METRICS={count} " in (ROOT / "scripts/lib/state/inventory.sh").read_text()


def test_no_data_alarm_goes_off_only_while_new_york_trades():
    alarm = resource("alarm_no_data")
    expressions = {each["Id"]: each["Expression"] for each in alarm["Metrics"] if "Expression" in each}
    assert expressions.pop("stored") == "FILL(ticks, 0)"
    (expression,) = expressions.values()
    hour = datetime(2026, 1, 1, tzinfo=UTC)
    meaning = {
        "IF": lambda condition, yes, no: yes if condition else no,
        "DAY": lambda _: hour.isoweekday(),  # 1 is Monday, as in CloudWatch
        "HOUR": lambda _: hour.hour,
        "stored": 0,
    }
    hours_on = 0
    while hour.year == 2026:
        goes_off = eval(expression.replace("AND", "and"), meaning) < alarm["Threshold"]
        hours_on += goes_off
        begin, end = (
            moment.astimezone(ZoneInfo("America/New_York")) for moment in (hour, hour + timedelta(hours=1))
        )
        is_open = (
            begin.isoweekday() < 6
            and (begin.hour, begin.minute) >= (9, 30)
            and (end.hour, end.minute) <= (16, 0)
        )
        assert is_open or not goes_off, hour
        hour += timedelta(hours=1)
    assert hours_on == 5 * 261
    meaning["stored"] = 12
    assert eval(expression.replace("AND", "and"), meaning) >= alarm["Threshold"]
