"""docs/console.md walked by hand: each call of AWS takes its values from the page's own tables and policies.

What also stands in scripts/resources, scripts/policies or athena is compared with it, so that who builds by
hand has what setup.sh builds.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from helpers.chats import Chats
from helpers.checkout import ROOT, load_module, rendered
from helpers.emulator import aws_environment
from helpers.mocked_aws import SETTINGS, quick_moto
from helpers.project_copy import Project, copy_project
from helpers.stream_driver import EventSourceMapping, dynamodb_record

VALUES = SETTINGS | {"STREAM_NAME": "Stock-market-stream"}
FUNCTIONS = ("ProcessStockData", "StockTrendAnalysis")
SERVICES = ("kinesis", "dynamodb", "s3", "sns", "sqs", "logs", "iam", "lambda", "glue", "athena")
PROJECT = {"Key": "project", "Value": "stock-market-streaming"}
TAGS = {PROJECT["Key"]: PROJECT["Value"]}
SECTIONS = dict(
    re.findall(
        r"^## (\d+)\. (.*?)(?=^## |\Z)", (ROOT / "docs/console.md").read_text(), re.MULTILINE | re.DOTALL
    )
)


def tables(section: int) -> list[list[list[str]]]:
    """The tables of a section of the page, each as rows of cells."""
    found = re.findall(r"(?:^ *\|.*\n)+", SECTIONS[str(section)], re.MULTILINE)
    lines = [[line.strip().strip("|") for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in row.split(" | ")] for row in (*rows[:1], *rows[2:])] for rows in lines]


def values(section: int, number: int = 0, column: int = 1) -> dict[str, str]:
    """The values of a table by the labels in its first column, without its header."""
    return {code(row[0]): code(row[column]) for row in tables(section)[number][1:]}


def code(cell: str) -> str:
    """The code in a cell, or all of its text if it has none."""
    return (re.findall(r"`([^`]+)`", cell) or [cell])[0]


def blocks(section: int, language: str) -> list[str]:
    """The blocks of code of a section."""
    found = rf"^```{language}\n(.*?)^```"
    return re.findall(found, SECTIONS[str(section)], re.MULTILINE | re.DOTALL)


def stream() -> dict[str, Any]:
    asked = values(1)
    mode = {"StreamMode": asked["Capacity mode"].upper()}
    shards = int(asked["Provisioned shards"])
    return {"StreamName": asked["Data stream name"], "ShardCount": shards, "StreamModeDetails": mode}


def table(number: int) -> dict[str, Any]:
    asked = values(2, number)
    keys = [(asked[f"{name} key"], kind) for name, kind in (("Partition", "HASH"), ("Sort", "RANGE"))]
    types = [cells[1].rpartition(", ")[2] for cells in tables(2)[number] if cells[0].endswith(" key")]
    assert types == ["String", "String"]
    definition = {
        "TableName": asked["Table name"],
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
        "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        "BillingMode": {"On-demand": "PAY_PER_REQUEST"}[asked["Table settings → Capacity mode"]],
        "Tags": [PROJECT],
    }
    if view := asked.get("Exports and streams → DynamoDB stream details → View type"):
        view_type = view.upper().replace(" ", "_")
        definition["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view_type}
    return definition


def lifecycle() -> list[dict[str, Any]]:
    rules = []
    for name, prefix, action, days in tables(3)[1][1:]:
        number, prefix = int(code(days)), code(prefix) if "`" in prefix else ""
        what = {
            "Expire current versions": {"Expiration": {"Days": number}},
            "Delete incomplete multipart uploads": {
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": number}
            },
        }[action]
        rules.append({"ID": code(name), "Status": "Enabled", "Filter": {"Prefix": prefix}} | what)
    return rules


def roles() -> dict[str, tuple[dict, dict]]:
    """The trust policy and the permissions of each role."""
    trust, *policies = map(json.loads, blocks(5, "json"))
    return {code(row[0]): (trust, policy) for row, policy in zip(tables(5)[1][1:], policies, strict=True)}


def function(asked: dict[str, str], variables: dict[str, str]) -> dict[str, Any]:
    """A function as a table of the page asks for it."""
    role = asked["Execution role → Use an existing role"]
    return {
        "FunctionName": asked["Function name"],
        "Runtime": asked["Runtime"],
        "Handler": asked["Runtime settings → Handler"],
        "Role": f"arn:aws:iam::{SETTINGS['ACCOUNT_ID']}:role/{role}",
        "MemorySize": int(asked["Configuration → General → Memory"]),
        "Timeout": int(asked["Configuration → General → Timeout"]),
        "Environment": {"Variables": variables},
    }


def function_of_step_6(number: int) -> dict[str, Any]:
    return function(values(6, 0, number + 1), values(6, number + 1))


def forwarder() -> dict[str, Any]:
    return function(values(11, 1), values(11, 2))


def mapping(number: int) -> dict[str, Any]:
    asked, destination = values(8, 0, number + 1), values(8, 1)
    assert (destination["Condition"], destination["Destination type"]) == ("On failure", "S3 bucket")
    settings = {
        "BatchSize": int(asked["Batch size"]),
        "MaximumBatchingWindowInSeconds": int(asked["Batch window"]),
        "MaximumRecordAgeInSeconds": int(asked["Maximum age of record"]),
        "MaximumRetryAttempts": int(asked["Retry attempts"]),
        "BisectBatchOnFunctionError": asked["Split batch on error"] == "on",
        "FunctionResponseTypes": ["ReportBatchItemFailures"] * (asked["Report batch item failures"] == "on"),
        "DestinationConfig": {"OnFailure": {"Destination": destination["Destination"]}},
    }
    if asked["Filter criteria"] != "none":
        settings["FilterCriteria"] = {"Filters": [{"Pattern": asked["Filter criteria"]}]}
    return settings


def workgroup() -> dict[str, Any]:
    asked = values(10, 1)
    return {
        "ResultConfiguration": {
            "OutputLocation": asked["Location of query result"],
            "EncryptionConfiguration": {"EncryptionOption": asked["Encrypt query results"]},
        },
        "EnforceWorkGroupConfiguration": asked["Override client-side settings"] == "on",
        "PublishCloudWatchMetricsEnabled": asked["Publish query metrics to AWS CloudWatch"] == "on",
        "BytesScannedCutoffPerQuery": int(asked["Limit data per query (bytes)"]),
    }


def glue_table() -> dict[str, Any]:
    """What Athena makes of the page's CREATE EXTERNAL TABLE, in the form of athena/stock_data_table.json."""
    (statement,) = blocks(10, "sql")
    columns, partitions = re.search(
        r"TABLE \w+ \((.*?)\n\)\nPARTITIONED BY \((.*?)\)", statement, re.DOTALL
    ).groups()
    serde, reads, writes, location = re.search(
        r"SERDE '(.*)'\nSTORED AS INPUTFORMAT '(.*)'\nOUTPUTFORMAT '(.*)'\nLOCATION '(.*)'\n", statement
    ).groups()
    column = r"`(\w+)` (\w+)"
    properties = re.findall(r"'(\S+)' = '(.*)'", statement.partition("TBLPROPERTIES")[2])
    return {
        "Name": re.search(r"EXTERNAL TABLE (\w+)", statement)[1],
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE"} | dict(properties),
        "PartitionKeys": [{"Name": name, "Type": kind} for name, kind in re.findall(column, partitions)],
        "StorageDescriptor": {
            "Location": location,
            "InputFormat": reads,
            "OutputFormat": writes,
            "SerdeInfo": {"SerializationLibrary": serde},
            "Columns": [{"Name": name, "Type": kind} for name, kind in re.findall(column, columns)],
        },
    }


