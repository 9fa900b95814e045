"""The session with which documents are requested: connections are judged, and a request ends in the time it is given.

Silence, dripped headers and dripped bodies count alike: when the time is over, the connections are shut down.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Retry

from tilewright.catalogs.errors import CatalogError, RefusedRequestError
from tilewright.catalogs.hrefs import display_href
from tilewright.catalogs.network.connect import HostRules, RefusedError, connect_first, resolved

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping


RETRIES = 3

REDIRECTS = 5

LONGEST_WAIT_S = 60.0
"""The longest wait that a server may ask for before a document is asked for again."""

MOST_SESSIONS = 16

ENCODINGS = "gzip, deflate"
"""The compressions whose unpacking is bounded in every release of the client; others are not asked for."""

_threads = threading.local()


class JudgedSession(requests.Session):
    """A session for one thread: it connects only where its rules allow, unless the user's own proxy connects for it."""

    def __init__(self, rules: HostRules | None, retries: int) -> None:
        super().__init__()
        self.watch = Deadline()
        self.headers["Accept-Encoding"] = ENCODINGS
        self.max_redirects = REDIRECTS
        for scheme in ("http://", "https://"):
            self.mount(scheme, _JudgedAdapter(rules, self.watch, retries))


class Deadline:
    """The open connections of a session and the moment (monotonic seconds) at which the present request ends."""

    def __init__(self) -> None:
        self.until = float("inf")
        self.expired = False
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._left: list[socket.socket] = []
        self._lock = threading.Lock()

    @contextmanager
    def within(self, seconds: float, *, href: str) -> Iterator[None]:
        """The time in which a request must be complete. Raises CatalogError where it was not."""
        self.until, self.expired = time.monotonic() + seconds, False
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        late = CatalogError(f"{display_href(href)} takes longer than {seconds:g} s to read")
        try:
            yield
        except (requests.RequestException, OSError) as error:
            if self.expired:
                raise late from error
            raise
        finally:
            timer.cancel()
            self.until = float("inf")
            while self._left:
                self._left.pop().close()
        if self.expired:
            # What ended early without a stated length looks complete.
            raise late

    def left_s(self) -> float:
        """Seconds until the present request must be complete."""
        return self.until - time.monotonic()

    def keep(self, connection: socket.socket) -> socket.socket:
        """A second handle of a connection, by which it can be shut down whatever wraps the first one."""
        twin = connection.dup()
        with self._lock:
            self._open.add(twin)
        return twin

    def leave(self, twin: socket.socket) -> None:
        """Give up a handle with its connection, at the end of the present request: a body may still come through it."""
        self._left.append(twin)
        if self.until == float("inf"):
            self._left.pop().close()

    def _expire(self) -> None:
        self.expired = True
        with self._lock:
            twins = list(self._open)
        for twin in twins:
            try:
                twin.shutdown(2)
            except OSError:
                continue


class _JudgedAdapter(HTTPAdapter):
    def __init__(self, rules: HostRules | None, watch: Deadline, retries: int) -> None:
        self._direct = _pool_classes(rules, watch)
        # The user's proxy is where the user says, and decides about the rest.
        self._proxied = _pool_classes(None, watch)
        retry = _HealingRetry(
            total=retries,
            backoff_factor=0.3,
            backoff_jitter=0.2,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        retry.watch = watch
        # Longer waits are refused, with what was asked (sleep_for_retry), and not cut to another length.
        retry.retry_after_max = sys.maxsize
        super().__init__(max_retries=retry)

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        super().init_poolmanager(*given, **more)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, *given: Any, **more: Any) -> Any:
        manager = super().proxy_manager_for(*given, **more)
        manager.pool_classes_by_scheme = self._proxied
        return manager


