"""The class of an error: whether another try, another worker or a smaller block would help."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from tilewright.catalogs.hrefs import without_secrets, without_words
from tilewright.flows.environment import own_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator


class ErrorClass(StrEnum):
    """Classes of failure; flows/policies.py says how each is handled."""

    BAD_REQUEST = "bad-request"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    OUT_OF_MEMORY = "out-of-memory"
    LOST_WORKER = "lost-worker"
    GONE = "gone"
    OTHER_RUN = "other-run"
    CHANGED = "changed"
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

LOST_WORKER_NAMES = {
    "KilledWorker",
    "CommClosedError",
    "CancelledError",
    "FutureCancelledError",
    "FuturesCancelledError",
}
"""Names of the errors with which Dask reports a lost worker; compared by name, so that Dask is not imported here."""

OTHER_RUN_NAMES = {"LockHeldError", "FencedError", "OutputChangedError", "StoppedWriterError"}
"""Names of the errors of a run whose output another run owns, or made something of meanwhile; trying a block or a step
again does not help, the whole run later does."""

CHANGED_NAMES = {"ChangedInputError", "ChangedInputsError"}
"""Names of the errors for inputs that were replaced meanwhile: another try would read the other file again. Dask
puts the name into the words where it cannot carry an error's causes."""

IO_FAILURE_NAMES = {"ReadError", "StorageError", "SigningError", "StagingError"}
"""Names of our own I/O errors. Their message decides the class; without a known word they are transient."""


def classify(error: BaseException) -> ErrorClass:
    """The class of an error: its own ``error_class``, else decided by its type, message and causes."""
    declared = getattr(error, "error_class", None)
    if isinstance(declared, ErrorClass):
        return declared
    chain = list(_causes(error))
    words = " ".join(str(one) for one in chain)
    verdicts = (
        (ErrorClass.OTHER_RUN, any(type(one).__name__ in OTHER_RUN_NAMES for one in chain)),
        (ErrorClass.OUT_OF_MEMORY, any(isinstance(one, MemoryError) for one in chain) or _matches(MEMORY_WORDS, words)),
        (ErrorClass.LOST_WORKER, any(type(one).__name__ in LOST_WORKER_NAMES for one in chain)),
        (ErrorClass.BAD_REQUEST, isinstance(error, ValueError)),
        (
            ErrorClass.CHANGED,
            any(name in words or type(one).__name__ == name for one in chain for name in CHANGED_NAMES),
        ),
        (ErrorClass.THROTTLED, _matches(THROTTLE_WORDS, words)),
        (ErrorClass.GONE, isinstance(error, FileNotFoundError) or _matches(GONE_WORDS, words)),
        (ErrorClass.TRANSIENT, any(map(_is_io_failure, chain)) or _matches(TRANSIENT_WORDS, words)),
    )
    return next((kind for kind, applies in verdicts if applies), ErrorClass.FAULT)


def _is_io_failure(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__name__ in IO_FAILURE_NAMES


def _matches(pattern: re.Pattern[str], words: str) -> bool:
    return pattern.search(words) is not None


def is_own(error: BaseException) -> bool:
    """True for an error class of this project: its message is written for a person and needs no traceback."""
    return type(error).__module__.partition(".")[0] == "tilewright"


def sentence(error: BaseException) -> str:
    """An error in one line of at most 500 characters, without the secrets of its URLs."""
    words = _clean(" ".join(str(error).split())) or type(error).__name__
    return words if len(words) <= 500 else f"{words[:497]}..."


def without_secrets_of(error: Exception) -> Exception:
    """The error, and its causes, as another program may keep their words and its trace: without secrets.

    It is changed itself where that is possible; an error that makes its words anew gives way to one of the same class
    of failure, and a cause that does is dropped.
    """
    kind = classify(error)
    verdicts = [_cut_words(one) for one in _linked(error)]
    if all(verdicts):
        return error
    stand_in = error if _cut_words(error) else _StandInError(f"{type(error).__name__}: {_clean(str(error))}")
    stand_in.error_class = kind  # type: ignore[attr-defined]
    stand_in.__cause__ = stand_in.__context__ = None
    stand_in.__suppress_context__ = True
    return stand_in.with_traceback(error.__traceback__)


class _StandInError(RuntimeError):
    """An error of others, in words without secrets."""


def _clean(text: str) -> str:
    return without_words(without_secrets(text), own_secrets())


def _cut_words(error: BaseException) -> bool:
    """True if the error's words hold no secret, or none any more."""
    error.args = tuple(_clean(word) if isinstance(word, str) else word for word in error.args)
    if isinstance(error, OSError):
        for name in ("strerror", "filename", "filename2"):
            if isinstance(word := getattr(error, name, None), str):
                setattr(error, name, _clean(word))
    notes = getattr(error, "__notes__", None)
    if notes:
        notes[:] = map(_clean, notes)
    return _clean(str(error)) == str(error) and _clean(repr(error)) == repr(error)


def _linked(error: BaseException) -> list[BaseException]:
    """The error with its causes and what it was raised in the handling of, as a trace shows them."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.append(one)
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


class RunnerError(ValueError):
    """A runner that is not available here."""
