"""scripts/run_local.sh as a user runs it: in a checkout of its own, whose path has a space in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from helpers.checkout import ROOT, load_module
from helpers.emulator import emulator_client
from helpers.local_run import clean_environment, make_venv, running


@pytest.fixture
def checkout(tmp_path):
    """A copy of the repository that has a .venv with everything, without installing anything."""
    root = tmp_path / "my checkout"
    leave_out = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench")
    shutil.copytree(ROOT, root, ignore=leave_out)
    make_venv(root)
    return root


@contextmanager
def port_taken(port):
    """Something listens on that port of loopback: whatever does already, or a socket of this test's."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listener.bind(("127.0.0.1", port))
            listener.listen()
        yield


def processes_of(root):
    answer = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in answer.stdout.splitlines() if str(root) in line]


def alerts_in(text):
    return re.findall(r"^ALERT .*", text, re.MULTILINE)


def client(service, run):
    endpoint = run.wait_for(r"The stack is up at (http://127\.0\.0\.1:\d+)")[1]
    return emulator_client(endpoint, service)


@pytest.mark.emulator
def test_replay_beside_a_taken_port_alerts_exactly_the_crossovers_that_pandas_finds(checkout, quick_cli):
    shutil.copy(quick_cli / "aws", checkout / ".venv" / "bin" / "aws")
    began = datetime.now(UTC)
    with (
        port_taken(4566),
        running(
            checkout,
            *("--source", "replay", "--file", f"{checkout}/sample_data/AAPL.csv", "--delay", "0.02"),
            "--no-dashboard",
        ) as run,
    ):
        status = run.wait()

    assert re.search(r"^port 4566 is taken: using \d+$", run.text, re.MULTILINE)
    days = (datetime.now(UTC).date() - began.date()).days + 1
    assert status == 0, run.text
    printed = re.findall(r"^ALERT .* (BUY|SELL) AAPL .*\(bar of (.*)\)$", run.text, re.MULTILINE)
    bars = pd.read_csv(checkout / "sample_data" / "AAPL.csv")
    above = bars["close"].rolling(5).mean() > bars["close"].rolling(20).mean()
    crossed = above.ne(above.shift()) & (bars.index >= 20)
    expected = [("BUY" if above[i] else "SELL", bars["date"][i]) for i in bars.index[crossed]]
    assert len(expected) == 13
    assert sorted(printed, key=lambda alert: alert[1]) == expected
    anomalies = re.findall(r"^ALERT .* ANOMALY AAPL at \S+ \(([+-])", run.text, re.MULTILINE)
    assert set(anomalies) == {"+", "-"}
    assert len(anomalies) <= 2 * days  # one a day and direction
    assert re.findall(r"^stored .*\(bar of (.*)\)", run.text, re.MULTILINE) == bars["date"].tolist()
    assert run.lines[-1].startswith(f"251 ticks stored, {13 + len(anomalies)} alerts (")
    assert processes_of(checkout) == []
    assert not (checkout / ".local" / "replay").exists()
    assert list((checkout / ".local").glob("*.pid")) == []


@pytest.mark.emulator
def test_replay_that_has_ended_keeps_page_and_stack_until_ctrl_c(checkout, quick_cli):
    shutil.copy(quick_cli / "aws", checkout / ".venv" / "bin" / "aws")
    bars = (checkout / "sample_data" / "AAPL.csv").read_text().splitlines()[:4]
    file = checkout / "short.csv"
    file.write_text("\n".join(bars))
    with running(checkout, "--file", str(file), "--delay", "0.02") as run:
        dashboard = run.wait_for(r"The dashboard is at (http://127\.0\.0\.1:\d+)")[1]
        run.wait_for("Its page stays until Ctrl-C")
        with urllib.request.urlopen(dashboard) as page:
            assert page.status == 200
        items = client("dynamodb", run).scan(TableName="stock-market-data", Select="COUNT")["Count"]
        assert (run.stop(signal.SIGINT), items) == (0, 3)
    assert processes_of(checkout) == []


