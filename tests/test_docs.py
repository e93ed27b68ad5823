"""README and docs/ as a reader uses them: links lead somewhere, commands work and print what is shown.

A command runs here, in a clean copy and against one run of the local stack, unless it needs Yahoo, an account
or minutes. Then its script, its files and its flags are looked up. New pages fall under this by themselves.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from helpers import pages
from helpers.checkout import ROOT, load_module
from helpers.local_run import make_venv, running
from helpers.pages import PAGES, Command

GUIDES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "SECURITY.md")]
LOCAL_RUN = ("--source", "simulated", "--symbols", "AAPL,MSFT")

# The programs that run here, as a page calls them …
SCRIPTS = "alerts|deploy_lambdas|doctor|query|redrive|setup"
RUNS = rf"(aws|awk|cat|cp|export|python3|sed|\.venv/bin/python|\./scripts/({SCRIPTS})\.sh)(?!\S)"
# … but for these commands, each with its reason. All others are only looked up.
RUNS_NOT = {
    r"aws (configure|sso|ec2|ssm)": "asks for credentials, or is about a machine in the cloud",
    r"bench/": "takes minutes, and has tests of its own",
    r"stream_stock_data\.py(?!.*--dry-run)": "asks Yahoo, or goes on until Ctrl-C",
    r"-m (pip|venv)": "installs packages",
    r"subscribe (?!sqs)": "needs a mailbox, a phone or a chat",
    r"https?://|YOUR|ADDRESS|NUMBER": "is a form to be filled in",
}
ANY_COMMAND = {"--output", "--query", "--region", "--profile", "--max-items"}  # flags of each command of AWS


def without_variables(text: str) -> str:
    """A command without the variables that are set for it."""
    return re.sub(r"^(\w+=\S* )+", "", text)


def runs_here(command: Command) -> bool:
    text = without_variables(command.text)
    return bool(re.match(RUNS, text)) and not any(re.search(pattern, text) for pattern in RUNS_NOT)


# --- Links and files --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page_links_only_to_what_is_there(page):
    for link in pages.links(page):
        if not re.match(
            r"https?://|mailto:|(\.\./)+(actions|security)", link
        ):  # the last: pages of GitHub's own
            target, _, anchor = link.partition("#")
            file = (ROOT / page).parent / target if target else ROOT / page
            assert file.exists(), link
            assert not anchor or anchor in pages.anchors(file.resolve().relative_to(ROOT)), link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page_names_only_files_that_are_there(page):
    rooms = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"]
    name = rf"(?<!\S)(?:\./)?((?:{'|'.join([*rooms, '.ci', '.github', '.devcontainer'])})/[\w./*-]+)(?!\S)"
    for code in pages.inline_code(page):
        for file in re.findall(name, code):
            assert list(ROOT.glob(file)), code


# --- Commands that are looked up --------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words of a command, without redirections and here-documents."""
    return shlex.split(re.sub(r"<<'\w+'.*|[<>]+ ?\S+", "", without_variables(text), flags=re.DOTALL))


