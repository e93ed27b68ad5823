"""Say whether Yahoo Finance answers with a fresh quote: in one line on standard output, and as exit status 0 or 1.

Usage: probe_yahoo.py [SYMBOLS]
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

PATIENCE_SECONDS = 8
FRESH = timedelta(minutes=20)  # many exchanges are delayed by 15

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import stream_stock_data as producer  # noqa: E402


def probe(symbols: list[str]) -> tuple[bool, str]:
    """Whether there is a fresh quote of one of the symbols, and what was found."""
    ages = []
    for quote in producer.YahooSource().fetch(symbols):
        try:
            tick = producer.build_tick(quote, source="yahoo", fetched_at=datetime.now(UTC))
        except producer.InvalidQuote:
            continue
        ages.append(datetime.now(UTC) - producer.parse_timestamp(tick["timestamp"]))
    if not ages:
        return False, "Yahoo has no quote of " + ",".join(symbols)
    age = f"Yahoo's newest quote is {min(ages) // timedelta(minutes=1)} minutes old"
    return (True, age) if min(ages) <= FRESH else (False, f"{age}: the market is closed")


def main() -> None:
    """Probe, but not for longer than PATIENCE_SECONDS."""
    logging.disable(logging.CRITICAL)
    symbols = producer.parse_symbols(sys.argv[1] if len(sys.argv) > 1 else "AAPL", origin="--symbols")
    result = [(False, f"Yahoo did not answer within {PATIENCE_SECONDS} s")]

    def work() -> None:
        try:
            result.append(probe(symbols))
        except Exception as error:  # whatever it is, it is the reason
            result.append((False, f"Yahoo cannot be reached ({type(error).__name__})"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    fresh, words = result[-1]
    print(words, flush=True)
    os._exit(0 if fresh else 1)  # a request may still hang


if __name__ == "__main__":
    main()
