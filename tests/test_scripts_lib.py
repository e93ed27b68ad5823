"""scripts/lib: each file opens by naming the files that it needs, no more and no fewer."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from helpers.checkout import ROOT

SCRIPTS = ROOT / "scripts"
LIB = {str(path.relative_to(SCRIPTS / "lib").with_suffix("")): path for path in SCRIPTS.glob("lib/*/*.sh")}
COMMANDS = {path.name: path for path in SCRIPTS.glob("*.sh") if path.name != "common.sh"}
# A command may stand here; a label of a case may not.
COMMAND = r"(?:^ *{0}(?![\w)-])|(?:[({{;|!]|&&|\b(?:do|then|else|until|while|if)) *{0}(?![\w-]))"


@cache
def code(path: Path) -> str:
    """A script without its comments."""
    return re.sub(r"(^|\s)#.*$", "", path.read_text(), flags=re.MULTILINE)


def named(path: Path) -> set[str]:
    """The lib files that a script names: "require_lib state/survey resources/{stream,tables}"."""
    found = re.search(r"^require_lib ((?:[^\n\\]|\\\n)+)", path.read_text(), re.MULTILINE)
    words = found[1].replace("\\\n", " ").split() if found else []
    rooms = (word.split("/") for word in words)
    return {f"{room}/{name}" for room, names in rooms for name in names.strip("{}").split(",")}


def defined(path: Path) -> set[str]:
    """The functions, and the variables in capitals, that a script defines for others."""
    text = code(path)
    functions = set(re.findall(r"^(\w+)\(\)", text, re.MULTILINE))
    return functions | set(re.findall(r"^ {0,2}([A-Z][A-Z_]+)=(?!.* \\$)", text, re.MULTILINE))


def uses(path: Path, name: str) -> bool:
    """Whether a script uses a function or a variable. A name of one word may also be a word of a message."""
    text = code(path)
    if name not in text:
        return False
    if name.isupper():
        pattern = rf"\$\{{?[!#]?{name}\b"
    elif "_" in name:
        pattern = rf"(?<![\w-]){name}(?![\w-])"
    else:
        text, pattern = re.sub(r"'[^'\n]*'|\"(?:[^\"$\n]|\$[^(\n])*\"", "''", text), COMMAND.format(name)
    return re.search(pattern, text, re.MULTILINE) is not None


DEFINED = {file: defined(path) for file, path in LIB.items()}
CORE = set.union(*(names for file, names in DEFINED.items() if file.startswith("core/")))


@pytest.mark.parametrize("file", sorted(LIB | COMMANDS))
def test_script_names_each_lib_file_that_it_uses(file):
    path = (LIB | COMMANDS)[file]
    here = CORE | defined(path) | set().union(*(DEFINED[other] for other in named(path)))
    missing = {name: other for other, names in DEFINED.items() for name in names - here if uses(path, name)}
    assert missing == {}


@pytest.mark.parametrize("file", sorted(LIB))
def test_lib_file_uses_each_file_that_it_names(file):
    unused = {
        other for other in named(LIB[file]) if not any(uses(LIB[file], name) for name in DEFINED[other])
    }
    assert unused == set()


def test_no_script_is_longer_than_100_lines():
    assert [name for name, path in (LIB | COMMANDS).items() if len(path.read_text().splitlines()) > 100] == []
