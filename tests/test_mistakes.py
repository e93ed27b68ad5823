"""Mistakes of a first evening: each gets a line that is true, and says what is wrong and what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from helpers.emulator import aws_environment

# An `aws` that notes its arguments. It has credentials when $KEYS says so, and AWS answers nothing else.
AWS = """#!/bin/sh
echo "$*" >>"$AWS_CALL_LOG"
case "$*" in
  *"configure list"*) echo "access_key     ${KEYS:-<not set>}" ;;
  *"configure get region"*) echo "${CONFIGURED_REGION-}" ;;
  *) printf '\\nAn error occurred (Stop) when calling X: enough\\n' >&2; exit 254 ;;
esac
"""


class Shell:
    """A copy of the project, and its scripts with the `aws` above."""

    def __init__(self, copy: Path, folder: Path) -> None:
        self.copy, self.calls = copy, folder / "calls"
        (folder / "bin").mkdir()
        (folder / "bin/aws").write_text(AWS)
        (folder / "bin/aws").chmod(0o755)
        self.environment = aws_environment() | {"AWS_CALL_LOG": str(self.calls)}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
            del self.environment[name]
        self.environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess:
        """Run a command in the project's folder, without a terminal."""
        return subprocess.run(
            command,
            cwd=self.copy,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def eval(self, code: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
        """Run code that may use the files of scripts/lib."""
        start = f". scripts/common.sh; TEMPORARY=$PWD; CLI_ERRORS=$PWD/errors; AWS_CLI=$(type -P aws); {code}"
        return self.run("bash", "-euo", "pipefail", "-c", start, "scripts/x.sh", *arguments, **settings)


@pytest.fixture
def shell(copy, tmp_path) -> Shell:
    return Shell(copy, tmp_path)


@pytest.fixture
def local_stack(shell) -> Iterator[str]:
    """The endpoint of a local stack, whose run_local.sh lives."""
    endpoint = "http://127.0.0.1:4599"
    run = subprocess.Popen(["bash", "-c", "sleep 600 & wait # scripts/run_local.sh"], start_new_session=True)
    (shell.copy / ".local").mkdir()
    (shell.copy / ".local/simulated.pid").write_text(str(run.pid))
    variables = f"AWS_ENDPOINT_URL={endpoint} AWS_ACCESS_KEY_ID=test AWS_REGION=us-east-1"
    (shell.copy / ".local/env").write_text(f"# --source simulated\nexport {variables}\n")
    yield endpoint
    os.killpg(run.pid, 9)
    run.wait()


def test_script_run_by_sh_says_that_it_needs_bash(shell):
    for script in sorted((shell.copy / "scripts").glob("*.sh")):
        if script.name != "common.sh":
            done = shell.run("sh", f"scripts/{script.name}")
            line = f"error: this script needs bash: bash scripts/{script.name}\n"
            assert (done.returncode, done.stderr) == (2, line)


def test_local_stack_is_used_with_its_flag_whatever_credentials_there_are(shell, local_stack):
    shell.run("scripts/alerts.sh", "list", "--local", KEYS="AKIA")
    assert f"--endpoint-url {local_stack} sts get-caller-identity" in shell.calls.read_text()


def test_local_stack_beside_no_credentials_is_used_and_said(shell, local_stack):
    done = shell.run("scripts/query.sh", "latest_quotes")
    assert "about the local stack" in done.stderr
    assert f"--endpoint-url {local_stack} sts get-caller-identity" in shell.calls.read_text()


@pytest.mark.parametrize("script", ["doctor.sh", "setup.sh", "cleanup.sh", "redrive.sh"])
def test_local_stack_beside_credentials_asks_which_one_is_meant(shell, local_stack, script):
    done = shell.run(f"scripts/{script}", KEYS="AKIA")
    assert done.returncode == 1
    assert done.stderr.endswith("say which stack you mean, --local or --aws\n")
    assert "sts" not in shell.calls.read_text()


def test_aws_is_used_with_its_flag_beside_a_local_stack(shell, local_stack):
    shell.run("scripts/alerts.sh", "list", "--aws", KEYS="AKIA")
    (call,) = [line for line in shell.calls.read_text().splitlines() if "sts" in line]
    assert call.startswith("sts get-caller-identity")


def test_local_flag_without_a_local_stack_names_run_local(shell):
    (shell.copy / ".local").mkdir()
    (shell.copy / ".local/env").write_text("# --source simulated\n")  # of a run that was killed
    (shell.copy / ".local/simulated.pid").write_text("1")
    done = shell.run("scripts/doctor.sh", "--local")
    assert done.returncode == 1
    assert "no local stack is up: start scripts/run_local.sh" in done.stderr
    assert not shell.calls.exists()


def test_region_of_aws_configure_that_does_not_count_is_said(shell):
    code = "get_identity() { REPLY=$'000000000000\\tarn:aws:iam::000000000000:user/u'; }; start_session"
    said = shell.eval(code, CONFIGURED_REGION="eu-west-1").stderr
    assert (
        "aws configure names the region eu-west-1, which does not count here: set AWS_REGION=eu-west-1"
        in said
    )
    assert "configure" not in shell.eval(code, CONFIGURED_REGION="us-east-1").stderr
    assert "configure" not in shell.eval(code, CONFIGURED_REGION="eu-west-1", AWS_REGION="us-east-1").stderr


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("DELAY_SECONDS", "30s", "DELAY_SECONDS=30s: expected a number of seconds above 0"),
        ("DELAY_SECONDS", "0", "DELAY_SECONDS=0: expected a number of seconds above 0"),
        ("STOCK_SYMBOLS", "AAPL;MSFT", "expected symbols as Yahoo writes them"),
    ],
)
def test_setting_of_the_producer_is_checked_by_the_scripts_too(shell, setting, value, words):
    done = shell.eval("load_settings", **{setting: value})
    assert done.returncode == 1
    assert words in done.stderr


