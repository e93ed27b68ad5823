"""scripts/alerts.sh and chats, on the emulator: made with the first, gone with the last, no secret shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from helpers.chats import RESET, Chats
from helpers.checkout import ROOT, load_module, rendered
from helpers.emulator import ACCOUNT_ID
from helpers.project_copy import BUCKET, SUBSCRIBERS, TOPIC_ARN, Project, account, snapshot

pytestmark = pytest.mark.xdist_group("chats")

NAME = "/stock-market-streaming/alert-addresses"
FUNCTION_ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT_ID}:function:ForwardAlerts"
TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture(scope="module")
def chats(tmp_path_factory) -> Iterator[Chats]:
    """The chats, with a certificate that everything on this machine trusts from here on."""
    with Chats(tmp_path_factory.mktemp("chats")) as chats, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(chats.certificates))
        # Since Python 3.12, urllib keeps the certificates of its first use.
        patch.setattr("urllib.request._opener", None)
        yield chats


@pytest.fixture(scope="module")
def stack(tmp_path_factory, quick_cli, chats) -> Iterator[Project]:
    """The project with its topic, which is all that the alerts need. Its Telegram is the stand-in."""
    with account(tmp_path_factory.mktemp("chats-stack"), quick_cli) as project:
        topic = {"Key": "project", "Value": "stock-market-streaming"}
        project.client("sns").create_topic(Name=TOPIC_ARN.rpartition(":")[2], Tags=[topic])
        record_arguments_of_python(project)
        code = project.folder / "scripts/lib/alerts/addresses.py"
        code.write_text(code.read_text().replace("https://api.telegram.org", chats.base))
        yield project


def record_arguments_of_python(project: Project) -> None:
    """Put a `python3` first on the PATH that writes its arguments down, as the `aws` there does."""
    folder = project.folder / "recording"
    folder.mkdir()
    real = shutil.which("python3", path=project.environment["PATH"])
    (folder / "python3").write_text(f'#!/bin/sh\necho "$@" >>"{folder}/arguments"\nexec "{real}" "$@"\n')
    (folder / "python3").chmod(0o755)
    project.environment["PATH"] = f"{folder}{os.pathsep}{project.environment['PATH']}"


def addresses(project: Project) -> list[dict]:
    ssm = project.client("ssm")
    try:
        parameter = ssm.get_parameter(Name=NAME, WithDecryption=True)["Parameter"]
    except ssm.exceptions.ParameterNotFound:
        return []
    assert parameter["Type"] == "SecureString"
    return json.loads(parameter["Value"])


def forwarding(project: Project) -> dict[str, object]:
    return {
        name: value for name, value in snapshot(project).items() if "Forward" in name or name == "addresses"
    }


def wait_for(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@pytest.mark.emulator
def test_first_chat_makes_the_function_each_gets_the_alert_and_the_last_takes_it_away(stack, chats):
    before = snapshot(stack)
    slack, hook = f"{chats.base}/services/T0/B0/s3cr3t-a", f"{chats.base}/hook?key=s3cr3t-b"
    said = []

    def run(*arguments: str, stdin: str = "", **settings: str) -> str:
        done = stack.run("alerts.sh", *arguments, stdin=stdin, **settings)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr + stack.calls.read_text())
        return done.stdout

    chats.answers["/services/T0/B0/s3cr3t-a"] = [400, 200]  # Slack says so to an empty message
    run("subscribe", "slack", slack)
    assert len(addresses(stack)) == 1
    (subscription,) = stack.client("sns").list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("lambda", FUNCTION_ARN)
    run("subscribe", "webhook", "-", stdin=f"{hook}\n")
    listed = run("subscribe", "telegram", "-100200", TELEGRAM_TOKEN=TOKEN)
    ids = {each["kind"]: each["id"] for each in addresses(stack)}
    assert [each["kind"] for each in addresses(stack)] == ["slack", "webhook", "telegram"]
    for kind, name in ids.items():
        assert re.search(rf"^{kind} +localhost {name} +confirmed +all alerts$", listed, re.MULTILINE)

    sent = run("test", "--symbol", "MSFT")
    assert f"slack localhost {ids['slack']}: gets it" in sent
    telegram = f"/bot{TOKEN}/sendMessage"
    wait_for(lambda: all(chats.received[where] for where in ("/services/T0/B0/s3cr3t-a", telegram)))
    wait_for(lambda: chats.received["/hook?key=s3cr3t-b"])
    (message,) = chats.received[telegram]
    assert json.loads(message)["chat_id"] == "-100200"
    assert json.loads(message)["text"].startswith("TEST, no real signal: BUY MSFT at 100")
    assert json.loads(chats.received["/hook?key=s3cr3t-b"][0])["symbol"] == "MSFT"

    run("unsubscribe", "webhook", ids["webhook"])
    run("unsubscribe", "telegram", "-100200")
    assert [each["kind"] for each in addresses(stack)] == ["slack"]
    run("unsubscribe", "slack", "-", stdin=f"{slack}\n")
    assert snapshot(stack) == before
    assert addresses(stack) == []

    assert "addresses.py add slack" in (stack.folder / "recording/arguments").read_text()
    said += [path.read_text(errors="replace") for path in files_of(stack)]
    assert not [text for text in said if "s3cr3t" in text or TOKEN in text]


def files_of(project: Project) -> list[Path]:
    """Everything that the scripts, the emulator and the functions have left on disk, logs included."""
    logs = project.folder.parent / "ministack"
    return [path for folder in (project.folder, logs) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.emulator
def test_function_of_somebody_else_is_refused_and_is_in_nobodys_way_without_chats(stack):
    client = stack.client
    trust = rendered("scripts/policies/lambda_trust.json", {"ACCOUNT_ID": ACCOUNT_ID})
    client("iam").create_role(RoleName="ForwardAlertsRole", AssumeRolePolicyDocument=json.dumps(trust))
    refused = stack.run("alerts.sh", "subscribe", "webhook", "https://localhost/hook")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "error: role ForwardAlertsRole: in this account already, without the tag "
        "project=stock-market-streaming: nothing was changed"
    )
    assert addresses(stack) == []
    assert "ForwardAlertsRole" not in stack.succeed("setup.sh", "--dry-run").stderr
    client("iam").delete_role(RoleName="ForwardAlertsRole")


@pytest.mark.emulator
def test_scripts_for_operating_know_the_chats_and_mend_what_was_made_before_them(own_deployed, chats):
    client = own_deployed.client
    sns, awslambda, logs, s3 = map(client, ("sns", "lambda", "logs", "s3"))
    own_deployed.succeed("alerts.sh", "subscribe", "webhook", f"{chats.base}/operated")
    (address,) = addresses(own_deployed)
    made = snapshot(own_deployed)
    retries = made["retries"]
    assert (retries["MaximumRetryAttempts"], retries["MaximumEventAgeInSeconds"]) == (2, 21_600)
    assert retries["DestinationConfig"]["OnFailure"] == {"Destination": f"arn:aws:s3:::{BUCKET}"}

    # What an older release has made, or somebody has changed, and an address that no longer takes anything.
    older = {"email": "old@example.com", "sqs": f"arn:aws:sqs:us-east-1:{ACCOUNT_ID}:old"}
    for protocol, endpoint in older.items():
        policy = {"FilterPolicy": json.dumps({"signal": ["BUY"]})} if protocol == "sqs" else {}
        sns.subscribe(TopicArn=TOPIC_ARN, Protocol=protocol, Endpoint=endpoint, Attributes=policy)
    awslambda.delete_function_event_invoke_config(FunctionName="ForwardAlerts")
    line = f"[ERROR]\t2026-11-24T12:00:00.000Z\t5e2f\twebhook {address['id']} localhost: refused with 404"
    event = {"timestamp": int(time.time() * 1000), "message": f"{line}, and not tried again: is the …?\n"}
    stream = {"logGroupName": "/aws/lambda/ForwardAlerts", "logStreamName": "one"}
    logs.create_log_stream(**stream)
    logs.put_log_events(**stream, logEvents=[event, event])
    for name in ("requirements.txt", ".env.example"):
        shutil.copy(ROOT / name, own_deployed.folder / name)
    looked = own_deployed.run("doctor.sh", **SUBSCRIBERS)
    assert looked.returncode == 1
    wrong = [line for line in looked.stdout.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 2, looked.stdout
    assert "function ForwardAlerts, for chats: " in wrong[0]
    assert "run scripts/setup.sh (lambda put-function-event-invoke-config)" in wrong[0]
    assert (
        "webhook localhost: has refused an alert (404) since yesterday: subscribe it again with" in wrong[1]
    )
    assert f"scripts/alerts.sh unsubscribe webhook {address['id']}" in wrong[1]
    assert "note   subscription email old@example.com: gets each alert by itself" in looked.stdout
    assert "operated" not in looked.stdout

    own_deployed.succeed("setup.sh", **SUBSCRIBERS)
    assert snapshot(own_deployed)["retries"] == retries
    filters = {
        each["Endpoint"]: json.loads(
            sns.get_subscription_attributes(SubscriptionArn=each["SubscriptionArn"])["Attributes"][
                "FilterPolicy"
            ]
        )
        for each in sns.list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
    }
    assert filters == {
        SUBSCRIBERS["ALERT_EMAIL"]: {"audience": ["all", "digest"]},
        SUBSCRIBERS["ALERT_PHONE"]: {"signal": ["ANOMALY"], "audience": ["all", "digest"]},
        older["email"]: {"audience": ["all", "digest"]},
        older["sqs"]: {"signal": ["BUY"], "audience": ["all", "each"]},
        FUNCTION_ARN: {"audience": ["all", "digest"]},
    }
    dry = own_deployed.succeed("setup.sh", "--dry-run", **SUBSCRIBERS).stdout.splitlines()
    assert [line for line in dry if not line.startswith("# ")] == [
        "export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
    ]
    assert any("get-function-event-invoke-config" in line for line in dry)

    alert = {"symbol": "AAPL", "timestamp": "2026-11-20T20:00:00.000Z", "message": "BUY AAPL at 1"}
    failed = {"Records": [{"Sns": {"Message": json.dumps(alert)}}], "addresses": [address["id"]]}
    record = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": failed}
    key = "aws/lambda/async/ForwardAlerts/2026/11/20/2026-11-20T20.03.00-9d8e"
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(record))
    done = own_deployed.succeed("redrive.sh")
    assert "ForwardAlerts, BUY AAPL at 1, for 1 of the addresses: RetriesExhausted" in done.stderr
    assert json.loads(chats.received["/operated"][0]) == alert
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="aws/lambda/")["KeyCount"] == 0

    own_deployed.succeed("cleanup.sh", "--yes")
    assert snapshot(own_deployed) == {}


@pytest.mark.parametrize(
    ("arguments", "stdin", "hint"),
    [
        (["webhook", "http://example.com/s3cr3t"], "", "webhook: expected a URL that begins with https://"),
        (["slack", "s3cr3t"], "", "begins with https://"),
        (["ntfy", "https://user:s3cr3t@ntfy.sh/topic"], "", "without a user, a password or a #"),
        (["ntfy", "https://ntfy.sh:s3cr3t/"], "", "begins with https://"),
        (["discord", "-"], "https://discord.com/s3cr3t key\n", "without spaces"),
        (["discord", "-"], "", "begins with https://"),
        (["slack"], "", "slack needs a URL"),
        (["telegram", "my chat"], "", "no telegram chat, such as -100123456"),
        (["telegram", "-100"], "", "telegram: set TELEGRAM_TOKEN or type the bot's token"),
        (["slack", "https://example.com/s3cr3t", "--symbols", "AAPL"], "", "a chat gets all alerts"),
        (["signal", "https://example.com/s3cr3t"], "", "expected email ADDRESS"),
    ],
)
def test_bad_address_is_one_clear_line_before_anything_is_asked(offline, arguments, stdin, hint):
    done = offline.run("alerts.sh", "subscribe", *arguments, stdin=stdin)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert hint in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize(
    ("kind", "status", "hint"),
    [
        ("telegram", 401, "refuses this token (401): copy it again from @BotFather"),
        ("telegram", 404, "refuses this token (404)"),
        ("telegram", 400, "the bot does not know the chat -100: write to it first"),
        ("slack", 403, "refuses this address (403): copy it again from Slack"),
        ("discord", 404, "refuses this address (404): copy it again from Discord"),
        ("slack", RESET, "does not answer: is the network up?"),
    ],
)
def test_wrong_token_is_one_clear_line_before_anything_changes(
    chats, monkeypatch, capsys, kind, status, hint
):
    module = load_module("scripts/lib/alerts/addresses.py")
    monkeypatch.setattr(module, "TELEGRAM", chats.base)
    where = {"telegram": f"/bot{TOKEN}/getChat?chat_id=-100"}.get(kind, f"/{kind}/s3cr3t")
    chats.answers[where] = [status]
    monkeypatch.setattr("sys.stdin", StringIO(TOKEN if kind == "telegram" else chats.base + where))
    with pytest.raises(ValueError, match=re.escape(hint)) as refused:
        module.main("check", kind, "-100" if kind == "telegram" else "")
    assert "s3cr3t" not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert chats.received[where] == []


def test_list_of_addresses_keeps_ids_replaces_a_token_and_has_an_end(monkeypatch):
    module = load_module("scripts/lib/alerts/addresses.py")

    def run(command: str, kind: str, secret: str, addresses: list, chat: str = "") -> list[dict]:
        monkeypatch.setattr("sys.stdin", StringIO(f"{secret}\n{json.dumps(addresses)}"))
        return json.loads(module.main(command, kind, chat))

    one = run("add", "ntfy", "https://ntfy.sh/topic", [])
    assert run("add", "ntfy", "https://ntfy.sh/topic", one) == one
    two = run("add", "telegram", "1:old", one, "-100")
    (_, changed) = run("add", "telegram", "1:new", two, "-100")
    assert changed == two[1] | {"url": "https://api.telegram.org/bot1:new/sendMessage"}
    assert run("remove", "telegram", "-100", two) == one
    with pytest.raises(ValueError, match="ntfy: no such address is subscribed"):
        run("remove", "ntfy", "-100", two)
    many: list[dict] = []
    for number in range(24):
        many = run("add", "webhook", f"https://example.com/{number:0100}", many)
    with pytest.raises(ValueError, match=r"no room for another address \(4096 bytes\): unsubscribe one"):
        run("add", "webhook", f"https://example.com/{24:0100}", many)
    assert 3900 < len(json.dumps(many)) < 4096
