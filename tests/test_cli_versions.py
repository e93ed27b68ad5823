"""Each command that the scripts run is known, with its flags, to AWS CLI v1 (in .venv) and to v2 from 2.9.

Commands come from a dry run on AWS and from the journey on moto's server. What v1 takes, its own modules
say; what v2 takes is in cli_v2_flags.json, written by the Python of AWS CLI 2.9.19 (the oldest that doctor.sh
lets pass is 2.9):

    python3 tests/helpers/cli_arguments.py < list_of_commands.json
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from helpers.checkout import ROOT
from helpers.emulator import aws_environment
from helpers.journey import Journey
from helpers.project_copy import Project, copy_project

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("journey")]
HELPERS = ROOT / "tests/helpers"
V2 = json.loads((HELPERS / "cli_v2_flags.json").read_text())
GLOBAL = {
    "--cli-connect-timeout",
    "--cli-read-timeout",
    "--endpoint-url",
    "--no-paginate",
    "--output",
    "--query",
}
# What only a slow deletion, a tag of something gone, the doctor of chats, or a bucket of another name needs.
SELDOM = """
dynamodb wait table-not-exists --table-name x
kinesis wait stream-not-exists --stream-name x
logs filter-log-events --log-group-name x --start-time 0 --filter-pattern x
s3api get-bucket-location --bucket x
sqs get-queue-url --queue-name x
"""
ABSENT = "ResourceNotFoundException NoSuchBucket NotFound NoSuchEntity EntityNotFoundException"
ABSENT += " InvalidRequestException ParameterNotFound"
# An `aws` whose account is empty.
EMPTY = f"""#!/bin/sh
echo "$*" >>"$AWS_CALL_LOG"
case "$*" in
*get-caller-identity*) printf '123456789012\\tarn:aws:iam::123456789012:user/u\\n' ;;
*list-named-queries* | *list-event-source-mappings*) echo None ;;
*) printf 'An error occurred (%s) when calling X: no\\n' {ABSENT} >&2; exit 254 ;;
esac
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory, journey) -> dict[str, list[list[str]]]:
    """All that the scripts ran or would run: "SERVICE OPERATION" and the words after it, of each time."""
    # AWS itself has more than an emulator: a bucket policy, a view, saved queries.
    folder = tmp_path_factory.mktemp("aws")
    (folder / "aws").write_text(EMPTY)
    (folder / "aws").chmod(0o755)
    environment = aws_environment()
    environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    on_aws = Journey()
    on_aws.go("dry run", Project(copy_project(folder / "project"), environment), "setup.sh", "--dry-run")
    assert on_aws.steps["dry run"].returncode == 0, on_aws.steps["dry run"].stderr

    found: dict[str, list[list[str]]] = {}
    seldom = [line.split() for line in SELDOM.split("\n") if line]
    for words in [*on_aws.commands, *journey.commands, *seldom]:
        length = 3 if words[1:2] == ["wait"] else 2
        found.setdefault(" ".join(words[:length]), []).append(words[length:])
    assert len(found) > 110
    return found


def flags(words: list[str]) -> set[str]:
    return {word for word in words if re.fullmatch(r"--[a-z][a-z0-9-]+", word)} - GLOBAL


def taken_by(python: str, commands: list[str]) -> dict[str, dict[str, str]]:
    """What a CLI takes, by the Python that has its modules: the flags of each command, and their types."""
    script = [python, str(HELPERS / "cli_arguments.py")]
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
