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
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from dashboard_parts.chart import RANGES, chart_spec, cut_nights, start_of_range
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
)
from stream_stock_data import (
    CannotRun,
    format_timestamp,
)

PAGE_SYMBOLS = 25
STALE_SECONDS = 300
# With the answers, before the page is drawn without those that are to come; and when it is opened.
PATIENCE_SECONDS, OPENING_PATIENCE_SECONDS = 0.15, 0.3


# Blue and orange: pairs that colour-blind people tell apart; an arrow or a shape says the same everywhere.
COLOURS = {
    "light": {"up": "#0b62b8", "down": "#b84a00", "mark": "#8a2be2", "short": "#00796b", "long": "#8a6d00"},
    "dark": {"up": "#58a6ff", "down": "#ffa057", "mark": "#d2a8ff", "short": "#3fd0b6", "long": "#e3c04b"},
}


# --- Reading ------------------------------------------------------------------------------------------


# --- Computing ----------------------------------------------------------------------------------------


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