# --- The page says what the scripts deploy --------------------------------------------------------


def deployed(name: str) -> dict[str, Any]:
    return rendered(f"scripts/resources/{name}.json", VALUES)


def without(value: Any, *names: str) -> Any:
    if isinstance(value, dict):
        return {name: without(each, *names) for name, each in value.items() if name not in names}
    return [without(each, *names) for each in value] if isinstance(value, list) else value


def test_stream_has_the_name_mode_and_shards_of_the_default_settings():
    example = (ROOT / ".env.example").read_text()
    asked = stream()
    assert f"\nSTREAM_NAME={asked['StreamName']}\n" in example
    assert f"\nSTREAM_MODE={asked['StreamModeDetails']['StreamMode']}\n" in example
    assert f"\nSHARD_COUNT={asked['ShardCount']}\n" in example
    assert (
        f"--key-id {values(1, 1)['Encryption type']}"
        in (ROOT / "scripts/lib/resources/stream.sh").read_text()
    )


@pytest.mark.parametrize(("number", "name"), [(0, "ticks_table"), (1, "alerts_table")])
def test_tables_have_the_keys_streams_and_expiry_that_are_deployed(number, name):
    assert table(number) == deployed(name)
    expiry = values(2, number)["Additional settings → Time to Live attribute"]
    assert f"AttributeName={expiry}" in (ROOT / "scripts/lib/resources/tables.sh").read_text()


