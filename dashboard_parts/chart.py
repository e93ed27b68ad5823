"""The chart: its ranges, and the component that draws it with TradingView's lightweight-charts."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from dashboard_parts.ticks import time_zone

# The PyPI package lwcharts has the library's file. The page's server serves it, so no other host is asked.
LIBRARY = Path(find_spec("lwcharts").origin).parent / "vendor/lightweight-charts.standalone.production.js"
STYLE = """
.chart { height: 400px; }
.chart:focus-visible { outline: 2px solid var(--st-primary-color); }
.legend { display: flex; flex-wrap: wrap; gap: 0 .8rem; height: 2.6rem; overflow: auto; align-content: start;
          color: var(--st-text-color); font: .8rem/1.3rem var(--st-font);
          font-variant-numeric: tabular-nums; }
@media (max-width: 600px) { .legend { height: 5.2rem; } }
"""
draw_candles = st.components.v2.component(
    "price_chart",
    html='<div class="legend"></div><div class="chart" role="img" tabindex="0"></div>',
    css=STYLE,
    js=(Path(__file__).parent / "chart.js").read_text(encoding="utf-8"),
)


class Range(NamedTuple):
    """A range of the chart."""

    span: timedelta | None  # None: it begins at the start of a day
    point_seconds: int  # of the line


RANGES = {
    "15 min": Range(timedelta(minutes=15), 5),
    "1 h": Range(timedelta(hours=1), 15),
    "Today": Range(None, 60),
    "5 days": Range(None, 900),
}


def start_of_range(newest: dict[str, Any], name: str) -> datetime:
    """When a range begins. It ends with the newest tick, so a closed market shows its last session.

    The days are those of the exchange. Five days are five weekdays, unless the newest tick is from a weekend.
    """
    end, span = datetime.fromisoformat(newest["timestamp"]), RANGES[name].span
    if span:
        return end - span
    there = end.astimezone(time_zone(newest.get("exchange_timezone")))
    day = there.replace(hour=0, minute=0, second=0, microsecond=0)
    days_left = 4 if name == "5 days" else 0
    counts_weekends = day.weekday() >= 5
    while days_left:
        day -= timedelta(days=1)
        days_left -= counts_weekends or day.weekday() < 5
    return day


def decimals_of(price: float) -> int:
    """As many decimals as the prices near this one need: 2, and more below 10."""
    return 2 if price >= 10 else 4 - math.floor(math.log10(price))


def chart_data(
    candles: list[dict[str, Any]],
    *,
    name: str,
    is_line: bool,
    seconds: float,
    zone: str,
    averages: tuple[str, str],
    colours: dict[str, str],
) -> dict[str, Any]:
    """What chart.js draws.

    The library knows no time zones, so the times are shifted. The whole chart has the newest candle's offset
    from UTC: where the clocks change, candles would otherwise meet or leave a gap.

    Args:
        name: of the symbol and the range.
        is_line: draw a line, not candles.
        seconds: the length of a candle.
        zone: the name of the time zone of the axis.
        averages: the names of the two averages.
    """
    offset = datetime.fromtimestamp(candles[-1]["time"], time_zone(zone)).utcoffset().total_seconds()
    day = {"year": "numeric", "month": "short", "day": "numeric"}
    time = {"weekday": "short", "hour": "2-digit", "minute": "2-digit", "second": "2-digit"}
    time |= {"hourCycle": "h23"}
    return {
        "id": f"{name} {offset} {is_line}",
        "label": f"Price of {name}: {len(candles)} candles, low {min(c['low'] for c in candles):,.7g}, "
        f"high {max(c['high'] for c in candles):,.7g}, last {candles[-1]['close']:,.7g}",
        "rows": [candle | {"time": round(candle["time"] + offset)} for candle in candles],
        "seconds": seconds,
        "isLine": is_line,
        "names": averages,
        "time": day if seconds >= 86_400 else time,
        "decimals": decimals_of(candles[-1]["close"]),
        "colours": colours,
    }
