"""A Kinesis stream for producers in processes of their own."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class KinesisStandIn:
    """A Kinesis stream on loopback that keeps records in the order of arrival and fails as it is told.

    error: None, or an error code that every call gets. fails: (record) to whether its entry is throttled.
    away: () to whether every connection is cut. valid_key: the only access key that is let in, if set.
    """

    def __init__(self) -> None:
        self.records: list[dict] = []
        self.error: str | None = None
        self.fails: Callable[[dict], bool] = lambda record: False
        self.away: Callable[[], bool] = lambda: False
        self.valid_key = ""
        self._lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if stand_in.away():
                    self.close_connection = True
                    self.connection.close()
                    return
                status, answer = stand_in.answer(self.headers, body)
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> KinesisStandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, headers: object, body: dict) -> tuple[int, dict]:
        error = self.error
        if self.valid_key and f"Credential={self.valid_key}/" not in headers["Authorization"]:
            error = "ExpiredTokenException"
        if error:
            return 400, {"__type": error, "message": "as the test wants it"}
        operation = headers["X-Amz-Target"].partition(".")[2]
        if operation == "DescribeStreamSummary":
            return 200, {"StreamDescriptionSummary": {"StreamCreationTimestamp": 1_700_000_000.0}}
        with self._lock:
            if operation == "PutRecord":
                if self.fails(body):
                    return 400, {"__type": "ProvisionedThroughputExceededException", "message": "slow down"}
                return 200, self._put(body)
            answers = [
                self._refuse() if self.fails(record) else self._put(record) for record in body["Records"]
            ]
        failed = sum("ErrorCode" in answer for answer in answers)
        return 200, {"FailedRecordCount": failed, "Records": answers}

    def _refuse(self) -> dict:
        return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}

    def _put(self, record: dict) -> dict:
        self.records.append(json.loads(base64.b64decode(record["Data"])))
        return {"ShardId": "shardId-000000000000", "SequenceNumber": f"{len(self.records):056}"}
