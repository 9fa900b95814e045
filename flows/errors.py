"""What kind of failure an error is: whether another try, another worker or a smaller block would help."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ErrorClass(StrEnum):
    """Kinds of failure; what is done about each stands in flows/policies.py."""

    BAD_REQUEST = "bad-request"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    OUT_OF_MEMORY = "out-of-memory"
    LOST_WORKER = "lost-worker"
    GONE = "gone"
    FAULT = "fault"


MEMORY_WORDS = re.compile(
    r"bad.?alloc|out of memory|failed to allocate|cannot allocate memory|can.t start new thread", re.IGNORECASE
)

THROTTLE_WORDS = re.compile(
    r"\b(429|503)\b|slow.?down|too many requests|throttl|service unavailable|rate.?limit", re.IGNORECASE
)

GONE_WORDS = re.compile(r"answers (400|401|403|404|405|410|451)\b|no such file|does not exist", re.IGNORECASE)

TRANSIENT_WORDS = re.compile(
    r"\b(408|500|502|504)\b|timed? ?out|connection|reset by peer|temporar|could not be (read|signed)|curl|network",
    re.IGNORECASE,
)

LOST = {"KilledWorker", "CommClosedError", "CancelledError", "FutureCancelledError", "FuturesCancelledError"}
"""Names of Dask's own words for a worker that went; named, so that nothing of Dask is imported to tell."""

FAILING = {"ReadError", "StorageError", "SigningError", "StagingError"}
"""Our failures while pixels are on their way; their words say which kind, and without such words they may heal."""


def classify(error: BaseException) -> ErrorClass:
    """The class of an error: what it says of itself, else by its type first and its words and causes second."""
    told = getattr(error, "error_class", None)
    if isinstance(told, ErrorClass):
        return told
    chain = list(_causes(error))
    words = " ".join(str(one) for one in chain)
    verdicts = (
        (ErrorClass.OUT_OF_MEMORY, any(isinstance(one, MemoryError) for one in chain) or _says(MEMORY_WORDS, words)),
        (ErrorClass.LOST_WORKER, any(type(one).__name__ in LOST for one in chain)),
        (ErrorClass.BAD_REQUEST, isinstance(error, ValueError)),
        (ErrorClass.THROTTLED, _says(THROTTLE_WORDS, words)),
        (ErrorClass.GONE, isinstance(error, FileNotFoundError) or _says(GONE_WORDS, words)),
        (ErrorClass.TRANSIENT, any(_reaches_out(one) for one in chain) or _says(TRANSIENT_WORDS, words)),
    )
    return next((kind for kind, holds in verdicts if holds), ErrorClass.FAULT)


def _reaches_out(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__name__ in FAILING


def _says(pattern: re.Pattern[str], words: str) -> bool:
    return pattern.search(words) is not None


def is_own(error: BaseException) -> bool:
    """True for an error class of this project: its words are meant for a person and need no traceback."""
    return type(error).__module__.partition(".")[0] == "tilewright"


def sentence(error: BaseException) -> str:
    """An error in one line of at most 500 characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 500 else f"{words[:497]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__


class RunnerError(ValueError):
    """A runner that cannot be had here."""
