"""The producer as a process: exit statuses, signals, credentials, and the seeded run through every fault."""

from __future__ import annotations

import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from helpers.emulator import aws_environment, free_port
from helpers.kinesis import KinesisStandIn
from helpers.producer import SCRIPT, running, until
from helpers.yahoo import HANG, RESET, YahooStandIn, market


@pytest.fixture
def kinesis() -> Iterator[KinesisStandIn]:
    with KinesisStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooStandIn]:
    with YahooStandIn(tmp_path / "yahoo") as stand_in:
        yield stand_in


@pytest.fixture
def environment(tmp_path: Path, kinesis: KinesisStandIn, yahoo: YahooStandIn) -> dict[str, str]:
    return environment_of(tmp_path, kinesis.endpoint) | yahoo.environment


def environment_of(directory: Path, endpoint: str | None) -> dict[str, str]:
    """The variables of a producer of one's own, whatever this machine is set to."""
    clean = aws_environment(endpoint)
    for name in ("STOCK_SYMBOLS", "STOCK_SYMBOL", "DELAY_SECONDS", "STREAM_NAME"):
        clean.pop(name, None)
    return clean | {"STATE_DIR": str(directory / "state")}


def run(environment: dict[str, str], *flags: str, **options: object) -> CompletedProcess[str]:
    """What is left of a producer that ends by itself."""
    with running(environment, *flags, **options) as producer:
        return CompletedProcess(flags, producer.wait(), producer.stdout, producer.stderr)


# --- Exit statuses and messages ---


def test_dry_run_prints_ticks_and_needs_no_aws(tmp_path, yahoo):
    environment = {
        name: value for name, value in environment_of(tmp_path, None).items() if not name.startswith("AWS_")
    }
    command = [
        sys.executable,
        SCRIPT,
        "--dry-run",
        "--once",
        "--symbols",
        "aapl,MSFT",
    ]  # the other tests fork
    done = subprocess.run(command, env=environment | yahoo.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:16] for line in lines[:2]] == ["Would send AAPL ", "Would send MSFT "]
    assert not (tmp_path / "state").exists()


def test_once_puts_the_quote_on_the_stream(environment, kinesis):
    done = run(environment, "--once", "--symbols", "AAPL")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Sent AAPL ")
    assert "-> shardId-000000000000 …000000000001" in done.stdout
    assert [(tick["symbol"], tick["source"]) for tick in kinesis.records] == [("AAPL", "yahoo")]


def test_terminal_shows_progress_and_the_next_poll_but_a_pipe_does_not(tmp_path):
    flags = ["--source", "simulated", "--dry-run", "--count", "2", "--delay", "0.3", "--backfill", "60"]
    environment = environment_of(tmp_path, None) | {"TERM": "xterm", "COLUMNS": "120"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *flags], env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        pass  # on Linux: the other side has closed the terminal
    os.close(ours)
    assert process.wait() == 0
    for text in (b"Loading history", b"next poll", b"Would send AAPL", b"Finished after 2 polls"):
        assert text in shown
    piped = run(environment, *flags)
    assert "next poll" not in piped.stdout + piped.stderr
    assert "\x1b" not in piped.stdout + piped.stderr


def test_verbose_tells_each_call(environment):
    assert "A call with 1 records: 0 refused" in run(environment, "--once", "--verbose").stderr


def test_websocket_that_is_refused_is_polled_over(environment, kinesis):
    with running(environment, "--source", "websocket", "--symbols", "AAPL", "--delay", "0.2") as producer:
        until(lambda: "polling until it is back" in producer.said, "the fallback")
        before = len(kinesis.records)
        until(lambda: len(kinesis.records) > before + 1, "polled quotes")
        assert not re.search("Traceback|Warning", producer.said)
    assert {tick["source"] for tick in kinesis.records} == {"yahoo"}


def test_symbols_file_is_polled(environment, kinesis, tmp_path):
    (tmp_path / "symbols.txt").write_text("\ufeff# mine\naapl\n\nmsft # and more\nAAPL\n")
    done = run(environment, "--once", "--symbols-file", str(tmp_path / "symbols.txt"))
    assert done.returncode == 0, done.stderr
    assert sorted(tick["symbol"] for tick in kinesis.records) == ["AAPL", "MSFT"]


