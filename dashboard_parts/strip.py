"""The top of the page: a strip with the state of the market and of the pipeline, and what is wrong."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

from dashboard_parts.feed import REFRESH_SECONDS, Feed
from dashboard_parts.reading import COUNTED_OBJECTS, explain
from dashboard_parts.ticks import Series, age_text, index_from, market_state
from stream_stock_data import is_local

STALE_SECONDS = 300
STYLE = """
<style>
.stMainBlockContainer { padding: 1.2rem clamp(1rem, 3vw, 3rem) 2rem; }
.stAppHeader { background: transparent; height: 2.5rem; pointer-events: none; }
.stAppHeader button { pointer-events: auto; }
/* Without these two rules the page would flicker at each refresh. */
.stStatusWidget { display: none; }
[data-stale="true"] { opacity: 1 !important; }
.strip { display: flex; flex-wrap: wrap; gap: .4rem; align-items: stretch; }
.strip h1 { font-size: 1.35rem; padding: 0; margin: 0 .6rem 0 0; align-self: center; }
.chip { border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: .5rem;
        padding: .2rem .6rem; font-size: .875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.chip small { display: block; opacity: .75; font-size: .72rem; }
.badge { background: #f5c518; color: #1a1a1a; border-color: #f5c518; font-weight: 600; }
.badge small { opacity: 1; font-weight: 400; }
.st-key-width { display: none; }
/* A table's toolbar lies over the search box, so it comes when it is needed. */
.stElementToolbar { opacity: 0; pointer-events: none; }
[data-testid=stFullScreenFrame]:hover .stElementToolbar, .stElementToolbar:focus-within {
  opacity: 1; pointer-events: auto; }
.st-key-empty { min-height: 442px; } /* as the chart */
@media (max-width: 600px) {
  .strip { padding-right: 1rem; } /* the menu is there */
  .st-key-choices { flex-wrap: nowrap; gap: .4rem; }
  .st-key-choices button { padding: .2rem .4rem; font-size: .8rem; }
  .st-key-empty { min-height: 483px; }
}
</style>
"""


def chip(label: str, value: str, *, kind: str = "", title: str = "") -> str:
    """One fact of the strip, as HTML."""
    texts = [html.escape(text) for text in (kind, title, label, value)]
    return '<span class="chip {}" title="{}"><small>{}</small>{}</span>'.format(*texts)


def draw_strip(feed: Feed, symbols: Sequence[str], now: datetime) -> None:
    """Draw the strip: source, market, age, ticks in an hour, and what failed and lies in the bucket."""
    series_with_ticks = with_ticks(feed, symbols)
    sources = {series.newest.get("source") for series in series_with_ticks}
    chips = []
    if "simulated" in sources:
        chips.append(chip("simulated", "made-up prices", kind="badge"))
    if "replay" in sources:
        newest = [series.newest for series in series_with_ticks]
        dates = [str(fields["replayed_from"])[:10] for fields in newest if "replayed_from" in fields]
        chips.append(chip("replay", f"prices of {max(dates, default='the past')}", kind="badge"))
    states = [market_state(series.newest, now) for series in series_with_ticks]
    if "open" in states:
        count = "" if set(states) == {"open"} else f": {states.count('open')} of {len(states)}"
        state = f"● open{count}"
    else:
        state = "○ closed" if set(states) == {"closed"} else "? unknown"
    chips.append(chip("market", state, title="by the newest ticks, otherwise by New York's trading hours"))
    last = "none yet"
    if series_with_ticks:
        newest_time = max(series.ticks[-1].time for series in series_with_ticks)
        last = f"{age_text(now.timestamp() - newest_time)} ago"
    chips.append(chip("last tick", last))
    hour = now - timedelta(hours=1)
    count = sum(len(series.ticks) - index_from(series.ticks, hour) for series in series_with_ticks)
    is_whole = feed.are_read(symbols) and all(each.is_complete_from(hour) for each in series_with_ticks)
    more = "" if is_whole else "+"
    chips.append(chip("ticks in the last hour", f"{count:,}{more}", title="of the symbols that were read"))
    chips.append(bucket_chip(feed, "rejects", "records that were no tick"))
    chips.append(bucket_chip(feed, "failed batches", "scripts/redrive.sh"))
    if sources := sources - {"simulated", "replay", None}:
        chips.append(chip("source", ", ".join(sorted(sources))))
    st.html(f'{STYLE}<div class="strip"><h1>Stock market</h1>{"".join(chips)}</div>')


def bucket_chip(feed: Feed, what: str, hint: str) -> str:
    """The number of rejects or failed batches, with a warning sign when there are any."""
    found = feed.count_in_bucket(what)
    if found is None:
        return chip(what, "…", title=hint)
    if isinstance(found, Exception):
        return chip(what, "?", title=re.sub(r"[*`]", "", explain(found, feed.settings)))
    text = f"{found:,}{'+' if found >= COUNTED_OBJECTS else ''}"
    return chip(what, f"⚠ {text}" if found else text, title=hint)


def with_ticks(feed: Feed, symbols: Sequence[str]) -> list[Series]:
    """What is known of those symbols that have ticks."""
    return [series for series in map(feed.series, symbols) if series.ticks]


def how_to_fill(feed: Feed, symbol: str, watched: Sequence[str]) -> str:
    """Say how a symbol gets its first ticks, in Markdown. A second producer would be refused.

    Args:
        watched: all symbols of the watchlist.
    """
    sources = {series.newest.get("source") for series in with_ticks(feed, watched)}
    if "replay" in sources:
        return "**No ticks of this symbol.** The file that is replayed has no bars of it."
    if sources:
        return "**No ticks of this symbol.** Add it to `STOCK_SYMBOLS` in `.env` and restart the producer."
    names = shlex.quote(",".join(dict.fromkeys([symbol, *watched[:5]]))).replace("`", "")
    source = " --source simulated" if is_local(feed.settings.endpoint) else ""
    return (
        f"**No ticks yet** {feed.settings.location}. Start the producer, and they appear here:\n\n```bash\n"
        f"python stream_stock_data.py{source} --symbols {names} --backfill 60\n```"
    )


def draw_problem(feed: Feed, symbols: Sequence[str], now: datetime) -> None:
    """Draw what is broken or out of date, and what to do about it."""
    if error := feed.failure(symbols):
        text = explain(error, feed.settings)
        if feed.ticks_read_at:
            age = age_text((now - feed.ticks_read_at).total_seconds())
            text += f" The page shows what it read {age} ago."
        st.error(f"{text} This page tries again every {REFRESH_SECONDS} s.")
        return
    series_with_ticks = with_ticks(feed, symbols)
    if not series_with_ticks or not feed.are_read(symbols):
        return
    newest = max(series_with_ticks, key=lambda series: series.ticks[-1].time).newest
    age = (now - datetime.fromisoformat(newest["timestamp"])).total_seconds()
    limit = STALE_SECONDS + 60 * float(newest.get("delay_minutes") or 0)
    if age > limit and market_state(newest, now) != "closed":
        st.warning(
            f"**Nothing new for {age_text(age)}**, and the market is not known to be closed. Is the producer "
            "running? `python stream_stock_data.py` says what it does."
        )
