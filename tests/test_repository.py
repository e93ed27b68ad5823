"""The files that people and services expect in a repository, held against what is really here."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from streamlit import config

from helpers.checkout import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
DEPENDABOT = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
DEV_CONTAINER = json.loads(COMMENT.sub("", (ROOT / ".devcontainer/devcontainer.json").read_text()))
JOBS = sorted(WORKFLOW["jobs"])


def commands_of(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_licence_is_mit_of_the_authors():
    first, _, holder, *rest = (ROOT / "LICENSE").read_text().splitlines()
    assert first == "MIT License"
    assert re.fullmatch(r"Copyright \(c\) 20\d\d the stock-market-streaming authors", holder)
    assert any("without restriction" in line for line in rest)


def test_page_on_contributing_names_each_room_of_the_scripts():
    (row,) = re.findall(r"^\| `scripts/lib/` \| .*", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    rooms = {path.name for path in (ROOT / "scripts/lib").iterdir() if list(path.glob("*.*"))}
    assert set(re.findall(r"`(\w+)`", row)) == rooms


def test_changelog_has_the_sections_of_keep_a_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.*)", text, re.MULTILINE)[0] == "[Unreleased]"
    kinds = re.findall(r"^### (.*)", text, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_workflow_has_no_more_rights_than_to_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in WORKFLOW["jobs"].values())


@pytest.mark.parametrize("job", JOBS)
def test_workflow_runs_on_the_pythons_that_the_readme_names(job):
    oldest, newest = re.search(r"3\.(\d+)\s+to\s+3\.(\d+)", (ROOT / "README.md").read_text()).groups()
    pythons = [f"3.{minor}" for minor in range(int(oldest), int(newest) + 1)]
    assert WORKFLOW["jobs"][job]["strategy"]["matrix"]["python"] == pythons


def test_workflow_runs_on_linux_and_macos():
    assert {job["runs-on"] for job in WORKFLOW["jobs"].values()} == {"ubuntu-latest", "macos-latest"}


@pytest.mark.parametrize("job", JOBS)
def test_workflow_uses_actions_by_their_major_version_and_commands_that_exist(job):
    uses = [step["uses"] for step in WORKFLOW["jobs"][job]["steps"] if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in uses)
    ours = re.findall(r"(?:scripts|\.ci)/\S+", " ".join(commands_of(job)))
    assert ours
    assert all((ROOT / command).stat().st_mode & 0o111 for command in ours)


def test_tests_left_out_on_macos_are_those_that_a_further_python_leaves_out():
    (command,) = [command for command in commands_of("macos") if "test.sh" in command]
    left_out = shlex.split(command)[-1]
    assert f"scripts/test.sh\" -m '{left_out}'" in (ROOT / ".ci/run").read_text()


def test_dependabot_looks_where_requirements_and_actions_are():
    folders = {each["package-ecosystem"]: each for each in DEPENDABOT["updates"]}
    assert set(folders) == {"pip", "github-actions"}
    assert all(list(ROOT.glob(f"{folder[1:]}/*.txt".lstrip("/"))) for folder in folders["pip"]["directories"])


def test_dev_container_installs_what_run_local_needs_and_shows_its_page():
    installed = re.findall(r"-r (\S+)", DEV_CONTAINER["postCreateCommand"])
    assert installed[0] == "requirements/local.txt"
    assert all((ROOT / file).is_file() for file in installed)
    (port,) = re.findall(
        r"^DASHBOARD_PORT=(\d+)", (ROOT / "scripts/lib/local/dashboard.sh").read_text(), re.M
    )
    assert DEV_CONTAINER["forwardPorts"] == [int(port)]
    assert list(DEV_CONTAINER["portsAttributes"]) == [port]


def test_dev_container_uses_a_python_that_is_tested_and_settings_that_streamlit_has():
    assert (
        DEV_CONTAINER["image"].rpartition(":")[2] in WORKFLOW["jobs"]["linux"]["strategy"]["matrix"]["python"]
    )
    known = {option.env_var for option in config.get_config_options().values()}
    assert set(DEV_CONTAINER["containerEnv"]) <= known
