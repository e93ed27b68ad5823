"""What stands between botocore and AWS while handlers.py measures: the wire, and a market to answer on it."""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache

from botocore.awsrequest import AWSResponse
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse

from stream_stock_data import build_tick, format_timestamp

START = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
STEP = timedelta(seconds=30)


def size_of(item: dict[str, dict]) -> int:
    """The bytes of an item, as DynamoDB counts them for a read or a write, roughly."""
    return sum(len(name) + len(str(*value.values())) for name, value in item.items())


class Wire:
    """Counts and delays the calls of all clients, and answers them.

    Attributes:
        latency: seconds of delay a call, by service.
        market: who answers; None: moto.
        is_canned: give the recorded answers again.
        is_paused: let calls through to moto, neither counted nor delayed.
        answers: what was answered, by request.
        item_bytes: the size of a tick's item, of which the units that a read costs follow.
        calls, writes, reads, archived: calls by operation, units of DynamoDB, bytes put to S3; since `reset`.
    """

    def __init__(self) -> None:
        self.latency: dict[str, float] = {}
        self.market: Market | None = None
        self.is_canned = self.is_paused = False
        self.answers: dict[tuple, tuple] = {}
        self.item_bytes = 0
        self.reset()

    def reset(self) -> None:
        self.calls: Counter[str] = Counter()
        self.writes = self.reads = self.moto_seconds = 0.0
        self.archived = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the place of moto's hook, the last one before a request would leave."""
        moto = BotocoreStubber.__call__

        def call(stubber: BotocoreStubber, event_name: str, request, **rest) -> AWSResponse:
            if self.is_paused:
                return moto(stubber, event_name, request, **rest)
            service, operation = event_name.split(".")[1:]
            self.calls[operation] += 1
            if operation == "PutObject":
                length = request.headers.get("X-Amz-Decoded-Content-Length")
                self.archived += int(length or request.headers["Content-Length"])
            time.sleep(self.latency.get(service, 0))
            key = event_name, request.url, request.body if isinstance(request.body, bytes) else b""
            if not self.is_canned:
                start = time.perf_counter()
                if self.market:
                    self.answers[key] = 200, {}, self.market.answer(operation, request.body)
                else:
                    response = moto(stubber, event_name, request, **rest)
                    self.answers[key] = response.status_code, dict(response.headers), response.content
                self.moto_seconds += time.perf_counter() - start
            status, headers, body = self.answers[key]
            if service == "dynamodb" and not self.is_canned:
                self._count_units(operation, json.loads(request.body), json.loads(body))
            return AWSResponse(request.url, status, headers, MockRawResponse(body))

        BotocoreStubber.__call__ = call
        try:
            yield
        finally:
            BotocoreStubber.__call__ = moto

    def _count_units(self, operation: str, request: dict, answer: dict) -> None:
        """Units as DynamoDB bills them: 1 KB a write, 4 KB a consistent read, 8 KB one that is not."""
        if operation == "BatchWriteItem":
            self.writes += sum(len(puts) for puts in request["RequestItems"].values())
        elif operation == "Query":
            read = answer["ScannedCount"] * self.item_bytes
            self.reads += math.ceil(read / 4096) * (1 if request.get("ConsistentRead") else 0.5)
        else:
            self.writes += 1


class Market:
    """Random walks of some symbols, a tick each 30 s; and AWS, once the ticks are in the table.

    moto would take minutes to hold a day of 500 symbols. Items are made when they are asked for.
    """

    def __init__(self, build_item: Callable[[dict], dict], *, symbols: int, ticks: int) -> None:
        rng = random.Random(4)
        self.symbols = [f"SYM{number:03d}" for number in range(symbols)]
        self.ticks = ticks
        self.prices = {symbol: [100.0] for symbol in self.symbols}
        for _ in range(ticks):
            for prices in self.prices.values():
                prices.append(prices[-1] * (1 + rng.gauss(0, 0.0006)))
        self.item = cache(lambda symbol, step: build_item(self.tick(symbol, step)))

    def tick(self, symbol: str, step: int) -> dict:
        """The tick of a symbol at a step, as the producer builds it."""
        at, price = START + step * STEP, self.prices[symbol][step + 1]
        quote = {"symbol": symbol, "open": 100, "high": price * 1.01, "low": price * 0.99, "price": price}
        quote |= {"previous_close": 99.5, "volume": 1000 * step, "timestamp": format_timestamp(at)}
        quote |= {"currency": "USD", "exchange_timezone": "America/New_York", "market_state": "REGULAR"}
        return build_tick(quote, source="yahoo", fetched_at=at)

    def all_ticks(self) -> list[dict]:
        """Every tick, in the order in which they come."""
        return [self.tick(symbol, step) for step in range(self.ticks) for symbol in self.symbols]

    def answer(self, operation: str, body: bytes) -> bytes:
        """What AWS answers to a call of the handlers."""
        if operation == "Publish":
            return (
                b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
            )
        if operation != "Query":
            return b"{}" if operation != "PutObject" else b""
        query = json.loads(body)
        symbol = query["ExpressionAttributeValues"][":symbol"]["S"]
        start = query.get("ExclusiveStartKey", {}).get("timestamp")
        until = start or query["ExpressionAttributeValues"][":until"]
        newest = (datetime.fromisoformat(until["S"]) - START) // STEP - bool(start)
        steps = range(newest, max(newest - query["Limit"], -1), -1)
        names = query["ExpressionAttributeNames"]
        wanted = [names.get(name, name) for name in query["ProjectionExpression"].split(", ")]
        items = [self.item(symbol, step) for step in steps]
        page = [{name: item[name] for name in wanted if name in item} for item in items]
        answer = {"Items": page, "Count": len(page), "ScannedCount": len(page)}
        if len(page) == query["Limit"]:
            answer["LastEvaluatedKey"] = {name: items[-1][name] for name in ("symbol", "timestamp")}
        return json.dumps(answer).encode()
