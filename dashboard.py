"""A page over the live tables: prices, averages and signals, as the pipeline stores them.

    streamlit run dashboard.py

Reads DynamoDB (and counts objects in S3) with the settings and the credentials of the other scripts, and
writes nothing: scripts/policies/dashboard.json is all that it needs. Every REFRESH_SECONDS each symbol on the
page is asked for what is newer than what is known of it: one Query, for its ticks or, when ticks have come
since, for its alerts. What was read is shared by all pages that this server has open. A tick that comes late,
older than one that is known, is seen when the page is opened or reloaded, which reads afresh.

Order of this file: settings, reading, computing, drawing.
"""

from __future__ import annotations

import html
import math
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard_parts.feed import REFRESH_SECONDS, Feed
from dashboard_parts.reading import (
    Settings,
    explain,
    read_settings,
)
from dashboard_parts.strip import strip
from dashboard_parts.tables import alert_columns, alert_rows, styled, watch_columns, watch_rows
from dashboard_parts.ticks import (
    SIGNALS,
    ago,
    draw_bars,
    market,
    zone,
)
from stream_stock_data import (
    CannotRun,
    format_timestamp,
)

PAGE_SYMBOLS = 25
STALE_SECONDS = 300
# With the answers, before the page is drawn without those that are to come; and when it is opened.
PATIENCE_SECONDS, OPENING_PATIENCE_SECONDS = 0.15, 0.3


# Range: how far back from the newest tick (None: by days), seconds of a candle and of a point of the line.
RANGES = {
    "15 min": (timedelta(minutes=15), 60, 5),
    "1 h": (timedelta(hours=1), 60, 15),
    "Today": (None, 600, 60),
    "5 days": (None, 1800, 900),
}
# Blue and orange: pairs that colour-blind people tell apart; an arrow or a shape says the same everywhere.
COLOURS = {
    "light": {"up": "#0b62b8", "down": "#b84a00", "mark": "#8a2be2", "short": "#00796b", "long": "#8a6d00"},
    "dark": {"up": "#58a6ff", "down": "#ffa057", "mark": "#d2a8ff", "short": "#3fd0b6", "long": "#e3c04b"},
}


# --- Reading ------------------------------------------------------------------------------------------


# --- Computing ----------------------------------------------------------------------------------------


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


# --- Drawing ------------------------------------------------------------------------------------------


def draw_state(feed: Feed, symbols: Sequence[str], now: datetime) -> None:
    """What is broken, empty or stale, and what to do about it."""
    if error := next(iter(feed.failures.values()), None):
        text = explain(error, feed.settings)
        if feed.read_at:
            text += f" Shown is what was read {ago((now - feed.read_at).total_seconds())} ago."
        st.error(f"{text} This page tries again every {REFRESH_SECONDS} s.")
        return
    known = [series for series in map(feed.series, symbols) if series.ticks]
    if any(feed.series(symbol).read_at == -math.inf for symbol in symbols):
        return
    if not known:
        names = shlex.quote(",".join(symbols[:5])).replace("`", "")
        st.info(
            f"**No ticks yet** of these symbols {feed.settings.place}. Start the producer, and they appear "
            f"here:\n\n```bash\npython stream_stock_data.py --symbols {names} --backfill 60\n```"
        )
        return
    newest = max(known, key=lambda series: series.ticks[-1].time).newest
    age = (now - datetime.fromisoformat(newest["timestamp"])).total_seconds()
    if age > STALE_SECONDS + 60 * float(newest.get("delay_minutes") or 0) and market(newest, now) != "closed":
        st.warning(
            f"**Nothing new for {ago(age)}**, and the market is not known to be closed. Is the producer "
            "running? `python stream_stock_data.py` says what it does."
        )


