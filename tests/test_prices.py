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
    settings = "STREAM_NAME=s TABLE_NAME=a ALERTS_TABLE_NAME=b BUCKET_NAME=c TOPIC_NAME=t STOCK_SYMBOLS=X "
    settings += "AWS_REGION=us-east-1 ALERT_EMAIL= ALERT_PHONE= RETENTION_DAYS=30 "
    settings += f"STREAM_MODE={mode} SHARD_COUNT={shards}"
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


# How the README says each price, and how many of its units the file counts.
SAYINGS = {
    "kinesis_shard_hour": (r"one shard \| \*\*\$(\S+) an hour", 1),
    "kinesis_on_demand_hour": (r"ON_DEMAND` \| \*\*\$(\S+) an hour", 1),
    "kinesis_million_puts": (r"a month\*\* \| \$(\S+) a million puts", 1),
    "kms_million_calls": (r"\$(\S+) a million KMS calls", 1),
    "dynamodb_storage_gb_month": (r"on demand \| storage only: \$(\S+) a GB and month", 1),
    "dynamodb_backup_gb_month": (r"backups \$([\d.]+);", 1),
    "dynamodb_million_writes": (r"\$(\S+) a million writes", 1),
    "dynamodb_million_reads": (r"\$(\S+) a million reads", 1),
    "s3_storage_gb_month": (r"S3 bucket \| storage only: \$(\S+) a GB and month", 1),
    "s3_million_puts": (r"a GB and month \| \$(\S+) a million puts", 1),
    "s3_million_gets": (r"S3 requests, \$(\S+) a million", 1),
    "lambda_million_calls": (r"\$(\S+) a million calls and", 1),
    "lambda_arm64_gb_second": (r"\$(\S+) a GB-second", 1),
    "athena_terabyte": (r"Athena \$(\S+) a TB", 1),
    "cloudwatch_log_gb": (r"log groups \| storage only \| \$(\S+) a GB", 1),
    "cloudwatch_metric_month": (r"functions \| nothing \| \$(\S+) a month each", 1),
    "sns_million_mails": (r"an e-mail \$(\S+) beyond", 1_000_000),
}


@pytest.mark.parametrize("name", SAYINGS)
def test_price_in_the_readme_is_that_of_the_file(name):
    pattern, factor = SAYINGS[name]
    (figure,) = re.findall(pattern, (ROOT / "README.md").read_text())
    assert float(figure) * factor == pytest.approx(USD[name])


def test_sums_in_the_readme_follow_from_the_prices(latency):
    readme = " ".join((ROOT / "README.md").read_text().split())
    for price in ("kinesis_shard_hour", "kinesis_on_demand_hour"):
        assert f"${USD[price]} an hour, ${USD[price] * 730:.2f} a month" in readme
    assert f"KMS calls, about ${12 * 730 * USD['kms_million_calls'] / 1e6:.3f} a month" in readme
    monitoring = 10 * USD["cloudwatch_alarm_month"] + USD["cloudwatch_dashboard_month"]
    assert f"up to ${monitoring:.2f} a month" in readme
    one, many = (round(latency.cost_of_tick(symbols) * 1e6) for symbols in (1, 500))
    assert f"about {one} millionths of a dollar with one symbol, and {many} millionth with" in readme


@pytest.mark.parametrize("layout", ["one JSON object a record", "this archive"])
def test_costs_of_the_layouts_follow_from_the_prices(layout):
    lines = (ROOT / "docs/athena.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {layout}")]
    objects, size, puts, read, scanned, gets = (
        float(re.sub(r"[$,]| MB", "", cell)) for cell in row.strip("| ").split(" | ")[1:]
    )
    assert puts == pytest.approx(objects * USD["s3_million_puts"] / 1e6, abs=0.005)
    assert scanned == pytest.approx(read * 1e6 / 2**40 * USD["athena_terabyte"], abs=0.00006)
    assert gets == pytest.approx(objects * USD["s3_million_gets"] / 1e6, rel=0.01)
    assert read == size


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("console", f"costs ${USD['kinesis_shard_hour']} an hour"),
        ("architecture", f"costs ${USD['kinesis_shard_hour'] * 730:.2f} a month"),
        ("athena", f"costs ${USD['athena_terabyte']} a TB"),
        ("athena", f"${USD['s3_million_gets']:.2f} a million"),
    ],
)
def test_price_in_a_page_is_that_of_the_file(page, words):
    assert words in " ".join((ROOT / f"docs/{page}.md").read_text().split())


