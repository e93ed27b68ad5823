"""The rules at the command line: refused with the place marked, listed with their distance, and tried."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.checkout import ROOT
from helpers.emulator import aws_environment
from helpers.project_copy import snapshot

pytestmark = pytest.mark.xdist_group("rules")

NOTHING = '{"Environment": {"Variables": {}}}'


def rules(text: str, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess:
    """Run scripts/lib/alerts/rules.py, without the packages of this environment."""
    command = [sys.executable, "-IS", ROOT / "scripts/lib/alerts/rules.py", *arguments]
    environment = aws_environment() | {"ALERT_RULES": text} | settings
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def ticks(symbol: str, prices: list[float], end: datetime) -> list[dict]:
    """Items of the table, one a minute, the last one at `end`."""
    items = []
    for number, price in enumerate(prices):
        instant = end - timedelta(minutes=len(prices) - 1 - number)
        timestamp = instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        items.append(
            {
                "symbol": {"S": symbol},
                "timestamp": {"S": timestamp},
                "price": {"N": str(price)},
                "change_percent": {"N": "1"},
            }
        )
    return items


def store(folder: Path, symbol: str, items: list[dict]) -> None:
    (folder / symbol).write_text(json.dumps({"Items": items[::-1]}))


@pytest.mark.parametrize(
    ("text", "hint", "place"),
    [
        ("AAPL price >> 3", "expected", 12),
        ("price > 3", "expected", 6),
        ("* sma1 > 2", "expected", 2),
        ("AAPL rsi500 < 3", "expected", 5),
        ("AAPL price > 3; AAPL price>3", "twice", None),
        ("; ".join(f"AAPL price > {number}" for number in range(200)), "more than 100 rules", None),
    ],
)
def test_rule_that_is_wrong_is_named_with_the_place_marked(text, hint, place):
    done = rules(text, "check", NOTHING)
    assert (done.returncode, done.stdout) == (1, "")
    first, *rest = done.stderr.splitlines()
    assert first.startswith("error: ALERT_RULES: ")
    assert hint in first
    assert rest == ([] if place is None else [text, f"{' ' * place}^"])


def test_settings_that_are_too_large_for_lambda_are_refused():
    settings = {"Environment": {"Variables": {"ALERT_RULES": "x" * 4000, "TABLE_NAME": "y" * 80}}}
    done = rules("AAPL price > 3", "check", json.dumps(settings))
    assert done.returncode == 1
    assert done.stderr == (
        "error: ALERT_RULES: 4101 bytes of settings, and Lambda takes 4096: remove some rules\n"
    )


def test_symbol_that_nobody_streams_is_noted():
    done = rules("TSLA,AAPL price > 3; * move15 < -2", "check", NOTHING, STOCK_SYMBOLS="aapl, MSFT")
    assert done.returncode == 0
    assert done.stdout.startswith("note: ALERT_RULES names TSLA, and STOCK_SYMBOLS does not")
    assert rules("AAPL price > 3", "check", NOTHING, STOCK_SYMBOLS="AAPL").stdout == "\n"


def test_each_rule_and_symbol_is_listed_with_its_values_and_what_is_left(tmp_path):
    now = datetime.now(UTC)
    store(tmp_path, "AAPL", ticks("AAPL", [290, 288, 289], now))
    store(tmp_path, "MSFT", ticks("MSFT", [10, 12], now))
    (tmp_path / "NEW").write_text("")
    text = "AAPL price > 300; * price < sma2; NEW,MSFT rsi14 < 30"
    symbols = rules(text, "symbols", STOCK_SYMBOLS="AAPL,MSFT").stdout.split()
    assert symbols == ["AAPL", "MSFT", "NEW"]
    done = rules(text, "list", tmp_path, *symbols)
    assert done.returncode == 0, done.stderr
    _, *lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    unknown = "unknown: not enough ticks yet"
    assert lines == [
        "AAPL price > 300 289 > 300 11 to go",
        "AAPL price < sma2 289 < 288.5000 0.5000 to go",
        "MSFT price < sma2 12 < 11.00000 1.00000 to go",
        f"NEW price < sma2 {unknown}",
        f"MSFT rsi14 < 30 {unknown}",
        f"NEW rsi14 < 30 {unknown}",
    ]
    true = rules("AAPL price > 200", "list", tmp_path, "AAPL").stdout.splitlines()[1]
    assert true.endswith("289 > 200                  is true now, and alerts when it comes true again")


def test_rule_that_is_tried_tells_each_crossing_and_warns_above_ten_a_day(tmp_path):
    noon = datetime.now(UTC).replace(hour=12) - timedelta(days=1)
    store(tmp_path, "AAPL", ticks("AAPL", [299, 301, 302, 299, 305], noon))
    store(tmp_path, "OLD", ticks("OLD", [299, 301], noon - timedelta(days=5)))
    done = rules("AAPL,OLD price > 300", "try", tmp_path, "5", "AAPL", "OLD")
    assert done.returncode == 0, done.stderr
    *table, _, _, day, total = done.stdout.splitlines()
    assert [line[18:].partition(" (")[0] for line in table] == ["RULE AAPL price > 300"] * 2
    assert day.split() == [f"{noon.date()}", "2"]
    assert total.startswith("2 alerts in 5 days")

    store(tmp_path, "AAPL", ticks("AAPL", [299, 301] * 60, noon))
    done = rules("AAPL price > 300", "try", tmp_path, "5", "AAPL")
    assert done.stdout.startswith("… and 10 before\n")
    assert done.stdout.splitlines()[-1].startswith("warning: 60 alerts on one day, and nobody reads more")


@pytest.mark.emulator
def test_rules_are_refused_before_anything_is_deployed_applied_in_seconds_and_tried(own_deployed):
    before = snapshot(own_deployed)
    for script in ("setup.sh", "deploy_lambdas.sh"):
        refused = own_deployed.run(script, ALERT_RULES="AAPL price > 300; AAPL price >> 3")
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-2:] == ["AAPL price >> 3", f"{' ' * 12}^"]
        calls = [line.split()[2:4] for line in own_deployed.calls.read_text().splitlines()]
        assert calls == [["sts", "get-caller-identity"]]
    assert snapshot(own_deployed) == before

    own_deployed.succeed("deploy_lambdas.sh", ALERT_RULES="AAPL price > 300", SMA_LONG="30")
    function = own_deployed.client("lambda").get_function_configuration(FunctionName="StockTrendAnalysis")
    variables = function["Environment"]["Variables"]
    assert (variables["ALERT_RULES"], variables["SMA_LONG"]) == ("AAPL price > 300", "30")

    items = ticks("AAPL", [299, 301, 302, 299, 298], datetime.now(UTC))
    for item in items:
        own_deployed.client("dynamodb").put_item(TableName="stock-market-data", Item=item)
    listed = own_deployed.succeed("alerts.sh", "rules", ALERT_RULES="AAPL price > 300")
    assert "298 > 300" in listed.stdout
    assert "2 to go" in listed.stdout
    tried = own_deployed.succeed("alerts.sh", "try", "AAPL price > 300", "--days", "2")
    assert "1 alerts in 2 days" in tried.stdout


@pytest.mark.emulator
def test_without_rules_it_says_how_to_set_one(deployed):
    refused = deployed.run("alerts.sh", "rules")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: there are no rules: set ALERT_RULES in .env")
