"""scripts/*.sh as a user runs them: on a copy of the project, against a MiniStack each, IAM enforced."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values

from helpers.checkout import ROOT
from helpers.emulator import ACCOUNT_ID, aws_environment
from helpers.project_copy import BUCKET, SUBSCRIBERS, TOPIC_ARN, Project, snapshot

TAG = {"Key": "project", "Value": "stock-market-streaming"}
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.sh") if os.access(path, os.X_OK))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lines(text: str, pattern: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(pattern, line)]


@pytest.mark.emulator
def test_setup_on_an_empty_account_creates_everything_tagged_and_secured(deployed, set_up_once):
    said = (set_up_once / "said").read_text()
    there = snapshot(deployed)

    stream = there["stream"]["StreamDescriptionSummary"]
    assert stream["EncryptionType"] == "KMS"
    assert stream["OpenShardCount"] == 1
    for table in ("stock-market-data", "stock-trend-alerts"):
        assert there[f"{table} ttl"]["TimeToLiveDescription"]["AttributeName"] == "expires_at"
        backups = there[f"{table} backups"]["ContinuousBackupsDescription"]
        assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert there["stock-market-data"]["Table"]["StreamSpecification"]["StreamViewType"] == "NEW_IMAGE"
    assert all(there["bucket access"]["PublicAccessBlockConfiguration"].values())
    assert there["bucket ownership_controls"]["OwnershipControls"]["Rules"] == [
        {"ObjectOwnership": "BucketOwnerEnforced"}
    ]
    prefixes = {rule["Filter"]["Prefix"] for rule in there["bucket lifecycle_configuration"]["Rules"]}
    assert prefixes == {"athena-results/", "aws/lambda/", "cloudtrail/", ""}
    assert there["topic"]["Attributes"]["KmsMasterKeyId"] == "alias/aws/sns"
    assert {(s["Protocol"], s["Endpoint"]) for s in there["subscriptions"]["Subscriptions"]} == {
        ("email", "a@example.com"),
        ("sms", "+15550100200"),
    }
    assert [group["retentionInDays"] for group in there["log groups"]["logGroups"]] == [30, 30]
    assert there["ProcessStockData"]["Runtime"] == "python3.13"
    assert there["workgroup"]["WorkGroup"]["Configuration"]["EnforceWorkGroupConfiguration"] is True
    for name in ("stream tags", "stock-market-data tags", "stock-trend-alerts tags", "topic tags"):
        assert there[name]["Tags"] == [TAG], name
    assert there["bucket tagging"]["TagSet"] == [TAG]
    for role in ("Lambda_Kinesis_DynamoDB_Role", "StockTrendLambdaRole"):
        assert there[role]["Role"]["Tags"] == [TAG]
    for function in ("ProcessStockData", "StockTrendAnalysis"):
        assert there[f"{function} tags"]["Tags"] == {"project": "stock-market-streaming"}
    assert "10.950" in said
    assert "Alerts to +15550100200: a US number gets text messages only from an origination number" in said
    assert "scripts/cleanup.sh removes it all." in said


@pytest.mark.emulator
def test_setup_makes_mappings_that_ride_out_an_outage_and_skip_nothing(deployed):
    awslambda = deployed.client("lambda")
    for function in ("ProcessStockData", "StockTrendAnalysis"):
        (mapping,) = awslambda.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        assert mapping["BatchSize"] == 500
        assert mapping["MaximumBatchingWindowInSeconds"] == 1
        assert mapping["StartingPosition"] == "TRIM_HORIZON"
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["BisectBatchOnFunctionError"] is True
        assert mapping["MaximumRetryAttempts"] == -1
        assert mapping["MaximumRecordAgeInSeconds"] == 21_600
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"] == f"arn:aws:s3:::{BUCKET}"
        arn = f"arn:aws:lambda:us-east-1:{ACCOUNT_ID}:event-source-mapping:{mapping['UUID']}"
        assert awslambda.list_tags(Resource=arn)["Tags"] == {"project": "stock-market-streaming"}
    assert mapping["FilterCriteria"]["Filters"] == [{"Pattern": '{"eventName": ["INSERT"]}'}]


@pytest.mark.emulator
def test_setup_a_second_time_changes_nothing(deployed):
    before = snapshot(deployed)
    done = deployed.succeed("setup.sh", **SUBSCRIBERS)
    assert snapshot(deployed) == before
    assert not lines(done.stderr, "created|updated")
    reads = r" (get|list|describe|batch-get|head)-\S+ "
    assert [call for call in deployed.calls.read_text().splitlines() if not re.search(reads, call)] == []
    assert "stream Stock-market-stream: already exists" in done.stderr


@pytest.mark.emulator
def test_setup_applies_changed_settings_in_place_and_mends_what_was_changed_by_hand(own_deployed):
    item = {"symbol": {"S": "AAPL"}, "timestamp": {"S": "2026-01-05T15:00:00.000Z"}}
    own_deployed.client("dynamodb").put_item(TableName="stock-market-data", Item=item)
    before = snapshot(own_deployed)
    awslambda = own_deployed.client("lambda")
    (mapping,) = awslambda.list_event_source_mappings(FunctionName="StockTrendAnalysis")[
        "EventSourceMappings"
    ]
    awslambda.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=7)
    table = {"Name": "stock_data_table", "StorageDescriptor": {"Columns": []}}
    own_deployed.client("glue").update_table(DatabaseName="stock_data_db", TableInput=table)
    own_deployed.client("athena").update_work_group(
        WorkGroup="stock-market-analytics", ConfigurationUpdates={"EnforceWorkGroupConfiguration": False}
    )

    changed = {
        "ALERT_PHONE_SIGNALS": "ANOMALY,BUY",
        "BATCH_WINDOW_SECONDS": "20",
        "RETENTION_DAYS": "45",
        "SHARD_COUNT": "2",
        "SMA_LONG": "30",
    }
    own_deployed.succeed("setup.sh", **SUBSCRIBERS, **changed)
    there = snapshot(own_deployed)
    for name in ("ProcessStockData mappings", "StockTrendAnalysis mappings"):
        assert there[name]["EventSourceMappings"][0].pop("MaximumBatchingWindowInSeconds") == 20
        assert before[name]["EventSourceMappings"][0].pop("MaximumBatchingWindowInSeconds") == 1
    for name in ("StockTrendAnalysis mappings", "glue table", "workgroup"):
        assert there[name] == before[name]
    assert there["stream"]["StreamDescriptionSummary"]["OpenShardCount"] == 2
    assert [group["retentionInDays"] for group in there["log groups"]["logGroups"]] == [60, 60]
    assert there["ProcessStockData"]["Environment"]["Variables"]["RETENTION_DAYS"] == "45"
    assert there["StockTrendAnalysis"]["Environment"]["Variables"]["SMA_LONG"] == "30"
    sns = own_deployed.client("sns")
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
    (phone,) = [each["SubscriptionArn"] for each in subscriptions if each["Protocol"] == "sms"]
    attributes = sns.get_subscription_attributes(SubscriptionArn=phone)["Attributes"]
    policy = {"signal": ["ANOMALY", "BUY"], "audience": ["all", "digest"]}
    assert json.loads(attributes["FilterPolicy"]) == policy
    assert own_deployed.client("dynamodb").get_item(TableName="stock-market-data", Key=item)["Item"] == item


@pytest.mark.emulator
def test_deploy_lambdas_before_the_setup_says_what_to_run(project):
    refused = project.run("deploy_lambdas.sh")
    assert refused.returncode == 1
    assert "run scripts/setup.sh" in refused.stderr


@pytest.mark.emulator
def test_deploy_lambdas_uploads_only_code_that_differs(own_deployed):
    handler = own_deployed.folder / "lambdas" / "process_stock_data.py"
    handler.write_text(handler.read_text() + "\n# changed\n")
    done = own_deployed.succeed("deploy_lambdas.sh")
    assert sorted(done.stderr.splitlines()[1:]) == [
        "function ProcessStockData: code updated",
        "function StockTrendAnalysis: code is up to date",
    ]
    the_command_itself = aws_environment()["PATH"]
    again = own_deployed.succeed("deploy_lambdas.sh", PATH=the_command_itself)
    assert "up to date" in again.stderr.splitlines()[1]


@pytest.mark.emulator
def test_cleanup_leaves_nothing_and_a_second_run_finds_nothing(own_deployed):
    s3, iam, sqs = map(own_deployed.client, ("s3", "iam", "sqs"))
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"first", b"second"):
        s3.put_object(Bucket=BUCKET, Key="raw-data/a b's.json", Body=body)
    s3.delete_object(Bucket=BUCKET, Key="raw-data/a b's.json")
    s3.create_multipart_upload(Bucket=BUCKET, Key="raw-data/half done")
    iam.attach_role_policy(
        RoleName="StockTrendLambdaRole", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    )
    sqs.create_queue(QueueName="stock-alerts", tags={"project": "stock-market-streaming"})
    own_deployed.client("athena").create_named_query(
        Name="q", Database="stock_data_db", QueryString="SELECT 1", WorkGroup="stock-market-analytics"
    )
    own_deployed.client("cloudwatch").put_dashboard(
        DashboardName="stock-market-streaming", DashboardBody='{"widgets": []}'
    )
    confirmed = own_deployed.run("cleanup.sh", stdin="stock-market-streaming\n")
    assert confirmed.returncode == 0, confirmed.stderr
    assert snapshot(own_deployed) == {}
    assert not sqs.list_queues().get("QueueUrls")
    assert not own_deployed.client("cloudwatch").list_dashboards()["DashboardEntries"]
    again = own_deployed.succeed("cleanup.sh")
    assert "Nothing of the project is in us-east-1." in again.stderr


@pytest.mark.emulator
def test_cleanup_with_keep_data_keeps_bucket_and_tables_for_the_next_setup(own_deployed):
    own_deployed.client("s3").put_object(Bucket=BUCKET, Key="raw-data/x", Body=b"x")
    before = snapshot(own_deployed)
    own_deployed.succeed("cleanup.sh", "--yes", "--keep-data")
    left = snapshot(own_deployed)
    assert left
    assert all(name.startswith(("stock-market-data", "stock-trend-alerts", "bucket")) for name in left)
    again = own_deployed.succeed("setup.sh", **SUBSCRIBERS)
    assert "scripts/redrive.sh hands them to it" in again.stderr
    assert snapshot(own_deployed) == before
    assert own_deployed.client("s3").get_object(Bucket=BUCKET, Key="raw-data/x")["Body"].read() == b"x"


@pytest.mark.emulator
def test_what_is_not_ours_is_named_and_left_alone(project):
    keys = [{"AttributeName": "id", "KeyType": "HASH"}]
    project.client("dynamodb").create_table(
        TableName="stock-market-data",
        KeySchema=keys,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    project.client("kinesis").create_stream(StreamName="Stock-market-stream", ShardCount=1)
    before = snapshot(project)
    refused = project.run("setup.sh")
    assert refused.returncode == 1
    assert "stream Stock-market-stream, table stock-market-data" in refused.stderr
    assert snapshot(project) == before
    project.succeed(
        "setup.sh", TABLE_NAME="other-table", TOPIC_NAME="other-topic", STREAM_NAME="other-stream"
    )
    refused = project.run("cleanup.sh", "--yes", STREAM_NAME="other-stream")
    assert refused.returncode == 1
    assert "table stock-market-data" in refused.stderr
    assert "left alone" in refused.stderr
    assert snapshot(project) == before
    tables = project.client("dynamodb").list_tables()["TableNames"]
    assert tables == ["stock-market-data"], "the table under its other name was found by its tag"


@pytest.mark.emulator
def test_cleanup_that_is_not_confirmed_deletes_nothing(deployed):
    before = snapshot(deployed)
    for answer in ("", "y\n"):
        refused = deployed.run("cleanup.sh", stdin=answer)
        assert refused.returncode == 1
        assert "nothing was deleted" in refused.stderr
    assert snapshot(deployed) == before


@pytest.mark.emulator
def test_cleanup_goes_on_after_a_failure_and_says_what_is_left(own_deployed):
    first = own_deployed.run("cleanup.sh", "--yes", AWS_FAIL_AT="32")
    assert first.returncode == 1
    assert "is still there" in first.stderr
    left = snapshot(own_deployed)
    assert 0 < len(left) < 8
    own_deployed.succeed("cleanup.sh", "--yes")
    assert snapshot(own_deployed) == {}


# Every step on demand: EVERY_STEP=1 pytest tests/test_scripts.py -k interrupted
STEPS = range(1, 57) if os.environ.get("EVERY_STEP") else [random.Random(7).randrange(16, 57)]


def interrupt(project: Project, step: int, *command: str) -> subprocess.CompletedProcess:
    """Run a script whose AWS call number `step` fails: before AWS sees it, or (odd) with its answer lost."""
    lost_answer = {"AWS_FAIL_AFTER": "1"} if step % 2 else {}
    return project.run(*command, AWS_FAIL_AT=str(step), **SUBSCRIBERS, **lost_answer)


@pytest.mark.emulator
@pytest.mark.parametrize("step", STEPS)
def test_setup_interrupted_at_any_call_and_run_again_ends_in_the_same_state(project, deployed, step):
    first = interrupt(project, step, "setup.sh")
    assert first.returncode == 1
    assert "injected" in first.stderr
    project.succeed("setup.sh", **SUBSCRIBERS)
    assert snapshot(project) == snapshot(deployed)


@pytest.mark.emulator
@pytest.mark.parametrize("step", STEPS)
def test_cleanup_after_a_setup_interrupted_at_any_call_leaves_nothing(project, step):
    interrupt(project, step, "setup.sh")
    project.succeed("cleanup.sh", "--yes")
    assert snapshot(project) == {}


@pytest.mark.emulator
@pytest.mark.parametrize("step", STEPS)
def test_cleanup_interrupted_at_any_call_and_run_again_leaves_nothing(own_deployed, step):
    interrupt(own_deployed, step, "cleanup.sh", "--yes")
    own_deployed.succeed("cleanup.sh", "--yes")
    assert snapshot(own_deployed) == {}


@pytest.mark.emulator
def test_ctrl_c_lets_a_creation_end_and_says_what_exists_and_what_to_run(project, tmp_path):
    project.put_in_front_of_aws(
        f"*create-bucket*) touch {tmp_path}/reached; until [ -e {tmp_path}/go ]; do sleep 0.05; done ;;\n"
        f"*'kinesis wait'*) touch {tmp_path}/waiting; exec sleep 600 ;;",
    )
    setup = subprocess.Popen(
        [project.folder / "scripts/setup.sh"],
        env=project.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: (tmp_path / "reached").exists() and (tmp_path / "waiting").exists())
    os.killpg(setup.pid, signal.SIGINT)
    (tmp_path / "go").touch()
    said = setup.communicate(timeout=60)[1].splitlines()
    assert setup.returncode == 130
    assert said[-1].startswith("interrupted: these exist now: stream Stock-market-stream, ")
    assert f"bucket {BUCKET}" in said[-1]
    assert "run scripts/setup.sh again" in said[-1]
    with pytest.raises(ProcessLookupError):
        os.killpg(setup.pid, 0)
    there = snapshot(project)
    assert "bucket ownership_controls" in there
    assert "bucket tagging" not in there
    assert "ProcessStockData" not in there
    project.succeed("cleanup.sh", "--yes", PATH=project.environment["PATH"].split(os.pathsep, 1)[1])
    assert snapshot(project) == {}


@pytest.mark.emulator
def test_without_one_permission_the_rest_is_made_and_the_missing_one_is_named(project):
    iam = project.client("iam")
    iam.create_user(UserName="learner")
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "sns:CreateTopic", "Resource": "*"},
    ]
    iam.put_user_policy(
        UserName="learner",
        PolicyName="all_but_one",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
    )
    key = iam.create_access_key(UserName="learner")["AccessKey"]
    first = project.run(
        "setup.sh", AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"]
    )
    assert first.returncode == 1
    (denied,) = lines(first.stderr, "not allowed")
    assert denied.startswith("error: sns create-topic: not allowed: ")
    last = first.stderr.splitlines()[-1]
    assert "the set-up is not complete: these exist now: stream Stock-market-stream, " in last
    assert "topic" not in last
    assert "run scripts/setup.sh again" in last
    iam.delete_user_policy(UserName="learner", PolicyName="all_but_one")
    iam.delete_access_key(UserName="learner", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="learner")
    project.succeed("setup.sh")
    assert "topic" in snapshot(project)


@pytest.mark.emulator
def test_bucket_of_another_account_is_told_before_and_while_it_is_made(project):
    says = "echo 'An error occurred ({}) when calling the {} operation: no' >&2; exit 254 ;;"
    project.put_in_front_of_aws(
        "*get-bucket-tagging*$TAKEN*) "
        + says.format("AccessDenied", "GetBucketTagging")
        + "\n*create-bucket*) "
        + says.format("BucketAlreadyExists", "CreateBucket"),
    )
    first = project.run("setup.sh", BUCKET_NAME="taken", TAKEN="taken")
    assert first.returncode == 1
    assert first.stderr.splitlines()[-1].startswith(
        "error: bucket taken: exists, but AWS does not say whose it is"
    )
    assert "(nothing was changed)" in first.stderr
    assert snapshot(project) == {}
    for _ in range(2):
        second = project.run("setup.sh", BUCKET_NAME="taken", TAKEN="another")
        assert second.returncode == 1
        assert "bucket taken belongs to another account: choose another BUCKET_NAME" in second.stderr
        assert "these exist now: stream Stock-market-stream, " in second.stderr.splitlines()[-1]


@pytest.mark.emulator
def test_stream_and_bucket_that_were_left_untagged_are_cleaned_up(project):
    """Kinesis and S3 tag in a second call: without it, what we made looks like anybody's."""
    calls = project.folder / "scripts/lib/core/calls.sh"
    untouched = calls.read_text()
    calls.write_text(
        f"{untouched}\n"
        "untagged() { case $* in *add-tags-to-stream* | *put-bucket-tagging*) return 9 ;; esac; }\n"
        'aws() { untagged "$@" && "$AWS_CLI" --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }\n'
    )
    assert project.run("setup.sh").returncode == 1
    calls.write_text(untouched)
    assert "stream tags" not in snapshot(project)
    project.succeed("cleanup.sh", "--yes")
    assert snapshot(project) == {}


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("STREAM_NAME", "Stock market", "Stock\\ market"),
        ("STREAM_NAME", "Stock\u200b-stream", "342\\200\\213"),
        ("TABLE_NAME", "ab", "3 to 255"),
        ("TABLE_NAME", "stock-trend-alerts", "the same"),
        ("BUCKET_NAME", "My-Bucket", "lower-case"),
        ("BUCKET_NAME", "-bucket", "lower-case"),
        ("TOPIC_NAME", "alerts.fifo", "letters, digits"),
        ("STREAM_MODE", "on-demand", "ON_DEMAND"),
        ("SHARD_COUNT", "0", "from 1"),
        ("SMA_SHORT", "20", "smaller than SMA_LONG"),
        ("SMA_LONG", "x", "whole number"),
        ("ANOMALY_PERCENT", "5%", "percent"),
        ("RETENTION_DAYS", "0", "from 1"),
        ("BATCH_WINDOW_SECONDS", "0", "from 1 to 300"),
        ("BATCH_WINDOW_SECONDS", "301", "from 1 to 300"),
        ("ALERT_EMAIL", "nobody", "e-mail"),
        ("ALERT_PHONE", "0555", "+15551234567"),
        ("ALERT_PHONE_SIGNALS", "ANOMALY,SALE", "BUY"),
        ("ALERT_DIGEST_ABOVE", "many", "whole number"),
        ("ALERT_RULES", 'AAPL "price" > 3', "quotes"),
        ("ALERT_RULES", "AAPL price > 3\\", "backslashes"),
        ("AWS_REGION", "US East", "us-east-1"),
        ("PERMISSIONS_BOUNDARY", "boundary", "ARN of a policy"),
    ],
)
def test_bad_setting_is_named_before_aws_is_asked(offline, name, value, hint):
    done = offline.run("setup.sh", **{name: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert name in line
    assert hint in line


def test_all_bad_settings_are_named_at_once_and_what_cannot_be_seen_is_told(offline):
    done = offline.run("setup.sh", STREAM_NAME="a b", TABLE_NAME="t\u200bable", SHARD_COUNT="x")
    assert done.returncode == 1
    stream, count, table = done.stderr.splitlines()
    assert "STREAM_NAME" in stream
    assert "holds a space" in stream
    assert "SHARD_COUNT" in count
    assert "TABLE_NAME" in table
    assert "something invisible" in table


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        (
            "Unable to locate credentials. You can configure credentials by ...",
            "no AWS credentials: run aws configure",
        ),
        ("The config profile (x) could not be found", "no AWS credentials: run aws configure"),
        ("An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: expired", "expired"),
        ("Error loading SSO Token: Token for x has expired", "expired"),
        ("An error occurred (InvalidClientTokenId) when calling the X operation: bad", "refuses"),
        ('Could not connect to the endpoint URL: "https://sts.xx-nowhere-1.amazonaws.com/"', "AWS_REGION"),
        (
            "An error occurred (AccessDenied) when calling the X operation: User: u may not",
            "not allowed: User: u",
        ),
        (
            "An error occurred (AccessDeniedException) when calling the CreateDatabase operation: "
            "Insufficient Lake Formation permission(s): Required Create Database on Catalog",
            "Required Create Database on Catalog. Let its administrator grant you this",
        ),
        ("Waiter StreamExists failed: Max attempts exceeded", "run this again in some minutes"),
        ("Something nobody foresaw", "Something nobody foresaw"),
    ],
)
@pytest.mark.parametrize("script", ["setup.sh", "cleanup.sh", "deploy_lambdas.sh"])
def test_refused_first_call_is_one_clear_line(offline, script, says, hint):
    done = offline.run(script, AWS_SAYS=says)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: sts get-caller-identity: ")
    assert hint in line