def test_bucket_has_the_policy_and_the_rules_that_are_deployed():
    (policy,) = map(json.loads, blocks(3, "json"))
    assert policy["Statement"] == rendered("scripts/policies/bucket.json", VALUES)["Statement"][:1]
    rules = {rule["ID"]: rule for rule in deployed("bucket_lifecycle")["Rules"]}
    assert [rules[rule["ID"]] for rule in lifecycle()] == lifecycle()


def test_roles_have_the_policies_that_are_deployed():
    trust = rendered("scripts/policies/lambda_trust.json", VALUES)
    policies = [
        rendered(f"scripts/policies/{name}.json", VALUES)
        for name in ("process_stock_data", "stock_trend_analysis")
    ]
    assert list(roles().values()) == [(trust, policy) for policy in policies]


def test_producer_has_the_policy_that_is_deployed():
    assert list(map(json.loads, blocks(9, "json"))) == [rendered("scripts/policies/producer.json", VALUES)]


@pytest.mark.parametrize(("number", "name"), [(0, "process_stock_data"), (1, "stock_trend_analysis")])
def test_functions_have_the_settings_that_are_deployed_and_all_variables_that_they_require(number, name):
    wanted, asked = deployed(name), function_of_step_6(number)
    variables, known = asked["Environment"]["Variables"], wanted["Environment"]["Variables"]
    assert without(asked, "Environment") == without(wanted, "Environment", "Description")
    assert variables == {variable: known[variable] for variable in variables}
    code = (ROOT / f"lambdas/{name}.py").read_text()
    listed = re.search(r"^REQUIRED = \((.*)\)", code, re.MULTILINE)
    required = re.findall(r'"(\w+)"', listed[1]) if listed else re.findall(r'os\.environ\["(\w+)"\]', code)
    assert list(variables) == required
    assert values(6, 0, number + 1)["lambda_function.py"] == f"lambdas/{name}.py"


def test_function_for_chats_has_the_settings_policy_and_retries_that_are_deployed():
    assert forwarder() == without(deployed("forward_alerts"), "Description")
    policy, _ = map(json.loads, blocks(11, "json"))
    assert policy == rendered("scripts/policies/forward_alerts.json", VALUES)
    retries, asked = deployed("forward_alerts_invocation"), values(11, 3)
    assert int(asked["Maximum age of event"]) == retries["MaximumEventAgeInSeconds"]
    assert int(asked["Retry attempts"]) == retries["MaximumRetryAttempts"]
    assert asked["On-failure destination"] == retries["DestinationConfig"]["OnFailure"]["Destination"]


def test_log_groups_are_those_of_the_functions_and_kept_as_long():
    days = re.search(r"^RETENTION_DAYS=(\d+)", (ROOT / ".env.example").read_text(), re.MULTILINE)[1]
    assert values(5) == {f"/aws/lambda/{name}": days for name in FUNCTIONS}


@pytest.mark.parametrize(("number", "name"), [(0, "kinesis_mapping"), (1, "dynamodb_mapping")])
def test_triggers_have_each_option_that_is_deployed(number, name):
    assert mapping(number) == deployed(name)
    position = values(8, 0, number + 1)["Starting position"]
    assert f"--starting-position {position}" in (ROOT / "scripts/lib/resources/mappings.sh").read_text()


def test_glue_table_and_workgroup_are_those_that_are_deployed():
    values_but_dt = VALUES | {"dt": "${dt}"}
    assert glue_table() == without(
        rendered("athena/stock_data_table.json", values_but_dt), "Comment", "Description"
    )
    assert workgroup() == deployed("workgroup")


# --- Who follows the page gets an alert ------------------------------------------------------------


