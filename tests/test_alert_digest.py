"""Many alerts at once: one message for people, each alert for machines, and none of them twice or lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from botocore.exceptions import EndpointConnectionError

from helpers.aws_faults import Killed
from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.trend import (
    MACHINES,
    PEOPLE,
    START,
    SUCCESS,
    failure,
    heard,
    invoke,
    make_item,
    make_series,
)

GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
)
GSM_7 |= set("abcdefghijklmnopqrstuvwxyzäöñüà")


def anomalies(count: int, table: MemoryDynamoDB) -> list[dict]:
    """A stored tick each of so many symbols, all beyond the threshold, up and down, all different."""
    items = [make_item(f"SYM{n}", change=(-1) ** n * (6 + n / 100)) for n in range(count)]
    for item in items:
        table.put_tick(item)
    return items


def text_of(message: dict, protocol: str) -> str:
    return json.loads(message["Message"])[protocol]


def digests(table: MemoryDynamoDB) -> list[dict]:
    return [
        each for each in table.messages if each["MessageAttributes"]["audience"]["StringValue"] == "digest"
    ]


def test_lambda_handler_300_anomalies_are_one_message_for_people_and_300_for_machines(
    stock_trend_analysis, memory
):
    items = anomalies(300, memory)
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert {alert["status"]["S"] for alert in memory.alerts.values()} == {"sent"}
    assert len(memory.alerts) == 300
    assert len(heard(memory.messages, *PEOPLE)) == 1
    for_machines = Counter(alert["symbol"] for alert in heard(memory.messages, *MACHINES))
    assert for_machines == Counter(f"SYM{n}" for n in range(300))
    assert memory.messages[0] in digests(memory)  # people first
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert len(memory.messages) == 301


@pytest.mark.parametrize(("count", "digest"), [(5, 0), (6, 1)])
def test_lambda_handler_as_many_alerts_as_the_setting_allows_come_one_by_one(
    stock_trend_analysis, memory, count, digest
):
    invoke(stock_trend_analysis, anomalies(count, memory))
    assert len(digests(memory)) == digest
    audiences = Counter(
        message["MessageAttributes"]["audience"]["StringValue"] for message in memory.messages
    )
    assert audiences == ({"digest": 1, "each": 6} if digest else {"all": 5})


def test_lambda_handler_digest_is_one_for_each_kind_of_signal_and_names_no_symbol(
    stock_trend_analysis, monkeypatch, memory
):
    monkeypatch.setattr(stock_trend_analysis, "RULES", stock_trend_analysis.parse_rules("* price > 100"))
    items = [*make_series([100] * 20 + [101], "BTC-USD"), *make_series([100, 101], "IBM")]
    items += anomalies(5, memory)
    for item in items:
        memory.put_tick(item)
    assert invoke(stock_trend_analysis, items) == SUCCESS
    attributes = [message["MessageAttributes"] for message in digests(memory)]
    assert sorted(each["signal"]["StringValue"] for each in attributes) == ["ANOMALY", "BUY", "RULE"]
    assert not any("symbol" in each for each in attributes)
    named = {
        each["signal"]["StringValue"]: text_of(m, "email")
        for each, m in zip(attributes, digests(memory), strict=True)
    }
    assert "RULE IBM price > 100 (101 > 100) at 101" in named["RULE"]
    assert "RULE BTC-USD" in named["RULE"]
    assert "IBM" not in named["BUY"]


def test_lambda_handler_digest_reads_well_in_a_mail_and_fits_one_text_message(stock_trend_analysis, memory):
    invoke(stock_trend_analysis, anomalies(300, memory))
    (digest,) = digests(memory)
    head = "ANOMALY: 300 alerts, 150 up, 150 down. Largest move: SYM299 -8.99% at 100"
    assert digest["Subject"] == head
    assert text_of(digest, "sms") == f"{head}. 2026-11-20 14:30 UTC. No investment advice."
    lines = text_of(digest, "email").splitlines()
    assert lines[0] == text_of(digest, "sms")
    assert lines[2] == "ANOMALY SYM299 at 100 (-8.99% since the previous close)"
    assert lines[301] == "ANOMALY SYM0 at 100 (+6.00% since the previous close)"
    fields = json.loads(text_of(digest, "lambda"))
    assert (fields["signal"], fields["count"]) == ("ANOMALY", 300)
    assert fields["message"].splitlines() == [head, *lines[2:12]]


def test_digest_longest_symbols_and_numbers_stay_within_the_limits_of_sns(stock_trend_analysis, memory):
    alert = {
        "symbol": "^" + "W" * 31,
        "price": Decimal("1234567.8901234567890123456789012345678"),
        "signal": "RULE",
    }
    alert |= {
        "change_percent": Decimal("123456.789"),
        "timestamp": "2026-11-20T14:30:00.000Z",
        "message": "x" * 300,
    }
    assert stock_trend_analysis.publish(*stock_trend_analysis.digest([alert] * 5000))
    (digest,) = digests(memory)
    text = text_of(digest, "sms")
    assert len(text) + text.count("^") <= 160  # GSM-7 takes two places for it
    assert set(text) - {"^"} <= GSM_7
    assert len(digest["Subject"]) <= 99
    assert len(digest["Message"].encode()) < 256 * 1024
    assert text_of(digest, "email").splitlines()[2] == "x" * 300


def test_lambda_handler_digest_that_failed_is_told_by_the_retry(stock_trend_analysis, memory):
    items, calls = anomalies(20, memory), []

    def fail_first(moment: str) -> None:
        calls.append(moment)
        if calls.count("Publish") == 1 and moment == "Publish":
            raise EndpointConnectionError(endpoint_url="sns")

    memory.interrupt = fail_first
    assert invoke(stock_trend_analysis, items) == failure(0)
    assert memory.messages == []  # machines wait for people, so that nobody is told twice
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert len(heard(memory.messages, *PEOPLE)) == 1
    assert len(heard(memory.messages, *MACHINES)) == 20


def test_lambda_handler_machine_that_missed_its_alert_gets_it_and_people_hear_nothing_twice(
    stock_trend_analysis, memory
):
    items, lock, published = anomalies(20, memory), threading.Lock(), []

    def fail_some(moment: str) -> None:
        with lock:
            published.extend([moment] * (moment == "Publish"))
            if moment == "Publish" and len(published) in (3, 7, 8):
                raise EndpointConnectionError(endpoint_url="sns")

    memory.interrupt = fail_some
    assert invoke(stock_trend_analysis, items) != SUCCESS
    assert Counter(alert["status"]["S"] for alert in memory.alerts.values()) == {"sent": 17, "pending": 3}
    waiting = [
        alert["audience"]["S"] for alert in memory.alerts.values() if alert["status"]["S"] == "pending"
    ]
    assert waiting == ["each"] * 3
    assert invoke(stock_trend_analysis, items) == SUCCESS
    assert len(heard(memory.messages, *PEOPLE)) == 1
    for_machines = Counter(alert["symbol"] for alert in heard(memory.messages, *MACHINES))
    assert for_machines == Counter(f"SYM{n}" for n in range(20))
    assert {alert["status"]["S"] for alert in memory.alerts.values()} == {"sent"}


@pytest.mark.parametrize("start", range(5))
def test_lambda_handler_killed_at_any_point_of_a_crash_day_tells_all(
    stock_trend_analysis, monkeypatch, clock, start
):
    """After so many calls each one fails, as if the function had died. Then the batch comes again."""
    clock.move_to(START + timedelta(minutes=10))
    monkeypatch.setattr(stock_trend_analysis, "THREADS", 4)
    for last in range(start, 8 * 7, 5):
        memory, lock, moments = MemoryDynamoDB(), threading.Lock(), []
        monkeypatch.setattr(stock_trend_analysis, "dynamodb", memory)
        monkeypatch.setattr(stock_trend_analysis, "sns", SimpleNamespace(publish=memory.publish))
        items = anomalies(8, memory)

        def interrupt(moment: str, last=last, lock=lock, moments=moments) -> None:
            with lock:
                moments.append(moment)
                if len(moments) > last:
                    raise Killed

        memory.interrupt = interrupt
        with pytest.raises(Killed):
            invoke(stock_trend_analysis, items)
        marked = {alert["symbol"]["S"] for alert in memory.alerts.values() if alert["status"]["S"] == "sent"}
        before = len(memory.messages)
        memory.interrupt = lambda moment: None
        assert invoke(stock_trend_analysis, items) == SUCCESS
        assert {alert["status"]["S"] for alert in memory.alerts.values()} == {"sent"}
        for_machines = Counter(alert["symbol"] for alert in heard(memory.messages, *MACHINES))
        assert set(for_machines) == {f"SYM{n}" for n in range(8)}
        assert all(for_machines[symbol] == 1 for symbol in marked)
        assert max(for_machines.values()) <= 2
        told = heard(memory.messages[:before], *PEOPLE) + heard(memory.messages[before:], *PEOPLE)
        assert any(each.get("count") == 8 for each in told)  # all of them before a machine got one
        again = {alert["symbol"] for alert in heard(memory.messages[before:], *MACHINES)}
        assert not again & marked
