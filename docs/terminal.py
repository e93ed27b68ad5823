#!/usr/bin/env python3
"""Draw docs/terminal.svg: what run_local.sh prints up to its first alerts, one line after the other.

usage: ./scripts/run_local.sh --source simulated --symbols AAPL,MSFT --no-dashboard 2>&1 |
           .venv/bin/python docs/terminal.py
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

COMMAND = "./scripts/run_local.sh --source simulated --symbols AAPL,MSFT"
ALERTS, STORED = 2, 12  # how many of these lines are shown
WIDTH, LINE, MARGIN = 900, 19, 16
COLORS = {r"\$|\d/4 ": "#e6edf3", "ALERT": "#f2cc60", "stored": "#7ee787", ".*": "#8b949e"}
PAUSE_SECONDS = 1  # the longest one
SHOWN = (
    r"\d/4 |(stream|function) \S+: created|The stack is up|stored|ALERT"  # a few of setup.sh's stand for all
)


def pick(lines: Iterable[str]) -> Iterator[tuple[float, str]]:
    """The lines to show, and the seconds from one to the next. Ends at the last alert to be shown."""
    last, alerts, stored = time.monotonic(), 0, 0
    for line in map(str.rstrip, lines):
        stored += line.startswith("stored")
        if re.match(SHOWN, line) and (not line.startswith("stored") or stored <= STORED):
            now = time.monotonic()
            yield min(now - last, PAUSE_SECONDS), line
            last = now
            alerts += line.startswith("ALERT")
        if alerts == ALERTS:
            return


def draw(lines: list[tuple[float, str]]) -> str:
    """The terminal as SVG. Each line appears at its time; who wants no motion sees all of them at once."""
    height = 2 * MARGIN + LINE * (len(lines) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>run_local.sh sets the pipeline up, stores quotes and prints alerts</title>",
        "<style>text{font:13px ui-monospace,Menlo,Consolas,monospace;white-space:pre}"
        "text{animation:show .01s both}@keyframes show{from{opacity:0}}"
        "@media(prefers-reduced-motion){text{animation:none}}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#0d1117"/>',
    ]
    seconds = 0.0
    for number, (pause, line) in enumerate([(0.0, f"$ {COMMAND}"), *lines], 1):
        seconds += pause
        color = next(color for start, color in COLORS.items() if re.match(start, line))
        place = f'x="{MARGIN}" y="{MARGIN + number * LINE - 6}" style="animation-delay:{seconds:.1f}s"'
        parts.append(f'<text {place} fill="{color}">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    Path(__file__).with_name("terminal.svg").write_text(draw(list(pick(sys.stdin))))
