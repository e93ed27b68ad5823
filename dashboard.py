"""A page over the live tables: prices, averages and signals, as the pipeline stores them.

    streamlit run dashboard.py

The page reads DynamoDB and counts objects in S3, with the settings and the credentials of the other scripts.
It writes nothing: its user needs only scripts/policies/dashboard.json. Every REFRESH_SECONDS it sends one
Query for each symbol on the page: for new ticks or, after new ticks have come, for new alerts. The newest
ones are read again with them, because a tick may come late. One that is later still is seen when the page is
reloaded. All pages that this server has open share what was read.

This file says what is drawn where. dashboard_parts/ holds the parts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st
from starlette.responses import FileResponse
from starlette.routing import Route

from dashboard_parts import tables
from dashboard_parts.chart import LIBRARY, RANGES, chart_data, draw_candles, start_of_range
from dashboard_parts.feed import REFRESH_SECONDS, Feed
from dashboard_parts.reading import CannotRun, Settings, is_symbol, read_settings
from dashboard_parts.strip import draw_problem, draw_strip, how_to_fill
from dashboard_parts.ticks import MAX_CANDLES, MAX_POINTS, SIGNALS, candle_seconds, index_from, make_candles

PAGE_SYMBOLS = 25
# How long the page waits for answers before it is drawn without them.
TIMEOUT_SECONDS, OPENING_TIMEOUT_SECONDS = 0.15, 0.3
# Blue and orange, which colour-blind people can tell apart. An arrow or a shape always says the same.
COLOURS = {
    "light": {"up": "#0b62b8", "down": "#b84a00", "mark": "#8a2be2", "short": "#00796b", "long": "#8a6d00"}
    | {"text": "#31333f", "grid": "#e3e6ea"},
    "dark": {"up": "#58a6ff", "down": "#ffa057", "mark": "#d2a8ff", "short": "#3fd0b6", "long": "#e3c04b"}
    | {"text": "#e6e8ee", "grid": "#2b303b"},
}
# Tells whether the window is "narrow" or "wide", because Python cannot see that.
watch_width = st.components.v2.component(
    "width",
    js="""export default ({ parentElement: root, setStateValue }) => {
      const tell = () => {
        const size = innerWidth <= 600 ? "narrow" : innerWidth >= 1800 ? "wide" : "";
        if (size !== (root.size ?? "")) setStateValue("size", (root.size = size));
      };
      tell();
      addEventListener("resize", tell);
      return () => removeEventListener("resize", tell);
    }""",
)


def draw_heading(text: str) -> None:
    st.html(f"<h2 style='font-size:1.15rem;margin:0;padding:0'>{html.escape(text)}</h2>", width="content")


def table_height(rows: int) -> int:
    """The height of a table in pixels: its rows, ten at most, and the header."""
    return min(rows, 10) * 35 + 38


def draw_watchlist(
    feed: Feed, symbols: list[str], colours: dict[str, str], now: datetime, *, is_narrow: bool
) -> str:
    """Draw the table of symbols. Returns the selected symbol."""
    wanted = st.query_params.get("symbol", "")
    row = symbols.index(wanted) if wanted in symbols else 0
    state = st.dataframe(
        tables.style_watchlist(tables.watchlist_rows(feed, symbols, now), colours),
        key="watchlist " + " ".join(symbols),
        hide_index=True,
        placeholder="–",
        height=table_height(len(symbols)),
        on_select="rerun",
        selection_mode="single-cell",  # the only mode in which the arrow keys move the selection
        selection_default={"selection": {"cells": [(row, "Symbol")]}},
        alt="Watchlist: last price, change, trend and averages of each symbol",
        column_order=tables.NARROW_WATCHLIST if is_narrow else None,
        column_config=tables.watchlist_columns(feed.settings, colours, is_narrow=is_narrow),
    )
    cells = state.selection.cells
    selected = symbols[cells[0][0]] if cells and cells[0][0] < len(symbols) else symbols[row]
    if selected != symbols[row]:  # do not overwrite a symbol in the address that is not on the page yet
        st.query_params["symbol"] = selected
    return selected


def draw_chart(feed: Feed, symbol: str, watched: Sequence[str], colours: dict[str, str]) -> None:
    """Draw price, averages and signals of the selected symbol, and the volume below them.

    Args:
        watched: all symbols of the watchlist.
    """
    short, long = feed.settings.short, feed.settings.long
    options = {"required": True, "bind": "query-params", "label_visibility": "collapsed"}
    with st.container(horizontal=True, vertical_alignment="center"):
        draw_heading(symbol)
        with st.container(horizontal=True, width="content", key="choices"):
            name = st.segmented_control("Range", list(RANGES), default="1 h", key="range", **options)
            look = st.segmented_control("Look", ["Candles", "Line"], default="Candles", key="look", **options)
    series = feed.series(symbol)
    if not series.ticks:
        middle = {"horizontal_alignment": "center", "vertical_alignment": "center"}
        with st.container(key="empty", border=True, **middle):
            text = how_to_fill(feed, symbol, watched) if series.is_read else "Not read yet."
            st.markdown(text, width="content")
        return
    start = start_of_range(series.newest, name)
    series = feed.read_back_to(symbol, start, timeout=TIMEOUT_SECONDS)
    is_replay = series.ticks[-1].replayed_at is not None
    most = MAX_CANDLES if look == "Candles" else MAX_POINTS
    seconds = candle_seconds(series.ticks[index_from(series.ticks, start) :], most)
    candles = make_candles(series, start=start, seconds=seconds, short=short, long=long)
    zone = "UTC" if is_replay else viewer_zone()
    averages = [f"SMA-{short}", f"SMA-{long}"]
    style = {"isLine": look == "Line", "seconds": seconds, "names": averages, "colours": colours}
    draw_candles(data=chart_data(candles, name=f"{symbol}, {name}", zone=zone, look=style), key="chart")
    missing = "" if series.is_complete_from(start) else f" Only the newest {len(series.ticks):,} ticks."
    st.caption(
        f"Solid {averages[0]} (last {short} ticks), dashed {averages[1]} (last {long} ticks) · "
        f"{' '.join(SIGNALS.values())} · times: {zone} · drag, Ctrl + wheel or pinch, ← → + - 0.{missing}",
        help="The averages count ticks, not minutes. Bars of the past come once a minute and live ticks more "
        "often, so the averages bend where the two meet. A mark stands for all signals of its kind in a "
        "candle, and a number beside it says how many there are. The arrow keys move the crosshair, + and - "
        "zoom, 0 shows all.",
    )


def viewer_zone() -> str:
    """The name of the time zone in which the browser shows times."""
    return st.context.timezone or "UTC"


def draw_alerts(feed: Feed, symbols: Sequence[str], selected: str, *, size: str) -> None:
    """Draw the table of alerts, newest first."""
    with st.container(horizontal=True, vertical_alignment="center"):
        draw_heading("Alerts")
        kinds = st.pills(
            "Signals",
            list(SIGNALS),
            selection_mode="multi",
            default=list(SIGNALS),
            key="signals",
            label_visibility="collapsed",
        )
        only_selected = st.toggle("Only the selected symbol", key="only")
    frame = tables.alert_rows(feed, [selected] if only_selected else symbols, kinds)
    if frame.empty:
        needed, is_filtered = feed.settings.long + 1, only_selected or len(kinds) < len(SIGNALS)
        if feed.failure(symbols) or not feed.are_read(symbols):
            text = "Not read yet."
        elif all(len(feed.series(symbol).ticks) < needed for symbol in symbols):
            text = f"No alerts yet: a crossover needs {needed} ticks."
        else:
            text = "No such alerts." if is_filtered else "No alerts yet."
        st.caption(text)
        return
    st.dataframe(
        tables.style_alerts(frame),
        key="alerts",
        hide_index=True,
        placeholder="–",
        height=table_height(len(frame)),
        alt="Alerts, newest first",
        column_order=(tables.WIDE_ALERTS if size == "wide" else tables.ALERTS).values(),
        column_config=tables.alert_columns(feed.settings, zone=viewer_zone(), is_narrow=size == "narrow"),
    )
    st.caption(f"Times: {viewer_zone()}.")


def all_symbols(feed: Feed) -> list[str]:
    """All symbols of the watchlist: those of the settings, those that were added, those with alerts."""
    typed = filter(is_symbol, st.query_params.get("with", "").upper().split(","))
    return list(dict.fromkeys([*feed.settings.symbols, *typed, *feed.alerted_symbols()]))


def choose_symbols(watched: list[str]) -> list[str]:
    """Draw the search box and the page numbers. Returns the symbols that they choose for this page."""
    label = "Find or add a symbol"
    box = st.text_input(
        label, type="search", key="find", live=True, placeholder=label, label_visibility="collapsed"
    )
    typed = box.strip().upper()
    found = [symbol for symbol in watched if typed in symbol.upper()]
    if typed and typed not in watched:
        if not is_symbol(typed):
            st.caption("A symbol has no spaces and no commas, and at most 32 characters.")
        elif st.button("Add " + re.sub(r"([^\w\s])", r"\\\1", typed), key="add"):  # Markdown, hence escaped
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


@st.fragment(run_every=REFRESH_SECONDS)
def draw_page(feed: Feed) -> None:
    """Read what is new and draw everything. Streamlit calls this every REFRESH_SECONDS."""
    colours = COLOURS[st.context.theme.type or "light"]
    strip, problem = st.container(), st.container()
    watched = all_symbols(feed)
    symbols = choose_symbols(watched)
    timeout = TIMEOUT_SECONDS if feed.are_read(symbols) else OPENING_TIMEOUT_SECONDS
    wanted = st.query_params.get("symbol")
    read = list(dict.fromkeys([*symbols, *watched]))[:PAGE_SYMBOLS]  # a search does not make the strip old
    feed.refresh(sorted(read, key=lambda symbol: symbol != wanted), timeout=timeout)
    now, were_read = datetime.now(UTC), feed.are_read(symbols)
    with strip:
        draw_strip(feed, watched, now)
        size = watch_width(key="width").get("size", "")
    if not symbols:
        st.caption("No symbol of that name in the list.")
        return
    with problem:
        draw_problem(feed, symbols, now)
    selected = draw_watchlist(feed, symbols, colours, now, is_narrow=size == "narrow")
    left, right = st.columns([3, 2])
    with left:
        draw_chart(feed, selected, watched, colours)
    with right:
        draw_alerts(feed, symbols, selected, size=size)
    if not were_read and not feed.failure(symbols):
        st.rerun()  # at once, because more answers have come or are under way


@st.cache_resource(show_spinner=False)
def shared_feed(settings: Settings) -> Feed:
    """The feed of this server. It lives on while pages come and go."""
    return Feed(settings)


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
        feed.forget_old_series()
    draw_page(feed)


if __name__ == "__main__":  # Streamlit runs this file for each browser
    main()
else:  # `streamlit run` imports it once before that, so that the slow imports are done when a browser comes
    app = st.App(__file__, routes=[Route("/lightweight-charts.js", lambda _: FileResponse(LIBRARY))])