def test_prices_in_the_example_of_the_settings_are_those_of_the_file():
    example = (ROOT / ".env.example").read_text()
    assert f"PROVISIONED: ${USD['kinesis_shard_hour']} a shard and hour" in example
    assert f"ON_DEMAND: ${USD['kinesis_on_demand_hour']} an hour" in example


def test_page_on_the_producer_as_a_service_has_the_prices_of_the_file():
    page = " ".join((ROOT / "docs/always-on.md").read_text().split())
    machine, address, disk = USD["ec2_t4g_micro_hour"], USD["vpc_public_ipv4_hour"], USD["ebs_gp3_gb_month"]
    parts = [round(730 * machine, 2), round(730 * address, 2), round(8 * disk, 2)]
    for price, month in zip((machine, address, disk), parts, strict=True):
        assert f"${price} " in page
        assert f"${month:.2f} " in page
    assert f"**${sum(parts):.2f} a month**" in page


@pytest.fixture(scope="module")
def cost_tables():
    """What bench/cost.py prints, in a process of its own, because it sets AWS's variables."""
    code = "import cost, scaling; print(*cost.table(100, 30, 6.5), '', sep='\\n'); scaling.main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "bench", capture_output=True, text=True, check=True)
    tables = (table.splitlines() for table in done.stdout.split("\n\n"))
    return dict(zip(("cost", "needs", "steps"), tables, strict=True))


def cells(row: str) -> list[str]:
    return row.strip("| \n").split(" | ")


def amount(cell: str) -> float:
    return float(cell.strip("*").lstrip("$").replace(",", ""))


NUMBER = r"\d[\d,]*(?:\.\d+)?"


@pytest.mark.xdist_group("costs")  # one worker makes the tables
@pytest.mark.parametrize("name", ["cost", "needs", "steps"])
def test_pages_have_the_table_of_the_costs(cost_tables, name):
    """Calls and bytes are measured, so a figure may differ by a little from run to run."""
    table = cost_tables[name]
    pages = [page.read_text() for page in (ROOT / "README.md", ROOT / "docs/scaling.md")]
    shown = [page[page.index(table[0]) :].splitlines()[: len(table)] for page in pages if table[0] in page]
    assert shown
    for lines in shown:
        for line, printed in zip(lines, table, strict=True):
            assert re.split(NUMBER, line) == re.split(NUMBER, printed)
            figures, measured = (
                [float(text.replace(",", "")) for text in re.findall(NUMBER, row)] for row in (line, printed)
            )
            assert figures == pytest.approx(measured, rel=0.05, abs=0.01)


@pytest.mark.xdist_group("costs")
def test_costs_add_up_and_follow_from_the_prices(cost_tables):
    rows = {row[0]: row[1:] for row in map(cells, cost_tables["cost"])}
    months = {name: (amount(row[1]), amount(row[3])) for name, row in rows.items() if "$" in row[1]}
    services = list(months)
    fixed, variable = (services.index(f"**{part}**") for part in ("fixed", "variable"))
    for column in (0, 1):
        for start, total in ((0, fixed), (fixed + 1, variable)):
            parts = [months[name][column] for name in services[start:total]]
            assert sum(parts) == pytest.approx(months[services[total]][column], abs=0.03)
        sums = months["**fixed**"][column] + months["**variable**"][column]
        assert months["**together**"][column] == pytest.approx(sums, abs=0.02)
    ticks = 100 * 21 * 6.5 * 3600 / 30
    shard = USD["kinesis_shard_hour"] * 730
    assert months["Kinesis: 1 shard(s)"] == (shard, shard)
    assert months["Kinesis: puts"] == pytest.approx(
        [ticks * USD["kinesis_million_puts"] / 1e6] * 2, abs=0.005
    )
    # One object a tick there, one a batch here; each tick is written once, and alerts come on top.
    assert months["S3: puts"][1] == pytest.approx(ticks * USD["s3_million_puts"] / 1e6, abs=0.005)
    assert months["S3: puts"][0] == pytest.approx(ticks / 100 * USD["s3_million_puts"] / 1e6, abs=0.005)
    assert months["DynamoDB: writes"][1] == pytest.approx(
        ticks * USD["dynamodb_million_writes"] / 1e6, abs=0.005
    )
    assert months["DynamoDB: writes"][1] < months["DynamoDB: writes"][0] < 1.3 * months["DynamoDB: writes"][1]


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
        median, slow = latency.hops(symbols)[latency.TOTAL]
        assert median <= 3
        assert slow <= 6
