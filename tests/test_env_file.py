"""Both readers of .env, the producer's and the scripts', accept the same files and give the same errors."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from helpers.checkout import ROOT
from stream_stock_data import CannotRun, load_settings

NAMES = ("A", "B", "export")
SPACE = "holds white space that is neither a space nor a tab"
QUOTES = "the quotes do not match, or hold a backslash"
ACCEPTED = [
    ("", {}),
    ("\n\n# A=1\n  \t# B=2\n", {}),
    ("A=1", {"A": "1"}),
    ("A=1\nB=2\n", {"A": "1", "B": "2"}),
    ("A=", {"A": ""}),
    (" \tA\t= 1 \t", {"A": "1"}),
    ("export A=1\nexport\tB = 2", {"A": "1", "B": "2"}),
    ("\ufeffA=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
    ("A=1 # why\nB=a#b", {"A": "1", "B": "a#b"}),
    ("A=#1\nB= # why", {"A": "#1", "B": ""}),
    ("A='one # two'  # why\nB=\" three \"#why", {"A": "one # two", "B": " three "}),
    ("A=''\nB=\"\"", {"A": "", "B": ""}),
    ("A=it's\nB=5\" wide", {"A": "it's", "B": '5" wide'}),
    ("A=a=b==\nB=c:\\new\\table", {"A": "a=b==", "B": "c:\\new\\table"}),
    ("A=$HOME\nB=${A:-x}", {"A": "$HOME", "B": "${A:-x}"}),
    ("A='$A'\nB=\"$(touch hacked)`touch hacked`\"", {"A": "$A", "B": "$(touch hacked)`touch hacked`"}),
    ("A=; rm -rf *\nB=* ? [a-z] ~", {"A": "; rm -rf *", "B": "* ? [a-z] ~"}),
    ("A=josé\nB=株式 市場", {"A": "josé", "B": "株式 市場"}),
    (b"A=jos\xe9", {"A": "jos\udce9"}),
    ("A=1\nB=$A\nA_=2", {"A": "1", "B": "$A"}),
]
REFUSED = [
    ("A=1\nB=2\n\nA=3", ", line 4: A is set already, in line 1"),
    ("B=2\nexport A=\nA=1", ", line 3: A is set already, in line 2"),
    ("A=1\nA=1\nA=1", ", line 2: A is set already, in line 1"),
    ("# fine\nthis is no setting", ", line 2: expected NAME=value"),
    ("A", ", line 1: expected NAME=value"),
    ("export A", ", line 1: expected NAME=value"),
    ("=1", ", line 1: expected NAME=value"),
    ("A B=1", ", line 1: expected NAME=value"),
    ("2A=1", ", line 1: expected NAME=value"),
    ("A-B=1", ", line 1: expected NAME=value"),
    ("'A'=1", ", line 1: expected NAME=value"),
    ("Ä=1", ", line 1: expected NAME=value"),
    ("$(touch hacked)=1", ", line 1: expected NAME=value"),
    ("export=1", ", line 1: expected NAME=value"),
    ("export =1", ", line 1: expected NAME=value"),
    ("A=1\n\ufeffB=2", ", line 2: expected NAME=value"),
    ("A=1\nB='open", f", line 2: {QUOTES}"),
    ('A="open\nB=2"', f", line 1: {QUOTES}"),
    ("A='it\\'s'", f", line 1: {QUOTES}"),
    ('A="a\\tb"', f", line 1: {QUOTES}"),
    ("A='a' b", f", line 1: {QUOTES}"),
    ("A='a''b'", f", line 1: {QUOTES}"),
    ("A=1\rB=2\n", f", line 1: {SPACE}"),
    ("A=1\r\r\n", f", line 1: {SPACE}"),
    ("A=1\n# a\x0bb", f", line 2: {SPACE}"),
    ("A=1\xa0# why", f", line 1: {SPACE}"),
    ("A=1\u2003", f", line 1: {SPACE}"),
    ("A=1\n\u3000B=2", f", line 2: {SPACE}"),
    ("A=1\x85", f", line 1: {SPACE}"),
    ("A=1".encode("utf-16"), ": holds a NUL byte, save it as UTF-8"),
    ("A=1\nB=\x002", ": holds a NUL byte, save it as UTF-8"),
]
SHOW = """
source "$0/scripts/common.sh"
trap - EXIT
for file in "$@"; do
  (
    read_env_file "$file"
    for name in A B export; do [[ -z ${!name+set} ]] || printf '%s=%s\\n' "$name" "${!name}"; done
  ) 2>&1 || :
  printf '\\0'