def _pool_classes(rules: HostRules | None, watch: Deadline) -> dict[str, type]:
    """urllib3's pools by scheme, whose connections are judged by the rules (None: not) and watched."""
    facts = {"rules": rules, "watch": watch, "twin": None}
    plain = type("JudgedHTTP", (_Judged, HTTPConnection), facts)
    secure = type("JudgedHTTPS", (_Judged, HTTPSConnection), facts)
    return {
        "http": type("JudgedHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("JudgedHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class _Judged:
    """The part of a connection that resolves, judges and connects."""

    rules: HostRules | None
    watch: Deadline
    twin: socket.socket | None
    host: str
    port: int
    timeout: float | None
    """Seconds for a connection."""

    def _new_conn(self) -> socket.socket:
        left = min(self.timeout or 0, self.watch.left_s())
        if self.watch.expired or left <= 0:
            raise TimeoutError("no time is left")
        try:
            find = resolved if self.rules is None else self.rules.addresses
            connection = connect_first(find(self.host, self.port), left)
        except RefusedError as error:
            # Not an error of urllib3's, which would try again.
            raise RefusedRequestError(f"{error}; refused") from error
        except UnicodeError as error:
            raise CatalogError(f"{self.host!r} is no name of a host") from error
        except OSError as error:
            if type(error).__name__ == "gaierror":
                raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
            raise NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]
        connection.settimeout(left)
        self.twin = self.watch.keep(connection)
        return connection

    def close(self) -> None:
        if self.twin is not None:
            self.watch.leave(self.twin)
            self.twin = None
        super().close()  # type: ignore[misc]


class _HealingRetry(Retry):
    """Retries of failures that may heal: not of a certificate or a host name, of silence once, after no long wait."""

    watch: Deadline

    def new(self, **more: Any) -> _HealingRetry:
        retry: _HealingRetry = super().new(**more)
        retry.watch = self.watch
        return retry

    def increment(
        self, method: Any = None, url: Any = None, response: Any = None, error: Any = None, *rest: Any, **more: Any
    ) -> Any:
        silent = isinstance(error, ReadTimeoutError) and any(
            isinstance(past.error, ReadTimeoutError) for past in self.history
        )
        if silent or self.watch.expired or isinstance(error, SSLError | NameResolutionError):
            raise MaxRetryError(more.get("_pool") or rest[0], url, error)
        return super().increment(method, url, response, error, *rest, **more)

    def get_retry_after(self, response: Any) -> float | None:
        try:
            return super().get_retry_after(response)
        except (HTTPError, ValueError, OverflowError):
            return None

    def sleep_for_retry(self, response: Any) -> bool:
        wait = self.get_retry_after(response)
        if wait is not None and wait > min(LONGEST_WAIT_S, self.watch.left_s()):
            raise CatalogError(
                f"the server asks to wait {wait:.0f} s (HTTP {response.status}), more than the {LONGEST_WAIT_S:.0f} s "
                "that are waited: try again later"
            )
        return super().sleep_for_retry(response)


def judged_session(rules: HostRules | None, *, retries: int = RETRIES) -> JudgedSession:
    """This thread's session for the rules (None: anywhere); it retries on throttling and server errors."""
    sessions: dict[Any, JudgedSession] = _threads.__dict__.setdefault("sessions", {})
    key = rules, retries
    if key not in sessions:
        while len(sessions) >= MOST_SESSIONS:
            sessions.pop(next(iter(sessions))).close()
        sessions[key] = JudgedSession(rules, retries)
    return sessions[key]


def first_byte(url: str, rules: HostRules | None, *, seconds: float) -> tuple[int, Mapping[str, str]]:
    """(status, headers) of a server's answer to a request for the first byte, after redirects that the rules allow.

    Raises CatalogError for a place to which the rules lead nothing or an answer that takes too long, OSError without
    an answer.
    """
    session = judged_session(rules, retries=0)
    with (
        session.watch.within(seconds, href=url),
        session.get(url, headers={"Range": "bytes=0-0"}, timeout=seconds, stream=True) as answer,
    ):
        return answer.status_code, answer.headers
