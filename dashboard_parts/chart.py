"""The chart: its ranges, its time axis without closed markets, and its specification in Vega-Lite."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd

from dashboard_parts.ticks import SESSION_GAP, SIGNALS, time_zone


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


def place_candles(candles: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Give each candle its place on a time axis without closed markets, from `x` to `x2`.

    A gap of more than SESSION_GAP loses its whole hours, so that round times stay round. The newest session
    keeps its true times, and the earlier ones shift towards it.

    Returns:
        For each session, the oldest first: its first `x`, and how far it is shifted. Both in milliseconds.
    """
    hour, shift, sessions = 3_600_000, 0.0, []
    for index in range(len(candles) - 1, -1, -1):
        candle = candles[index]
        candle["x"], candle["x2"] = candle["t"] + shift, candle["end"] + shift
        gap = candle["t"] - candles[index - 1]["end"] if index else math.inf
        if gap > SESSION_GAP:
            sessions.append((candle["x"], shift))
            shift += gap // hour * hour if index else 0
    return sessions[::-1]


def candle_frame(candles: list[dict[str, Any]]) -> pd.DataFrame:
    """The candles as the chart takes them, with the same columns and types whatever they hold."""
    numbers = ["t", "x", "x2", "open", "high", "low", "close", "wick_low", "wick_high"]
    numbers += ["volume", "short", "long", *SIGNALS]
    frame = pd.DataFrame(candles, columns=[*numbers, "alerts"])
    return frame.astype(dict.fromkeys(numbers, float) | {"alerts": object}).fillna({"alerts": "none"})


