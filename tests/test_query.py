"""scripts/query.sh as a user runs it, and the saved queries of scripts/setup.sh, on a MiniStack each."""

from __future__ import annotations

import csv
import fcntl
import gzip
import io
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.athena_data import BUCKET, DATABASE, WORKGROUP, Athena
from helpers.checkout import ROOT
from helpers.emulator import ACCOUNT_ID, aws_environment, ministack
from helpers.project_copy import Project, copy_project, project_at
from stream_stock_data import build_tick

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("query")]
NAMES = sorted(file.stem for file in (ROOT / "athena").glob("*.sql"))


def project_on(folder: Path, quick_cli: Path, endpoint: str) -> Project:
    project = project_at(endpoint, folder, quick_cli)
    project.environment["BUCKET_NAME"] = BUCKET
    return project


@pytest.fixture(scope="module")
def empty(tmp_path_factory, quick_cli) -> Iterator[tuple[Project, Athena]]:
    """A stack without a tick."""
    folder = tmp_path_factory.mktemp("query")
    with ministack(folder / "ministack") as endpoint:
        yield project_on(folder / "project", quick_cli, endpoint), Athena(endpoint)


@pytest.fixture
def query(empty) -> Project:
    """A stack with three ticks of AAPL of yesterday, and one of a symbol with a quote in it."""
    project, athena = empty
    now = datetime.now(UTC)
    lines = []
    for symbol, count in (("AAPL", 3), ("O'NEIL", 1)):
        for number in range(count):
            at = (now - timedelta(days=1, seconds=number)).isoformat(timespec="milliseconds")
            quote = {"symbol": symbol, "open": 1.0, "high": 2.0, "low": 1.0, "price": 1.5 + number}
            quote |= {"previous_close": 1.4, "volume": 7, "timestamp": at.replace("+00:00", "Z")}
            lines.append(json.dumps(build_tick(quote, source="yahoo", fetched_at=now)))
    day = (now - timedelta(days=1)).date()
    athena.fill({f"raw-data/dt={day}/shard-1-4.json.gz": gzip.compress("\n".join(lines).encode())})
    return project


def test_query_before_the_first_tick_says_so(empty):
    project, athena = empty
    found = athena.s3.list_objects_v2(Bucket=BUCKET, Prefix="raw-data/").get("Contents", [])
    for entry in found:
        athena.s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    done = project.run("query.sh", "latest_quotes")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: no data yet: start the producer")


def test_query_without_arguments_lists_the_queries(query):
    listed = query.succeed("query.sh").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [name for name in NAMES if name != "stock_ticks"]
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in listed)


def test_query_prints_a_table_and_how_many_rows(query):
    done = query.succeed("query.sh", "athena/latest_quotes.sql")
    header, rule, *rows = done.stdout.splitlines()
    assert header.split()[:2] == ["symbol", "price"]
    assert set(rule) == {"-", " "}
    assert [row.split()[:2] for row in rows] == [["AAPL", "1.5"], ["O'NEIL", "1.5"]]
    assert done.stderr.splitlines()[-1] == "2 rows"


def test_query_as_csv_gives_all_rows_and_every_value_whole(query):
    rows = list(
        csv.reader(
            io.StringIO(query.succeed("query.sh", "candles_1d", "--csv", "--param", "symbol=AAPL").stdout)
        )
    )
    assert rows[0][:2] == ["symbol", "exchange_date"]
    assert len(rows) == 2
    assert rows[1][rows[0].index("ticks")] == "3"


@pytest.mark.parametrize(
    ("value", "rows"),
    [("O'NEIL", 1), ("x' OR '1'='1", 0), ("x'; SELECT 1 --", 0), ("?", 0), ("$(touch pwned)\\", 0)],
)
def test_query_parameter_with_a_quote_stays_a_value(query, value, rows):
    done = query.succeed("query.sh", "candles_1d", "--param", f"symbol={value}", "--csv")
    assert len(done.stdout.splitlines()) == 1 + rows
    if not rows:
        assert "nothing in the archive matches" in done.stderr


def test_query_parameter_given_overrides_the_default(query):
    assert query.succeed("query.sh", "latest_quotes", "--param", "days=1").stderr.splitlines()[-2] == "0 rows"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothing_such"], "no query nothing_such: scripts/query.sh lists those there are"),
        (["vwap"], "vwap.sql needs --param symbol=VALUE"),
        (["vwap", "--param", "symbol="], "vwap.sql needs --param symbol=VALUE"),
        (["vwap", "--param", "name=x"], "vwap.sql has no parameter name, only: symbol, days=7"),
        (["top_movers", "--param", "days=7 OR 1=1"], "--param days=7 OR 1=1: expected a number"),
        (["top_movers", "--param", "days"], "--param needs NAME=VALUE: see scripts/query.sh --help"),
        (["top_movers", "--json"], "--json is unknown: see scripts/query.sh --help"),
        (["--csv"], "which query: see scripts/query.sh"),
        (["top_movers", "gaps"], "one query at a time, not"),
    ],
)
def test_query_wrongly_asked_says_why_in_one_line(query, arguments, reason):
    done = query.run("query.sh", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {reason}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT no_such_column FROM stock_ticks", "the query failed: "),
        ("SELEC 1", ""),
        ("CREATE TABLE x AS SELECT 1 AS a", "the emulator runs SELECT only"),
    ],
)
def test_query_that_fails_gives_the_reason_in_one_line(query, tmp_path, sql, reason):
    file = tmp_path / "mine.sql"
    file.write_text(sql)
    done = query.run("query.sh", str(file))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert reason in errors[0]