@pytest.mark.emulator
def test_kept_state_is_one_runs_at_a_time_and_outlives_a_kill_without_repeating_an_alert(checkout, quick_cli):
    shutil.copy(quick_cli / "aws", checkout / ".venv" / "bin" / "aws")
    arguments = ("--source", "simulated", "--symbols", "AAPL,MSFT", "--delay", "0.1")
    with running(checkout, *arguments, "--keep") as first:
        first.wait_for(r"stored  120 ticks of history: AAPL, MSFT")
        first.wait_for(r"ALERT ")
        dashboard = first.wait_for(r"The dashboard is at (http://127\.0\.0\.1:\d+)")[1]
        with urllib.request.urlopen(dashboard) as page:
            assert "<title>Streamlit</title>" in page.read().decode()
        rival = subprocess.run(
            [checkout / "scripts" / "run_local.sh", *arguments],
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        stored = client("dynamodb", first).scan(TableName="stock-market-data", Select="COUNT")["Count"]
        first.process.kill()
    assert rival.returncode == 1
    assert f"error: process {first.process.pid} is running --source simulated here" in rival.stderr

    with running(checkout, *arguments, "--no-dashboard") as second:
        dynamodb = client("dynamodb", second)
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(dashboard)
        second.wait_for(r"ALERT ")
        alerts = dynamodb.scan(TableName="stock-trend-alerts")["Items"]
        count = dynamodb.scan(TableName="stock-market-data", Select="COUNT")["Count"]
        assert second.stop(signal.SIGHUP) == 0, second.text

    left = re.search(r"^an earlier run was killed: ending what it left behind, (.*)", second.text, re.M)[1]
    kinds = sorted(found.split()[0] for found in left.split(", "))
    assert kinds == ["emulator", "page", "producer", "watcher"]
    assert "The dashboard is at" not in second.text
    assert "did not come through" not in second.text  # every tick of the second run was judged
    assert count > stored
    assert not set(alerts_in(first.text)) & set(alerts_in(second.text))
    sent = {alert["timestamp"]["S"][11:23] for alert in alerts if alert["status"]["S"] == "sent"}
    assert {line.split()[1] for line in alerts_in(first.text)} <= sent
    assert processes_of(checkout) == []
    assert not (checkout / ".local" / "simulated").exists()


@pytest.fixture
def sleeper(checkout):
    """Starts a Python that stays, with the marks that a run in a checkout gives to its processes."""
    started = []

    def start(*arguments, root=checkout):
        command = [root / ".venv/bin/python", *arguments]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert started[-1].stdout.readline()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


STAY = "import sys; print(flush=True); sys.stdin.read()"


def end_leftovers(root, names="yahoo simulated replay", before=""):
    command = f"source scripts/common.sh; require_lib local/leftovers; {before} end_leftovers {names}"
    done = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_leftovers_of_a_killed_run_are_ended_and_nothing_that_is_like_them(checkout, tmp_path, sleeper):
    def mark(name, root=checkout):
        return "-X", f"run={root}/.local/{name}"

    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAY}"
    ours = [
        sleeper(*mark("simulated"), "-c", STAY, "emulator.py"),
        sleeper(*mark("replay"), "-c", stubborn, "watch.py"),
    ]
    others = [
        sleeper(*mark("simulated", f"{tmp_path}/your checkout"), "-c", STAY, "emulator.py"),
        sleeper(*mark("simulated-2"), "-c", STAY, "emulator.py"),
        sleeper("-c", STAY, f"{checkout}/stream_stock_data.py", "--source", "simulated"),
        sleeper(*mark("yahoo"), "-c", STAY, "emulator.py"),
    ]
    # A run with --source yahoo is alive. The process ids of the killed runs belong to others by now.
    living = subprocess.Popen(["bash", "-c", "read -r", "run_local.sh"], stdin=subprocess.PIPE)
    for name, process in (("yahoo", living), ("simulated", others[2])):
        (checkout / ".local").mkdir(exist_ok=True)
        (checkout / f".local/{name}.pid").write_text(str(process.pid))
    try:
        said = end_leftovers(checkout, before="LEFTOVER_SECONDS=0;")
    finally:
        living.communicate()

    assert said == [
        f"an earlier run was killed: ending what it left behind, {kind} {process.pid}"
        for kind, process in zip(("emulator", "watcher"), ours, strict=True)
    ]
    assert all(process.wait(timeout=10) < 0 for process in ours)
    assert [process.poll() for process in others] == [None] * 4
    assert end_leftovers(checkout, "simulated replay") == []


