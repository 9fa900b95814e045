"""When a failed read is tried again, and after how long a wait."""

from __future__ import annotations

import re
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rasterio.errors import RasterioError

from tilewright.catalogs.hrefs import split_store
from tilewright.tasks.read.failures import without_query

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

GONE = frozenset({400, 401, 404, 405, 410, 451})
"""HTTP answers that another try does not change."""

_CODE = re.compile(r"(?:response code|response_code|HTTP error code|HTTP/1\.1)\D{0,4}(\d{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a read is tried and how long is waited between: exponential, with seeded jitter.

    The n-th wait lies between half of and the whole of `first_wait_s * 2**n`, at most `longest_wait_s`. Retry-After is
    waited for up to `longest_wait_s`. `sleep` takes the seconds.
    """

    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    probe_timeout_s: float = 15.0
    seed: int = 0
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, attempt: int, *, href: str) -> float:
        """Seconds to wait after the attempt of that number, counted from 0."""
        jitter = zlib.crc32(f"{self.seed}:{attempt}:{without_query(href)}".encode()) / 0xFFFFFFFF
        return float(min(self.longest_wait_s, self.first_wait_s * 2**attempt * (0.5 + 0.5 * jitter)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """What the server says about an href: its status (None if it does not answer) and Retry-After in seconds."""

    status: int | None
    retry_after_s: float | None = None


class UnreadableError(RuntimeError):
    """A read given up, with the reason in words. No signature is in it."""


def read_with_retries(read: Callable[[str, int], T], *, href: str, sign: Callable[[], str], policy: RetryPolicy) -> T:
    """The result of `read(signed href, attempt)`, tried again afresh as the policy says.

    A 403 renews the signature at once, one time. Raises UnreadableError when it stays unreadable.
    """
    renewed = False
    for attempt in range(policy.attempts):
        signed = sign()
        try:
            return read(signed, attempt)
        except (RasterioError, OSError) as error:
            reason = _reason(error)
            verdict = _verdict(signed, reason, policy)
            forbidden = verdict.status == 403 and renewed
            if forbidden or verdict.status in GONE or attempt + 1 == policy.attempts or not _may_heal(href):
                said = "" if verdict.status in {None, 200, 206} else f" (the server answers {verdict.status})"
                raise UnreadableError(f"{reason}{said} after {attempt + 1} attempts") from error
        if verdict.status == 403:
            renewed = True
            continue
        policy.sleep(_pause(verdict, attempt, href, policy))
    raise AssertionError("a policy allows at least one attempt")


def _pause(verdict: ServerAnswer, attempt: int, href: str, policy: RetryPolicy) -> float:
    wait = policy.wait_s(attempt, href=href)
    return wait if verdict.retry_after_s is None else max(wait, min(verdict.retry_after_s, policy.longest_wait_s))


def _reason(error: BaseException) -> str:
    """The innermost message, which is GDAL's own; rasterio wraps it in "see previous exception"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return without_query(str(error)) or type(error).__name__


def _may_heal(href: str) -> bool:
    """False for a local file that is not there; a file that is may be on a network and heal."""
    return "://" in href or Path(href).exists()


def _verdict(signed: str, reason: str, policy: RetryPolicy) -> ServerAnswer:
    """What is known of the failure: from the server if it is plain http(s), else from GDAL's words."""
    # A store is no object that could be asked for; its parts are.
    if signed.lower().startswith(("http://", "https://")) and split_store(signed) is None:
        return _ask(signed, policy.probe_timeout_s)
    found = _CODE.search(reason)
    return ServerAnswer(status=int(found.group(1)) if found else None)


def _ask(url: str, timeout_s: float) -> ServerAnswer:
    """The server's answer for the first byte: GDAL tells neither the status of a failed range nor its Retry-After."""
    request = Request(url, headers={"Range": "bytes=0-0"})  # noqa: S310 - http(s) only, see the caller
    try:
        with urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return ServerAnswer(status=answer.status)
    except HTTPError as error:
        with error:
            wait = retry_after_s(error.headers.get("Retry-After"), sent=error.headers.get("Date"))
            return ServerAnswer(status=error.code, retry_after_s=wait)
    except (URLError, OSError, ValueError):
        return ServerAnswer(status=None)


def retry_after_s(retry_after: str | None, *, sent: str | None) -> float | None:
    """Seconds a Retry-After header asks to wait, given in seconds or as a date; None for none and for nonsense.

    A date is compared with the server's own `Date` (`sent`), so that no clock has to agree with its clock; without one
    it says nothing. One that is past is no wait. Source: RFC 9110, sections 10.2.3 and 5.6.7.
    """
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return _between(sent, retry_after)
    return seconds if 0 <= seconds < float("inf") else None


def _between(sent: str | None, until: str | None) -> float | None:
    """Seconds from one HTTP date to another, at least 0; None where one of them is none."""
    try:
        first, last = parsedate_to_datetime(sent or ""), parsedate_to_datetime(until or "")
        return max(0.0, (last - first).total_seconds())
    except (TypeError, ValueError):
        return None
