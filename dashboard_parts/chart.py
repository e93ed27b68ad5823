"""The chart: its ranges, its axis without closed markets, and its drawing in Vega-Lite."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from dashboard_parts.ticks import zone

# Range: how far back from the newest tick (None: by days), seconds of a candle and of a point of the line.
RANGES = {
    "15 min": (timedelta(minutes=15), 60, 5),
    "1 h": (timedelta(hours=1), 60, 15),
    "Today": (None, 600, 60),
    "5 days": (None, 1800, 900),
}


def start_of_range(newest: dict[str, Any], name: str) -> datetime:
    """Where a range begins that ends with the newest tick, so that a closed market shows its last session.

    Days are the exchange's; five days are the last five weekdays, unless the newest tick is of a weekend.
    """
    end, span = datetime.fromisoformat(newest["timestamp"]), RANGES[name][0]
    if span:
        return end - span
    day = end.astimezone(zone(newest.get("exchange_timezone"))).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    left = 4 if name == "5 days" else 0
    counts_weekends = day.weekday() >= 5
    while left:
        day -= timedelta(days=1)
        left -= counts_weekends or day.weekday() < 5
    return day


def cut_nights(bars: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Give each bar the place x, x2 on an axis without closed markets.

    Where nothing came for more than two hours, whole hours are taken out, so that round times stay round.
    The newest session keeps its true time. Returns (first x, milliseconds off its time), oldest first.
    """
    hour, shift, sessions = 3_600_000, 0.0, []
    for number in range(len(bars) - 1, -1, -1):
        bar = bars[number]
        bar["x"], bar["x2"] = bar["t"] + shift, bar["end"] + shift
        gap = bar["t"] - bars[number - 1]["end"] if number else math.inf
        if gap > 2 * hour:
            sessions.append((bar["x"], shift))
            shift += gap // hour * hour if number else 0
    return sessions[::-1]


