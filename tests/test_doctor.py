"""scripts/doctor.sh: before set-up, after it, and with each thing that can be wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.checkout import ROOT, load_module
from helpers.project_copy import BUCKET, SUBSCRIBERS, TOPIC_ARN, Project, copy_project, snapshot

tick_age = load_module("scripts/lib/doctor/tick_age.py")
NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)  # a Friday in New York's trading hours


def doctor(project: Project, **settings: str) -> tuple[int, list[str]]:
    """Its exit status and its lines; nothing may be on standard error."""
    for name in ("requirements.txt", ".env.example"):
        shutil.copy(ROOT / name, project.folder / name)
    done = project.run("doctor.sh", **settings)
    assert done.stderr == ""
    assert all(re.match(r"(ok    |note  |WRONG |\?     ) \S", line) for line in done.stdout.splitlines())
    return done.returncode, done.stdout.splitlines()


def wrong(lines: list[str]) -> list[str]:
    return [line.removeprefix("WRONG  ") for line in lines if line.startswith("WRONG")]


@pytest.mark.emulator
def test_before_set_up_tools_and_settings_are_looked_at_and_setup_is_named(project):
    status, lines = doctor(project)
    assert status == 0
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok", "ok", "ok", "note"]
    assert lines[-1].startswith("note   nothing is set up in us-east-1 yet: scripts/setup.sh")
    assert snapshot(project) == {}


@pytest.mark.emulator
def test_after_set_up_all_is_well_and_a_check_that_fails_says_so_while_the_others_go_on(deployed, tmp_path):
    before = snapshot(deployed)
    status, lines = doctor(deployed, **SUBSCRIBERS)
    assert (status, wrong(lines)) == (0, [])
    for kind in (
        "stream",
        "table",
        "bucket",
        "topic",
        "role",
        "function",
        "database",
        "workgroup",
        "mapping of",
    ):
        assert any(line.startswith(f"ok     {kind} ") for line in lines), kind
    # The doctor says what the emulator does not know, and goes on.
    assert [line for line in lines if line.startswith("?")] == [
        line for line in lines if "sms-sandbox" in line
    ]
    assert any(line.startswith("note   no ticks of AAPL yet: start the producer") for line in lines)
    assert snapshot(deployed) == before

    project = Project(copy_project(tmp_path / "project"), dict(deployed.environment))
    project.put_in_front_of_aws("*'glue get-table '*) echo 'injected: no answer' >&2; exit 255 ;;")
    status, again = doctor(project, **SUBSCRIBERS)
    assert status == 0
    (other,) = [line for line in again if line not in lines]
    assert other.startswith("?      ")
    assert other.endswith("injected: no answer")
    assert len(again) == len(lines)


@pytest.mark.emulator
def test_mapping_whose_last_result_is_a_failure_is_wrong(deployed, tmp_path):
    project = Project(copy_project(tmp_path / "project"), dict(deployed.environment))
    project.put_in_front_of_aws(
        "*LastProcessingResult*) printf 'Enabled\\tthe-uuid\\tFAILED: the stream is gone\\n'; exit ;;"
    )
    status, lines = doctor(project, **SUBSCRIBERS)
    assert status == 1
    assert [line.split(":")[0] for line in wrong(lines)] == [
        "mapping of ProcessStockData",
        "mapping of StockTrendAnalysis",
    ]
    assert "FAILED: the stream is gone" in wrong(lines)[0]


@pytest.mark.emulator
def test_each_difference_from_the_settings_is_a_line_with_its_remedy(deployed):
    changed = {"SHARD_COUNT": "2", "SMA_LONG": "21", "TABLE_NAME": "Stock-Market-Data"}
    status, lines = doctor(deployed, **SUBSCRIBERS, **changed)
    assert status == 1
    found = wrong(lines)
    assert found[0].startswith("stream Stock-market-stream: ")
    assert "kinesis update-shard-count" in found[0]
    assert "table Stock-Market-Data: does not exist (but stock-market-data does" in found[1]
    for name in ("Lambda_Kinesis_DynamoDB_Role", "StockTrendAnalysis", "mapping of StockTrendAnalysis"):
        assert any(name in line and "run scripts/setup.sh" in line for line in found), name


@pytest.mark.emulator
def test_what_was_done_by_hand_and_what_got_stuck_is_found(own_deployed):
    client = own_deployed.client
    s3, iam, awslambda, kinesis = map(client, ("s3", "iam", "lambda", "kinesis"))
    role, policy = "StockTrendLambdaRole", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    iam.attach_role_policy(RoleName=role, PolicyArn=policy)
    (mapping,) = awslambda.list_event_source_mappings(FunctionName="ProcessStockData")["EventSourceMappings"]
    awslambda.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    now = datetime.now(UTC)
    today, a_minute_ago = now.date(), now - timedelta(minutes=1)
    s3.put_object(Bucket=BUCKET, Key=f"rejected-data/dt={today}/x.json", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key=f"rejected-data/dt={today - timedelta(days=3)}/x.json", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/x", Body=b"{}")
    kinesis.remove_tags_from_stream(StreamName="Stock-market-stream", TagKeys=["project"])
    pending = client("sns").subscribe(TopicArn=TOPIC_ARN, Protocol="http", Endpoint="http://127.0.0.1:9/")
    assert "SubscriptionArn" in pending
    data = [
        {
            "MetricName": "Errors",
            "Dimensions": [{"Name": "FunctionName", "Value": "ProcessStockData"}],
            "Value": 3,
            "Timestamp": a_minute_ago,
        },
        {
            "MetricName": "IteratorAge",
            "Dimensions": [{"Name": "FunctionName", "Value": "StockTrendAnalysis"}],
            "Value": 4e5,
            "Timestamp": a_minute_ago,
        },
    ]
    client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=data)
    status, lines = doctor(own_deployed, **SUBSCRIBERS)
    assert status == 1
    found = wrong(lines)
    for words in (
        "stream Stock-market-stream: does not have the tag",
        f"role {role}: also has {policy}: aws iam detach-role-policy --role-name {role} ",
        f"--enabled --uuid {mapping['UUID']}",
        "rejected records: 1 in the last 24 hours; each says why: aws s3 cp",
        "failed batches: 1 wait in the bucket: run scripts/redrive.sh",
        "function ProcessStockData: 3 errors in the last hour: aws logs filter-log-events",
        "function StockTrendAnalysis: up to 400 s behind",
    ):
        assert any(words in line for line in found), (words, lines)
    assert len(found) == 7, found


@pytest.mark.emulator
def test_subscribers_whom_no_alert_can_reach_are_named(deployed, tmp_path):
    project = Project(copy_project(tmp_path / "project"), dict(deployed.environment))
    project.put_in_front_of_aws(
        "*list-subscriptions-by-topic*) printf 'email\\ta@example.com\\tPendingConfirmation\\n'\n"
        "  printf 'sms\\t+15550100200\\tarn:aws:sns:1\\nsms\\t+15550100300\\tarn:aws:sns:2\\n'; exit ;;\n"
        "*get-sms-sandbox-account-status*) echo True; exit ;;\n"
        "*list-sms-sandbox-phone-numbers*0300*) echo Verified; exit ;;\n"
        "*list-sms-sandbox-phone-numbers*) echo Pending; exit ;;\n"
        "*get-sms-attributes*) echo None; exit ;;\n"
        "*describe-alarms*) printf 'one\\tOK\\ntwo\\tALARM\\n'; exit ;;"
    )
    status, lines = doctor(project, **SUBSCRIBERS)
    assert status == 1
    mail, phone, alarms = wrong(lines)
    assert mail.startswith("subscription email a@example.com: not confirmed: open the link in the mail")
    assert phone.startswith(
        "SMS to +15550100200: the account is in the SMS sandbox, and the number is not verified"
    )
    assert "aws sns create-sms-sandbox-phone-number --phone-number +15550100200" in phone
    assert "ok     SMS to +15550100300: at most $1 a month" in lines
    assert alarms.startswith("alarms are on: two")


@pytest.mark.parametrize(
    ("answer", "is_wrong"),
    [
        ("echo 0", True),
        ("echo 1", False),
        ("echo 'An error occurred (AccessDeniedException) when calling X: no' >&2; exit 254", True),
    ],
)
def test_us_phone_without_an_origination_number_is_wrong_and_others_are_not(
    deployed, tmp_path, answer, is_wrong
):
    project = Project(copy_project(tmp_path / "project"), dict(deployed.environment))
    project.put_in_front_of_aws(
        "*list-subscriptions-by-topic*)\n"
        "  printf 'sms\\t+15550100200\\tarn:aws:sns:1\\nsms\\t+4915550100300\\tarn:aws:sns:2\\n'; exit ;;\n"
        "*get-sms-sandbox-account-status*) echo False; exit ;;\n"
        "*get-sms-attributes*) echo 5; exit ;;\n"
        f"*pinpoint-sms-voice-v2*Values=US*Values=ACTIVE*) {answer}; exit ;;"
    )
    _, lines = doctor(project)
    assert "ok     SMS to +4915550100300: at most $5 a month" in lines
    if is_wrong:
        (phone,) = [line for line in wrong(lines) if "SMS" in line]
        assert phone.startswith("SMS to +15550100200: a US number gets text messages only from")
        assert "https://console.aws.amazon.com/sms-voice/" in phone
    else:
        assert "ok     SMS to +15550100200: at most $5 a month" in lines


def test_bad_settings_are_all_named_and_the_account_is_left_for_later(offline):
    (offline.folder / ".env").write_text("\ufeffSTREM_NAME=x\nAWS_REGION=eu-west-1\nSMA_LONG=30\nMY_OWN=1\n")
    settings = {"STREAM_NAME": "a b", "TABLE_NAME": "t\u200bable", "SMA_LONG": "40"}
    status, lines = doctor(offline, **settings)
    assert status == 1
    found = wrong(lines)
    assert any("STREAM_NAME=a\\ b" in line and "space" in line for line in found)
    assert any("TABLE_NAME=" in line and "invisible" in line for line in found)
    assert any("STREM_NAME in .env, is it meant to be STREAM_NAME?" in line for line in found)
    assert any(
        "AWS_REGION=us-east-1 of the environment wins over eu-west-1 in .env" in line for line in found
    )
    assert "note   settings: SMA_LONG=40 of the environment wins over 30 in .env: unset SMA_LONG" in lines
    assert not any("MY_OWN" in line or "credentials" in line for line in lines)


def test_credentials_that_do_not_work_are_named_with_what_to_do(offline):
    status, lines = doctor(offline, AWS_SAYS="An error occurred (ExpiredToken) when calling X: expired")
    assert status == 1
    assert wrong(lines)[-1].startswith("account: sts get-caller-identity: the AWS credentials have expired")


def test_expiry_of_credentials_is_told_and_no_secret(offline):
    expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat(timespec="seconds")
    secret = {"Version": 1, "AccessKeyId": "AKI", "SecretAccessKey": "SECRET", "Expiration": expires}
    aws = Path(shutil.which("aws", path=offline.environment["PATH"]))
    aws.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f"*export-credentials*) cat <<'E'\n{json.dumps(secret, indent=2)}\nE\n ;;\n"
        "*get-caller-identity*) printf '123456789012\\tarn:aws:iam::123456789012:root\\n' ;;\n"
        "*--version*) echo aws-cli/2.8.1 Python/3 ;;\n"
        "*) echo 'An error occurred (AccessDenied) when calling X: no' >&2; exit 254 ;;\nesac\n"
    )
    status, lines = doctor(offline)
    assert status == 1
    assert any(
        re.match(r"WRONG  credentials: they expire in [45] minutes: log in again", line) for line in lines
    )
    assert any("AWS CLI 2.8.1 is too old" in line for line in lines)
    assert any("root user" in line for line in lines)
    assert sum(line.startswith("?") and "not allowed" in line for line in lines) > 10
    assert "SECRET" not in str(lines)


def test_missing_packages_and_an_old_python_are_named(offline, tmp_path):
    check = [sys.executable, str(ROOT / "scripts/lib/doctor/python.py")]
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# why\nnot-there==1.0  # because\npytest==0.1\nextra[one]==2 # x\n")
    said = subprocess.run([*check, wanted], capture_output=True, text=True, check=True).stdout
    assert said.startswith("wrong Python 3.")
    assert "lacks not-there, extra; run python3 -m venv" in said
    wanted.write_text("pytest==0.1\n")
    said = subprocess.run([*check, wanted], capture_output=True, text=True, check=True).stdout
    assert re.match(r"note Python 3\.\S+ with pytest \S+ \(tested with 0.1\)", said)


def ago(**age: float) -> tuple[str, str]:
    at = (NOW - timedelta(**age)).isoformat()
    return at, at


@pytest.mark.parametrize(
    ("ticks", "incoming", "now", "says"),
    [
        ({"A": ago(seconds=30), "B": ago(hours=5)}, 9, NOW, "ok newest ticks: A 30 s ago, B 5 h ago"),
        ({"A": ago(minutes=19), "B": ("None", "None")}, 0, NOW, "ok newest ticks: A 19 min ago, B none"),
        ({"A": ("None", "None")}, 0, NOW, "note no ticks of A yet: start the producer"),
        ({"A": ("None", "None")}, 5, NOW, "wrong 5 records came in"),
        ({"A": ago(hours=3)}, 0, NOW, "note newest ticks: A 3 h ago, and New York trades"),
        ({"A": ago(hours=3)}, 7, NOW, "wrong newest ticks: A 3 h ago, but 7 records came in"),
        ({"A": (ago(days=3)[0], ago(minutes=2)[0])}, 7, NOW, "note newest ticks: A 3 days ago, and New York"),
        (
            {"A": ago(hours=3)},
            0,
            NOW + timedelta(hours=1),
            "note newest ticks: A 4 h ago; New York's market is c",
        ),
        (
            {"A": ago(hours=3)},
            0,
            NOW + timedelta(days=1),
            "note newest ticks: A 27 h ago; New York's market is c",
        ),
    ],
)
def test_age_of_the_newest_tick_is_judged_by_market_and_stream(ticks, incoming, now, says):
    line = tick_age.verdict(ticks, incoming=incoming, delay=timedelta(seconds=30), now=now)
    assert line.startswith(says)
    assert "\n" not in line
