"""Connections to hosts whose addresses were judged: a name is resolved once, and what was judged is connected to."""

from __future__ import annotations

import ipaddress
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from tilewright.catalogs.network.addresses import (
    OBJECT_STORES,
    OTHER_PORTS,
    allowed_scopes,
    host_scope,
    ip_address,
    ip_scope,
    plain_host,
)

Resolve = Callable[[str, int], Sequence[tuple[Any, ...]]]
"""The answer of `socket.getaddrinfo` for a host and a port."""

MOST_ADDRESSES = 8

HEAD_START_S = 0.25
"""Seconds that one address is tried alone before the next one is tried beside it. Source: RFC 8305, section 5."""


class RefusedError(OSError):
    """A place to which no request may go; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """The hosts to which the requests that a source causes may go.

    `scope` is that of the source's own address by its text ("file" for one on a disk), `own` its "host:port", empty on
    a disk. `only` are patterns of which a host must match one; none allows every host. `opened` are hosts whose
    addresses may have any scope.
    """

    scope: str = "file"
    own: str = ""
    only: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The rules as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> HostRules:
        """The rules that `to_json` wrote."""
        return cls(**{**plain, "only": tuple(plain["only"]), "opened": tuple(plain["opened"])})

    def check(self, host: str, port: int) -> None:
        """Do nothing if a request may go to a host by its text. Raises RefusedError otherwise."""
        typed = self._is_own(host, port)
        if port in OTHER_PORTS and not typed:
            raise RefusedError(f"port {port} of {host} is no web server's")
        if self.only and not any(fnmatchcase(host, pattern.lower()) for pattern in self.only):
            raise RefusedError(
                f"the host {host} is none of `hosts` of the source ({', '.join(self.only)}): add it if it is meant"
            )
        scope = host_scope(host)
        if scope not in allowed_scopes(self.scope) and host not in self.opened and not typed:
            raise RefusedError(f"{host} is a {scope} address, which a {self.scope} catalog must not lead to")

    def addresses(self, host: str, port: int, resolve: Resolve | None = None) -> list[tuple[Any, ...]]:
        """The addresses of a host that a request may go to, of those `resolve` gives (None: the system's resolver).

        Raises RefusedError if it may go to none of them, OSError for a host that cannot be resolved.
        """
        host = plain_host(host)
        self.check(host, port)
        literal = ip_address(host)
        answers = list((resolve or resolved)(str(literal or host), port))[:MOST_ADDRESSES]
        allowed = [answer for answer in answers if self._may_lead_to(host, port, answer)]
        if answers and not allowed:
            address = str(answers[0][4][0])
            scope = ip_scope(ipaddress.ip_address(address.partition("%")[0]))
            raise RefusedError(
                f"{host} has the {scope} address {address}, which a {self.scope} catalog must not lead to: "
                f"name {host} in `hosts` of the source, beside the hosts of its files, if that is meant"
            )
        return allowed

    def _may_lead_to(self, host: str, port: int, answer: tuple[Any, ...]) -> bool:
        scope = ip_scope(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]))
        if scope in allowed_scopes(self.scope) or host in self.opened:
            return True
        if scope == "private" and OBJECT_STORES.fullmatch(host):
            return True
        # A name that looks public and leads inside is the word of whoever answers for the name, not of who typed it.
        return scope != "link-local" and self._is_own(host, port) and host_scope(host) != "public"

    def _is_own(self, host: str, port: int) -> bool:
        return self.own == f"{host}:{port}"


def resolved(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """The addresses of a host, from the system's resolver."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def connect_first(answers: Sequence[tuple[Any, ...]], timeout_s: float) -> socket.socket:
    """A connection to the first of the addresses that answers; each one gets a head start before the next one.

    Raises OSError if none does in time.
    """
    until = time.monotonic() + timeout_s
    waiting, error = list(answers), OSError("the host has no address")
    with selectors.DefaultSelector() as pending:
        try:
            while waiting or pending.get_map():
                error = _start(waiting.pop(0), pending) or error if waiting else error
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no connection in time")
                for key, _ in pending.select(min(left, HEAD_START_S) if waiting else left):
                    attempt: Any = key.fileobj
                    pending.unregister(attempt)
                    if not (code := attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                        attempt.setblocking(True)
                        attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        return attempt
                    error = OSError(code, os.strerror(code))
                    attempt.close()
        finally:
            for key in list(pending.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    raise error


def _start(answer: tuple[Any, ...], pending: selectors.BaseSelector) -> OSError | None:
    """Begin to connect to an address; the error if that cannot be begun."""
    try:
        attempt = socket.socket(*answer[:3])
    except OSError as error:
        return error
    attempt.setblocking(False)
    try:
        attempt.connect(answer[4])
    except BlockingIOError:
        pass
    except OSError as error:
        attempt.close()
        return error
    pending.register(attempt, selectors.EVENT_WRITE)
    return None
