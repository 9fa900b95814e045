"""Storage failures: retries of temporary ones, and a sentence for the user about the others."""

from __future__ import annotations

import errno
import re
import time
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

RETRY_PAUSES = (0.2, 0.8, 3.2)
"""Seconds before each of our retries. The object store's client retries too, but gives up on truncated answers and on
writes with an unknown outcome."""

EXISTENCE_ANSWERS = (FileNotFoundError, AlreadyExistsError, PreconditionError)
"""Answers, not failures: the object does not exist, or it exists already."""

PERMANENT_ERRORS = (PermissionDeniedError, UnauthenticatedError, InvalidPathError, NotSupportedError)

DISK_FULL_TEXTS = ("no space left", "disk quota", "file too large", "quotaexceeded")

DISK_FULL_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

NO_BUCKET_TEXTS = ("404 not found", "nosuchbucket", "container not found")
"""Texts of the error for a bucket that does not exist; the client has no class for it."""

REFUSED_TEXTS = (
    "permission denied",
    "read-only file system",
    "operation not permitted",
    "accessdenied",
    "expiredtoken",
)

CREDENTIAL_HOSTS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
"""Addresses from which a client without keys requests the credentials of a cloud machine."""

KEPT_NOTE = "What is finished is kept."


class StoreError(ValueError):
    """An output that cannot be used; the message names the output, the reason and what to do."""


class LockHeldError(StoreError):
    """An output that another run is writing. Nothing is wrong with the request: it may be made again later."""


class StorageError(RuntimeError):
    """A read or write that storage refused during a run."""


class StoppedWriterError(StorageError):
    """An output in which a process is stopped in the middle of a write; the same command succeeds later."""


class FencedError(RuntimeError):
    """A write that was not done, because the run it belongs to does not own the output any more."""


def call_with_retries(action: Callable[[], T], *, operation: str, uri: str, remote: bool) -> T:
    """The result of ``action``; on a bucket (``remote``) it is retried after failures that may be temporary.

    Raises StorageError, which names ``operation`` ("write class.tif to") and ``uri``; FileNotFoundError,
    AlreadyExistsError and PreconditionError are not wrapped.
    """
    for pause in (*RETRY_PAUSES, None):
        try:
            return action()
        except EXISTENCE_ANSWERS:
            raise
        except (BaseError, OSError) as error:
            permanent = isinstance(error, PERMANENT_ERRORS) or _no_bucket(error) or is_unsupported(error)
            if pause is None or not remote or permanent:
                raise storage_error(error, operation=operation, uri=uri) from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def storage_error(error: BaseException, *, operation: str, uri: str) -> StorageError:
    """The failure as a StorageError whose message says which operation failed, why, and what to do."""
    said = reason(error)
    words = f"{said} {error}".lower()
    start = f"Cannot {operation} {uri}: "
    if _no_bucket(error):
        return StorageError(f"{start}there is no such bucket. Make it, or correct its name.")
    if any(word in words for word in CREDENTIAL_HOSTS):
        return StorageError(
            f"{start}no keys were given and this machine has none of its own. Set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY (or what the provider asks for) and run the same job again. {KEPT_NOTE}"
        )
    if _errno(error) in DISK_FULL_ERRNO or any(word in words for word in DISK_FULL_TEXTS):
        return StorageError(f"{start}the disk is full. Make room and run the same job again. {KEPT_NOTE}")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or any(word in words for word in REFUSED_TEXTS):
        return StorageError(
            f"{start}access was refused ({said}). Renew the credentials or the permission and run the same job again. "
            f"{KEPT_NOTE}"
        )
    return StorageError(f"{start}{said}. Run the same job again when it answers. {KEPT_NOTE}")


def reason(error: BaseException) -> str:
    """The first line of the error's message, without the library's debug output and without query strings."""
    said = str(error).strip().splitlines()
    first = re.sub(r"\?[^\s'\"<>)]*", "", said[0])[:300].rstrip(". ") if said else ""
    return first or type(error).__name__


def is_unsupported(error: BaseException | None) -> bool:
    """True for the answer of a server that does not know what it was asked, such as a conditional put."""
    return isinstance(error, NotSupportedError) or "501 not implemented" in str(error).lower()


def _no_bucket(error: BaseException) -> bool:
    return any(word in str(error).lower() for word in NO_BUCKET_TEXTS)


def _errno(error: BaseException | None) -> int | None:
    """The errno of an error or of its causes; None if none has one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
