"""scripts/service.sh: the unit and the agent that it writes, and whether what they name runs as they say."""

from __future__ import annotations

import configparser
import fcntl
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.checkout import ROOT, load_module
from helpers.kinesis import KinesisStandIn

definition = load_module("scripts/lib/service/definition.py")
FOLDER = "my $HOME 100% checkout & <more>"
FLAGS = ["--symbols-file", "my $symbols 50%d.txt", "--delay", "0.05", "--source", "simulated", "--seed", "1"]
FILES = {
    "Linux": ".config/systemd/user/stock-market-streaming.service",
    "Darwin": "Library/LaunchAgents/stock-market-streaming.plist",
}
# All tools of the system in one: it notes how it was called, and knows whether the service runs.
TOOL = """#!/bin/sh
echo "${0##*/} $*" >>"$HOME/calls"
case "${0##*/} $*" in
  "id -un") echo me ;;
  "id -u") echo "${USER_ID:-1000}" ;;
  uname*) echo "$SYSTEM" ;;
  *show-environment | "launchctl print gui/1000") [ -z "$NO_SESSION" ] ;;
  *is-active* | "launchctl print gui/1000/"*) [ -e "$HOME/running" ] ;;
  *restart* | *bootstrap*) touch "$HOME/running" ;;
  *disable* | *bootout*) rm -f "$HOME/running" ;;
  *enable-linger*) [ -z "$NO_LINGER" ] ;;
esac
"""


class Machine:
    """A user's home, the system's tools, and a checkout with a .venv whose Python has all packages."""

    def __init__(self, folder: Path, system: str) -> None:
        self.home, self.root = folder / "home", folder / FOLDER
        self.file = self.home / FILES[system]
        tools = folder / "tools"
        for directory in (self.home / ".aws", self.root / ".venv/bin", tools):
            directory.mkdir(parents=True)
        keys = "[default]\naws_access_key_id = AKIAKEY\naws_secret_access_key = TOPSECRET\n"
        (self.home / ".aws/credentials").write_text(keys)
        for name in ("scripts", "sources"):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("stream_stock_data.py", ".env.example", "requirements.txt"):
            shutil.copy(ROOT / name, self.root)
        (self.root / FLAGS[1]).write_text("AAPL, MSFT")
        write_program(self.root / ".venv/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        for name in ("id", "uname", "systemctl", "loginctl", "launchctl", "journalctl"):
            write_program(tools / name, TOOL)
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "SYSTEM": system,
        }

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "scripts/service.sh", *arguments],
            env=self.environment | variables,
            capture_output=True,
            text=True,
        )

    def succeed(self, *arguments: str, **variables: str) -> str:
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def calls(self) -> list[str]:
        return (self.home / "calls").read_text().splitlines()


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def kinesis():
    with KinesisStandIn() as stand_in:
        yield stand_in


@pytest.fixture(params=FILES)
def machine(tmp_path, kinesis, request):
    machine = Machine(tmp_path, request.param)
    env = f"AWS_ENDPOINT_URL={kinesis.endpoint}\nHEARTBEAT_URL=http://127.0.0.1:1/TOPSECRET\n"
    (machine.root / ".env").write_text(env)
    return machine


class Manager:
    """Runs what a unit or an agent names, and decides as systemd or launchd whether it comes back."""

    def __init__(self, file: Path, environment: dict[str, str]) -> None:
        self._environment = {name: environment[name] for name in ("HOME", "PATH")}
        self.program, self.arguments, self._folder = (of_agent if file.suffix == ".plist" else of_unit)(file)

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            self.arguments,
            executable=self.program,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )


def of_agent(file: Path) -> tuple[str, list[str], str]:
    """Program, arguments and folder of a launchd agent that comes back when it fails."""
    agent = plistlib.loads(file.read_bytes())
    assert (agent["Label"], agent["RunAtLoad"]) == (file.stem, True)
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    return agent["ProgramArguments"][0], agent["ProgramArguments"], agent["WorkingDirectory"]


