"""Retries of failed reads, and the waits between them."""

from __future__ import annotations

import os
import re
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rasterio.errors import RasterioError

from tilewright.catalogs.errors import CatalogError, RefusedRequestError
from tilewright.catalogs.hrefs import split_store
from tilewright.catalogs.network.rules import plain_words, refusal
from tilewright.tasks.read.failures import without_query
from tilewright.tasks.read.zarr3.objects import RefusedArrayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.catalogs.network.connect import HostRules


T = TypeVar("T")

GONE = frozenset({400, 401, 404, 405, 410, 451})
"""HTTP status codes that a retry does not change."""

FOREIGN = re.compile(r"not recognized as being in a supported file format|missing codec", re.IGNORECASE)
"""GDAL's words on content that it cannot read; a server may send such content in passing, so it is asked thrice."""

LOCAL_ATTEMPTS = 3
"""Tries of a local file or store that can be read while its pixels cannot: they are damaged; no server heals them."""

_CODE = re.compile(r"(?:response code|response_code|HTTP error code|HTTP/1\.1)\D{0,4}(\d{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The number of tries of a read and the waits between them: exponential, with seeded jitter.

    The n-th wait, from 0, is between half and all of `first_wait_s * 2**n`, at most `longest_wait_s`. A Retry-After is
    obeyed up to `longest_wait_s`. `sleep` is called with the seconds.
    """

    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    probe_timeout_s: float = 15.0
    seed: int = 0
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, attempt: int, *, href: str) -> float:
        """Seconds to wait after an attempt, counted from 0."""
        jitter = zlib.crc32(f"{self.seed}:{attempt}:{without_query(href)}".encode()) / 0xFFFFFFFF
        return float(min(self.longest_wait_s, self.first_wait_s * 2**attempt * (0.5 + 0.5 * jitter)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """The answer of the server of an href: its status, None without an answer, and Retry-After in seconds.

    `refused` is the sentence on a request that may not go where it leads.
    """

    status: int | None
    retry_after_s: float | None = None
    refused: str | None = None

    def words(self, policy: RetryPolicy) -> str:
        """The status, and the wait that was asked for where it is longer than the policy waits."""
        asked = self.retry_after_s or 0.0
        return f"{self.status}" if asked <= policy.longest_wait_s else f"{self.status} and asks to wait {asked:.0f} s"


class UnreadableError(RuntimeError):
    """A read that failed for good; the message is the reason, without any signature.

    `final`: no later try would help, since the file is gone or is none that can be read.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        self.final = final
        super().__init__(reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive_unreadable, (str(self), self.final)


CHANGED = "it has changed since it was planned or first read: run again, and the blocks that it touches are made anew"


class MisplacedError(UnreadableError):
    """A file that reaches beyond the place that its item states for it."""

    def __init__(self, reason: str, *, final: bool = True) -> None:
        super().__init__(reason, final=final)

    def __reduce__(self) -> tuple[Any, ...]:
        return MisplacedError, (str(self),)


class ChangedError(UnreadableError):
    """A read of a file that is no longer the one that was planned; no retry helps and no tolerance covers it."""

    def __init__(self, reason: str, *, final: bool = True) -> None:
        super().__init__(reason, final=final)

    def __reduce__(self) -> tuple[Any, ...]:
        return ChangedError, (str(self),)


def _revive_unreadable(reason: str, final: bool) -> UnreadableError:
    return UnreadableError(reason, final=final)


def read_with_retries(
    read: Callable[[str, int], T],
    *,
    href: str,
    sign: Callable[[], str],
    policy: RetryPolicy,
    rules: HostRules | None = None,
    is_changed: Callable[[str], bool] | None = None,
) -> T:
    """The result of `read(signed href, attempt)`, retried as the policy says; `rules` say where requests may go.

    The first 403 renews the signature without a wait. `is_changed(signed href)` is asked after a failure.

    Raises UnreadableError when no further try is left or useful, ChangedError for a file that is another one by now.
    """
    renewed = False
    for attempt in range(policy.attempts):
        signed = sign()
        try:
            return read(signed, attempt)
        except RefusedArrayError as error:
            raise UnreadableError(str(error), final=True) from error
        except (RasterioError, OSError) as error:
            reason = _reason(error)
            if (refused := refusal(error, rules)) is not None:
                raise UnreadableError(refused, final=True) from error
            if is_changed is not None and is_changed(signed):
                raise ChangedError(CHANGED) from error
            reason = plain_words(reason)
            answer = _server_answer(signed, reason, policy, rules)
            if answer.refused is not None:
                raise UnreadableError(answer.refused, final=True) from error
            final = answer.status in GONE or _is_final(href, reason)
            final = final or (attempt + 1 >= LOCAL_ATTEMPTS and _answers(href))
            useless = final or (answer.status == 403 and renewed) or _is_foreign(reason, answer.status, attempt)
            if useless or attempt + 1 == policy.attempts:
                said = "" if answer.status in {None, 200, 206} else f" (the server answers {answer.words(policy)})"
                attempts = "1 attempt" if attempt == 0 else f"{attempt + 1} attempts"
                raise UnreadableError(f"{reason}{said} after {attempts}", final=final) from error
        if answer.status == 403:
            renewed = True
            continue
        wait = policy.wait_s(attempt, href=href)
        if answer.retry_after_s is not None:
            wait = max(wait, min(answer.retry_after_s, policy.longest_wait_s))
        policy.sleep(wait)
    raise AssertionError("a policy allows at least one attempt")


def _reason(error: BaseException) -> str:
    """The innermost message, which is GDAL's; rasterio wraps it in "see previous exception"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return without_query(str(error)).rstrip(". ") or type(error).__name__


def _is_final(href: str, reason: str) -> bool:
    """True for a local file that does not exist or that GDAL cannot read; another may be on a network drive."""
    return "://" not in href and (FOREIGN.search(reason) is not None or not Path(href).exists())


def _answers(href: str) -> bool:
    """True for a local file of which both ends can be read now, or a store; those of a drive in trouble cannot."""
    if "://" in href:
        return False
    try:
        if Path(href).is_dir():
            return any(Path(href).iterdir())
        with Path(href).open("rb") as file:
            file.read(1)
            file.seek(-1, os.SEEK_END)
            return len(file.read(1)) == 1
    except OSError:
        return False


def _is_foreign(reason: str, status: int | None, attempt: int) -> bool:
    """True for content that GDAL cannot read and a server sent again and again, such as a page to log in."""
    return FOREIGN.search(reason) is not None and attempt > 1 and status in {None, 200, 206}


def _server_answer(signed: str, reason: str, policy: RetryPolicy, rules: HostRules | None) -> ServerAnswer:
    """The server's answer: requested from it for plain http(s), else the status in GDAL's message."""
    # A store is no object that can be requested; its chunks are.
    if signed.lower().startswith(("http://", "https://")) and split_store(signed) is None:
        return _request_first_byte(signed, policy.probe_timeout_s, rules)
    found = _CODE.search(reason)
    return ServerAnswer(status=int(found.group(1)) if found else None)


def _request_first_byte(url: str, timeout_s: float, rules: HostRules | None) -> ServerAnswer:
    """The server's answer for the first byte: GDAL reports neither the status of a failed range nor Retry-After."""
    from tilewright.catalogs.network.client import first_byte  # noqa: PLC0415  an import that only failed reads pay

    try:
        status, headers = first_byte(url, rules, seconds=timeout_s)
    except RefusedRequestError as error:
        return ServerAnswer(status=None, refused=str(error))
    except (CatalogError, OSError, ValueError):
        return ServerAnswer(status=None)
    wait = retry_after_s(headers.get("Retry-After"), sent=headers.get("Date"))
    return ServerAnswer(status=status, retry_after_s=wait if status >= 400 else None)


def retry_after_s(retry_after: str | None, *, sent: str | None) -> float | None:
    """Seconds a Retry-After header asks to wait, in seconds or as a date; None without one and for an invalid one.

    A date is compared with the server's own `Date` (`sent`), so that clocks need not agree; without one the
    result is None. A past date gives 0. Source: RFC 9110, sections 10.2.3 and 5.6.7.
    """
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return _between(sent, retry_after)
    return seconds if 0 <= seconds < float("inf") else None


def _between(sent: str | None, until: str | None) -> float | None:
    """Seconds from one HTTP date to another, at least 0; None if one is missing or invalid."""
    try:
        first, last = parsedate_to_datetime(sent or ""), parsedate_to_datetime(until or "")
        return max(0.0, (last - first).total_seconds())
    except (TypeError, ValueError):
        return None
