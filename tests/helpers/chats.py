"""A local https server that stands in for chats and web hooks: it answers, refuses, hangs and breaks off."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

RESET, HANG, LOST = "reset", "hang", "lost"


class Chats:
    """The server. `with Chats(directory) as chats:` runs it, with a certificate of its own authority.

    answers: path to the answers that come one after the other; the last one stays. An answer is a status,
        (status, headers, body), RESET (the connection is cut), HANG (no answer) or LOST (the message has
        arrived, but the answer never comes). A path without answers is answered with 200.
    received: path to the bodies of the messages that came and count as delivered.
    requests: (path, answer) in the order in which they came, also those that failed; headers likewise.
    certificates: the file of the authority, for SSL_CERT_FILE.
    """

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.received: dict[str, list[bytes]] = defaultdict(list)
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[tuple[str, dict[str, str]]] = []
        self.certificates = directory / "chats-ca.pem"
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> Chats:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.certificates))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # a client that breaks off is no error here
        self.base = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_answer(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        """The answer to this request, which is noted."""
        with self._lock:
            answers = self.answers.get(path, [200])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.requests.append((path, answer))
            self.headers.append((path, headers))
            status = answer[0] if isinstance(answer, tuple) else answer
            if answer == LOST or (isinstance(status, int) and status < 300):
                self.received[path].append(body)
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chats = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = chats.next_answer(self.path, body, dict(self.headers))
                if answer in (HANG, LOST):
                    chats._closing.wait()  # the client gives up before
                elif answer == RESET:
                    with suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                else:
                    status, headers, text = answer if isinstance(answer, tuple) else (answer, {}, "")
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write((text if isinstance(text, str) else json.dumps(text)).encode())

            do_POST = do_GET = answer

            def log_message(self, *_: object) -> None:
                pass

        return Handler