def test_what_a_job_leaves_that_was_killed_ends_with_the_run(checkout):
    job = 'run bash -c "sleep 3600 & echo \\$! >left; kill -9 \\$\\$"'
    command = f"source scripts/common.sh; require_lib local/jobs; set -e; start_jobs; {job}"
    done = subprocess.run(["bash", "-c", command], cwd=checkout, capture_output=True, timeout=60)
    assert done.returncode == 128 + signal.SIGKILL
    left = (checkout / "left").read_text().strip()
    deadline = time.monotonic() + 30  # the system needs a moment to end what was killed
    while "sleep" in subprocess.run(["ps", "-o", "args=", "-p", left], capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline


def test_run_that_is_ended_says_nothing_of_its_jobs(checkout):
    code = """source scripts/common.sh; require_lib local/jobs; start_jobs
        run_beside sleep 60; run bash -c 'echo ready; exec sleep 60'"""
    with subprocess.Popen(
        ["bash", "-euc", code], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        run.stdout.readline()
        run.terminate()
        assert (run.wait(), run.stderr.read()) == (143, "")


def test_local_run_does_not_tell_that_the_producer_on_aws_is_well(checkout):
    (checkout / ".env").write_text("HEARTBEAT_URL=https://hc-ping.com/secret\n")
    command = "source scripts/common.sh; require_lib local/emulator; load_settings; use_no_other_aws; "
    command += 'env | grep "^HEARTBEAT_URL="'
    done = subprocess.run(["bash", "-c", command], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout == "HEARTBEAT_URL=\n"


# --- Without starting anything --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed", "9"], "--speed is unknown: see scripts/run_local.sh --help"),
        (["--source"], "--source needs a value: see scripts/run_local.sh --help"),
        (["--source", "nasdaq"], "--source nasdaq: expected yahoo, simulated or replay"),
        (["--source", "simulated", "--file", "x.csv"], "--file goes with --source replay"),
        (["--delay", "0"], "--delay 0: expected seconds above 0"),
        (["--delay", "soon"], "--delay soon: expected seconds above 0"),
        (
            ["--file", "nowhere.csv"],
            "nowhere.csv: No such file or directory; expected a CSV file with symbol, ",
        ),
        (["--source", "replay", "--symbols", "TSLA"], "AAPL.csv: has no bars of TSLA, only of AAPL"),
        (["--symbols", "!"], "--symbols, line 1: '!' is not a symbol of Yahoo Finance"),
    ],
)
def test_wrong_flags_are_refused_in_one_line_before_anything_is_started(checkout, arguments, message):
    result = subprocess.run(
        [checkout / "scripts" / "run_local.sh", *arguments],
        cwd=checkout,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )

    errors = [line for line in result.stderr.splitlines() if not line.startswith("1/4 ")]
    assert result.returncode == 1
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert list((checkout / ".local").glob("*")) == []


@pytest.fixture
def path_with(tmp_path):
    """A PATH with the commands that the scripts need, and with a python3 of one's own."""

    def path_with(python):
        folder = tmp_path / "commands"
        folder.mkdir()
        for name in ("awk", "bash", "cat", "cmp", "env", "grep", "mkdir", "ps", "rm", "sed"):
            (folder / name).symlink_to(shutil.which(name))
        if python:
            (folder / "python3").write_text(f"#!/bin/sh\n{python}\n")
            (folder / "python3").chmod(0o755)
        return str(folder)

    return path_with


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "error: Python 3.11 or newer is needed: install it"),
        ("exit 127", "error: Python 3.11 or newer is needed: install it"),
        (
            'case "$*" in *-V*) echo Python 3.9.2 ;; *version_info*) exit 1 ;; esac',
            "error: Python 3.11 or newer is needed, only Python 3.9.2 is here: install it",
        ),
        (
            'case "$*" in *ensurepip*) exit 1 ;; esac',
            "error: python3 cannot make virtual environments: install venv and ensurepip (Debian, Ubuntu: "
            "sudo apt install python3-venv)",
        ),
    ],
)
def test_machine_without_a_python_that_will_do_is_told_what_to_install(checkout, path_with, python, message):
    shutil.rmtree(checkout / ".venv")
    result = subprocess.run(
        [checkout / "scripts" / "run_local.sh", "--source", "simulated"],
        env={"PATH": path_with(python)},
        capture_output=True,
        text=True,
    )

    assert result.returncode == 1
    assert result.stderr.splitlines()[1].startswith(message)
    assert len(result.stderr.splitlines()) == 2