def test_white_space_around_a_value_is_no_part_of_it(shell):
    settings = {"STREAM_NAME": "ticks ", "DELAY_SECONDS": " 5 ", "STOCK_SYMBOLS": " AAPL, MSFT "}
    done = shell.eval(
        'load_settings; printf "[%s]" "$STREAM_NAME" "$DELAY_SECONDS" "$STOCK_SYMBOLS"', **settings
    )
    assert done.stdout == "[ticks][5][AAPL, MSFT]"


def test_doctor_of_a_quoted_value_with_a_space_at_its_end_has_nothing_to_say(shell):
    (shell.copy / ".env").write_text('STREAM_NAME="ticks "\n')
    (shell.copy / ".env.example").write_text("STREAM_NAME=x\n")
    done = shell.run("python3", "scripts/lib/doctor/env.py", ".env", ".env.example")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_doctor_on_the_emulator_counts_nothing_that_it_cannot_know(shell):
    code = r"""require_lib doctor/data; load_settings
        call() { REPLY=$'incoming\t0.0\tNone\nrejects\t0.0\tNone\nalerts\t0.0\tNone'; }
        check_metrics"""
    assert shell.eval(code).stdout.startswith("ok     last hour: 0 records came in")
    local = shell.eval(code, AWS_ENDPOINT_URL="http://127.0.0.1:4566").stdout
    assert local.startswith("note   last hour: not known")


@pytest.mark.parametrize(
    ("hours", "state"), [((1, 30), "WRONG"), ((30,), "note"), ((), "ok")], ids=["new", "old", "none"]
)
def test_reject_is_wrong_for_a_day_and_then_a_note(shell, hours, state):
    now = datetime.now(UTC)
    times = " ".join((now - timedelta(hours=age)).isoformat(timespec="seconds") for age in hours)
    code = f"""require_lib doctor/stuck; BUCKET_NAME=b; exists() {{ true; }}
        days=0; call() {{ REPLY=''; ((days++)) || REPLY=$(printf '%s\\n' {times or "None"}); }}
        check_rejects"""
    assert shell.eval(code).stdout.startswith(state)


def test_query_of_a_symbol_in_small_letters_is_told_of_capitals(shell):
    code = (
        "require_lib archive/athena; BUCKET_NAME=b; call() { REPLY=1; }; explain_nothing days=7 symbol=aapl"
    )
    done = shell.eval(code)
    assert done.stderr.endswith("symbols are in capitals, so try --param symbol=AAPL\n")


