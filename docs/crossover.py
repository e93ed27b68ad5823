#!/usr/bin/env python3
"""Draw docs/crossover.svg: real closing prices, their averages of 5 and 20, and where these cross.

usage: .venv/bin/python docs/crossover.py
"""

from __future__ import annotations

import csv
from pathlib import Path

DOCS = Path(__file__).resolve().parent
FIRST_DAY, DAYS, SHORT, LONG = "2012-07-02", 75, 5, 20
WIDTH, HEIGHT, MARGIN = 760, 300, 16
STYLE = "text{font:13px sans-serif} polyline{fill:none;stroke-linejoin:round}"


def read_closes() -> list[tuple[str, float]]:
    """Day and closing price (USD) of AAPL, from LONG days before the picture on, for its first average."""
    with (DOCS.parent / "sample_data/AAPL.csv").open() as file:
        rows = [(row["date"], float(row["close"])) for row in csv.DictReader(file)]
    first = next(place for place, (day, _) in enumerate(rows) if day >= FIRST_DAY)
    return rows[first - LONG : first + DAYS]


def draw(rows: list[tuple[str, float]]) -> str:
    """The picture as SVG."""
    closes = [close for _, close in rows]
    low, high = min(closes[LONG:]), max(closes[LONG:])

    def point(place: int, price: float) -> tuple[float, float]:
        x = MARGIN + (place - LONG) * (WIDTH - 2 * MARGIN) / (DAYS - 1)
        return round(x, 1), round(HEIGHT - 50 - (price - low) * (HEIGHT - 90) / (high - low), 1)

    def mean(place: int, count: int) -> float:
        return sum(closes[place - count + 1 : place + 1]) / count

    def line(prices: list[float], color: str, width: float) -> str:
        points = " ".join("{},{}".format(*point(LONG + place, price)) for place, price in enumerate(prices))
        return f'<polyline points="{points}" stroke="{color}" stroke-width="{width}"/>'

    places = range(LONG, len(rows))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Closing prices of AAPL with both averages and the points at which they cross</title>",
        f'<style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
        line([closes[place] for place in places], "#9aa4b2", 1.2),
        line([mean(place, SHORT) for place in places], "#0b62b8", 2.2),
        line([mean(place, LONG) for place in places], "#c2540a", 2.2),
    ]
    for place in places[1:]:
        before, now = (mean(each, SHORT) - mean(each, LONG) for each in (place - 1, place))
        if before * now < 0:
            signal, color, lower = ("BUY", "#1a7f37", 26) if now > 0 else ("SELL", "#b3261e", -14)
            x, y = point(place, mean(place, LONG))
            parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="none" stroke="{color}" stroke-width="2.5"/>')
            parts.append(f'<text x="{x}" y="{y + lower}" text-anchor="middle" fill="{color}">{signal}</text>')
    keys = [("price", "#7a8494"), (f"SMA-{SHORT}", "#0b62b8"), (f"SMA-{LONG}", "#c2540a")]
    for number, (text, color) in enumerate(keys):
        parts.append(f'<text x="{MARGIN + 70 * number}" y="26" fill="{color}">{text}</text>')
    parts.append(
        f'<text x="{MARGIN}" y="{HEIGHT - 12}" fill="#555">AAPL, {rows[LONG][0]} to {rows[-1][0]}</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    (DOCS / "crossover.svg").write_text(draw(read_closes()))
