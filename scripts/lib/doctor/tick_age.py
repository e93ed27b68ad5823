"""Prints for doctor.sh how old the newest ticks are, and whether that is right.

tick_age.py RECORDS_IN_THE_LAST_HOUR DELAY_SECONDS < lines of SYMBOL TIMESTAMP FETCHED_AT
"""

import sys
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

FRESH = timedelta(minutes=20)  # many exchanges are delayed by 15
OPENS, CLOSES = time(9, 30), time(16)


def is_open(now: datetime) -> bool:
    """Whether New York trades at this time; this does not know holidays."""
    there = now.astimezone(ZoneInfo("America/New_York"))
    return there.weekday() < 5 and OPENS <= there.time() < CLOSES


def verdict(ticks: dict[str, tuple[str, str]], *, incoming: int, delay: timedelta, now: datetime) -> str:
    """A state and words, for example "ok newest ticks: AAPL 12 s ago".

    Args:
        ticks: timestamp and fetched_at (UTC, ISO 8601) of each symbol's newest tick, or "None"
        incoming: how many records came in on the stream in the last hour
        delay: the producer's time between two polls
        now: the current time
    """
    stored = {symbol: times for symbol, times in ticks.items() if times[0] != "None"}
    none = ", ".join(symbol for symbol in ticks if symbol not in stored)
    if not stored:
        if incoming:
            return (
                f"wrong {incoming} records came in during the last hour, and no tick of {none} is in the "
                "table: see the lines about the function, its mapping and rejected records"
            )
        return f"note no ticks of {none} yet: start the producer, python stream_stock_data.py"
    ages = {symbol: now - datetime.fromisoformat(at) for symbol, (at, _) in stored.items()}
    youngest = min(ages.values())
    arrived = max(datetime.fromisoformat(fetched) for _, fetched in stored.values())
    words = ", ".join(f"{symbol} {age(each)} ago" for symbol, each in ages.items()) + (
        none and f", {none} none"
    )
    words = f"newest ticks: {words}"
    if youngest <= max(FRESH, 3 * delay):
        return f"ok {words}"
    if incoming and now - arrived > timedelta(minutes=65):
        return f"wrong {words}, but {incoming} records came in this hour: see the lines about the function"
    if is_open(now):
        return f"note {words}, and New York trades: does the producer run? python stream_stock_data.py"
    return f"note {words}; New York's market is closed"


def age(duration: timedelta) -> str:
    """A duration in words, for example 90 s, 5 min, 3 h or 4 days."""
    seconds = int(duration.total_seconds())
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


if __name__ == "__main__":
    newest = {symbol: (at, fetched) for symbol, at, fetched in map(str.split, sys.stdin)}
    print(
        verdict(
            newest,
            incoming=int(sys.argv[1]),
            delay=timedelta(seconds=float(sys.argv[2])),
            now=datetime.now(UTC),
        )
    )
