"""One file of prices: what the scripts print, the pages say and the benches count is equal to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date

import pytest

from helpers.checkout import ROOT, load_module

FILE = json.loads((ROOT / "scripts/resources/prices.json").read_text())
USD = FILE["usd"]


@pytest.fixture(scope="module")
def latency():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        return load_module("bench/latency.py")


def test_each_price_has_a_date_and_a_source_of_its_service():
    assert date.fromisoformat(FILE["as_of"])
    assert {name.partition("_")[0] for name in USD} == set(FILE["sources"])
    for service, source in FILE["sources"].items():
        assert source.startswith("https://aws.amazon.com/"), service
    assert all(price > 0 for price in USD.values())


def test_prices_are_written_nowhere_else_in_the_code():
    numbers = r"0\.015|0\.0000133334|0\.0000166667|0\.625|0\.125e-6|5e-6"
    paths = [*ROOT.glob("scripts/**/*.sh"), *ROOT.glob("scripts/**/*.py"), *ROOT.glob("bench/*.py")]
    assert len(paths) > 50
    assert [
        str(path) for path in paths if re.search(rf"(?<![\d.])({numbers})(?![\d])", path.read_text())
    ] == []


def shell(code: str) -> str:
    command = f'source "{ROOT}/scripts/common.sh"; require_lib resources/summary; {code}'
    return subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True).stdout


def test_shell_reads_the_same_prices():
    names = sorted(USD)
    printed = shell("".join(f'price {name}; printf "\\n"; ' for name in names)).split()
    assert [float(price) for price in printed] == [USD[name] for name in names]


@pytest.mark.parametrize(
    ("mode", "shards", "an_hour"),
    [
        ("PROVISIONED", 1, USD["kinesis_shard_hour"]),
        ("PROVISIONED", 3, 3 * USD["kinesis_shard_hour"]),
        ("ON_DEMAND", 1, USD["kinesis_on_demand_hour"]),
    ],
)
def test_summary_of_the_setup_says_what_the_stream_costs(latency, mode, shards, an_hour):
    settings = "STREAM_NAME=s TABLE_NAME=a ALERTS_TABLE_NAME=b BUCKET_NAME=c TOPIC_NAME=t ALERT_EMAIL= "
    settings += f"ALERT_PHONE= RETENTION_DAYS=30 STREAM_MODE={mode} SHARD_COUNT={shards}"
    said = shell(f"{settings}; print_summary")
    (stream,) = [line.split() for line in said.splitlines() if line.startswith("Kinesis stream")]
    assert float(stream[-2]) == pytest.approx(an_hour)
    assert float(stream[-1]) == pytest.approx(an_hour * 730)
    (keys,) = [line.split() for line in said.splitlines() if line.startswith("KMS calls")]
    assert float(keys[-1]) == pytest.approx(12 * 730 * USD["kms_million_calls"] / 1e6, abs=0.0005)
    said = " ".join(said.split())
    one, many = (round(latency.cost_of_tick(symbols) * 1e6) for symbols in (1, 500))
    assert f"about {one} millionths of a dollar with one symbol, and {many} millionth with hundreds" in said
    assert f"${USD['cloudwatch_metric_month']:.2f} a month for each" in said


def test_page_on_latency_has_the_tables_of_its_command():
    command = [sys.executable, ROOT / "bench/latency.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    page = (ROOT / "docs/latency.md").read_text().splitlines()
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert [row for row in page if row.startswith("|")] == rows


def test_latency_is_within_its_goals_up_to_the_batch_that_is_full(latency):
    for symbols in (1, 500):
        median, slow = latency.hops(symbols)["**to SNS**"]
        assert median <= 3
        assert slow <= 6
