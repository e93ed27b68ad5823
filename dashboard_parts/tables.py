"""The rows and columns of the two tables: the watchlist and the alerts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from dashboard_parts.feed import Feed
from dashboard_parts.reading import Settings
from dashboard_parts.ticks import (
    FIRST_TICKS,
    age_text,
    amount,
    arrow,
    average,
    has_anomaly_today,
    signal_text,
)

WATCHLIST = ("Symbol", "Last", "Change %", "Change", "Prices", "Trend", "SMA short", "SMA long", "Age")
NARROW_WATCHLIST = ("Symbol", "Last", "Change %", "Trend", "Prices")
ALERTS = {"timestamp": "Time", "symbol": "Symbol", "signal": "Signal", "price": "Price", "status": "Status"}
WIDE_ALERTS = ALERTS | {"change_percent": "Change %", "sma_short": "SMA short", "sma_long": "SMA long"}
MAX_ALERTS = 200


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
            short, long = average(ticks, settings.short), average(ticks, settings.long)
            if long:
                row |= {"SMA short": float(short), "SMA long": float(long)}
                row["Trend"] = "▲ up" if short > long else "▼ down" if short < long else "▬ flat"
            if has_anomaly_today(series):
                row["Trend"] += " ◆"
        rows.append(row)
    return pd.DataFrame(rows, columns=WATCHLIST)


def style_watchlist(frame: pd.DataFrame, colours: dict[str, str]) -> Styler:
    """Give the watchlist's rows their colours and their texts."""

    def colour(value: float | str) -> str:
        sign = value[0] if isinstance(value, str) else arrow(value)
        name = {"▲": "up", "▼": "down"}.get(sign)
        return f"color: {colours[name]}" if name else ""

    style = frame.style.map(colour, subset=["Change", "Change %", "Trend"])
    texts = {
        "Last": amount,
        "Change": lambda value: f"{arrow(value)} {amount(value, '+')}",
        "Change %": lambda value: f"{arrow(value)} {value:+.2f}",
        "Age": age_text,
        "SMA short": amount,
        "SMA long": amount,
    }
    return style.format(texts, na_rep="—")


def watchlist_columns(settings: Settings, colours: dict[str, str], *, is_narrow: bool) -> dict[str, Any]:
    """How Streamlit shows the columns of the watchlist. They grow to the width of the page."""
    config = st.column_config
    trend = "whether the short average is above or below the long one; ◆: an anomaly today"
    return {
        "Symbol": config.TextColumn(pinned=True, width=82),
        "Last": config.NumberColumn(width=74),
        "Change": config.NumberColumn(width=80),
        "Change %": config.NumberColumn(width=70),
        "Prices": config.LineChartColumn(
            width=50 if is_narrow else 130, color=colours["up"], help="in about the last hour"
        ),
        "Trend": config.TextColumn(width=76, help=trend),
        "SMA short": config.NumberColumn(f"SMA-{settings.short}", width=95),
        "SMA long": config.NumberColumn(f"SMA-{settings.long}", width=95),
        "Age": config.NumberColumn(width=75, help="since the newest quote"),
    }


def alert_rows(feed: Feed, symbols: Sequence[str], signals: Sequence[str]) -> pd.DataFrame:
    """The newest alerts of these symbols and signals, newest first."""
    alerts = [alert for symbol in symbols for alert in feed.series(symbol).alerts.values()]
    chosen = [alert | {"signal": signal_text(alert)} for alert in alerts if alert["signal"] in signals]
    chosen.sort(key=lambda alert: alert["timestamp"], reverse=True)
    frame = pd.DataFrame(chosen[:MAX_ALERTS], columns=list(WIDE_ALERTS)).rename(columns=WIDE_ALERTS)
    frame["Time"] = pd.to_datetime(frame["Time"], utc=True, errors="coerce")
    return frame.astype(dict.fromkeys(("Price", "Change %", "SMA short", "SMA long"), float))


def style_alerts(frame: pd.DataFrame) -> Styler:
    """Give the numbers of the alerts their texts: as many decimals as the price needs."""
    texts = {"Price": amount, "Change %": "{:+.2f}", "SMA short": amount, "SMA long": amount}
    return frame.style.format(texts, na_rep="–")


def alert_columns(settings: Settings, *, zone: str, is_narrow: bool) -> dict[str, Any]:
    """How Streamlit shows the columns of the alerts. They grow to the width of the table's card."""
    config = st.column_config
    time = {"format": "HH:mm", "width": 50} if is_narrow else {"format": "ddd HH:mm:ss", "width": 105}
    return {
        "Time": config.DatetimeColumn(**time, timezone=zone),
        "Symbol": config.TextColumn(width=80),
        "Signal": config.TextColumn(width=85),
        "Price": config.NumberColumn(width=66),
        "Status": config.TextColumn(width=72),
        "Change %": config.NumberColumn(width=80),
        "SMA short": config.NumberColumn(f"SMA-{settings.short}", width=75),
        "SMA long": config.NumberColumn(f"SMA-{settings.long}", width=75),
    }