def draw_watchlist(feed: Feed, symbols: list[str], colours: dict[str, str], now: datetime) -> str:
    """The table of symbols; returns the one that is selected."""
    wanted = st.query_params.get("symbol", "")
    place = symbols.index(wanted) if wanted in symbols else 0
    state = st.dataframe(
        styled(watch_rows(feed, symbols, now), colours),
        key="watchlist " + " ".join(symbols),
        hide_index=True,
        placeholder="–",
        height=min(len(symbols), 10) * 35 + 38,
        on_select="rerun",
        selection_mode="single-cell",  # which arrow keys move
        selection_default={"selection": {"cells": [(place, "Symbol")]}},
        alt="Watchlist: last price, change, trend and averages of each symbol",
        column_config=watch_columns(feed.settings, colours),
    )
    cells = state.selection.cells
    symbol = symbols[cells[0][0]] if cells and cells[0][0] < len(symbols) else symbols[place]
    if symbol != symbols[place]:  # else the address may name one that is still to be found
        st.query_params["symbol"] = symbol
    return symbol


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


def draw_chart(feed: Feed, symbol: str, colours: dict[str, str]) -> None:
    """Price, averages and signals of the selected symbol, and the volume below."""
    settings, series = feed.settings, feed.series(symbol)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(
            f"<h2 style='font-size:1.15rem;margin:0;padding:0'>{html.escape(symbol)}</h2>", width="content"
        )
        name = st.segmented_control(
            "Range",
            list(RANGES),
            default="1 h",
            required=True,
            key="range",
            bind="query-params",
            label_visibility="collapsed",
        )
        look = st.segmented_control(
            "Look",
            ["Candles", "Line"],
            default="Candles",
            required=True,
            key="look",
            bind="query-params",
            label_visibility="collapsed",
        )
    if not series.ticks:
        st.caption("No ticks of this symbol yet." if series.read_at > -math.inf else "Not read yet.")
        return
    start = start_of_range(series.newest, name)
    series = feed.reach(symbol, format_timestamp(start), patience=PATIENCE_SECONDS)
    seconds = RANGES[name][1 if look == "Candles" else 2]
    bars = draw_bars(series, start=start, seconds=seconds, short=settings.short, long=settings.long)
    sessions = cut_nights(bars)
    columns = ["t", "x", "x2", "open", "high", "low", "close", "volume", "short", "long", *SIGNALS, "alerts"]
    frame = pd.DataFrame(bars, columns=columns)
    frame = frame.astype(dict.fromkeys(columns[:-1], float) | {"alerts": object}).fillna({"alerts": "none"})
    spec = chart_spec(
        colours=colours,
        candles=look == "Candles",
        sessions=sessions,
        days=name == "5 days",
        short=settings.short,
        long=settings.long,
    )
    st.vega_lite_chart(
        frame,
        spec,
        width="stretch",
        height=400,
        key=f"chart {symbol} {name} {look}",
        alt=f"Price of {symbol}, {name}",
    )
    short, long = settings.short, settings.long
    reach = "" if series.is_complete_from(start) else f" Only the newest {len(series.ticks):,} ticks."
    st.caption(
        f"Solid SMA-{short}, dashed SMA-{long} · ▲ BUY ▼ SELL ◆ ANOMALY · drag to move, Ctrl + wheel or "
        f"pinch to zoom, double click for all.{reach}"
    )


def draw_alerts(feed: Feed, symbols: Sequence[str], selected: str) -> None:
    """The feed of alerts, newest first."""
    settings = feed.settings
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html("<h2 style='font-size:1.15rem;margin:0;padding:0'>Alerts</h2>", width="content")
        kinds = st.pills(
            "Signals",
            list(SIGNALS),
            selection_mode="multi",
            default=list(SIGNALS),
            key="signals",
            label_visibility="collapsed",
        )
        only = st.toggle("Only the selected symbol", key="only")
    frame = alert_rows(feed, [selected] if only else symbols)
    frame = frame[frame["Signal"].isin([SIGNALS[kind] for kind in kinds])]
    if frame.empty:
        is_filtered = only or len(kinds) < len(SIGNALS)
        enough = f"No alerts yet: a crossover needs {settings.long + 1} ticks."
        st.caption("No such alerts." if is_filtered else enough)
        return
    st.dataframe(
        frame.head(200),
        key="alerts",
        hide_index=True,
        placeholder="–",
        height=min(len(frame), 10) * 35 + 38,
        alt="Alerts, newest first",
        column_config=alert_columns(settings),
    )