@cache
def help_of(program: str) -> str:
    """What a program of this project says about its flags."""
    if program == "stream_stock_data.py" or program.startswith("scripts/"):
        asked = [*([sys.executable] if program.endswith(".py") else []), ROOT / program, "--help"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    text = (ROOT / program).read_text()
    return text if program.endswith(".py") else text.split("\nset -euo", 1)[0]


def look_up(command: str) -> None:
    """Fail unless the programs and files of a command are there, and take its flags."""
    for part in re.split(r" && | \| ", command):
        words = words_of(part)
        if re.fullmatch(r"(\.venv/bin/)?python3?", words[0]) and words[1].endswith(".py"):
            words.pop(0)
        program = words[0].removeprefix("./")
        if program.startswith(("scripts/", "bench/", ".ci/")) or program.endswith(".py"):
            assert (ROOT / program).is_file(), f"{command}: no {program}"
            for flag in re.findall(r"(?<!\S)--[a-z][\w-]*", part):
                assert re.search(rf"{flag}(?![\w-])", help_of(program)), f"{command}: no {flag}"
        for word in words[1:]:
            if re.match(r"(sample_data|tests|requirements|athena|lambdas)/|requirements.txt", word):
                assert (ROOT / word).exists(), f"{command}: no {word}"


@pytest.mark.parametrize("page", GUIDES, ids=str)
def test_commands_of_a_page_have_programs_files_and_flags_that_exist(page):
    for command in pages.commands(page):
        look_up(command.text)
    for code in pages.inline_code(page):
        if (
            re.match(r"(\./)?(scripts|bench)/\w+\.\w+ |(\.venv/bin/)?python3? \S+\.py", code)
            and "…" not in code
        ):
            look_up(code)


def test_commands_of_aws_take_the_flags_that_the_pages_show():
    words = [words_of(command.text) for page in GUIDES for command in pages.commands(page)]
    asked = {
        " ".join(each[1:3]): {word for word in each if word.startswith("--")}
        for each in words
        if each[0] == "aws" and each[1] not in ("configure", "s3", "sso")
    }
    tool = [sys.executable, ROOT / "tests/helpers/cli_arguments.py"]
    answer = subprocess.run(tool, input=json.dumps(list(asked)), capture_output=True, text=True, check=True)
    known = json.loads(answer.stdout)
    assert set(known) == set(asked)
    assert {name: flags - set(known[name]) - ANY_COMMAND for name, flags in asked.items()} == {
        name: set() for name in asked
    }


@pytest.mark.parametrize(
    "script", sorted({path.name for path in (ROOT / "scripts").glob("*.sh")} - {"common.sh"})
)
def test_each_flag_of_a_script_stands_in_its_help(script):
    code = (ROOT / "scripts" / script).read_text().split("\nset -euo", 1)[-1]
    cases = re.findall(r"^ +(?:\S+ \| )*--[a-z].*?\)", code, re.MULTILINE)
    flags = set(re.findall(r"--[a-z][\w-]*", " ".join(cases))) - {"--help"}
    assert flags <= set(re.findall(r"--[a-z][\w-]*", help_of(f"scripts/{script}")))


# --- Commands that run ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory, quick_cli):
    """A clean copy in which the local stack runs and has alerted, that run, and a note of what has run."""
    root = tmp_path_factory.mktemp("docs") / "copy"
    leave_out = (".git", ".venv", ".env", ".local", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*leave_out))
    make_venv(root)
    (root / "symbols.txt").write_text("AAPL\nMSFT\n")  # a watchlist, which pages take for the reader's own
    shutil.copy(quick_cli / "aws", root / ".venv/bin/aws")
    with running(root, *LOCAL_RUN, "--delay", "0.3", "--no-dashboard") as run:
        run.wait_for(r"ALERT ")
        yield root, run, {}


def masked(line: str) -> str:
    """A line without what differs from run to run: numbers, times, and which symbol has which signal."""
    line = re.sub(r"[+-]?\d[\d,.:]*", "#", line.strip())
    line = re.sub(r"\b(BUY|SELL|ANOMALY)\b", "SIGNAL", re.sub(r"\b(AAPL|MSFT)\b", "SYMBOL", line))
    return re.sub(r"\s+", " ", line)


def assert_shown(shown: tuple[str, ...], printed: str) -> None:
    """Fail unless a page's lines were printed, in this order. An ellipsis stands for anything."""
    lines = iter([masked(line) for line in printed.splitlines()])
    for line in shown:
        if re.match(r"(making|installing|installed) ", line):
            continue  # the copy has its packages
        pattern = re.sub(r"(\\ )?…", ".*", re.escape(masked(line)))
        found = line.strip() == "…" or any(re.fullmatch(pattern, each) for each in lines)
        assert found, f"{line!r} is not in:\n{printed}"


