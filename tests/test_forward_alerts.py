"""lambdas/forward_alerts.py against a local https server: nothing is lost, and no address is told."""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from helpers.chats import HANG, LOST, RESET, Chats
from helpers.mocked_aws import SETTINGS, client, resource
from helpers.parts import parts

START = datetime(2026, 11, 20, 21, tzinfo=UTC)
NAME = SETTINGS["ADDRESSES_PARAMETER"]
ALERT = {"symbol": "AAPL", "signal": "BUY", "price": 271.5, "timestamp": "2026-11-20T20:59:58.123Z"}
ALERT["message"] = "BUY AAPL at 271.49 (+1.22% since the previous close), SMA-5 270.5120, SMA-20 270.4987"


def event_of(alert: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """What SNS hands to the function."""
    sns = {"MessageId": f"message-{number}", "Subject": alert["message"][:99], "Message": json.dumps(alert)}
    return {"Records": [{"EventSource": "aws:sns", "Sns": sns}]}


class AsyncLambda:
    """Lambda's queue of asynchronous invocations, with the retries and the destination that are deployed."""

    def __init__(self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handler = handler
        self.queue: list[dict[str, Any]] = []
        self.bucket: list[dict[str, Any]] = []
        self.invocations = 0
        self.attempts = 1 + resource("forward_alerts_invocation")["MaximumRetryAttempts"]
        monkeypatch.setattr(handler.functions, "invoke", self.invoke)

    def invoke(self, FunctionName: str, InvocationType: str, Payload: str) -> None:
        assert (FunctionName, InvocationType) == ("ForwardAlerts", "Event")
        self.queue.append(json.loads(Payload))

    def run(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Invoke the function with these events and with those that it hands to itself."""
        self.queue += events
        answers = []
        while self.queue:
            event, error = self.queue.pop(0), None
            for _ in range(self.attempts):
                self.invocations += 1
                try:
                    answers.append(self.handler.lambda_handler(event, context()))
                    break
                except Exception as raised:
                    error = raised
            else:
                payload = {"errorType": type(error).__name__, "errorMessage": str(error)}
                self.bucket.append({"requestPayload": event, "responsePayload": payload})
        return answers


def context(seconds: float = 120) -> SimpleNamespace:
    return SimpleNamespace(
        invoked_function_arn="ForwardAlerts", get_remaining_time_in_millis=lambda: seconds * 1000
    )


@pytest.fixture
def chats(tmp_path, monkeypatch) -> Iterator[Chats]:
    with Chats(tmp_path) as chats:
        monkeypatch.setenv("SSL_CERT_FILE", str(chats.certificates))
        yield chats


@pytest.fixture
def clock_of_handler() -> SimpleNamespace:
    """A clock that only sleeping moves on, and how long each sleep was."""
    now = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    return SimpleNamespace(
        monotonic=lambda: now[0], time=lambda: START.timestamp() + now[0], sleep=sleep, slept=slept
    )


@pytest.fixture
def handler(load_handler, clock_of_handler, monkeypatch) -> ModuleType:
    module = load_handler("forward_alerts")
    monkeypatch.setattr(module, "time", clock_of_handler)
    return module


@pytest.fixture
def subscribed(handler, chats) -> Callable[..., list[dict[str, str]]]:
    """subscribed("slack", "ntfy"): store an address of each kind, with a secret in its path."""

    def put(*kinds: str, base: str = "") -> list[dict[str, str]]:
        addresses = [
            {"id": f"id{number}", "kind": kind, "url": f"{base or chats.base}/{kind}/{number}?key=SECRET"}
            | ({"chat": "-100200"} if kind == "telegram" else {})
            for number, kind in enumerate(kinds)
        ]
        value = json.dumps(addresses)
        client("ssm").put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)
        return addresses

    return put


def path(address: dict[str, str]) -> str:
    return "/" + address["url"].split("/", 3)[3]


def test_each_kind_gets_the_alert_in_the_form_that_it_takes(handler, chats, subscribed):
    addresses = subscribed("slack", "discord", "telegram", "ntfy", "webhook")
    alert = ALERT | {"message": "RULE AAPL: price < 300 & @everyone"}
    assert handler.lambda_handler(event_of(alert), context()) == {"done": 5, "later": 0}
    (slack,), (discord,), (telegram,), (ntfy,), (webhook,) = (chats.received[path(a)] for a in addresses)
    text = "RULE AAPL: price < 300 & @everyone\n2026-11-20 20:59 UTC. No investment advice."
    assert json.loads(slack) == {"text": text.replace("&", "&amp;").replace("<", "&lt;")}
    assert json.loads(discord) == {"content": text, "allowed_mentions": {"parse": []}}
    assert json.loads(telegram) == {"chat_id": "-100200", "text": text}
    assert ntfy.decode() == text
    assert json.loads(webhook) == alert
    types = {where: each["Content-Type"] for where, each in chats.headers}
    assert types.pop(path(addresses[3])) == "text/plain; charset=utf-8"
    assert set(types.values()) == {"application/json"}


def test_long_digest_keeps_whole_lines_within_what_each_chat_takes(handler, chats, subscribed):
    addresses = subscribed("slack", "discord", "telegram", "ntfy", "webhook")
    lines = [f"BUY SYMBOL{number} at 1.23 (+5.00 %), “quoted”" for number in range(300)]
    handler.lambda_handler(event_of(ALERT | {"message": "\n".join(lines)}), context())
    for address, field, longest in zip(
        addresses, ("text", "content", "text", None), (4_000, 2_000, 4_096, 4_096), strict=False
    ):
        (body,) = chats.received[path(address)]
        text = json.loads(body)[field] if field else body.decode()
        *kept, last = text.split("\n")
        assert len(text.encode()) <= longest
        assert len(text.encode()) > longest - 200
        assert (kept, last) == (lines[: len(kept)], "…")
    (body,) = chats.received[path(addresses[4])]
    assert json.loads(body)["message"] == "\n".join(lines)


@pytest.mark.parametrize("answer", [429, 500, 503, RESET, HANG, (408, {}, "")])
def test_address_that_fails_for_the_moment_gets_the_alert_later_and_the_others_once(
    handler, chats, subscribed, monkeypatch, answer
):
    monkeypatch.setattr(handler, "TIMEOUT", 0.5)
    monkeypatch.setattr(handler, "RESERVE", 120)  # no time to wait for a 429
    good, bad = subscribed("slack", "webhook")
    chats.answers[path(bad)] = [answer, answer, 200]
    aws = AsyncLambda(handler, monkeypatch)
    assert aws.run(event_of(ALERT)) == [{"done": 1, "later": 1}, {"done": 1, "later": 0}]
    assert aws.invocations == 3
    assert (len(chats.received[path(good)]), len(chats.received[path(bad)])) == (1, 1)
    assert aws.bucket == []


def test_alert_that_no_attempt_delivers_lies_in_the_bucket_for_those_addresses_alone(
    handler, chats, subscribed, monkeypatch
):
    good, bad = subscribed("discord", "ntfy")
    chats.answers[path(bad)] = [500]
    aws = AsyncLambda(handler, monkeypatch)
    aws.run(event_of(ALERT))
    (record,) = aws.bucket
    assert "1 addresses" in record["responsePayload"]["errorMessage"]
    chats.answers[path(bad)] = [200]
    assert handler.lambda_handler(record["requestPayload"], context()) == {"done": 1, "later": 0}
    assert (len(chats.received[path(good)]), len(chats.received[path(bad)])) == (1, 1)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 410])
def test_refusal_is_said_once_in_the_log_and_never_repeated(
    handler, chats, subscribed, monkeypatch, caplog, status
):
    (address,) = subscribed("telegram")
    elsewhere = {"Location": f"{chats.base}/elsewhere"}
    chats.answers[path(address)] = [(status, elsewhere, "")]
    aws = AsyncLambda(handler, monkeypatch)
    assert aws.run(event_of(ALERT)) == [{"done": 1, "later": 0}]
    assert chats.requests == [(path(address), (status, elsewhere, ""))], "no redirect is followed"
    (error,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert error == f"telegram id0 localhost: refused with {status}, and not tried again: " + (
        "is the address still right?"
    )


@pytest.mark.parametrize(
    ("headers", "answer", "wait"),
    [
        ({"Retry-After": "30"}, "", 30),
        ({"Retry-After": "0.25"}, "", 1),
        (
            {"Retry-After": format_datetime(START + timedelta(seconds=40))},
            "",
            40,
        ),
        ({}, {"ok": False, "parameters": {"retry_after": 21}}, 21),
        ({}, "slow down", 1),
        ({"Retry-After": "soon"}, "", 1),
    ],
)
def test_too_many_requests_are_waited_out_as_long_as_the_server_asks(
    handler, chats, subscribed, clock_of_handler, headers, answer, wait
):
    (address,) = subscribed("telegram")
    chats.answers[path(address)] = [(429, headers, answer), 200]
    assert handler.lambda_handler(event_of(ALERT), context()) == {"done": 1, "later": 0}
    assert clock_of_handler.slept == [pytest.approx(wait)]


def test_wait_that_is_longer_than_the_function_may_run_is_left_to_lambda(
    handler, chats, subscribed, clock_of_handler
):
    (address,) = subscribed("discord")
    chats.answers[path(address)] = [(429, {"Retry-After": "110"}, "")]
    with pytest.raises(RuntimeError, match="none of 1 addresses"):
        handler.lambda_handler(event_of(ALERT), context(120))
    assert clock_of_handler.slept == []


@pytest.mark.parametrize("seed", parts(5))
def test_nothing_is_lost_and_only_a_lost_answer_repeats_an_alert(
    handler, chats, subscribed, monkeypatch, seed
):
    chance = random.Random(seed)
    monkeypatch.setattr(handler, "TIMEOUT", 0.3)
    addresses = subscribed("slack", "discord", "telegram", "ntfy", "webhook", "slack")
    faults = [429, 500, 502, RESET, HANG, LOST]
    plan = {path(each): [chance.choice([200, 200, *faults]) for _ in range(9)] + [200] for each in addresses}
    chats.answers |= {each: list(answers) for each, answers in plan.items()}
    aws = AsyncLambda(handler, monkeypatch)
    alerts = [ALERT | {"message": f"alert {number}"} for number in range(3)]
    aws.run(*(event_of(alert, number) for number, alert in enumerate(alerts)))
    chats.answers.clear()
    aws.run(*(record["requestPayload"] for record in aws.bucket))  # what redrive.sh does
    for address in addresses:
        got = Counter(body for body in chats.received[path(address)])
        assert len(got) == len(alerts), "each alert has come"
        lost = sum(answer == LOST for where, answer in chats.requests if where == path(address))
        assert sum(got.values()) - len(got) <= lost


def test_no_address_is_in_logs_errors_and_what_lambda_keeps(handler, chats, subscribed, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("botocore").setLevel(logging.INFO)  # as in Lambda, where the root's level is INFO
    monkeypatch.setattr(handler, "TIMEOUT", 0.3)
    addresses = subscribed(*["webhook"] * 6)
    for address, answer in zip(addresses, (200, 401, 500, RESET, HANG), strict=False):
        chats.answers[path(address)] = [answer]
    addresses[5]["url"] += " \n"  # http.client names the whole address in its error
    value = json.dumps([*addresses, {"id": "id6", "kind": "ntfy", "url": "https://localhost:1/SECRET"}])
    client("ssm").put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)
    aws = AsyncLambda(handler, monkeypatch)
    aws.run(event_of(ALERT))
    (record,) = aws.bucket
    assert record["requestPayload"]["addresses"] == ["id2", "id3", "id4", "id5", "id6"]
    assert "SECRET" not in caplog.text + json.dumps(record)
    assert "webhook id1 localhost: refused with 401" in caplog.text


def test_address_with_a_certificate_of_somebody_else_gets_nothing(handler, chats, subscribed):
    subscribed("slack", base=chats.base.replace("localhost", "127.0.0.1"))
    with pytest.raises(RuntimeError):
        handler.lambda_handler(event_of(ALERT), context())
    assert chats.requests == []


@pytest.mark.parametrize("event", [{}, {"Records": []}, {"Records": [{"dynamodb": {}}]}, [], None])
def test_event_that_is_no_alert_is_refused_with_what_to_do(handler, event):
    with pytest.raises(ValueError, match="add the topic as trigger"):
        handler.lambda_handler(event, context())


def test_alert_without_any_address_is_done(handler, subscribed):
    subscribed()
    assert handler.lambda_handler(event_of(ALERT), context()) == {"done": 0, "later": 0}