@pytest.mark.parametrize(
    ("script", "start"),
    [("setup.sh", "error: "), ("cleanup.sh", "error: "), ("doctor.sh", "WRONG  account: ")],
)
@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_account_in_another_partition_is_refused_by_its_name(offline, script, start, partition):
    offline.put_in_front_of_aws(
        f"*get-caller-identity*) printf '000000000000\\tarn:{partition}:iam::000000000000:user/u\\n'; exit ;;"
    )
    done = offline.run(script)
    assert done.returncode == 1
    line = (done.stdout + done.stderr).splitlines()[-1]
    assert line.startswith(f"{start}these credentials are for the partition {partition} ")


def test_missing_aws_cli_is_named(offline, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "env", "awk", "sed", "tail", "mktemp", "rm", "python3", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool))
    done = offline.run("setup.sh", PATH=str(tools))
    assert done.returncode == 1
    assert "the AWS CLI is missing" in done.stderr


def test_env_file_is_read_as_the_producer_reads_it(offline):
    text = (
        "# comment\n\nexport STREAM_NAME=plain\nTABLE_NAME = spaced \nTOPIC_NAME='single quoted'  # why\n"
        'ALERTS_TABLE_NAME="double # quoted"\nALERT_EMAIL=a@example.com # why\nBUCKET_NAME=a#b\r\nSMA_LONG=\n'
    )
    (offline.folder / ".env").write_text(text, newline="")
    names = [name for name in dotenv_values(offline.folder / ".env") if name != "SMA_LONG"]
    show = f'ROOT={offline.folder}; source "$ROOT/scripts/common.sh"; read_env_file "$ROOT/.env"; '
    show += "".join(f'printf "%s\\n" "${name}"; ' for name in names)
    output = subprocess.run(["bash", "-euc", show], env=offline.environment, capture_output=True, text=True)
    values = dotenv_values(offline.folder / ".env")
    assert output.stdout.splitlines() == [values[name] for name in names], output.stderr


