"""This machine and process: cores, memory, processes, and how the process keeps its memory."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.storage.lock import Owner


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Source: glibc, malloc.h, parameters of mallopt(3)."""

HOST = socket.gethostname()

SAME_BIRTH = 2.0
"""Seconds by which a process's start may differ between two looks at it: the clock is set now and then."""


def limit_malloc() -> None:
    """Have glibc give large freed arrays back to the system, and keep the smaller ones for the next window; nothing
    where the C library is another one.

    By itself it keeps all below 32 MB, a heap per thread, in pieces. Returning all above 1 MB instead cost a tenth of a
    run in page faults; between the two lies a twentieth less memory at no cost (4096 x 4096 x 4 bands x 3 dates).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in ((M_MMAP_THRESHOLD, 2**22), (M_TRIM_THRESHOLD, 2**27), (M_ARENA_MAX, 2)):
        mallopt(parameter, value)


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """No search for cyclic garbage meanwhile: libraries being loaded make objects by the hundred thousand, all of them
    to stay, and walking these over and over takes a tenth of a start. For a second or two; others may wish it too.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def process_born(pid: int) -> float | None:
    """When a process of this host started, in seconds since the epoch; None if there is none of that number."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def owner_alive(owner: Owner) -> bool | None:
    """True if the owner's process runs on this host, False if it ended; None for one on another host."""
    if owner.host != HOST:
        return None
    born = process_born(owner.pid)
    return born is not None and (not owner.born or abs(born - owner.born) < SAME_BIRTH)


def process_age() -> float:
    """Seconds since this process began: what a command's start-up has cost so far."""
    return max(0.0, time.time() - psutil.Process().create_time())


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes this process may use, its own included: what the machine has free, or the least its control groups leave.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current) and cgroup-v1/memory.rst.
    """
    available = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    limits = [left for group in _groups(cgroups, own) if (left := _left_in(group)) is not None]
    return int(min([available, *limits]))


def unused_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that nothing uses now: of the machine, or the least that the control groups have left.

    What the page cache holds of files not lately used counts as unused.
    """
    left = [psutil.virtual_memory().available]
    for group in _groups(cgroups, own):
        limit, used = _left_in(group), _used_in(group)
        if limit is not None and used is not None:
            left.append(max(0, limit - used))
    return int(min(left))


def _used_in(group: Path) -> int | None:
    """Bytes a control group uses, but for file pages it could drop; None where it does not tell."""
    for usage in ("memory.current", "memory.usage_in_bytes"):
        try:
            used = int((group / usage).read_text())
            fields = dict(line.split()[:2] for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return used - int(fields.get("inactive_file", 0))
    return None


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """This process's control groups up to the root, of both versions; a container sees its own as root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    inner = next((line.split("::", 1)[1].strip("/") for line in lines if line.startswith("0::")), "")
    path = Path(inner)
    return [cgroups / part for part in (path, *path.parents)] + [cgroups / "memory"]


def _left_in(group: Path) -> int | None:
    """Bytes a control group leaves to what runs in it, itself included; None where it sets no limit."""
    for limit in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((group / limit).read_text())
        except (OSError, ValueError):
            continue
    return None


def peak_memory() -> int:
    """Bytes this process held at its peak.

    Linux tells it of the program alone; what getrusage says there is at least what the parent held when it started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return held if sys.platform == "darwin" else held * 1024
