"""Reads that failed for good: the error that names one, and the log that tolerates some."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

from tilewright.catalogs.hrefs import without_secrets

_QUERY = re.compile(r"\?[^\s'\"<>]*")


def without_query(text: str) -> str:
    """The text without the users, passwords and queries of its URLs, because they hold signatures and keys."""
    return _QUERY.sub("", without_secrets(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One read that failed for good. `block` is the block's name, empty outside a job."""

    item: str
    band: str
    block: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """The failure as JSON values, one line of failures.ndjson."""
        return {"item": self.item, "band": self.band, "block": self.block, "reason": self.reason}


class ReadError(RuntimeError):
    """A band of an item that could not be read, with its href (never with a signature) and the reason."""

    def __init__(self, *, item: str, band: str, href: str, reason: str, block: str = "") -> None:
        self.item = item
        self.band = band
        self.href = without_query(href)
        self.reason = without_query(reason)
        self.block = block
        where = f" in block {block}" if block else ""
        super().__init__(f"item {item}, band {band}{where} could not be read from {self.href}: {self.reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.item, self.band, self.href, self.reason, self.block)

    @property
    def failure(self) -> Failure:
        """The failure as a value for the log."""
        return Failure(item=self.item, band=self.band, block=self.block, reason=self.reason)


class ChangedInputError(ReadError):
    """A file that is no longer the one that was planned: never tolerated, since its pixels would be mixed."""


def _revive(kind: type[ReadError], item: str, band: str, *rest: str) -> ReadError:
    href, reason, block = rest
    return kind(item=item, band=band, href=href, reason=reason, block=block)


class FailureLog:
    """Failed reads of a job, counted once per (item, band, block). More than `tolerance` of them raise.

    Thread-safe. Pickled with its failures; a copy in another process is independent.
    """

    def __init__(self, *, tolerance: int = 0) -> None:
        self.tolerance = tolerance
        self._failures: dict[tuple[str, str, str], Failure] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"tolerance": self.tolerance, "failures": self.failures}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(tolerance=state["tolerance"])  # type: ignore[misc]
        for failure in state["failures"]:
            self._failures[failure.item, failure.band, failure.block] = failure

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Every failure so far, sorted by block, item and band."""
        with self._lock:
            found = self._failures.values()
            return tuple(sorted(found, key=lambda failure: (failure.block, failure.item, failure.band)))

    def record(self, error: ReadError) -> None:
        """Record the error. Raises it if more failures are recorded than tolerated."""
        failure = error.failure
        with self._lock:
            self._failures.setdefault((failure.item, failure.band, failure.block), failure)
            if len(self._failures) > self.tolerance:
                raise error

    def forget(self, block: str) -> None:
        """Remove the failures of a block, because it is read again."""
        with self._lock:
            self._failures = {key: failure for key, failure in self._failures.items() if failure.block != block}