def test_environment_wins_over_env_file_and_settings_are_trimmed(offline):
    (offline.folder / ".env").write_text("STREAM_NAME=from file\nTABLE_NAME=from file\n")
    done = offline.run("setup.sh", STREAM_NAME=" fine ")
    assert "TABLE_NAME" in done.stderr
    assert "STREAM_NAME" not in done.stderr


@pytest.mark.parametrize("line", ["STREAM_NAME", "2X=1", "A B=1", "X='open", "$(touch hacked)=1"])
def test_malformed_line_of_env_file_is_refused_by_its_number(offline, line):
    (offline.folder / ".env").write_text(f"# first\nX_OK=1\n{line}\n")
    done = offline.run("setup.sh")
    assert done.returncode == 1
    assert re.search(r"\.env, line 3: ", done.stderr), done.stderr


@pytest.mark.parametrize("url", ["ftp://host/secret", "https://host/se cret", "secret"])
def test_heartbeat_url_that_is_none_is_refused_without_showing_it(offline, url):
    done = offline.run("setup.sh", HEARTBEAT_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: HEARTBEAT_URL: expected an address such as ")
    assert "cret" not in done.stderr


def test_env_file_is_data_and_never_executed(offline):
    (offline.folder / ".env").write_text("STREAM_NAME=$(touch hacked)\nX=`touch hacked`\n")
    offline.run("setup.sh")
    assert not list(offline.folder.rglob("hacked"))
    assert not Path("hacked").exists()


def test_defaults_are_those_of_the_example(offline):
    example = dotenv_values(ROOT / ".env.example")
    show = f'ROOT={offline.folder}; source "$ROOT/scripts/common.sh"; trap - EXIT; load_settings; '
    settings = (ROOT / "scripts/lib/core/settings.sh").read_text()
    names = re.findall(r"^  (\w+)=\$\{\1:-", settings, re.MULTILINE)
    show += "".join(f'printf "%s\\n" "${name}"; ' for name in names)
    environment = {
        k: v for k, v in offline.environment.items() if k not in ("AWS_REGION", "AWS_DEFAULT_REGION")
    }
    output = subprocess.run(["bash", "-euc", show], env=environment, capture_output=True, text=True)
    assert len(names) == 24
    assert dict(zip(names, output.stdout.splitlines(), strict=True)) == {
        name: example[name] for name in names
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_header_comment(offline, script):
    done = offline.run(script, "--help")
    assert done.returncode == 0
    header = (ROOT / "scripts" / script).read_text().split("\n\n")[0].splitlines()[1:]
    text = "".join(line.removeprefix("#").removeprefix(" ") + "\n" for line in header)
    assert done.stdout.removeprefix(text).strip() in (
        "",
        "With --local it works on the stack of scripts/run_local.sh, with --aws on that in AWS.",
    )
    assert f"Usage: scripts/{script}" in done.stdout


@pytest.mark.parametrize("script", ["setup.sh", "cleanup.sh", "deploy_lambdas.sh"])
def test_unknown_flag_shows_the_usage_and_does_nothing(offline, script):
    done = offline.run(script, "--dry")
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_unreachable_endpoint_is_one_clear_line(copy, quick_cli):
    environment = aws_environment("http://127.0.0.1:9")
    environment |= {"PATH": f"{quick_cli}{os.pathsep}{environment['PATH']}", "AWS_MAX_ATTEMPTS": "1"}
    done = Project(copy, environment).run("setup.sh")
    assert done.returncode == 1
    assert "cannot reach http://127.0.0.1:9" in done.stderr
    assert len(done.stderr.splitlines()) == 1