def test_query_before_the_set_up_names_the_set_up(query, empty):
    project, athena = empty
    athena.athena.delete_work_group(WorkGroup=WORKGROUP)
    try:
        done = project.run("query.sh", "latest_quotes")
    finally:
        athena.athena.create_work_group(
            Name=WORKGROUP,
            Configuration={"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/athena-results/"}},
        )
    assert done.returncode == 1
    assert "run scripts/setup.sh" in done.stderr.splitlines()[-1]


def test_query_table_fits_the_terminal(query):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    process = subprocess.Popen(
        [query.folder / "scripts/query.sh", "latest_quotes"],
        env=query.environment | {"TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 4096)
        except OSError:
            break
    os.close(leader)
    assert process.wait() == 0
    lines = shown.decode().splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 60
    assert "…" in shown.decode()


def test_query_that_runs_shows_its_progress_and_is_stopped_by_ctrl_c(tmp_path):
    project = Project(copy_project(tmp_path / "project"), aws_environment())
    (tmp_path / "aws").write_text(
        f"""#!/bin/sh
echo "$*" >>{project.calls}
case "$*" in
  *get-caller-identity*) printf "{ACCOUNT_ID}\\tarn:aws:iam::{ACCOUNT_ID}:user/u\\n" ;;
  *start-query-execution*) echo the-query ;;
  *get-query-execution*) printf 'RUNNING\\t0\\tDML\\tNone\\n' ;;
esac
"""
    )
    (tmp_path / "aws").chmod(0o755)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [project.folder / "scripts/query.sh", "latest_quotes"],
        env=project.environment | {"PATH": f"{tmp_path}{os.pathsep}{project.environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    while b"RUNNING" not in shown:
        shown += os.read(leader, 4096)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    os.close(leader)
    last = project.calls.read_text().splitlines()[-1]
    assert last == "athena stop-query-execution --query-execution-id the-query"


@pytest.fixture
def on_aws(tmp_path, quick_cli, monkeypatch) -> Iterator[tuple[Project, Athena]]:
    """A stack at an address that the scripts take for AWS; its Athena accepts any statement."""
    monkeypatch.setenv("ATHENA_ENGINE", "mock")
    with ministack(tmp_path / "ministack") as endpoint:
        yield (
            project_on(tmp_path / "project", quick_cli, endpoint.replace("127.0.0.1", "0.0.0.0")),
            Athena(endpoint),
        )


def saved(athena: Athena) -> dict[str, dict]:
    ids = athena.athena.list_named_queries(WorkGroup=WORKGROUP)["NamedQueryIds"]
    queries = [athena.athena.get_named_query(NamedQueryId=each)["NamedQuery"] for each in ids]
    assert len({query["Name"] for query in queries}) == len(queries)
    return {query["Name"]: query for query in queries}


def save_queries(project: Project) -> str:
    steps = "source scripts/common.sh; require_lib resources/saved_queries; start_session; ensure_queries"
    command = ["bash", "-euo", "pipefail", "-c", steps]
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def view_statements(athena: Athena) -> list[str]:
    ids = athena.athena.list_query_executions(WorkGroup=WORKGROUP)["QueryExecutionIds"]
    return [
        athena.athena.get_query_execution(QueryExecutionId=each)["QueryExecution"]["Query"] for each in ids
    ]


def test_set_up_on_aws_saves_every_query_and_makes_the_view_and_a_second_time_only_what_changed(on_aws):
    project, athena = on_aws
    save_queries(project)
    queries = saved(athena)
    assert sorted(queries) == NAMES
    for name, query in queries.items():
        text = (ROOT / "athena" / f"{name}.sql").read_text()
        assert query["QueryString"].strip() == text.strip()
        assert f"-- {query['Description']}" == text.splitlines()[0]
        assert query["Database"] == DATABASE
    (statement,) = view_statements(athena)
    assert statement.startswith("CREATE OR REPLACE VIEW stock_ticks AS\nSELECT")

    athena.glue.create_table(DatabaseName=DATABASE, TableInput={"Name": "stock_ticks"})  # as the view shows
    assert "saved queries: already exist" in save_queries(project)
    assert saved(athena) == queries
    assert len(view_statements(athena)) == 1

    file = project.folder / "athena/gaps.sql"
    file.write_text(file.read_text().replace("minutes=5", "minutes=9"))
    assert "saved query gaps: recreated" in save_queries(project)
    assert "minutes=9" in saved(athena)["gaps"]["QueryString"]
    assert len(saved(athena)) == len(queries)
    assert len(view_statements(athena)) == 1


def test_query_on_aws_is_sent_as_it_is_with_execution_parameters_and_tells_the_cost(on_aws):
    project, athena = on_aws
    done = project.run("query.sh", "vwap", "--param", "symbol=O'NEIL", "--csv")
    assert view_statements(athena) == [(ROOT / "athena/vwap.sql").read_text()]
    (start,) = [line for line in project.calls.read_text().splitlines() if "start-query-execution" in line]
    assert "--execution-parameters 'O''NEIL' 7 " in start
    assert "rows, 0 bytes scanned, $0.000048" in done.stderr  # 10 MB at $5 a TB
