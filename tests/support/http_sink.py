"""A service on loopback that takes POSTs and answers as a test says, over HTTP or TLS."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

from server_process import POLL_SECONDS, TIMEOUT_SECONDS


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Sink:
    """Keeps what is posted. `statuses` are those of the next answers, then 200; `{path}` in `answer` is what was asked
    for."""

    def __init__(self, port: int = 0) -> None:
        self.posted: Queue[Posted] = Queue()
        self.statuses: list[int] = []
        self.answer = b'{"ok": true, "result": {}}'
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = sink.statuses.pop(0) if sink.statuses else 200
                answer = sink.answer.replace(b"{path}", self.path.encode())
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                if status == 200:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    sink.posted.put(Posted(self.path, headers, body))

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self) -> Posted:
        """Waits for the next request that was answered with 200."""
        return self.posted.get(timeout=TIMEOUT_SECONDS)

    def serve_over(self, connection: Any, context: ssl.SSLContext) -> None:
        """Serves one request of a connection that a proxy has accepted, over TLS."""
        with context.wrap_socket(connection, server_side=True) as secure:
            self._handler(secure, ("127.0.0.1", 0), self._server)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def sink(port: int = 0) -> Iterator[Sink]:
    """Yields a sink, and closes it."""
    opened = Sink(port)
    try:
        yield opened
    finally:
        opened.close()