done
"""


def scripts_read(*paths: Path) -> list[str]:
    """What the scripts' reader makes of each file: lines NAME=value, or its error."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-euc", SHOW, str(ROOT), *map(str, paths)],
        env=environment,
        capture_output=True,
        check=True,
    )
    return os.fsdecode(done.stdout).split("\0")[:-1]


def producer_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same of the producer's reader."""
    with monkeypatch.context() as patch:
        for name in NAMES:
            patch.setenv(name, "")  # restored afterwards
            patch.delenv(name)
        try:
            load_settings(path)
        except CannotRun as error:
            return f"error: {error}\n"
        return "".join(f"{name}={os.environ[name]}\n" for name in NAMES if name in os.environ)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("text", "settings"), ACCEPTED)
def test_read_env_file_and_load_settings_accept_the_same_lines(tmp_path, monkeypatch, text, settings):
    path = written(tmp_path, text)
    expected = "".join(f"{name}={value}\n" for name, value in settings.items())
    assert producer_reads(path, monkeypatch) == expected
    assert scripts_read(path) == [expected]


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_read_env_file_and_load_settings_refuse_the_same_lines(tmp_path, monkeypatch, text, problem):
    path = written(tmp_path, text)
    expected = f"error: {path}{problem}\n"
    assert producer_reads(path, monkeypatch) == expected
    assert scripts_read(path) == [expected]


def test_read_env_file_and_load_settings_agree_on_random_files(tmp_path, monkeypatch):
    dice = random.Random(20261122)
    beginnings = ["A=", "A=", "B=", "B=", "export B = ", "A\t=\t", "#", "", " ", "export=", "A"]
    pieces = [*"x'\"# \t\\$=\r", "a b", "é", "'x'", '"x"', "'", " #", "\xa0", "\u2028", "\ufeff"]
    paths = []
    for number in range(600):
        lines = [
            dice.choice(beginnings) + "".join(dice.choices(pieces, k=dice.randint(0, 3)))
            for _ in range(dice.randint(1, 3))
        ]
        paths.append(tmp_path / f"{number}.env")
        paths[-1].write_bytes(dice.choice(["\n", "\r\n"]).join(lines).encode())
    verdicts = [producer_reads(path, monkeypatch) for path in paths]
    assert scripts_read(*paths) == verdicts
    refused = sum(verdict.startswith("error") for verdict in verdicts)
    assert 100 < refused < 500


@pytest.mark.parametrize("read", ["scripts", "producer"])
def test_variable_of_the_environment_wins_over_the_file(tmp_path, monkeypatch, read):
    path = written(tmp_path, "A=theirs\nB=theirs\n")
    monkeypatch.setenv("A", "")
    monkeypatch.setenv("B", "ours")
    if read == "producer":
        load_settings(path)
        assert [os.environ[name] for name in ("A", "B")] == ["", "ours"]
    else:
        show = 'source "$0/scripts/common.sh"; read_env_file "$1"; printf "%s\\n" "$A" "$B"'
        output = subprocess.run(["bash", "-euc", show, str(ROOT), str(path)], capture_output=True, text=True)
        assert output.stdout.splitlines() == ["", "ours"]
