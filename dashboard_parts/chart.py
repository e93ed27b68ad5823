"""The chart: its ranges, and the component that draws it with TradingView's lightweight-charts."""

from __future__ import annotations

import math
from datetime import datetime, time, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
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


RANGES = {
    "15 min": timedelta(minutes=15),
    "1 h": timedelta(hours=1),
    "Today": timedelta(days=1),
    "5 days": timedelta(days=5),
}


def start_of_range(newest: dict[str, Any], name: str) -> datetime:
    """When a range begins. It ends with the newest tick, so a closed market shows its last session.

    The days are those of the exchange. Five days are five weekdays, unless the newest tick is from a weekend.
    """
    end, span = datetime.fromisoformat(newest["timestamp"]), RANGES[name]
    if span < timedelta(days=1):
        return end - span
    there = end.astimezone(time_zone(newest.get("exchange_timezone")))
    week = "1111100" if there.weekday() < 5 else "1111111"
    day = np.busday_offset(there.date(), 1 - span.days, weekmask=week).astype(object)
    return datetime.combine(day, time(), there.tzinfo)


def decimals_of(price: float) -> int:
    """As many decimals as the prices near this one need: 2, and more below 10."""
    return 2 if price >= 10 else 4 - math.floor(math.log10(price))


def chart_data(
    candles: list[dict[str, Any]], *, name: str, zone: str, look: dict[str, Any]
) -> dict[str, Any]:
    """What chart.js draws.

    The library knows no time zones, so the times are shifted. The whole chart has the newest candle's offset
    from UTC: where the clocks change, candles would otherwise meet or leave a gap.

    Args:
        name: of the symbol and the range.
        zone: the name of the time zone of the axis.
        look: isLine (draw a line, not candles), seconds (of a candle), names (of both averages) and colours.
    """
    offset = datetime.fromtimestamp(candles[-1]["time"], time_zone(zone)).utcoffset().total_seconds()
    day = {"year": "numeric", "month": "short", "day": "numeric"}
    moment = {"weekday": "short", "hourCycle": "h23"}
    moment |= dict.fromkeys(("hour", "minute", "second"), "2-digit")
    low, high = min(candle["low"] for candle in candles), max(candle["high"] for candle in candles)
    last = candles[-1]["close"]
    prices = f"low {low:,.7g}, high {high:,.7g}, last {last:,.7g}"
    return {
        "id": f"{name} {offset}",
        "label": f"Price of {name}: {len(candles)} candles, {prices}",
        "rows": [candle | {"time": round(candle["time"] + offset)} for candle in candles],
        "look": look,
        "time": day if look["seconds"] >= 86_400 else moment,
        "decimals": decimals_of(last),
    }