def chart_spec(
    *,
    colours: dict[str, str],
    as_candles: bool,
    sessions: list[tuple[float, float]],
    time_format: str,
    is_utc: bool,
    short: int,
    long: int,
) -> dict[str, Any]:
    """Specify the chart in Vega-Lite. New data leaves the specification as it is, so a zoom lasts.

    Args:
        as_candles: draw candles, not a line.
        sessions: what `place_candles` returned.
        time_format: of the times on the axis, as d3-time-format takes it.
        is_utc: show UTC on the axis, not the browser's own time.
        short, long: the number of ticks in each average.
    """
    shift = "0"  # of the newest session, whose condition is the first to be tested
    for first, session_shift in sessions:
        if session_shift or shift != "0":
            shift = f"(datum.value >= {first:.0f} ? {session_shift:.0f} : {shift})"
    label = f"{'utc' if is_utc else 'time'}Format(datum.value - {shift}, '{time_format}')"
    time_axis = {"labelExpr": label, "title": None, "labelOverlap": True, "grid": False, "tickCount": 8}
    # Prices take the upper 78 % of the height, volume the lowest 17 %.
    price_range, volume_range = ([{"expr": f"height * {y}"} for y in ys] for ys in ((0.78, 0), (1, 0.83)))
    price_scale = {"zero": False, "padding": 14, "range": price_range}
    price_axis = {"orient": "right", "title": None, "grid": True}
    rising = {"test": "datum.close >= datum.open", "value": colours["up"]}
    colour = {"condition": rising, "value": colours["down"]}

    def time(name: str) -> dict[str, Any]:
        return {"field": name, "type": "temporal", "axis": time_axis}

    def price(name: str) -> dict[str, Any]:
        return {"field": name, "type": "quantitative", "axis": price_axis, "scale": price_scale}

    def layer(kind: str, encoding: dict[str, Any], **mark: Any) -> dict[str, Any]:
        return {"mark": {"type": kind, "clip": True, **mark}, "encoding": encoding}

    def line(name: str, colour: str, **mark: Any) -> dict[str, Any]:
        return layer("line", {"x": time("middle"), "y": price(name)}, color=colour, **mark)

    def signals(name: str, shape: str, colour: str, offset: int) -> list[dict[str, Any]]:
        """One marker a candle outside its wick, and beside it the number of signals if there are more."""
        look = {"filled": True, "size": 110, "opacity": 1, "stroke": "white", "strokeWidth": 0.8}
        place = {"x": time("middle"), "y": price("wick_low" if offset > 0 else "wick_high")}
        points = layer("point", place, shape=shape, color=colour, yOffset=offset, **look)
        text = {"text": {"field": name, "format": "d"}}
        count = layer("text", place | text, color=colour, yOffset=offset, xOffset=-12, fontWeight="bold")
        filters = (f"datum.{name} > 0", f"datum.{name} > 1")
        return [
            mark | {"transform": [{"filter": test}]}
            for mark, test in zip((points, count), filters, strict=True)
        ]

    def tooltip(name: str, title: str) -> dict[str, Any]:
        if name in ("local", "utc", "alerts"):
            return {"field": name, "title": title, "type": "nominal"}
        text = ",.0f" if name == "volume" else ",.7~r"
        return {"field": name, "title": title, "type": "quantitative", "format": text}

    if as_candles:
        width = {"x": time("left"), "x2": {"field": "right"}, "color": colour}
        high_low = {"y": price("wick_low"), "y2": {"field": "wick_high"}}
        open_close = {"y": price("open"), "y2": {"field": "close"}}
        prices = [
            layer("rule", {"x": time("middle"), "color": colour} | high_low),
            layer("bar", width | open_close, minBandSize=1),
            layer("rule", width | {"y": price("close")}, strokeWidth=2),  # seen when open and close are equal
        ]
    else:
        prices = [line("close", colours["up"], strokeWidth=1.8)]
    zoom = {"type": "interval", "encodings": ["x", "y"], "zoom": "wheel![event.ctrlKey || event.shiftKey]"}
    prices[0]["params"] = [{"name": "zoom", "select": zoom, "bind": "scales"}]
    volume_axis = {"orient": "right", "title": None, "grid": False, "tickCount": 2, "format": "~s"}
    volume_y = {
        "field": "volume",
        "type": "quantitative",
        "scale": {"range": volume_range},
        "axis": volume_axis,
    }
    volume = {"x": time("left"), "x2": {"field": "right"}, "y": volume_y, "y2": {"datum": 0}, "color": colour}
    titles = {
        "local": "Time here",
        "utc": "UTC",
        "open": "Open",
        "high": "High",
        "low": "Low",
        "close": "Last",
    }
    titles |= {"volume": "Volume", "short": f"SMA-{short}", "long": f"SMA-{long}", "alerts": "Alerts"}
    hovered = {"param": "hover", "empty": False, "value": 0.5}
    cursor = layer(
        "rule",
        {
            "x": time("middle"),
            "tooltip": [tooltip(name, title) for name, title in titles.items()],
            "opacity": {"condition": hovered, "value": 0},
        },
    )
    hover = {"type": "point", "fields": ["x"], "nearest": True, "on": "pointermove", "clear": "pointerout"}
    cursor["params"] = [{"name": "hover", "select": hover}]
    prices += [
        line("short", colours["short"], strokeWidth=1.3),
        line("long", colours["long"], strokeWidth=1.3, strokeDash=[6, 3]),
        *signals("BUY", "triangle-up", colours["up"], 14),
        *signals("SELL", "triangle-down", colours["down"], -14),
        *signals("ANOMALY", "diamond", colours["mark"], -28),
        *signals("RULE", "circle", colours["mark"], 28),
        cursor,
    ]
    time_text = "Format(datum.t, '%a %d %b %H:%M:%S')"
    return {
        "transform": [
            {"calculate": f"time{time_text}", "as": "local"},
            {"calculate": f"utc{time_text}", "as": "utc"},
            {"calculate": "datum.x + (datum.x2 - datum.x) * 0.5", "as": "middle"},
            {"calculate": "datum.x + (datum.x2 - datum.x) * 0.15", "as": "left"},
            {"calculate": "datum.x + (datum.x2 - datum.x) * 0.85", "as": "right"},
        ],
        "layer": [layer("bar", volume, opacity=0.6, minBandSize=1), {"layer": prices}],
        "resolve": {"scale": {"y": "independent"}},
        "config": {"legend": {"disable": True}},
    }
