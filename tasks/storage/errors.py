"""What storage says when it refuses, put in one sentence, and the patience with refusals that pass."""

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

PAUSES = (0.2, 0.8, 3.2)
"""Seconds before each further try of ours, beyond those of the object store's own client, which gives up on answers
that were cut short and on writes whose outcome it cannot know."""

ANSWERS = (FileNotFoundError, AlreadyExistsError, PreconditionError)
"""Not failures but answers: there is no such object, or there is one."""

FINAL = (PermissionDeniedError, UnauthenticatedError, InvalidPathError, NotSupportedError)

FULL = ("no space left", "disk quota", "file too large", "quotaexceeded")

FULL_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

ABSENT = ("404 not found", "nosuchbucket", "container not found")
"""Listing a bucket that is not there, which the client does not tell from other failures."""

REFUSED = ("permission denied", "read-only file system", "operation not permitted", "accessdenied", "expiredtoken")

KEYLESS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
"""Where a client asks a cloud's own machines for keys, when it was given none."""

KEPT = "What is finished is kept."


class StoreError(ValueError):
    """An output that cannot be used: what was given, why not, what to do."""


class StorageError(RuntimeError):
    """A write or read that storage refused while the run was under way."""


def insist(action: Callable[[], T], *, doing: str, uri: str, remote: bool) -> T:
    """What ``action`` returns; on a bucket a failure that may pass is tried again a few times.

    Raises StorageError with ``doing`` ("write class.tif to") and the place; FileNotFoundError, AlreadyExistsError and
    PreconditionError pass as they are.
    """
    for pause in (*PAUSES, None):
        try:
            return action()
        except ANSWERS:
            raise
        except (BaseError, OSError) as error:
            if pause is None or not remote or isinstance(error, FINAL) or _absent(error):
                raise storage_error(error, doing=doing, uri=uri) from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def storage_error(error: BaseException, *, doing: str, uri: str) -> StorageError:
    """The failure as one sentence: what could not be done, why, and what to do about it."""
    said = reason(error)
    words = f"{said} {error}".lower()
    start = f"Cannot {doing} {uri}: "
    if _absent(error):
        return StorageError(f"{start}there is no such bucket. Make it, or correct its name.")
    if any(word in words for word in KEYLESS):
        return StorageError(
            f"{start}no keys were given and this machine has none of its own. Set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY (or what the provider asks for) and run the same job again. {KEPT}"
        )
    if _number(error) in FULL_ERRNO or any(word in words for word in FULL):
        return StorageError(f"{start}the disk is full. Make room and run the same job again. {KEPT}")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or any(word in words for word in REFUSED):
        return StorageError(
            f"{start}access was refused ({said}). Renew the credentials or the permission and run the same job again. "
            f"{KEPT}"
        )
    return StorageError(f"{start}{said}. Run the same job again when it answers. {KEPT}")


def reason(error: BaseException) -> str:
    """The first line of what storage said, without the library's debug dump and without any query string."""
    said = str(error).strip().splitlines()
    first = re.sub(r"\?[^\s'\"<>)]*", "", said[0])[:300].rstrip(". ") if said else ""
    return first or type(error).__name__


def _absent(error: BaseException) -> bool:
    return any(word in str(error).lower() for word in ABSENT)


def _number(error: BaseException | None) -> int | None:
    """The operating system's number of an error or of what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