def build(aws: dict[str, Any]) -> None:
    """Steps 1 to 6 and 10, but for the bucket's policy, whose condition moto does not read.

    A queue takes the place of the mail address.
    """
    aws["kinesis"].create_stream(**stream())
    aws["kinesis"].add_tags_to_stream(StreamName=stream()["StreamName"], Tags=TAGS)
    key = values(1, 1)["Encryption type"]
    aws["kinesis"].start_stream_encryption(StreamName=stream()["StreamName"], EncryptionType="KMS", KeyId=key)
    for number in (0, 1):
        asked, name = values(2, number), {"TableName": table(number)["TableName"]}
        aws["dynamodb"].create_table(**table(number))
        expiry = {"Enabled": True, "AttributeName": asked["Additional settings → Time to Live attribute"]}
        aws["dynamodb"].update_time_to_live(**name, TimeToLiveSpecification=expiry)
        backups = {"PointInTimeRecoveryEnabled": asked["Backups → Point-in-time recovery"] == "on"}
        aws["dynamodb"].update_continuous_backups(**name, PointInTimeRecoverySpecification=backups)
    bucket = values(3)["Bucket name"]
    aws["s3"].create_bucket(Bucket=bucket)
    aws["s3"].put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [PROJECT]})
    aws["s3"].put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": lifecycle()})
    key = {"KmsMasterKeyId": values(4)["Encryption → AWS KMS key"]}
    topic = aws["sns"].create_topic(Name=values(4)["Name"], Tags=[PROJECT], Attributes=key)["TopicArn"]
    queue = aws["sqs"].create_queue(QueueName="mailbox")["QueueUrl"]
    arn = aws["sqs"].get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    assert values(4, 1)["Protocol"] == "Email"
    policy = values(4, 1).get("Subscription filter policy → JSON")
    attributes = {"FilterPolicy": policy} if policy else {}
    aws["sns"].subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
    for name, days in values(5).items():
        aws["logs"].create_log_group(logGroupName=name, tags=TAGS)
        aws["logs"].put_retention_policy(logGroupName=name, retentionInDays=int(days))
    for role, (trust, policy) in roles().items():
        aws["iam"].create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust), Tags=[PROJECT])
        aws["iam"].put_role_policy(RoleName=role, PolicyName=role, PolicyDocument=json.dumps(policy))
    for number in (0, 1):
        code_file = values(6, 0, number + 1)["lambda_function.py"]
        aws["lambda"].create_function(
            Code={"ZipFile": zipped(code_file)}, Tags=TAGS, **function_of_step_6(number)
        )
    database = values(10)["Name"]
    aws["glue"].create_database(DatabaseInput={"Name": database}, Tags=TAGS)
    aws["glue"].create_table(DatabaseName=database, TableInput=glue_table())
    name = values(10, 1)["Workgroup name"]
    aws["athena"].create_work_group(Name=name, Configuration=workgroup(), Tags=[PROJECT])


