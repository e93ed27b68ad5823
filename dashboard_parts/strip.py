"""The strip at the top of the page: how the market and the pipeline are."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from dashboard_parts.feed import Feed
from dashboard_parts.reading import explain
from dashboard_parts.ticks import ago, index_from, market

STYLE = """
<style>
.stMainBlockContainer { padding: 1.2rem clamp(1rem, 3vw, 3rem) 2rem; }
.stAppHeader { background: transparent; height: 2.5rem; pointer-events: none; }
.stAppHeader button { pointer-events: auto; }
.stStatusWidget { display: none; }  /* it would flicker with every refresh, as would what fades meanwhile */
[data-stale="true"] { opacity: 1 !important; }
.strip { display: flex; flex-wrap: wrap; gap: .4rem; align-items: stretch; }
.strip h1 { font-size: 1.35rem; padding: 0; margin: 0 .6rem 0 0; align-self: center; }
.chip { border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: .5rem;
        padding: .2rem .6rem; font-size: .875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.chip small { display: block; opacity: .75; font-size: .72rem; }
.badge { background: #f5c518; color: #1a1a1a; border-color: #f5c518; font-weight: 600; }
.badge small { opacity: 1; font-weight: 400; }
</style>
"""


def chip(label: str, value: str, *, kind: str = "", title: str = "") -> str:
    """One fact of the strip, as HTML."""
    texts = [html.escape(text) for text in (kind, title, label, value)]
    return '<span class="chip {}" title="{}"><small>{}</small>{}</span>'.format(*texts)


def strip(feed: Feed, symbols: Sequence[str], now: datetime) -> str:
    """The health strip as HTML: source, market, age, ticks an hour, what waits in the bucket."""
    known = [series for series in map(feed.series, symbols) if series.ticks]
    chips = []
    sources = {series.newest.get("source") for series in known}
    if "simulated" in sources:
        chips.append(chip("simulated", "made-up prices", kind="badge"))
    if "replay" in sources:
        dates = [str(s.newest["replayed_from"])[:10] for s in known if "replayed_from" in s.newest]
        chips.append(chip("replay", f"prices of {max(dates, default='the past')}", kind="badge"))
    states = [market(series.newest, now) for series in known]
    count = states.count("open")
    if 0 < count < len(states):
        state = f"● open: {count} of {len(states)}"
    else:
        state = {"open": "● open", "closed": "○ closed"}.get(
            states[0] if len(set(states)) == 1 else "", "? unknown"
        )
    chips.append(chip("market", state, title="as the newest ticks say, otherwise by the hours of New York"))
    if known:
        newest = max(series.ticks[-1].time for series in known) / 1000
        chips.append(chip("last tick", f"{ago(now.timestamp() - newest)} ago"))
    else:
        chips.append(chip("last tick", "none yet"))
    hour = now - timedelta(hours=1)
    count = sum(len(series.ticks) - index_from(series.ticks, hour) for series in known)
    more = "" if all(series.is_complete_from(hour) for series in known) else "+"
    chips.append(chip("ticks in the last hour", f"{count:,}{more}", title="of the symbols on this page"))
    for what, hint in (("rejects", "records that were no tick"), ("failed batches", "scripts/redrive.sh")):
        found = feed.waiting(what)
        text = "…" if found is None else "?"
        if isinstance(found, tuple):
            text = f"{found[0]:,}{'+' if found[1] else ''}"
        title = explain(found, feed.settings) if isinstance(found, Exception) else hint
        alarm = "⚠ " if text not in ("0", "?", "…") else ""
        chips.append(chip(what, alarm + text, title=re.sub(r"[*`]", "", title)))
    sources -= {"simulated", "replay", None}
    if sources:
        chips.append(chip("source", ", ".join(sorted(sources))))
    return f'{STYLE}<div class="strip"><h1>Stock market</h1>{"".join(chips)}</div>'
