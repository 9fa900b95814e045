"""Runs one of our commands in a process of bounded time and memory: a model of others is code of others.

`python -m tilewright.flows.cli BOUNDED MEGABYTES WORDS...` is that process: it binds itself and runs the command.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import psutil

BOUNDED = "--bounded"
"""The word after which the program finds the megabytes to which it binds itself."""

OWN_MB = 4096
"""Address space that the program itself takes with its libraries and threads; little of it is memory."""

MOST_SHARE = 0.75
"""Of the free memory, what a model may take: the machine must go on."""

PATIENCE_SECONDS = 0.1

MOST_PRINTED = 64 * 2**20
"""Bytes that a command may print; it says what it found in some thousand."""

WORDS_OF_LACK = re.compile(
    r"bad.?alloc|failed to allocate|memory does not suffice|MemoryError|unable to allocate", re.IGNORECASE
)
"""Words with which onnxruntime, numpy and this program say that memory lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most seconds a command may take, and the most megabytes of memory."""

    seconds: float
    megabytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedAnswer:
    """The exit code and what was printed. `beyond` says which bound the command hit, empty if none."""

    code: int
    out: str
    err: str
    beyond: str = ""


def free_megabytes() -> int:
    """The megabytes that a model may take here and now."""
    return max(256, int(psutil.virtual_memory().available * MOST_SHARE / 2**20))


def run_bounded(words: list[str], bounds: Bounds, *, columns: int) -> BoundedAnswer:
    """The answer of a command of ours in a process of its own, which is killed beyond the bounds.

    Address space is bounded as well as memory, so that a request for terabytes fails before any of it is touched.
    """
    # Not the working folder's modules (-P): that may be the folder of the model.
    command = [sys.executable, "-P", "-m", str(__package__), BOUNDED, str(bounds.megabytes), *words]
    # Printed to files, since a pipe that is read here would hold all that a model cares to print in memory.
    with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as err_file:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
            env={**os.environ, "COLUMNS": str(columns)},
        )
        beyond = ""
        began = time.monotonic()
        try:
            while not beyond and process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_SECONDS)
                beyond = _beyond(process.pid, bounds, time.monotonic() - began)
                if max(os.fstat(file.fileno()).st_size for file in (out_file, err_file)) > MOST_PRINTED:
                    beyond = f"printed more than {MOST_PRINTED // 2**20} MB"
        finally:
            _end(process)
        out, said = _printed(out_file), _printed(err_file)
    if not beyond and (process.returncode < 0 or (process.returncode and WORDS_OF_LACK.search(said))):
        beyond = f"asked for more than {bounds.megabytes} MB" if process.returncode > 0 else _broke(process.returncode)
    return BoundedAnswer(code=process.returncode, out=out, err=said, beyond=beyond)


def _printed(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST_PRINTED).decode(errors="replace")


def _broke(code: int) -> str:
    return f"broke its process off (signal {-code})"


def _beyond(pid: int, bounds: Bounds, seconds: float) -> str:
    """The bound that a process with its children has passed, empty if none."""
    if seconds > bounds.seconds:
        return f"did not answer within {bounds.seconds:g} s"
    used = 0
    for each in _tree(pid):
        with suppress(psutil.Error):
            used += each.memory_info().rss
    return f"asked for more than {bounds.megabytes} MB" if used > bounds.megabytes * 2**20 else ""


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its children, if it has not ended."""
    if process.returncode is None:
        for each in _tree(process.pid):
            with suppress(psutil.Error):
                each.kill()
        process.kill()
        process.wait()


def bind(megabytes: int) -> None:
    """Bound the address space of this process and of its children, and let none of them leave a core behind."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = (megabytes + OWN_MB) * 2**20
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    # macOS has no such bound; there the memory alone is watched.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
