"""README and the pages of docs/, taken apart: their links, their commands, and what they say these print."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.checkout import ROOT

PAGES = sorted(
    path.relative_to(ROOT) for pattern in ("*.md", "docs/*.md", "*/README.md") for path in ROOT.glob(pattern)
)
FLAGS = re.MULTILINE | re.DOTALL
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", FLAGS)
PIECE = re.compile(rf"{BLOCK.pattern}|`((?:\./scripts|\.venv/bin)/[^`]+)`", FLAGS)
HEREDOC = re.compile(r"<<'(\w+)'")


@dataclass(frozen=True)
class Command:
    """A command of a page, and the lines that the page shows below it."""

    text: str
    shown: tuple[str, ...] = ()


def read(page: Path) -> str:
    return (ROOT / page).read_text()


def commands(page: Path) -> list[Command]:
    """The commands of the page's bash blocks, and those in its text whose output it shows.

    A block without a language shows what the command before it prints, with a paragraph at most in between.
    """
    text, found = read(page), []
    last, end = None, 0  # the last command, and where it ends
    for piece in PIECE.finditer(text):
        indent, language, block, code = piece.groups()
        if code:
            last, end = Command(re.sub(r"\s+", " ", code)), piece.end()
        elif language == "bash":
            found += [Command(line) for line in split(re.sub(f"^{indent}", "", block, flags=re.MULTILINE))]
            last, end = found[-1], piece.end()
        elif not language and last and text.count("\n\n", end, piece.start()) <= 2:
            found = [each for each in found if each is not last]
            found.append(replace(last, shown=tuple(block.splitlines())))
            last = None
    return found


def split(text: str) -> list[str]:
    """The commands of a block: lines, with those that a backslash, a quote or a here-document adds."""
    found, lines = [], iter(text.splitlines())
    for line in lines:
        while line.endswith("\\"):
            line = f"{line[:-1].rstrip()} {next(lines).lstrip()}"
        if heredoc := HEREDOC.search(line):
            while line.rpartition("\n")[2] != heredoc[1]:
                line = f"{line}\n{next(lines)}"
        else:
            line = re.sub(r"\s+# .*", "", line).strip()
            while line.count("'") % 2:
                line = f"{line}\n{next(lines)}"
        if line and not line.startswith("#"):
            found.append(line)
    return found


def prose(page: Path) -> str:
    """A page without its blocks."""
    return BLOCK.sub("", read(page))


def inline_code(page: Path) -> list[str]:
    """What stands in backticks in the text of a page."""
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(page))]


def links(page: Path) -> list[str]:
    """The targets of the links and pictures of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
