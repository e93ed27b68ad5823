"""Faults between botocore and moto: what botocore sees is what a real network and a real AWS would show it.

moto answers from a hook on botocore's before-send event, so the call that is wrapped here is the last step
before a request would leave: retries, time-outs and error parsing are botocore's own.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse

THROTTLED = {
    "dynamodb": (400, "ProvisionedThroughputExceededException"),
    "s3": (503, "SlowDown"),
    "sns": (400, "Throttled"),
}


class Killed(Exception):
    """The function died: it ran out of time or memory, or its machine failed."""


class FaultyAws:
    """Decides for each request whether it fails, and how.

    `plan` takes the operation, the request's body and how often this very request has come, and names the
    fault, or gives None:

    - throttled, error, denied, invalid: AWS refuses; nothing has happened
    - unreachable: no connection; nothing has happened
    - lost: it has happened, but the answer never comes
    - partial: BatchWriteItem leaves every second item unprocessed
    - killed, killed_after: the function dies before, or after, it has happened, and none of its calls gets
      through until `revive`
    """

    def __init__(self) -> None:
        self.plan: Callable[[str, bytes, int], str | None] = lambda operation, body, count: None
        self.calls: Counter[str] = Counter()
        self.seen: Counter[tuple[str, bytes]] = Counter()
        self.is_dead = False

    def revive(self) -> None:
        """A new invocation begins."""
        self.is_dead = False

    @contextmanager
    def installed(self) -> Iterator[FaultyAws]:
        """Stand between botocore and moto."""
        moto, lock = BotocoreStubber.__call__, threading.Lock()

        def call(stubber: BotocoreStubber, event_name: str, request: AWSPreparedRequest, **rest: Any) -> Any:
            service, operation = event_name.split(".")[1:]
            body = request.body.encode() if isinstance(request.body, str) else request.body
            body = body if isinstance(body, bytes) else b""  # objects go to S3 as files: their URL names them
            with lock:
                key = operation, request.url.encode() + body
                self.seen[key] += 1
                self.calls[operation] += 1
                fault = self.plan(operation, body, self.seen[key])
            if self.is_dead or fault == "killed":
                self.is_dead = True
                raise Killed(operation)
            if fault == "unreachable":
                raise ConnectTimeoutError(endpoint_url=request.url)
            if fault in ("throttled", "error", "denied", "invalid"):
                return refuse(service, request, fault)
            if fault == "partial" and operation == "BatchWriteItem":
                return leave_half(lambda: moto(stubber, event_name, request, **rest), request)
            answer = moto(stubber, event_name, request, **rest)
            if fault == "killed_after":
                self.is_dead = True
                raise Killed(operation)
            if fault == "lost":
                raise ReadTimeoutError(endpoint_url=request.url)
            return answer

        BotocoreStubber.__call__ = call
        try:
            yield self
        finally:
            BotocoreStubber.__call__ = moto


def seeded(seed: float, faults: dict[str, float]) -> Callable[[str, bytes, int], str | None]:
    """A plan that fails requests at random: the same ones in whatever order the threads send them."""

    def plan(operation: str, body: bytes, count: int) -> str | None:
        digest = sha256(f"{seed}/{operation}/{count}/".encode() + body).digest()
        chance = int.from_bytes(digest[:8], "big") / 2**64
        for fault, probability in faults.items():
            chance -= probability
            if chance < 0:
                return fault
        return None

    return plan


def refuse(service: str, request: AWSPreparedRequest, fault: str) -> AWSResponse:
    """The answer of a service that throttles, fails, denies access or finds the request invalid."""
    status, code = {
        "throttled": THROTTLED[service],
        "error": (500, "InternalServerError"),
        "denied": (403 if service == "s3" else 400, "AccessDeniedException"),
        "invalid": (400, "ValidationException"),
    }[fault]
    if service == "dynamodb":
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": fault})
    else:
        error = f"<Error><Code>{code}</Code><Message>{fault}</Message></Error>"
        body = error if service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
    return AWSResponse(request.url, status, {}, MockRawResponse(body))


def leave_half(send: Callable[[], AWSResponse], request: AWSPreparedRequest) -> AWSResponse:
    """Let every second item of a BatchWriteItem through and hand the others back as unprocessed."""
    whole = request.body
    ((table, puts),) = json.loads(whole)["RequestItems"].items()
    left, done = puts[::2], puts[1::2]
    if done:
        request.body = json.dumps({"RequestItems": {table: done}}).encode()
        send()
        request.body = whole
    answer = {"UnprocessedItems": {table: left}}
    return AWSResponse(request.url, 200, {}, MockRawResponse(json.dumps(answer)))