def of_unit(file: Path) -> tuple[str, list[str], str]:
    """Program, arguments and folder of a systemd unit that comes back when it fails, by systemd's rules."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(file.read_text())
    service = parser["Service"]
    assert (service["Restart"], parser["Install"]["WantedBy"]) == ("on-failure", "default.target")
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', service["ExecStart"].removeprefix("@"))
    words = [specified(re.sub(r"\\(.)", r"\1", word)) for word in words]
    expanded = [
        re.sub(r"\$(\$|\w+|{\w+})", lambda found: "$" if found[1] == "$" else "a variable", word)
        for word in words[1:]
    ]
    return words[0], expanded, specified(service["WorkingDirectory"])


def specified(text: str) -> str:
    return re.sub(r"%(.)", lambda found: "%" if found[1] == "%" else "a specifier", text)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_installed_service_runs_with_its_flags_and_goes_on_after_a_kill(machine, kinesis):
    said = machine.succeed("install", *FLAGS)
    assert f"installed: {machine.file}" in said
    assert machine.file.read_bytes().count(b"SECRET") == 0
    manager = Manager(machine.file, machine.environment)
    for ending, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        before = len(kinesis.records)
        process = manager.start()
        try:
            wait_for(lambda: len(kinesis.records) >= before + 4)  # noqa: B023
            process.send_signal(ending)
            assert process.wait(timeout=60) == status
        finally:
            process.kill()
    assert {tick["symbol"] for tick in kinesis.records} == {"AAPL", "MSFT"}
    (state,) = (machine.root / ".local/producer").iterdir()
    assert state.name == "local-Stock-market-stream-simulated"


def test_second_install_updates_and_remove_leaves_the_state(machine):
    machine.succeed("install", "--source", "simulated")
    state = machine.root / ".local/producer/local-Stock-market-stream-simulated"
    with (state / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the service runs
        said = machine.succeed("install", "--source", "simulated", "--delay", "7", NO_LINGER="yes")
    assert f"updated: {machine.file}" in said
    may_not_linger = (
        "it ends when you log out, and does not start at boot, until you run: sudo loginctl enable-linger me"
    )
    assert (may_not_linger in said) == (machine.environment["SYSTEM"] == "Linux")
    assert Manager(machine.file, machine.environment).arguments[-2:] == ["--delay", "7"]
    machine.succeed("status")
    machine.succeed("logs")
    assert f"removed: {machine.file}" in machine.succeed("remove")
    assert not machine.file.exists()
    assert not (machine.home / "running").exists()
    assert state.exists()
    gone = machine.run("remove")
    assert (gone.returncode, gone.stderr) == (
        1,
        "error: no service is installed: scripts/service.sh install\n",
    )


@pytest.mark.parametrize("machine", ["Linux"], indirect=True)
def test_service_of_another_checkout_is_left_alone(machine, tmp_path):
    machine.succeed("install", "--source", "simulated")
    before = machine.file.read_bytes()
    other = tmp_path / "other"
    machine.root.rename(other)
    machine.root = other
    for command in ("install", "remove", "status"):
        done = machine.run(command)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: the service runs the producer in {tmp_path / FOLDER}: use its")
    assert machine.file.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "variables", "env", "message"),
    [
        (
            [],
            {"USER_ID": "0"},
            "",
            "run this as the user whose service it is to be, not as root: without sudo",
        ),
        ([], {"NO_SESSION": "yes"}, "", r"no (systemd user )?session"),
        ([], {}, "SMA_SHORT=x\n", "SMA_SHORT=x: expected a whole number"),
        ([], {}, "no setting\n", r"\.env, line 3: expected NAME=value"),
        (
            [],
            {"AWS_PROFILE": "other", "DELAY_SECONDS": "5"},
            "",
            "AWS_PROFILE, DELAY_SECONDS: set in this shell",
        ),
        ([], {}, "STOCK_SYMBOLS=!\n", r"STOCK_SYMBOLS=.*: expected symbols as Yahoo writes them"),
        (["--symbols-file", "none.txt"], {}, "", r"none\.txt: .*No such file"),
        (["--spee", "9"], {}, "", "unrecognized arguments: --spee 9"),
    ],
)
@pytest.mark.parametrize("machine", ["Linux"], indirect=True)
def test_what_would_not_run_is_not_installed(machine, flags, variables, env, message):
    with (machine.root / ".env").open("a") as file:
        file.write(env)
    done = machine.run("install", *flags, **variables)
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr
    assert "TOPSECRET" not in done.stderr
    assert not machine.file.exists()


def test_each_setting_of_the_producer_counts_as_followed_and_others_do_not():
    check = load_module("scripts/lib/service/check.py")
    settings = set(re.findall(r'setting\("(\w+)"', (ROOT / "stream_stock_data.py").read_text()))
    assert len(settings) == 7
    followed = [*settings, "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "HTTPS_PROXY"]
    shell = dict.fromkeys([*followed, "ALERT_EMAIL", "AWS_DEFAULT_REGION"], "x")
    assert check.only_in_shell(shell, {}) == sorted(followed)
    assert check.only_in_shell(shell, shell) == []


@pytest.mark.parametrize("machine", ["Linux"], indirect=True)
def test_without_a_venv_the_command_that_makes_it_is_named(machine):
    (machine.root / ".venv/bin/python").unlink()
    done = machine.run("install")
    assert done.returncode == 1
    assert "error: .venv is missing or broken: python3 -m venv .venv && " in done.stderr


@pytest.mark.parametrize("machine", ["Linux"], indirect=True)
def test_stream_that_is_missing_is_told_before_anything_is_installed(machine, kinesis):
    kinesis.error = "ResourceNotFoundException"
    done = machine.run("install")
    assert done.returncode == 1
    assert "no such stream Stock-market-stream in us-east-1: run scripts/setup.sh" in done.stderr
    assert not machine.file.exists()


@pytest.mark.parametrize("folder", ["it's here", "a\\b", 'a"b'])
def test_path_that_systemd_cannot_run_is_refused(folder):
    with pytest.raises(SystemExit, match="whose path holds a quote or a backslash"):
        definition.unit(folder, [])


def test_control_character_in_a_flag_is_refused(tmp_path):
    file = tmp_path / "stock-market-streaming.service"
    with pytest.raises(SystemExit, match="holds a control character"):
        definition.main(file, str(tmp_path), ["--symbols", "A\nExecStartPre=/bin/true"])
    assert not file.exists()


@pytest.mark.skipif(
    not shutil.which("systemd-analyze") and os.environ.get("CI") != "true",
    reason="systemd-analyze is not installed (Debian, Ubuntu: apt-get install systemd)",
)
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    root = tmp_path / FOLDER
    (root / ".venv/bin").mkdir(parents=True)
    write_program(root / ".venv/bin/python", "#!/bin/sh\n")
    file = tmp_path / "stock-market-streaming.service"
    file.write_bytes(definition.unit(str(root), [*FLAGS, 'C:\\"x"', "${HOME}", "%h", "it's; #1"]))
    command = ["systemd-analyze", "--user", "verify", file]
    done = subprocess.run(command, capture_output=True, text=True, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert of_unit(file)[1][-4:] == ['C:\\"x"', "${HOME}", "%h", "it's; #1"]
