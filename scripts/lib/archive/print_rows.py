"""Prints the rows of an Athena result (JSON on standard input), and on standard error what they cost.

    print_rows.py table|csv BYTES_SCANNED|unknown

On a terminal, a table is cut to the terminal's width. Exit status 3 when there are no rows.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

PRICES = Path(__file__).resolve().parents[2] / "resources/prices.json"
LEAST_BYTES = 10 * 2**20
NUMBER = re.compile(r"-?\d+(\.\d+)?(E-?\d+)?")
NARROWEST = 3


def cost(scanned: int) -> float:
    """The price in USD of a query that scanned so many bytes, without the requests that it made to S3."""
    return max(scanned, LEAST_BYTES) / 2**40 * json.loads(PRICES.read_text())["usd"]["athena_terabyte"]


def size(count: int) -> str:
    """A number of bytes, as people read it."""
    for unit, factor in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def widths_of(rows: list[list[str]], width: int) -> list[int]:
    """Column widths: the widest column gives way until all fit, or until none can be narrower."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while width and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def table(rows: list[list[str]], width: int) -> Iterable[str]:
    """Lines with aligned columns, numbers on the right, cut to a width (0: not cut)."""
    widths = widths_of(rows, width)
    right = [all(NUMBER.fullmatch(cell) for cell in column[1:] if cell) for column in zip(*rows, strict=True)]
    for place, row in enumerate(rows):
        cells = [
            (text if len(text) <= size else f"{text[: size - 1]}…")
            for text, size in zip(row, widths, strict=True)
        ]
        yield "  ".join(
            cell.rjust(size) if to_right else cell.ljust(size)
            for cell, size, to_right in zip(cells, widths, right, strict=True)
        ).rstrip()
        if place == 0:
            yield "  ".join("-" * size for size in widths)


def main(form: str, scanned: str) -> int:
    """Prints the rows; returns the exit status."""
    rows = [[cell.get("VarCharValue", "") for cell in row["Data"]] for row in json.load(sys.stdin) or []]
    if form == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    elif len(rows) > 1:
        # A line break or an escape sequence in a cell is data; it must not reach the terminal.
        shown = [["".join(c if c.isprintable() else "·" for c in cell) for cell in row] for row in rows]
        width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
        print("\n".join(table(shown, width)))
    count = max(len(rows) - 1, 0)
    summary = f"{count:,} row{'s' * (count != 1)}"
    if scanned != "unknown":
        summary += f", {size(int(scanned))} scanned, ${cost(int(scanned)):.6f} and S3 requests"
    print(summary, file=sys.stderr)
    return 0 if count else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