def test_restart_does_not_send_the_same_quote_again(environment, kinesis, yahoo):
    row = market("AAPL", time.time())
    yahoo.quote = lambda symbol, now: row
    for _ in range(2):
        assert run(environment, "--once", "--symbols", "AAPL").returncode == 0
    assert len(kinesis.records) == 1


def test_unknown_symbol_is_named_in_one_line(environment, yahoo):
    yahoo.quote = lambda symbol, now: None
    done = run(environment, "--once", "--symbols", "NOPE")
    assert (done.returncode, done.stderr) == (3, "NOPE: Yahoo does not know this symbol\n")


def test_no_network_keeps_polling_with_one_line_a_poll(environment):
    nowhere = f"http://127.0.0.1:{free_port()}"
    offline = environment | {"HTTPS_PROXY": nowhere, "https_proxy": nowhere}
    done = run(offline, "--count", "3", "--delay", "0.1", "--symbols", "AAPL,MSFT")
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all("the next poll tries again" in line for line in lines)


def test_missing_stream_cannot_run(environment, kinesis):
    kinesis.error = "ResourceNotFoundException"
    done = run(environment, "--once")
    assert done.returncode == 1
    problem = "no such stream Stock-market-stream in us-east-1"
    assert done.stderr == f"error: {problem}: run scripts/setup.sh, or correct AWS_REGION\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "credentials are missing .* `aws configure`",
        ),
        ({"AWS_PROFILE": "nobody"}, r"AWS_PROFILE: .* could not be found; `aws configure list-profiles`"),
        ({"AWS_REGION": "us east"}, "AWS_REGION or AWS_ENDPOINT_URL: "),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "AWS_REGION or AWS_ENDPOINT_URL: "),
        ({"DELAY_SECONDS": "-3"}, "DELAY_SECONDS: '-3' is not a positive number of seconds"),
        ({"DELAY_SECONDS": "soon"}, "DELAY_SECONDS: 'soon' is not a positive number of seconds"),
        ({"STOCK_SYMBOLS": "AAPL,$"}, r"STOCK_SYMBOLS, line 1: '\$' is not a symbol of Yahoo Finance"),
        ({"STATE_DIR": "/dev/null/x"}, "set STATE_DIR"),
    ],
)
def test_wrong_setting_is_one_line_that_names_it(environment, changes, message):
    done = run(environment | changes, "--once")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line