def chart_spec(
    *,
    colours: dict[str, str],
    candles: bool,
    sessions: list[tuple[float, float]],
    days: bool,
    short: int,
    long: int,
) -> dict[str, Any]:
    """The chart in Vega-Lite. It stays the same while data comes in, so that a zoom lasts."""
    shift = "0"
    for first, off in sessions:
        shift = f"(datum.value >= {first:.0f} ? {off:.0f} : {shift})" if off or shift != "0" else shift
    # Outermost the newest session, whose shift is 0.
    label = f"timeFormat(datum.value - {shift}, '{'%a %H:%M' if days else '%H:%M'}')"
    axis = {"labelExpr": label, "title": None, "labelOverlap": True, "grid": False, "tickCount": 8}

    def at(field: str) -> dict[str, Any]:
        return {"field": field, "type": "temporal", "axis": axis}

    x = at("middle")
    above, below = ([{"expr": f"height * {share}"} for share in shares] for shares in ((0.78, 0), (1, 0.83)))
    price: dict[str, Any] = {"type": "quantitative", "axis": {"orient": "right", "title": None, "grid": True}}
    price["scale"] = {"zero": False, "padding": 14, "range": above}
    rising = {
        "condition": {"test": "datum.close >= datum.open", "value": colours["up"]},
        "value": colours["down"],
    }

    def line(name: str, colour: str, **mark: Any) -> dict[str, Any]:
        y = price | {"field": name}
        return {"mark": {"type": "line", "clip": True, "color": colour, **mark}, "encoding": {"x": x, "y": y}}

    def marks(signal: str, shape: str, colour: str, offset: int) -> dict[str, Any]:
        look = {"type": "point", "clip": True, "filled": True, "size": 110, "opacity": 1, "shape": shape}
        look |= {"color": colour, "yOffset": offset, "stroke": "white", "strokeWidth": 0.8}
        return {
            "transform": [{"filter": f"isValid(datum['{signal}'])"}],
            "mark": look,
            "encoding": {"x": x, "y": price | {"field": signal}},
        }

    wick = {"mark": {"type": "rule", "clip": True}}
    wick["encoding"] = {"x": x, "color": rising}
    wick["encoding"] |= {"y": price | {"field": "low"}, "y2": {"field": "high"}}
    body = {"mark": {"type": "bar", "clip": True, "minBandSize": 1}}
    body["encoding"] = {"x": at("left"), "x2": {"field": "right"}}
    body["encoding"] |= {"y": price | {"field": "open"}, "y2": {"field": "close"}, "color": rising}
    flat = {"mark": {"type": "rule", "clip": True, "strokeWidth": 2}}  # a candle without a body
    flat["encoding"] = {"x": body["encoding"]["x"], "x2": {"field": "right"}, "y": price | {"field": "close"}}
    flat["encoding"] |= {"color": rising}
    zoom = {"type": "interval", "encodings": ["x", "y"], "zoom": "wheel![event.ctrlKey || event.shiftKey]"}
    hover = {"type": "point", "fields": ["x"], "nearest": True, "on": "pointermove", "clear": "pointerout"}
    titles = {
        "local": "Time here",
        "utc": "UTC",
        "open": "Open",
        "high": "High",
        "low": "Low",
        "close": "Last",
    }
    titles |= {"volume": "Volume", "short": f"SMA-{short}", "long": f"SMA-{long}", "alerts": "Alerts"}
    tooltip: list[dict[str, Any]] = [{"field": name, "title": title} for name, title in titles.items()]
    for entry in tooltip:
        if entry["field"] not in ("local", "utc", "alerts"):
            entry |= {"type": "quantitative", "format": ",.0f" if entry["field"] == "volume" else ",.4~f"}
        else:
            entry |= {"type": "nominal"}
    cursor = {"mark": {"type": "rule", "clip": True}, "params": [{"name": "hover", "select": hover}]}
    cursor["encoding"] = {"x": x, "tooltip": tooltip}
    cursor["encoding"]["opacity"] = {
        "condition": {"param": "hover", "empty": False, "value": 0.5},
        "value": 0,
    }
    shape = [wick, body, flat] if candles else [line("close", colours["up"], strokeWidth=1.8)]
    shape[0] = shape[0] | {"params": [{"name": "zoom", "select": zoom, "bind": "scales"}]}
    volume = {
        "mark": {"type": "bar", "clip": True, "opacity": 0.6, "minBandSize": 1},
        "encoding": {
            "x": at("left"),
            "x2": {"field": "right"},
            "y": {
                **{"field": "volume", "type": "quantitative", "scale": {"range": below}},
                "axis": {"orient": "right", "title": None, "grid": False, "tickCount": 2, "format": "~s"},
            },
            "y2": {"datum": 0},
            "color": rising,
        },
    }
    prices = [
        *shape,
        line("short", colours["short"], strokeWidth=1.3),
        line("long", colours["long"], strokeWidth=1.3, strokeDash=[6, 3]),
        marks("BUY", "triangle-up", colours["up"], 14),
        marks("SELL", "triangle-down", colours["down"], -14),
        marks("ANOMALY", "diamond", colours["mark"], 0),
        cursor,
    ]
    format_time = "Format(datum.t, '%a %d %b %H:%M:%S')"
    return {
        "transform": [
            {"calculate": f"time{format_time}", "as": "local"},
            {"calculate": f"utc{format_time}", "as": "utc"},
            {"calculate": "datum.x + (datum.x2 - datum.x) * 0.5", "as": "middle"},
            {"calculate": "datum.x + (datum.x2 - datum.x) * 0.15", "as": "left"},
            {"calculate": "datum.x + (datum.x2 - datum.x) * 0.85", "as": "right"},
        ],
        "layer": [volume, {"layer": prices}],
        "resolve": {"scale": {"y": "independent"}},
        "config": {"legend": {"disable": True}},
    }
