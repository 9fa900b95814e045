"""Small HTTP servers of this process for tests: a handler's first half, and a server on a free port."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuietHandler(BaseHTTPRequestHandler):
    """A handler that keeps connections open, logs nothing and sends small answers at once."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: Nagle's algorithm would hold the second back for the client's delayed ACK, 40 ms.
    disable_nagle_algorithm = True

    def reply(self, document: Any, status: int = 200) -> None:
        """Send the document as JSON."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore a client that hangs up."""


@contextmanager
def running(handler: Any) -> Iterator[str]:
    """The address of a server of ``handler`` on a free port of this machine, stopped afterwards."""
    server = _Server(("127.0.0.1", 0), handler)
    # Half a second, the default, is what every stop would wait for.
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