@pytest.mark.parametrize(
    "flags",
    [
        ["--delay", "-1"],
        ["--delay", "nan"],
        ["--count", "0"],
        ["--count", "3", "--once"],
        ["--backfill", "8d"],
        ["--seed", "1"],
        ["--source", "replay"],
        ["--file", "x.csv"],
        ["--symbols", "A", "--symbols-file", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_status_2(environment, flags):
    done = run(environment, *flags)
    assert done.returncode == 2
    assert "stream_stock_data.py: error: " in done.stderr


def test_empty_symbols_file_is_named(environment, tmp_path):
    (tmp_path / "none.txt").write_text("# nothing\n\n")
    done = run(environment, "--symbols-file", str(tmp_path / "none.txt"))
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path}/none.txt: no symbols\n")


def test_malformed_env_file_is_named(environment, tmp_path):
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text())
    (tmp_path / ".env").write_text("AWS_REGION=us-east-1\nSTREAM NAME\n")
    done = run(environment, "--once", script=script)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/.env, line 2: expected NAME=value\n"


@pytest.mark.parametrize("source", ["simulated", "replay"])
def test_made_up_ticks_are_refused_on_aws(tmp_path, source):
    bars = tmp_path / "bars.csv"
    bars.write_text("symbol,date,open,high,low,close,volume\nAAPL,2024-01-02,1,2,1,2,10\n")
    flags = ["--source", source, "--once"] + (["--file", str(bars)] if source == "replay" else [])
    done = run(environment_of(tmp_path, None), *flags)
    assert done.returncode == 1
    assert f"error: {source} ticks would go to real AWS" in done.stderr


def test_replay_ends_when_the_file_ends(environment, kinesis, tmp_path):
    bars = tmp_path / "bars.csv"
    rows = [f"AAPL,2024-01-{day:02},1,2,1,{day}.5,10" for day in range(2, 7)]
    bars.write_text("\n".join(["symbol,date,open,high,low,close,volume", *rows]))
    done = run(environment, "--source", "replay", "--file", str(bars), "--delay", "0.05")
    assert done.returncode == 0, done.stderr
    assert [tick["price"] for tick in kinesis.records] == [2.5, 3.5, 4.5, 5.5, 6.5]


def test_unsent_ticks_at_the_end_are_an_exit_status_and_go_out_next_time(environment, kinesis):
    kinesis.fails = lambda record: True
    with running(environment, "--once", "--symbols", "AAPL", driver=SHORT_PAUSES) as producer:
        assert producer.wait() == 3
        assert "1 waiting in the spool" in producer.said
    kinesis.fails = lambda record: False
    assert run(environment, "--once", "--symbols", "AAPL").returncode == 0
    assert len(kinesis.records) in (1, 2)  # the second poll may come within the same second


def test_second_producer_on_one_state_is_refused(environment, kinesis):
    with running(environment, "--delay", "30"):
        until(lambda: kinesis.records, "the first tick")
        done = run(environment, "--once")
    assert done.returncode == 1
    assert "another producer is running" in done.stderr


def test_heartbeat_is_sent_before_a_single_poll_ends(environment, kinesis, yahoo):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/secret"
        done = run(environment | {"HEARTBEAT_URL": url}, "--once")
        server.shutdown()
    assert (done.returncode, asked) == (0, ["/secret"])
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_a_summary_and_status_0(environment, kinesis, number):
    with running(environment, "--delay", "30") as producer:
        until(lambda: kinesis.records, "the first tick")
        producer.send_signal(number)
        assert producer.wait() == 0
        assert producer.stdout.splitlines()[-1].startswith("Stopped after 1 polls: 1 sent")


def test_expired_credentials_spool_name_the_command_and_recover_without_a_restart(
    environment, kinesis, tmp_path
):
    def write_key(key: str) -> None:
        (tmp_path / "new").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = x\n")
        (tmp_path / "new").replace(tmp_path / "credentials")

    write_key("OLD")
    environment = environment | {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    with running(environment, "--delay", "0.3") as producer:
        until(lambda: kinesis.records, "the first tick")
        kinesis.valid_key = "NEW"
        until(lambda: "Not sent" in producer.said, "a refusal")
        line = next(line for line in producer.said.splitlines() if line.startswith("Not sent"))
        assert "credentials are missing or not valid" in line
        assert "ExpiredTokenException" in line
        assert "run `aws configure`" in line
        before = len(kinesis.records)
        write_key("NEW")
        until(lambda: len(kinesis.records) > before + 1, "ticks after the renewal")
    timestamps = [tick["timestamp"] for tick in kinesis.records]
    assert timestamps == sorted(set(timestamps))


# --- Every fault at once ---


class FaultyMarket:
    """Quotes of a seeded market, and every fault of Yahoo's.

    served: symbol and epoch seconds of the valid rows given, a list for each batch request. calm: no faults.
    """

    symbols = tuple(f"S{n:02}" for n in range(40))  # fit in one batch request, so one is a poll

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.served: list[list[tuple[str, str]]] = []
        self.calm = False
        self._second = dict.fromkeys(self.symbols, 1_700_000_000)

    def respond(self, kind: str, symbols: list[str]) -> object:
        if kind == "chart":  # `served` would lack its quote
            return 200, {"chart": {"result": [], "error": None}}
        if self.calm or kind not in ("batch", "crumb"):
            return None if kind != "batch" else self.rows(symbols)
        luck = self.dice.random()
        for share, answer in (
            (0.04, (429, "Too Many Requests")),
            (0.05, (503, "Will be right back")),
            (0.05, RESET),
            (0.02, HANG),
            (0.03, (401, {"finance": {"error": {"code": "Unauthorized"}}})),
        ):
            luck -= share
            if luck < 0:
                return answer
        return self.rows(symbols) if kind == "batch" else None

    def rows(self, symbols: list[str]) -> tuple[int, object]:
        rows, served = [], []
        for symbol in symbols:
            luck = self.dice.random()
            if self.calm or luck < 0.7:
                self._second[symbol] += self.dice.randint(1, 40)
            second = self._second[symbol] - (
                self.dice.randint(1, 90) if 0.8 < luck < 0.9 else 0
            )  # out of order
            row = market(symbol, second)
            row["regularMarketPrice"] += round(self.dice.random(), 2)  # another price under the same time
            if 0.9 < luck < 0.93 and not self.calm:
                row["regularMarketPrice"] = self.dice.choice([None, float("nan"), 0])
            elif 0.93 < luck < 0.96:
                row |= {"regularMarketOpen": None, "regularMarketVolume": None}
            rows.append(row)
            if row["regularMarketPrice"] and row["regularMarketPrice"] > 0:
                served.append((symbol, second))
            if luck > 0.96:
                rows.append(dict(row))
        self.served.append(served)
        return 200, {"quoteResponse": {"result": rows, "error": None}}


SHORT_PAUSES = """
producer.REQUEST_SECONDS, producer.CHARTS_ONLY_SECONDS = 2, 0
producer.RATE_LIMIT_SECONDS = producer.RETRY_SECONDS = (0.01, 0.05)
config = producer.Config
producer.Config = lambda **settings: config(**settings | {"retries": {"total_max_attempts": 1}})
"""


@pytest.mark.parametrize("seed", [20261122])
def test_fault_run_every_fetched_quote_arrives_in_order_and_once(tmp_path, kinesis, yahoo, seed):
    faulty, dice = FaultyMarket(seed), random.Random(seed)
    yahoo.respond = faulty.respond
    kinesis.fails = lambda record: not faulty.calm and dice.random() < 0.3
    environment = environment_of(tmp_path, kinesis.endpoint) | yahoo.environment
    flags = ["--symbols", ",".join(faulty.symbols), "--delay", "0.05"]
    in_hand: set[int] = set()
    kinesis.away = lambda: 45 <= len(faulty.served) < 65
    for polls in (25, 55, 85):  # the second kill hits while Kinesis is away
        with running(environment, *flags, driver=SHORT_PAUSES) as producer:
            until(lambda polls=polls: len(faulty.served) >= polls, f"{polls} polls", seconds=60)
            producer.kill()
        in_hand.add(len(faulty.served) - 1)
    faulty.calm = True
    calm_from = len(faulty.served)
    with running(environment, *flags, driver=SHORT_PAUSES) as producer:
        until(lambda: len(faulty.served) >= calm_from + 3, "three quiet polls")
        producer.send_signal(signal.SIGTERM)
        assert producer.wait() == 0, producer.said
        assert "0 waiting in the spool" in producer.said

    newest: dict[str, int] = {}
    expected, allowed = set(), set()
    for poll, served in enumerate(faulty.served):
        for symbol, second in served:
            allowed.add((symbol, second))
            if poll in in_hand:
                continue
            if second > newest.get(symbol, 0):
                newest[symbol] = second
                expected.add((symbol, second))
    assert len(expected) > 2_000
    arrived: dict[tuple[str, str], dict] = {}
    for tick in kinesis.records:
        key = (tick["symbol"], tick["timestamp"])
        assert arrived.setdefault(key, tick) == tick, "two different ticks under one symbol and timestamp"
    seconds = {(symbol, epoch(timestamp)) for symbol, timestamp in arrived}
    assert seconds <= allowed
    # A quote of the poll in hand may have come before, and stand for an older one that is expected.
    assert not [key for key in expected - seconds if not superseded(key, faulty.served, in_hand)]
    for symbol in faulty.symbols:
        times = [timestamp for of, timestamp in arrived if of == symbol]
        assert times == sorted(times)


def epoch(timestamp: str) -> int:
    from stream_stock_data import parse_timestamp

    return int(parse_timestamp(timestamp).timestamp())


def superseded(key: tuple[str, int], served: list[list[tuple[str, int]]], in_hand: set[int]) -> bool:
    """Whether a poll in hand at a kill brought a quote of the symbol at least as new before."""
    symbol, second = key
    came = next(poll for poll, quotes in enumerate(served) if key in quotes)
    return any(of == symbol and at >= second for poll in in_hand if poll <= came for of, at in served[poll])
