"""A small HTTP proxy before a server, which fails on purpose now and then, the same way for the same seed."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from tests.support.http_servers import QuietHandler, running

FAULTS = ("500", "503", "429", "reset", "cut", "late")
"""The faults of an answer: an error status, a connection reset before it, a body cut short, or a delay."""

Proxy = TypeVar("Proxy", bound="FaultProxy")

HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


class FaultProxy:
    """Passes requests on to ``upstream``; ``share`` of them fail. ``expired`` refuses every one, as S3 would.

    ``conditions``: what becomes of If-Match and If-None-Match, "kept", "dropped" without a word, or "refused" with 501.
    The ``kinds`` of faults may hold ``lost`` too: the request is passed on, and the connection reset before an answer.
    """

    def __init__(self, upstream: str, *, share: float = 0.0, seed: int = 0, kinds: Sequence[str] = FAULTS) -> None:
        self.upstream = urlsplit(upstream)
        self.share, self.kinds = share, kinds
        self.random = random.Random(seed)  # noqa: S311 -- chance, not secrecy
        self.expired = False
        self.conditions = "kept"
        self.writes = 0
        self.break_write: Callable[[int], str | None] = lambda _number: None
        self.faults: list[str] = []
        self.requests = 0
        self.moments: list[float] = []
        self.url = ""
        self.lock = threading.Lock()

    def before(self, method: str, path: str) -> None:
        """Called before a request is passed on; may be set from outside."""

    def after(self, method: str, path: str, status: int) -> None:
        """Called when the server has answered and the client has not heard of it."""

    def next_write_fault(self) -> str | None:
        """The fault of the next write, by its number from 1 on: "500", "half" its body, or "lost", its answer."""
        with self.lock:
            self.writes += 1
            return self.break_write(self.writes)

    def next_fault(self) -> str | None:
        """The fault of the next request; None without one."""
        with self.lock:
            self.requests += 1
            self.moments.append(time.time())
            if self.expired:
                return "403"
            if self.random.random() >= self.share:
                return None
            self.faults.append(self.random.choice(self.kinds))
            return self.faults[-1]


@contextmanager
def proxy_before(upstream: str, *, share: float = 0.0, seed: int = 0) -> Iterator[FaultProxy]:
    """A proxy on a free port of this host."""
    with serving(FaultProxy(upstream, share=share, seed=seed)) as proxy:
        yield proxy


@contextmanager
def serving(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, on a free port of this host."""
    with running(type("Handler", (_Handler,), {"proxy": proxy})) as proxy.url:
        yield proxy


class _Handler(QuietHandler):
    proxy: FaultProxy

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        broken = self.proxy.next_write_fault() if self.command in {"PUT", "POST", "DELETE"} else None
        body = self.rfile.read(length // 2 if broken == "half" else length)
        if broken is not None:
            self._break(broken, body)
            return
        fault = self.proxy.next_fault()
        if fault in {"500", "503", "429", "403"}:
            self._refuse(int(fault))
        elif fault == "reset":
            self._reset()
        else:
            time.sleep(0.3 if fault == "late" else 0)
            self._answer(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815

    def _break(self, fault: str, body: bytes) -> None:
        """Break a write: before it arrives, in the middle of its body, or after it was done."""
        if fault == "500":
            self._refuse(500)
            return
        if fault == "lost":
            self._upstream(body, dict(self.headers))
        self._reset()

    def _refuse(self, status: int) -> None:
        code = {403: "ExpiredToken", 503: "SlowDown", 429: "TooManyRequests"}.get(status, "InternalError")
        self._send(status, [("Content-Type", "application/xml")], f"<Error><Code>{code}</Code></Error>".encode())

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _answer(self, body: bytes, fault: str | None) -> None:
        self.proxy.before(self.command, self.path)
        headers = dict(self.headers)
        asked = [name for name in headers if name.lower() in {"if-match", "if-none-match"}]
        if asked and self.proxy.conditions == "refused":
            self._send(501, [("Content-Type", "application/xml")], b"<Error><Code>NotImplemented</Code></Error>")
            return
        kept = {name: value for name, value in headers.items() if name not in asked or self.proxy.conditions == "kept"}
        answer, content = self._upstream(body, kept)
        self.proxy.after(self.command, self.path, answer.status)
        if fault == "lost":
            self._reset()
            return
        answered = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._send(answer.status, answered, content, length=length, cut=fault == "cut")

    def _upstream(self, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        upstream = http.client.HTTPConnection(self.proxy.upstream.netloc, timeout=30)
        upstream.request(self.command, self.path, body=body, headers=headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        return answer, content

    def _send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        *,
        length: str | None = None,
        cut: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self._reset()