def test_clean_up_asks_with_account_and_region(shell):
    done = shell.eval(
        "source <(sed -n '/^confirm/,/^}/p' scripts/cleanup.sh); ACCOUNT_ID=1234 AWS_REGION=eu-west-1 confirm"
    )
    assert "In account 1234, region eu-west-1. Type stock-market-streaming to delete it: " in done.stderr
    assert done.stderr.endswith("error: not confirmed: nothing was deleted\n")


def test_end_of_a_set_up_names_commands_that_work_here(shell):
    code = "require_lib resources/summary; load_settings; print_summary"
    said = shell.eval(code, STOCK_SYMBOLS="MSFT,AAPL", AWS_REGION="eu-west-1").stdout
    steps = [line.strip() for line in said.partition("Next, in this folder:\n")[2].splitlines()]
    assert steps[:2] == [
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        ".venv/bin/python stream_stock_data.py --backfill 60",
    ]
    assert '{":s": {"S": "MSFT"}}' in said
    assert "aws dynamodb query --region eu-west-1 --table-name stock-market-data" in said
    (shell.copy / ".venv/lib/python3.13/site-packages/yfinance").mkdir(parents=True)
    assert "pip install -r requirements.txt" not in shell.eval(code).stdout
    assert "Next" not in shell.eval(code, AWS_ENDPOINT_URL="http://127.0.0.1:4566").stdout


def test_columns_of_the_summary_stand_below_each_other(shell):
    rows = shell.eval(
        "require_lib resources/summary; load_settings; print_summary", LC_ALL="C"
    ).stdout.splitlines()
    rows = rows[: rows.index(next(row for row in rows if row.startswith("Idle")))]
    assert len({len(row) for row in rows}) == 1


def test_kept_state_says_how_to_use_it_and_where_it_goes_on(shell):
    code = """require_lib local/run_folder
        open_run_folder simulated yes; mark_run_folder yes; close_run_folder; release_locks
        open_run_folder simulated yes; release_locks; open_run_folder simulated ''"""
    goes_on = "going on from what an earlier run kept in .local/simulated"
    assert shell.eval(code).stderr.splitlines() == [
        "kept in .local/simulated: scripts/run_local.sh --source simulated --keep goes on from there",
        goes_on,
        f"{goes_on}. It is removed at the end, because there is no --keep",
    ]


def test_second_subscriber_is_told_how_the_first_one_ends(shell):
    code = """require_lib resources/subscriptions; call_unless() { true; }
        ensure_subscription topic "$1"$'\\tother\\tarn:aws:x' "$1" mine '{}'"""
    assert "mail" not in shell.eval(code, "sqs").stderr
    assert "the link in each mail" in shell.eval(code, "email").stderr


def test_monitoring_of_the_emulator_has_no_link_to_the_console(shell):
    code = """require_lib monitoring/report; load_settings; FIND_MONITORING=(true)
        OPERATIONS_TOPIC_ARN=x; list_subscriptions() { REPLY=''; }; : >found-alarm; print_monitoring"""
    assert "region=us-east-1#dashboards/dashboard/stock-market-streaming" in shell.eval(code).stdout
    assert "console.aws.amazon.com" not in shell.eval(code, AWS_ENDPOINT_URL="http://127.0.0.1:4566").stdout


@pytest.mark.parametrize(
    ("kind", "buckets", "words"),
    [
        (
            "table",
            "",
            "table mine: you may not read its tags: get the permission dynamodb:ListTagsOfResource",
        ),
        ("bucket", "mine", "bucket mine: you may not read its tags: get the permission s3:GetBucketTagging"),
        ("bucket", "None", "bucket mine: belongs to another account: choose another BUCKET_NAME in .env"),
    ],
)
def test_doctor_tells_a_missing_permission_from_a_bucket_of_another_account(shell, kind, buckets, words):
    code = f"require_lib doctor/resources; state_of() {{ printf hidden; }}; call() {{ REPLY={buckets}; }}"
    assert words in shell.eval(f"{code}; check_resource {kind} mine true").stdout
