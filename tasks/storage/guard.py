"""Writes into a folder that other processes write too: whole files, each put in its place under the folder's guard.

The guard is a file lock. Writers share it for the microseconds in which they look whose product this is and rename a
finished file; an acquisition of the product's lock has it alone. So no write of an earlier owner falls behind a later
one's acquisition, however long its process was stopped before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilewright.tasks.storage.errors import StoppedWriterError
from tilewright.tasks.storage.fence import STATE_FOLDER, check_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tilewright.tasks.storage.fence import Fence


GUARD = f"{STATE_FOLDER}/.taking"

STAGING = f"{STATE_FOLDER}/staging"

WAIT_SECONDS = 60.0
"""Seconds for which the guard is waited for. It is held for microseconds, unless its process is stopped just then."""

POLL_SECONDS = 0.002

STAGED = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

NO_FILE_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Answers of file systems without file locks. Check and write are then two steps, as in a bucket."""


@contextmanager
def guarded(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Holds the guard of a product's folder, shared with other writers or ``alone``.

    Raises StoppedWriterError if it is not free within a minute.
    """
    descriptor = _locked(f"{folder}/{GUARD}", fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    try:
        yield
    finally:
        _unlock(descriptor)


def put_file(
    folder: Path,
    key: str,
    content: bytes | memoryview,
    fence: Fence | None,
    *,
    create: bool = False,
    private: bool = False,
) -> bool:
    """True if the file was put in place whole; False if it exists and was to be created.

    A ``private`` file is its owner's alone to read. Raises FencedError if the folder belongs to another run.
    """
    staged = _staging_path(folder)
    try:
        with os.fdopen(os.open(staged, STAGED, 0o600 if private else 0o666), "wb") as file:
            file.write(content)
        return place_file(folder, key, staged, fence, create=create)
    finally:
        staged.unlink(missing_ok=True)


def swap_file(folder: Path, key: str, content: bytes, *, expected: bytes | None) -> bool:
    """True if the file held ``expected`` (None: was not there) and was replaced; else False, and nothing is written.

    The guard is held alone: until it returns no write of a run gets through.
    """
    staged = _staging_path(folder)
    staged.write_bytes(content)
    try:
        with guarded(folder, alone=True):
            target = folder / key
            if (target.read_bytes() if target.exists() else None) != expected:
                return False
            staged.replace(target)
            return True
    finally:
        staged.unlink(missing_ok=True)


def now_of(folder: Path) -> float:
    """The time of the file system's own clock, which stamps files, in seconds since the epoch."""
    probe = _staging_path(folder)
    probe.write_bytes(b"now")
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def copy_file(folder: Path, key: str, path: Path, fence: Fence) -> None:
    """Put a copy of a whole file in place. Raises FencedError if the folder belongs to another run."""
    staged = _staging_path(folder)
    try:
        shutil.copyfile(path, staged)
        place_file(folder, key, staged, fence)
    finally:
        staged.unlink(missing_ok=True)


def place_file(folder: Path, key: str, path: Path, fence: Fence | None, *, create: bool = False) -> bool:
    """Move a whole file of the same file system to its place; returns and raises as ``put_file`` does."""
    target = folder / key
    try:
        with guarded(folder):
            if fence is not None:
                check_folder(fence, folder)
            try:
                return _move(path, target, create=create)
            except FileNotFoundError:
                # A writer that may not write leaves no empty folder either: Zarr would list it.
                target.parent.mkdir(parents=True, exist_ok=True)
                return _move(path, target, create=create)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    # Part of the product is a link to another disk. The object store's listings leave out names that end so.
    beside = target.with_name(f"{target.name}#{secrets.randbits(48)}")
    shutil.copyfile(path, beside)
    try:
        return place_file(folder, key, beside, fence, create=create)
    finally:
        beside.unlink(missing_ok=True)


def remove_file(folder: Path, key: str, fence: Fence) -> None:
    """Remove a file; a missing one is ignored. Raises FencedError if the folder belongs to another run."""
    with guarded(folder):
        check_folder(fence, folder)
        (folder / key).unlink(missing_ok=True)


def remove_folder(folder: Path, prefix: str, fence: Fence) -> None:
    """Remove a folder with all that it holds, or a link. Raises FencedError if the product belongs to another run."""
    aside = _staging_path(folder)
    with guarded(folder):
        check_folder(fence, folder)
        try:
            # Removing many files takes a while, in which the guard would keep others waiting.
            (folder / prefix).rename(aside)
        except FileNotFoundError:
            return
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def _move(path: Path, target: Path, *, create: bool) -> bool:
    if not create:
        path.replace(target)
        return True
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        # A file system without hard links: of one run's own writers two may then both create.
        if target.exists():
            return False
        path.replace(target)
    return True


def _staging_path(folder: Path) -> Path:
    """A path of its own for a file that is not whole yet, on the product's file system."""
    parent = folder / STAGING
    if not parent.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
    return parent / secrets.token_hex(8)


def _locked(path: str, kind: int) -> int:
    """A descriptor of the guard's file, locked; closing it unlocks."""
    give_up = time.monotonic() + WAIT_SECONDS
    while True:
        descriptor = _open(path)
        try:
            if _lock(descriptor, kind) and _is_current(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > give_up:
            raise StoppedWriterError(
                f"{path} has been locked for {WAIT_SECONDS:.0f} s: a process that writes into this product is stopped "
                "in the middle of a write. Let it go on (SIGCONT) or end it, and run the same job again."
            )
        time.sleep(POLL_SECONDS)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 -- as below
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in NO_FILE_LOCKS
    return True


def _unlock(descriptor: int) -> None:
    try:
        # A child that was forked meanwhile has the descriptor too: closing it here alone would unlock nothing.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in NO_FILE_LOCKS:
            raise
    finally:
        os.close(descriptor)


def _is_current(descriptor: int, path: str) -> bool:
    """False if the file was removed or replaced since it was opened: its lock then keeps nobody out."""
    try:
        there = os.stat(path)  # noqa: PTH116 -- for each of a million writes, and a Path is slow
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)