def is_installed(root, file="requirements/local.txt"):
    command = 'source scripts/common.sh; require_lib local/pip; is_installed "$1"'
    return subprocess.run(["bash", "-c", command, "bash", file], cwd=root).returncode == 0


def test_venv_is_installed_only_while_it_is_whole_in_its_place_and_up_to_date(checkout):
    assert is_installed(checkout)

    (checkout / ".venv" / "incomplete").touch()
    assert not is_installed(checkout)
    (checkout / ".venv" / "incomplete").unlink()

    (checkout / "requirements.txt").write_text("boto3==0\n")
    assert not is_installed(checkout)
    shutil.copy(ROOT / "requirements.txt", checkout)
    assert is_installed(checkout)

    moved = checkout.rename(checkout.parent / "elsewhere")
    assert not is_installed(moved)
    moved.rename(checkout)
    assert is_installed(checkout)

    (checkout / ".venv" / "bin" / "python").unlink()
    assert not is_installed(checkout)


def test_packages_are_compiled_but_not_their_tests_and_what_cannot_be_is_no_failure(checkout, tmp_path):
    packages = tmp_path / "venv/lib/python3.13/site-packages"
    files = ("pandas/core.py", "pandas/tests/test_core.py", "broken.py")
    for file in files:
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).write_text("x = 1\n")
    (packages / "broken.py").write_text("print 1\n")
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)

    command = "source scripts/common.sh; require_lib local/pip; VENV=$1; compile_packages"
    done = subprocess.run(["bash", "-ec", command, "bash", tmp_path / "venv"], cwd=checkout)

    assert done.returncode == 0
    assert [path.name.split(".")[0] for path in packages.rglob("*.pyc")] == ["core"]


@pytest.mark.parametrize(
    ("price", "printed"), [("1.08345", "1.08345"), ("7.213123E-4", "0.0007213123"), ("1234.5", "1,234.50")]
)
def test_describe_prints_a_price_with_all_its_decimals(price, printed):
    describe = load_module("scripts/lib/local/watch.py").describe
    tick = {"symbol": "X", "price": price, "change_percent": "0", "timestamp": "2026-11-20T15:58:22.123Z"}
    assert f" {printed} " in describe(tick)


# --- Yahoo or simulated ---------------------------------------------------------------------------


@pytest.fixture
def probe():
    return load_module("scripts/lib/local/probe_yahoo.py")


@pytest.fixture
def yahoo_gives(probe, monkeypatch):
    """Makes Yahoo answer with a quote of some age."""

    def yahoo_gives(*ages, price=10.0):
        quotes = [
            {
                "symbol": "AAPL",
                "price": price,
                "previous_close": 9.0,
                "timestamp": probe.producer.format_timestamp(datetime.now(UTC) - age),
            }
            for age in ages
        ]
        monkeypatch.setattr(probe.producer.YahooSource, "fetch", lambda _, symbols: quotes)

    return yahoo_gives


def test_choose_fresh_quote_takes_yahoo(probe, yahoo_gives):
    yahoo_gives(timedelta(days=3), timedelta(minutes=16))

    assert probe.choose(["AAPL"], probe.LastMessage()).startswith("yahoo: Yahoo's newest quote is of 20")


def test_choose_old_quote_takes_simulated(probe, yahoo_gives):
    yahoo_gives(timedelta(minutes=25))

    answer = probe.choose(["AAPL"], probe.LastMessage())
    assert answer.startswith("simulated: Yahoo's newest quote is of 20")
    assert answer.endswith("so the market is closed and the prices are made up")


def test_choose_no_quote_or_an_invalid_one_takes_simulated_and_says_why(probe, yahoo_gives):
    yahoo_gives()
    answer = probe.choose(["AAPL"], probe.LastMessage())
    assert answer == "simulated: Yahoo has no quote of AAPL, so the prices are made up"

    yahoo_gives(timedelta(0), price=-1)
    assert "AAPL: price -1 is not a positive number" in probe.choose(["AAPL"], probe.LastMessage())


def test_probe_without_network_gives_simulated_and_the_reason(checkout):
    unreachable = {"HTTPS_PROXY": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(checkout / ".cache")}
    result = subprocess.run(
        [sys.executable, checkout / "scripts" / "lib" / "local" / "probe_yahoo.py"],
        env=os.environ | unreachable,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert result.returncode == 0
    assert re.fullmatch(
        r"simulated: Yahoo cannot be reached \(.+\), so the prices are made up\n", result.stdout
    )
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""