def zipped(file: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.write(ROOT / file, "lambda_function.py")
    return archive.getvalue()


@pytest.fixture
def account(aws_credentials) -> Iterator[dict[str, Any]]:
    """An account in which someone has followed the page up to step 6."""
    with quick_moto(config={"lambda": {"use_docker": False}}):
        aws = {name: boto3.client(name) for name in SERVICES}
        build(aws)
        yield aws


@pytest.fixture
def handlers(account, monkeypatch) -> list[Any]:
    """The functions as AWS has them: the pasted files, with the variables of their configurations."""
    loaded = []
    for number, name in enumerate(FUNCTIONS):
        configuration = account["lambda"].get_function_configuration(FunctionName=name)
        for variable, value in configuration["Environment"]["Variables"].items():
            monkeypatch.setenv(variable, value)
        for variable, value in values(7).items():  # for the trial
            monkeypatch.setenv(variable, value)
        file = values(6, 0, number + 1)["lambda_function.py"]
        loaded.append(load_module(file).lambda_handler)
    return loaded


def received(account: dict[str, Any]) -> list[str]:
    queue = account["sqs"].get_queue_url(QueueName="mailbox")["QueueUrl"]
    answer = account["sqs"].receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return sorted(
        json.loads(message["Body"])["Subject"].split(" at ")[0] for message in answer.get("Messages", [])
    )


def test_functions_answer_an_empty_event_as_the_page_says(handlers):
    for handler, words in zip(handlers, ("not a Kinesis event", "not a DynamoDB stream event"), strict=True):
        assert f"`{words}`" in SECTIONS["6"]
        with pytest.raises(ValueError, match=words):
            handler({}, None)


def test_page_followed_to_its_end_sends_each_alert_once(account, handlers):
    events = [json.loads((ROOT / code(row[1])).read_text()) for row in tables(7)[1][1:]]
    for handler, event in zip(handlers, events, strict=True):
        assert json.dumps(handler(event, None)) in SECTIONS["7"]

    items = account["dynamodb"].scan(TableName=values(2)["Table name"])["Items"]
    alerts = account["dynamodb"].scan(TableName=values(2, 1)["Table name"])["Items"]
    assert len(items) == 21
    assert {(item["symbol"]["S"], item["source"]["S"]) for item in items} == {("TEST", "simulated")}
    assert [alert["status"]["S"] for alert in alerts] == ["sent", "sent"]
    archive = account["s3"].list_objects_v2(Bucket=values(3)["Bucket name"])["Contents"]
    assert [entry["Key"].split("/")[0] for entry in archive] == ["raw-data"]
    assert received(account) == ["ANOMALY TEST", "BUY TEST"]

    # Step 8: the new trigger reads what the table's stream holds. Those alerts are told already.
    arn = account["dynamodb"].describe_table(TableName=values(2)["Table name"])["Table"]["LatestStreamArn"]
    source = {"FunctionName": FUNCTIONS[1], "StartingPosition": values(8, 0, 2)["Starting position"]}
    trigger = account["lambda"].create_event_source_mapping(EventSourceArn=arn, **source, **mapping(1))
    assert trigger["BatchSize"] == mapping(1)["BatchSize"]
    records = [dynamodb_record(item, number, arrived_at=time.time()) for number, item in enumerate(items)]
    discarded: list[str] = []
    EventSourceMapping(
        mapping(1), handlers[1], sleep=time.sleep, discard=lambda key, _: discarded.append(key)
    ).run(records)
    assert discarded == []
    assert received(account) == []


def test_alert_that_is_published_as_the_page_says_comes_to_the_chat(account, tmp_path, monkeypatch):
    asked = values(11)
    with Chats(tmp_path) as chats:
        (address,) = json.loads(asked["Value"])
        address["url"] = address["url"].replace("https://hooks.slack.com", chats.base).replace("…", "secret")
        parameter = {"Name": asked["Name"], "Tier": asked["Tier"], "Type": asked["Type"]}
        boto3.client("ssm").put_parameter(Value=json.dumps([address]), **parameter)
        monkeypatch.setenv("SSL_CERT_FILE", str(chats.certificates))
        for variable, value in values(11, 2).items():
            monkeypatch.setenv(variable, value)
        handler = load_module(values(11, 1)["lambda_function.py"]).lambda_handler
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000 * forwarder()["Timeout"])
        alert = blocks(11, "json")[1]
        assert handler({"Records": [{"Sns": {"Message": alert}}]}, context) == {"done": 1, "later": 0}
        (message,) = chats.received["/services/secret"]
    assert json.loads(message)["text"].startswith(json.loads(alert)["message"])


def test_setup_finds_all_that_was_made_by_hand(account, quick_cli, tmp_path):
    streams = account["kinesis"].describe_stream(StreamName=stream()["StreamName"])["StreamDescription"]
    ticks = account["dynamodb"].describe_table(TableName=values(2)["Table name"])["Table"]
    for number, arn in enumerate((streams["StreamARN"], ticks["LatestStreamArn"])):
        source = {"EventSourceArn": arn, "StartingPosition": values(8, 0, number + 1)["Starting position"]}
        account["lambda"].create_event_source_mapping(
            FunctionName=FUNCTIONS[number], **source, **mapping(number)
        )
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)  # shows the same account
    server.start()
    environment = aws_environment("http://{}:{}".format(*server.get_host_and_port()))
    environment["PATH"] = f"{quick_cli}{os.pathsep}{environment['PATH']}"
    done = Project(copy_project(tmp_path / "project"), environment).run("setup.sh")
    server.stop()
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert [line for line in said if line.endswith(": created")] == []
    assert len([line for line in said if line.endswith(": already exists")]) >= 13


def test_page_asks_for_the_tag_by_which_the_scripts_know_what_is_theirs():
    assert values(0) == PROJECT
    assert f"\nPROJECT={PROJECT['Value']} " in (ROOT / "scripts/common.sh").read_text()
