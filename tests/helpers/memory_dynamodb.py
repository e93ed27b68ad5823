"""The calls of both handlers answered in memory: with moto, a thousand series of ticks would take minutes."""

from __future__ import annotations

import random
import threading
from bisect import bisect_right, insort
from collections.abc import Callable


class MemoryDynamoDB:
    """The tables of ticks and alerts, and the topic.

    Args:
        rng: decides in which order the puts of a BatchWriteItem run, and which of them are refused.
        refusals: the share of puts that BatchWriteItem hands back as unprocessed.

    Attributes:
        inserted: the new ticks in the order in which they were stored, as the table's stream has them.
        messages: what was published.
        interrupt: called with the name of each operation before it happens, and with "after" and that name
            afterwards; what it raises reaches the handler.
    """

    class exceptions:
        class ConditionalCheckFailedException(Exception):
            def __init__(self, item: dict) -> None:
                self.response = {"Item": item}

    def __init__(self, rng: random.Random | None = None, *, refusals: float = 0) -> None:
        self.rng, self.refusals = rng or random.Random(0), refusals
        self.ticks: dict[str, list[tuple[str, dict]]] = {}
        self.inserted: list[dict] = []
        self.alerts: dict[tuple[str, str], dict] = {}
        self.messages: list[dict] = []
        self.queries = 0
        self.interrupt: Callable[[str], None] = lambda moment: None
        self._lock = threading.Lock()

    def put_tick(self, item: dict) -> None:
        """Put a tick, which replaces one of the same time."""
        ticks, timestamp = self.ticks.setdefault(item["symbol"]["S"], []), item["timestamp"]["S"]
        place = bisect_right(ticks, timestamp, key=lambda tick: tick[0]) - 1
        if place >= 0 and ticks[place][0] == timestamp:
            ticks[place] = timestamp, item
        else:
            insort(ticks, (timestamp, item), key=lambda tick: tick[0])
            self.inserted.append(item)

    def batch_write_item(self, *, RequestItems: dict[str, list[dict]]) -> dict:
        ((table, puts),) = RequestItems.items()
        with self._lock:
            shuffled = self.rng.sample(puts, len(puts))
            refused = [put for put in shuffled if self.rng.random() < self.refusals]
            for put in shuffled:
                if put not in refused:
                    self.put_tick(put["PutRequest"]["Item"])
        return {"UnprocessedItems": {table: refused}} if refused else {}

    def query(self, *, ExpressionAttributeValues, Limit, ExclusiveStartKey=None, **_) -> dict:
        self.interrupt("Query")
        ticks = self.ticks[ExpressionAttributeValues[":symbol"]["S"]]
        until = ExclusiveStartKey or ExpressionAttributeValues[":until"]["S"]
        end = bisect_right(ticks, until, key=lambda tick: tick[0]) - (ExclusiveStartKey is not None)
        page = ticks[max(end - Limit, 0) : end][::-1]
        self.queries += 1
        answer = {"Items": [item for _, item in page]}
        return answer | ({"LastEvaluatedKey": page[-1][0]} if len(page) == Limit else {})

    def put_item(self, *, Item, ExpressionAttributeValues, **_) -> None:
        self.interrupt("PutItem")
        key = Item["symbol"]["S"], Item["alert_id"]["S"]
        with self._lock:
            known = self.alerts.get(key)
            if known and known["status"] != ExpressionAttributeValues[":replaced"]:
                raise self.exceptions.ConditionalCheckFailedException(known)
            self.alerts[key] = Item
        self.interrupt("after PutItem")

    def publish(self, **message) -> None:
        self.interrupt("Publish")
        with self._lock:
            self.messages.append(message)
        self.interrupt("after Publish")

    def update_item(self, *, Key, ExpressionAttributeNames, ExpressionAttributeValues, **_) -> None:
        self.interrupt("UpdateItem")
        key = Key["symbol"]["S"], Key["alert_id"]["S"]
        with self._lock:
            self.alerts[key] = self.alerts[key] | {
                ExpressionAttributeNames["#name"]: ExpressionAttributeValues[":value"]
            }
        self.interrupt("after UpdateItem")