def watched(feed: Feed) -> list[str]:
    """All symbols of the watchlist: configured, typed in, with alerts."""
    typed = [symbol for symbol in st.query_params.get("with", "").split(",") if symbol]
    return list(dict.fromkeys([*feed.settings.symbols, *typed, *feed.alerted_symbols()]))


def escaped(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def choose_page(feed: Feed) -> list[str]:
    """The symbols on the page, by the search box and the page number; and the way to add one."""
    everything = watched(feed)
    typed = (
        st.text_input(
            "Find or add a symbol",
            type="search",
            key="find",
            live=True,
            placeholder="Find or add a symbol",
            label_visibility="collapsed",
        )
        .strip()
        .upper()
    )
    found = [symbol for symbol in everything if typed in symbol.upper()]
    if typed and typed not in everything:
        if not re.fullmatch(r"[^\s,]{1,32}", typed) or not typed.isprintable():
            st.caption("A symbol has no spaces and no commas, and 32 characters at the most.")
        elif st.button(f"Add {escaped(typed)}", key="add"):
            added = st.query_params.get("with", "")
            st.query_params["with"] = f"{added},{typed}".strip(",")
            st.query_params["symbol"] = typed
            st.rerun()
    pages = -(-len(found) // PAGE_SYMBOLS)
    page = 1
    if pages > 1:
        wanted = st.query_params.get("symbol", "")
        default = found.index(wanted) // PAGE_SYMBOLS + 1 if wanted in found else 1
        with st.container(horizontal=True, vertical_alignment="center"):
            page = st.pagination(pages, default=default, key=f"page {typed}")
            st.caption(f"{len(found)} symbols", width="content")
    return found[(page - 1) * PAGE_SYMBOLS : page * PAGE_SYMBOLS]


@st.cache_resource(show_spinner=False)
def shared_feed(settings: Settings) -> Feed:
    return Feed(settings)


@st.fragment(run_every=REFRESH_SECONDS)
def live(feed: Feed) -> None:
    """The page: all of it is drawn anew every REFRESH_SECONDS from one reading."""
    colours = COLOURS[st.context.theme.type or "light"]
    top = st.container()
    state = st.container()
    symbols = choose_page(feed)
    is_opening = any(feed.series(symbol).read_at == -math.inf for symbol in symbols)
    patience = OPENING_PATIENCE_SECONDS if is_opening else PATIENCE_SECONDS
    wanted = st.query_params.get("symbol")
    feed.refresh(sorted(symbols, key=lambda symbol: symbol != wanted), patience=patience)
    now = datetime.now(UTC)
    with top:
        st.html(strip(feed, symbols, now))
    if not symbols:
        st.caption("No symbol of that name in the list.")
        return
    with state:
        draw_state(feed, symbols, now)
    selected = draw_watchlist(feed, symbols, colours, now)
    left, right = st.columns([3, 2])
    with left:
        draw_chart(feed, selected, colours)
    with right:
        draw_alerts(feed, symbols, selected)
    if not feed.failures and any(feed.series(symbol).read_at == -math.inf for symbol in symbols):
        st.rerun()  # at once, for what has come meanwhile


def main() -> None:
    """Draw the page for one browser."""
    st.set_page_config(page_title="Stock market", page_icon="📈", layout="wide")
    try:
        feed = shared_feed(read_settings())
    except CannotRun as error:
        st.error(f"A setting is wrong: {error}")
        return
    if "opened" not in st.session_state:
        st.session_state.opened = True
        feed.reread()
    live(feed)


if __name__ == "__main__":  # for each browser
    main()
else:  # once, as `streamlit run` starts the server: what takes long to import waits for the first browser
    app = st.App(__file__)
