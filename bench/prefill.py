"""Puts past ticks into tables of a local stack, in no time: for end_to_end.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from local_stack import LocalStack

from sources.simulated import SimulatedSource
from stream_stock_data import build_tick


def past_items(symbol: str, count: int) -> Iterator[dict[str, dict]]:
    """Items of a symbol, one a second until now, as ProcessStockData stores them."""
    walk, now = SimulatedSource(seed=None, delay_seconds=1)._walk(symbol), datetime.now(UTC)
    for age in range(count, 0, -1):
        at = now - timedelta(seconds=age)
        tick = build_tick(walk.quote(at, shock_chance=0), source="simulated", fetched_at=at)
        item = {
            name: {"S": value} if isinstance(value, str) else {"N": str(value)}
            for name, value in tick.items()
        }
        yield item | {"anomaly": {"BOOL": False}, "expires_at": {"N": str(int(at.timestamp()) + 86_400)}}


def prefill(stack: LocalStack, tables: list[str], symbols: list[str], count: int) -> None:
    """Write the items into the emulator's saved state, and start it again from there."""
    stack.stop()
    path = stack.folder / "state/dynamodb.json"
    state = json.loads(path.read_text())
    for key, table in state["payload"]["tables"]["data"].items():
        if any(key.endswith(f"{name!r}") for name in tables):
            for symbol in symbols:
                items = {item["timestamp"]["S"]: item for item in past_items(symbol, count)}
                table["items"].setdefault(symbol, {}).update(items)
    path.write_text(json.dumps(state))
    stack.start()