def run_as_reader(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a command. A reader who lists objects does so until they are there: the functions take a moment."""
    environment = {"HOME": "/nonexistent", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    lists, deadline = "aws s3 ls" in command.rpartition("\n")[2], time.monotonic() + 60
    while True:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode == 0 or not lists or time.monotonic() > deadline:
            return done
        time.sleep(0.2)


def pages_that_run() -> list[Path]:
    return [page for page in GUIDES if any(runs_here(command) for command in pages.commands(page))]


@pytest.mark.emulator
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", pages_that_run(), ids=str)
def test_commands_of_a_page_work_and_print_what_it_shows(stack, page):
    root, run, ran_for = stack
    exports = re.search(r"^ +(source \S+)", run.text, re.MULTILINE)[1]
    for command in pages.commands(page):
        if not runs_here(command) or ran_for.setdefault(command.text, page) != page:
            continue  # the second case: another page has run it
        if command.text.startswith("export "):
            exports += f"\n{command.text}"
        done = run_as_reader(f"{exports}\n{command.text}", root)
        well = (0, 1) if "doctor.sh" in command.text else (0,)  # 1: something is WRONG, as the page says
        assert done.returncode in well, f"{command.text}\n{done.stdout}{done.stderr}"
        assert_shown(command.shown, done.stdout + done.stderr)


@pytest.mark.emulator
@pytest.mark.xdist_group("docs")
def test_local_run_prints_what_the_readme_shows(stack):
    _, run, _ = stack
    all_shown = [
        each for each in pages.commands(Path("README.md")) if each.shown and "run_local" in each.text
    ]
    assert all_shown
    for command in all_shown:
        assert command.text.split()[1:] == list(LOCAL_RUN)
        assert_shown(command.shown, run.text)


@pytest.mark.emulator
@pytest.mark.xdist_group("docs")
def test_picture_of_the_terminal_has_lines_that_are_printed(stack):
    _, run, _ = stack
    drawn = re.findall(r"<text .*?>(.*)</text>", (ROOT / "docs/terminal.svg").read_text())
    command, *lines = map(html.unescape, drawn)
    assert command.split()[2:] == list(LOCAL_RUN)
    printed = {masked(line) for line in run.lines}
    assert [line for line in lines if masked(line) not in printed] == []


# --- What is counted, listed and drawn --------------------------------------------------------------


def test_page_on_athena_lists_each_query_with_its_parameters():
    page = pages.read(Path("docs/athena.md"))
    listed = {}
    for names, parameters in re.findall(r"^\| (`\w+`.*?) \| (.*) \|$", page, re.MULTILINE):
        listed |= dict.fromkeys(re.findall(r"`(\w+)`", names), re.findall(r"`(\w+)`", parameters))
    found = {}
    for file in (ROOT / "athena").glob("*.sql"):
        line = re.search(r"^-- Parameters: (.*)", file.read_text(), re.MULTILINE)
        found[file.stem] = re.findall(r"(\w+)(?:=\S+)?(?:, |$)", line[1]) if line else []
    assert listed == {name: parameters for name, parameters in found.items() if name != "stock_ticks"}


@pytest.mark.parametrize(("short", "long", "words"), [(5, 20, "first one counts"), (3, 8, "second one")])
def test_crossovers_of_the_replayed_year_are_as_many_as_the_page_says(short, long, words):
    said = re.search(rf"{words} (\d+) BUY and (\d+) SELL", pages.read(Path("docs/next-steps.md")))
    close = pd.read_csv(ROOT / "sample_data/AAPL.csv")["close"]
    above = close.rolling(short).mean() > close.rolling(long).mean()
    crossed = above.ne(above.shift()) & (close.index >= long)
    assert said.groups() == (str(sum(crossed & above)), str(sum(crossed & ~above)))


def test_picture_of_crossovers_is_what_its_script_draws():
    script = load_module("docs/crossover.py")
    assert (ROOT / "docs/crossover.svg").read_text() == script.draw(script.read_closes())


@pytest.mark.parametrize("flag", ["--source websocket", "--symbols-file", "--seed", "--keep-data"])
def test_readme_names_the_flags_that_are_looked_for(flag):
    assert flag in pages.read(Path("README.md"))


def test_readme_is_short_enough_to_be_read():
    assert len(pages.read(Path("README.md")).splitlines()) <= 220


def test_symptoms_in_the_readme_are_words_of_the_programs_that_a_test_provokes():
    section = pages.read(Path("README.md")).partition("\n## Trouble\n")[2].partition("\n## ")[0]
    seen = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)  # the first column
    symptoms = [words for cell in seen for words in re.findall(r"`([^`]+)`", cell)]
    assert len(symptoms) > 5
    folders = ("scripts", "lambdas", "sources", "dashboard_parts")
    files = [file for name in folders for file in (ROOT / name).rglob("*.*")]
    programs = [file for file in files if file.suffix in (".sh", ".py")]
    tests = set((ROOT / "tests").glob("test_*.py")) - {Path(__file__)}
    for files in ([*programs, *ROOT.glob("*.py")], tests):
        said = "\n".join(file.read_text() for file in files)
        for symptom in symptoms:  # numbers and names are filled in
            words = re.split(r"\d+|simulated", symptom)
            assert all(word.strip() in said for word in words if len(word.strip()) > 3), symptom
