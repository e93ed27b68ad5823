"""Chooses the source of quotes: Yahoo when it answers with a fresh quote, otherwise the simulated market.

    probe_yahoo.py [--symbols A,B]

Prints one line: "yahoo" or "simulated", and why.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

PATIENCE_SECONDS = 8
FRESH = timedelta(minutes=20)  # many exchanges are delayed by 15
MADE_UP = "so the prices are made up"

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import stream_stock_data as producer  # noqa: E402


class LastMessage(logging.Handler):
    """Keeps the last log message, which says why something failed."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep this message instead of the one before. Of requests that failed, keep the first error."""
        text = record.getMessage()
        failed = re.fullmatch(r"Yahoo: \d+ failed.*?\((.*)\)", text)
        self.text = f"Yahoo cannot be reached ({failed[1]})" if failed else text


def choose(symbols: list[str], complaint: LastMessage) -> str:
    """The source, and why."""
    now = datetime.now(UTC)
    timestamps = []
    for quote in producer.YahooSource().fetch(symbols):
        try:
            timestamps.append(producer.build_tick(quote, source="yahoo", fetched_at=now)["timestamp"])
        except producer.InvalidQuote as error:
            complaint.text = str(error)
    if not timestamps:
        reason = complaint.text or f"Yahoo has no quote of {', '.join(symbols)}"
        return f"simulated: {reason}, {MADE_UP}"
    age = now - producer.parse_timestamp(max(timestamps))
    words = f"Yahoo's newest quote is of {max(timestamps)}"
    if age <= FRESH:
        return f"yahoo: {words}"
    return f"simulated: {words}, so the market is closed and the prices are made up"


def main() -> None:
    """Chooses, and waits no longer than PATIENCE_SECONDS for Yahoo."""
    complaint = LastMessage()
    producer.log.addHandler(complaint)
    producer.log.propagate = False
    logging.getLogger("yfinance").disabled = True
    try:
        producer.load_settings(producer.HERE / ".env")
        symbols = producer.read_symbols(producer.parse_arguments(sys.argv[1:]))
    except producer.CannotRun as error:
        sys.exit(f"error: {error}")
    answer = [f"simulated: Yahoo did not answer within {PATIENCE_SECONDS} s, {MADE_UP}"]
    thread = threading.Thread(target=lambda: answer.append(choose(symbols, complaint)), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    print(answer[-1], flush=True)
    os._exit(0)  # a request to Yahoo may still be under way


if __name__ == "__main__":
    main()
