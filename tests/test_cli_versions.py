"""Each command that the scripts run is known, with its flags, to AWS CLI v1 (in .venv) and to v2 from 2.9.

Commands come from dry runs and from recorded runs. What v1 takes, its own modules say; what v2 takes is in
cli_v2_flags.json, written by the Python of AWS CLI 2.9.19 (the oldest that doctor.sh lets pass is 2.9):

    python3 tests/cli_arguments.py < list_of_commands.json
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from emulator import aws_environment
from project_copy import BUCKET, SUBSCRIBERS, Project, account_like, copy_project

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("cli_versions")]
HERE = Path(__file__).resolve().parent
V2 = json.loads((HERE / "cli_v2_flags.json").read_text())
GLOBAL = {
    "--cli-connect-timeout",
    "--cli-read-timeout",
    "--endpoint-url",
    "--no-paginate",
    "--output",
    "--query",
}
ABSENT = "ResourceNotFoundException NoSuchBucket NotFound NoSuchEntity EntityNotFoundException"
ABSENT += " InvalidRequestException"
# An `aws` of an account with nothing in it.
EMPTY = f"""#!/bin/sh
case "$*" in
*get-caller-identity*) echo 123456789012 ;;
*list-named-queries* | *list-event-source-mappings*) echo None ;;
*) printf 'An error occurred (%s) when calling X: no\\n' {ABSENT} >&2; exit 254 ;;
esac
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory, quick_cli, set_up_once) -> dict[str, list[list[str]]]:
    """All that the scripts ran or would run: "SERVICE OPERATION" and the words after it, of each time."""
    folder = tmp_path_factory.mktemp("versions")
    found: dict[str, list[list[str]]] = {}

    def note(words: list[str]) -> None:
        if words[0] == "--endpoint-url":
            words = words[2:]
        length = 3 if words[1:2] == ["wait"] else 2
        found.setdefault(" ".join(words[:length]), []).append(words[length:])

    def dry_run(project: Project, **settings: str) -> None:
        text = project.succeed("setup.sh", "--dry-run", **SUBSCRIBERS | settings).stdout
        words: list[str] = []
        for word in [*shlex.split(re.sub(r"^# (?=aws )", "", text, flags=re.MULTILINE)), "aws"]:
            if word == "aws" and words[:1] == ["aws"]:
                note(words[1:])
            words = [word] if word in ("aws", "export") else [*words, word]

    def run(project: Project, *script: str, **settings: str) -> None:
        project.run(*script, **SUBSCRIBERS | settings)
        for line in project.calls.read_text().splitlines():
            if " configure " not in f" {line} " and "--version" not in line:
                note(line.split())

    # AWS itself has more than an emulator: a bucket policy, a view, saved queries.
    (folder / "bin").mkdir()
    (folder / "bin/aws").write_text(EMPTY)
    (folder / "bin/aws").chmod(0o755)
    environment = aws_environment()
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    dry_run(Project(copy_project(folder / "aws"), environment))

    with account_like(set_up_once, folder, quick_cli) as project:
        client = project.client
        (mapping,) = client("lambda").list_event_source_mappings(FunctionName="ProcessStockData")[
            "EventSourceMappings"
        ]
        client("lambda").update_event_source_mapping(UUID=mapping["UUID"], BatchSize=7)
        client("s3").delete_bucket_ownership_controls(Bucket=BUCKET)
        client("s3").put_object(Bucket=BUCKET, Key="aws/lambda/x", Body=b"{}")
        handler = project.folder / "lambdas/process_stock_data.py"
        handler.write_text(handler.read_text() + "\n")
        dry_run(project, SHARD_COUNT="2", RETENTION_DAYS="3", ALERT_PHONE_SIGNALS="BUY", BUCKET_NAME="other")
        dry_run(project, STREAM_MODE="ON_DEMAND")
        run(project, "doctor.sh", STREAM_NAME="other")
        run(project, "deploy_lambdas.sh")
        run(project, "redrive.sh")
        run(project, "query.sh", "latest_quotes")
        run(project, "alerts.sh", "list")
        run(project, "alerts.sh", "subscribe", "sqs", "alerts", "--signals", "BUY")
        run(project, "alerts.sh", "test")
        run(project, "monitoring.sh", "--market-hours", "--cloudtrail", "--budget", "5")
        run(project, "cleanup.sh", "--yes")
    assert len(found) > 90
    return found


def flags(words: list[str]) -> set[str]:
    return {word for word in words if re.fullmatch(r"--[a-z][a-z0-9-]+", word)} - GLOBAL


def taken_by(python: str, commands: list[str]) -> dict[str, dict[str, str]]:
    """What a CLI takes, by the Python that has its modules: the flags of each command, and their types."""
    script = [python, str(HERE / "cli_arguments.py")]
    environment = aws_environment()
    done = subprocess.run(
        script, input=json.dumps(commands), env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_v1_knows_every_command_and_its_blobs_are_read_from_files(commands):
    known = taken_by(sys.executable, list(commands))
    for command, runs in commands.items():
        assert command in known
        for words in runs:
            assert flags(words) <= known[command].keys(), (command, words)
            for flag, value in pairwise(words):
                # v2 would take the text itself for base64.
                if known[command].get(flag) == "blob":
                    assert value.startswith("fileb://"), (command, flag)


def test_v2_knows_every_command(commands):
    for command, runs in commands.items():
        assert command in V2, f"{command}: is it in AWS CLI 2.9? Add it to cli_v2_flags.json"
        for words in runs:
            assert flags(words) <= set(V2[command]), (command, words)
            for flag, value in pairwise(words):
                if flag == "--cli-input-json" and value.endswith("}"):
                    assert parameters(value) <= set(V2[command]), (command, value)


def parameters(text: str) -> set[str]:
    """The flags that the names in a JSON input stand for."""
    return {"--" + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower() for name in json.loads(text)}


def test_the_list_for_v2_is_that_of_a_v2_of_this_machine():
    for folder in os.get_exec_path():
        aws = shutil.which("aws", path=folder)
        if aws and "aws-cli/2." in subprocess.run([aws, "--version"], capture_output=True, text=True).stdout:
            python = re.match(r"#!(\S*python\S*)", Path(aws).read_text(errors="replace"))
            if python:
                real = taken_by(python[1], list(V2))
                assert {
                    command: sorted(set(names) - set(real.get(command, {}))) for command, names in V2.items()
                } == {command: [] for command in V2}
                return
    pytest.skip("no AWS CLI v2 in Python on this machine")
