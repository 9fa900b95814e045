"""The identities that files have now: of one, or of ten thousand at a time within a budget."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tilewright.catalogs.hrefs import scheme_of, split_store, without_secrets
from tilewright.tasks.identity.bucket import object_identity, objects_identity
from tilewright.tasks.identity.disk import disk_identity, store_identity
from tilewright.tasks.identity.web import NoIdentityError, documents_identity, web_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tilewright.catalogs.sources.source import Source


AT_ONCE = 64
"""Requests at a time: at 20 ms each, ten thousand take seconds."""

LOCAL_AT_ONCE, LOCAL_BATCH = 8, 250
"""Threads for local files, which hide the latency of a network drive, and files of each of their turns."""

BUDGET_S, FILES_PER_S = 60.0, 100.0
"""Seconds after which the answers that have not come are given up, more for more files than so many each second; those
files are identified when they are read."""

DEAD_AFTER = 24
"""Failures of a host without any answer after which it is asked no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The identity of a file, or None with the reason, which is empty where the answer tells nothing."""

    identity: str | None
    reason: str = ""


def present_identity(href: str, *, signed: str, source: Source) -> str | None:
    """The identity that the file of an href has now, asked through `signed`, the href as it can be opened.

    None where the answer tells nothing. Raises NoIdentityError with the reason where there is no answer.
    """
    scheme = scheme_of(signed)
    try:
        store = split_store(signed)
        if scheme == "file":
            path = signed.removeprefix("file://")
            return disk_identity(path) if store is None else store_identity(*store)
        if scheme == "s3":
            return object_identity(signed, s3=source.s3) if store is None else objects_identity(*store, s3=source.s3)
        return web_identity(signed, source=source) if store is None else documents_identity(*store, source=source)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or without_secrets(str(error)) or type(error).__name__
        raise NoIdentityError(f"{reason}") from error


def take_identities(
    hrefs: Iterable[str], *, sign: Callable[[str], str], source: Source, budget_s: float | None = None
) -> dict[str, Taken]:
    """The identities by href, each asked for once; one that is not told in time is None, with the reason."""
    wanted = list(dict.fromkeys(hrefs))
    local = [href for href in wanted if scheme_of(href) == "file"]
    budget_s = max(BUDGET_S, len(wanted) / FILES_PER_S) if budget_s is None else budget_s
    until, hosts = time.monotonic() + budget_s, _Hosts()

    def ask(batch: Sequence[str]) -> dict[str, Taken]:
        return {href: _take(href, sign, source, until, hosts) for href in batch}

    batches = [
        *((LOCAL_AT_ONCE, local[first : first + LOCAL_BATCH]) for first in range(0, len(local), LOCAL_BATCH)),
        *((AT_ONCE, [href]) for href in wanted if scheme_of(href) != "file"),
    ]
    if len(batches) == 1:
        return ask(batches[0][1])
    found: dict[str, Taken] = {}
    pool = ThreadPoolExecutor(max((threads for threads, _ in batches), default=1))
    try:
        for batch, future in [(batch, pool.submit(ask, batch)) for _, batch in batches]:
            found |= _result(batch, future, until, budget_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return found


def changed_identities(
    planned: Mapping[str, str], *, sign: Callable[[str], str], source: Source
) -> tuple[dict[str, str], dict[str, str]]:
    """(href to new identity of files that are no longer the planned ones, href to reason of those not told).

    A difference counts when it is seen again: behind one name there may be servers with tags of their own.
    """
    now = take_identities(planned, sign=sign, source=source)
    untold = {href: taken.reason for href, taken in now.items() if taken.identity is None}
    changed = {href: taken.identity for href, taken in now.items() if taken.identity not in {None, planned[href]}}
    remote = [href for href in changed if scheme_of(href) != "file"]
    for _ in range(2 if remote else 0):
        again = take_identities(remote, sign=sign, source=source)
        for href, taken in again.items():
            if taken.identity == planned[href]:
                changed.pop(href, None)
    return {href: identity for href, identity in changed.items() if identity is not None}, untold


class _Hosts:
    """Failures by host, so that ten thousand files of a host that is not there do not each wait for it."""

    def __init__(self) -> None:
        self._failed: Counter[str] = Counter()
        self._answered: set[str] = set()
        self._lock = threading.Lock()

    def is_dead(self, href: str) -> bool:
        host = urlsplit(href).netloc
        with self._lock:
            return host not in self._answered and self._failed[host] >= DEAD_AFTER

    def record(self, href: str, *, answered: bool) -> None:
        host = urlsplit(href).netloc
        with self._lock:
            if answered:
                self._answered.add(host)
            else:
                self._failed[host] += 1


def _take(href: str, sign: Callable[[str], str], source: Source, until: float, hosts: _Hosts) -> Taken:
    if time.monotonic() > until:
        return Taken(identity=None, reason="no answer in time")
    local = scheme_of(href) == "file"
    if not local and hosts.is_dead(href):
        return Taken(identity=None, reason="its host does not answer")
    try:
        taken = Taken(identity=present_identity(href, signed=sign(href), source=source))
    except (RuntimeError, ValueError) as error:
        # Signing fails with errors of its own; what is not told here is asked again when the file is read.
        taken = Taken(identity=None, reason=without_secrets(str(error)))
    if not local:
        hosts.record(href, answered=taken.identity is not None or taken.reason.startswith("the server answers 4"))
    return taken


def _result(batch: Sequence[str], future: Future[dict[str, Taken]], until: float, budget_s: float) -> dict[str, Taken]:
    try:
        return future.result(timeout=max(0.0, until - time.monotonic()))
    except TooLateError:
        return {href: Taken(identity=None, reason=f"no answer in {budget_s:g} s") for href in batch}
