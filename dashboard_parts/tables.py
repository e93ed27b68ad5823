"""The rows and columns of the two tables: the watchlist and the alerts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from dashboard_parts.feed import FIRST_TICKS, Feed
from dashboard_parts.reading import Settings
from dashboard_parts.ticks import age_text, amount, arrow, averages, has_anomaly_today, signal_text

# What a window below 600 px shows.
NARROW_WATCHLIST = ("Symbol", "Last", "Change %", "Trend", "Prices")
NARROW_ALERTS = ("Time", "Symbol", "Signal", "Price", "Status")


def watchlist_rows(feed: Feed, symbols: Sequence[str], now: datetime) -> pd.DataFrame:
    """The watchlist: one row for each symbol, in this order."""
    settings, rows = feed.settings, []
    for symbol in symbols:
        series = feed.series(symbol)
        newest, ticks = series.newest, series.ticks
        row: dict[str, Any] = {"Symbol": symbol, "Trend": "no ticks" if series.is_read else "not read yet"}
        if newest and ticks:
            prices = [float(tick.price) for tick in ticks[-FIRST_TICKS:]]
            row |= {
                "Last": prices[-1],
                "Change": float(newest.get("change", math.nan)),
                "Change %": float(newest.get("change_percent", math.nan)),
                "Prices": prices[:: -(-len(prices) // 60)],
                "Trend": f"{len(ticks)} of {settings.long} ticks",
                "Age": round((now - datetime.fromisoformat(newest["timestamp"])).total_seconds()),
            }
            if found := averages(ticks, short=settings.short, long=settings.long):
                row["SMA short"], row["SMA long"] = map(float, found[:2])
                row["Trend"] = {"up": "▲ up", "down": "▼ down", "flat": "▬ flat"}[found[2]]
            if has_anomaly_today(series):
                row["Trend"] += " ◆"
        rows.append(row)
    columns = ["Symbol", "Last", "Change %", "Change", "Prices", "Trend", "SMA short", "SMA long", "Age"]
    return pd.DataFrame(rows, columns=columns)


def style_watchlist(frame: pd.DataFrame, colours: dict[str, str]) -> Styler:
    """Give the watchlist's rows their colours and their texts."""

    def colour(value: float) -> str:
        return f"color: {colours['up']}" if value > 0 else f"color: {colours['down']}" if value < 0 else ""

    def colour_trend(value: str) -> str:
        return colour({"▲": 1, "▼": -1}.get(value[0], 0))

    style = frame.style.map(colour, subset=["Change", "Change %"]).map(colour_trend, subset=["Trend"])
    texts = {
        "Last": amount,
        "Change": lambda value: f"{arrow(value)} {amount(value, '+')}",
        "Change %": lambda value: f"{arrow(value)} {value:+.2f}",
        "Age": age_text,
        "SMA short": amount,
        "SMA long": amount,
    }
    return style.format(texts, na_rep="—")


def watchlist_columns(settings: Settings, colours: dict[str, str]) -> dict[str, Any]:
    """How Streamlit shows the columns of the watchlist."""
    config = st.column_config
    return {
        "Symbol": config.TextColumn(pinned=True, width=85),
        "Last": config.NumberColumn(width=78),
        "Change": config.NumberColumn(width=80),
        "Change %": config.NumberColumn(width=80),
        "Prices": config.LineChartColumn(width=130, color=colours["up"], help="in about the last hour"),
        "Trend": config.TextColumn(
            width=95, help="whether the short average is above or below the long one; ◆: an anomaly today"
        ),
        "SMA short": config.NumberColumn(f"SMA-{settings.short}", width=95),
        "SMA long": config.NumberColumn(f"SMA-{settings.long}", width=95),
        "Age": config.NumberColumn(width=75, help="since the newest quote"),
    }


def alert_rows(feed: Feed, symbols: Sequence[str]) -> pd.DataFrame:
    """The alerts of these symbols, newest first."""
    rows = [
        {
            "Time": str(alert.get("timestamp", "")),
            "Symbol": symbol,
            "Signal": signal_text(alert),
            "Price": alert.get("price"),
            "Change %": alert.get("change_percent"),
            "SMA short": alert.get("sma_short"),
            "SMA long": alert.get("sma_long"),
            "Status": alert.get("status"),
        }
        for symbol in symbols
        for alert in list(feed.series(symbol).alerts.values())
    ]
    columns = ["Time", "Symbol", "Signal", "Price", "Status", "Change %", "SMA short", "SMA long"]
    frame = pd.DataFrame(rows, columns=columns).sort_values("Time", ascending=False, kind="stable")
    frame["Time"] = pd.to_datetime(frame["Time"], utc=True, errors="coerce")
    for name in ("Price", "Change %", "SMA short", "SMA long"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(float)
    return frame.reset_index(drop=True)


def style_alerts(frame: pd.DataFrame) -> Styler:
    """Give the numbers of the alerts their texts: as many decimals as the price needs."""
    texts = {"Price": amount, "Change %": "{:+.2f}", "SMA short": amount, "SMA long": amount}
    return frame.style.format(texts, na_rep="–")


def alert_columns(settings: Settings, *, zone: str, is_narrow: bool) -> dict[str, Any]:
    """How Streamlit shows the columns of the alerts."""
    config = st.column_config
    time = {"format": "HH:mm", "width": 50} if is_narrow else {"format": "ddd HH:mm:ss", "width": 105}
    return {
        "Time": config.DatetimeColumn(**time, timezone=zone),
        "Symbol": config.TextColumn(width=80),
        "Signal": config.TextColumn(width=85 if is_narrow else 105),
        "Price": config.NumberColumn(width=66 if is_narrow else 75),
        "Change %": config.NumberColumn(width=80),
        "SMA short": config.NumberColumn(f"SMA-{settings.short}", width=75),
        "SMA long": config.NumberColumn(f"SMA-{settings.long}", width=75),
        "Status": config.TextColumn(width=75),
    }
