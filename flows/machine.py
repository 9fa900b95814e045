"""This machine and process: cores, memory, other processes, and settings of malloc and the garbage collector."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.tasks.storage.lock import Owner


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Source: glibc, malloc.h, parameters of mallopt(3)."""

HOST = socket.gethostname()

START_TOLERANCE_S = 2.0
"""Seconds by which two readings of a process's start time may differ, because the clock is set now and then."""


def limit_malloc() -> None:
    """Make glibc return freed arrays of 4 MB and more to the system and reuse smaller ones; no effect on other C
    libraries.

    By default glibc keeps everything below 32 MB, fragmented over one heap per thread. Returning everything above 1 MB
    cost a tenth of a run in page faults; 4 MB saves a twentieth of the memory at no cost (measured on 4096 x 4096
    pixels x 4 bands x 3 dates).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in ((M_MMAP_THRESHOLD, 2**22), (M_TRIM_THRESHOLD, 2**27), (M_ARENA_MAX, 2)):
        mallopt(parameter, value)


def release_memory() -> None:
    """Make glibc return all freed memory to the system; no effect on other C libraries.

    What a run keeps for long lies scattered between what it freed, so that its heaps only grow.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Turns the garbage collector off while modules are imported, which saves about a tenth of the start-up. Nests
    safely: only the outermost block turns it on again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def spare_collector() -> None:
    """Keep the garbage collector from all that stands now, and let it look seldom: in a process that makes one run.

    What a run makes ends with its last reference; the collector would walk its modules some hundred times for nothing.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def process_start(pid: int) -> float | None:
    """The start time of a process of this host in seconds since the epoch; None if no process has that id."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def kernel_place() -> str:
    """The running kernel and this process's namespace of process ids; empty where the system tells neither.

    Containers may share a host name, and a process id means something in its own namespace alone.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 -- not a path
    except OSError:
        return ""


def owner_alive(owner: Owner) -> bool | None:
    """True if the owner's process runs on this host, False if it has ended, None if the owner is on another host."""
    if owner.host != HOST or (owner.place and owner.place != kernel_place()):
        return None
    born = process_start(owner.pid)
    return born is not None and (not owner.born or abs(born - owner.born) < START_TOLERANCE_S)


def process_age() -> float:
    """Seconds since this process started: the start-up time of a command so far."""
    return max(0.0, time.time() - psutil.Process().create_time())


def threads_cpu(names: tuple[str, ...]) -> float:
    """CPU seconds of this process's living threads whose names begin so; 0 where the system does not tell."""
    total = 0.0
    for thread in threading.enumerate():
        if thread.name.startswith(names) and thread.ident is not None and hasattr(time, "pthread_getcpuclockid"):
            # A thread that ends meanwhile has no clock any more.
            with suppress(OSError):
                total += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return total


def waited_for_core(tasks: Path = Path("/proc/self/task")) -> float:
    """Seconds for which this thread could have run and no core was free; 0 where the system does not tell.

    Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
    """
    try:
        return int((tasks / str(threading.get_native_id()) / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def machine_cpu() -> float | None:
    """CPU seconds of all programs on this machine; None where this process has only some of its cores."""
    if psutil.cpu_count() != n_cores():
        return None
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0) + times.nice)


def process_cpu() -> float:
    """CPU seconds of this process so far, of all its threads."""
    times = os.times()
    return times.user + times.system


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStart:
    """Readings of the moment in which a phase of a run began: the monotonic clock, seconds for which this thread waited
    for a core, CPU seconds of the machine (None: not told) and of this process, and the peak of its memory in bytes.
    """

    clock: float
    waited: float
    machine: float | None
    own: float
    peak: int

    @classmethod
    def now(cls) -> PhaseStart:
        """The readings of this moment."""
        return cls(
            clock=time.monotonic(),
            waited=waited_for_core(),
            machine=machine_cpu(),
            own=process_cpu(),
            peak=peak_memory(),
        )

    @classmethod
    def of_command(cls, seconds: float) -> PhaseStart:
        """The start of a command whose process is so many seconds old; this moment where it is 0.

        A process that does more than one command has used cores and memory before, which are none of this one's.
        """
        if not seconds:
            return cls.now()
        return cls(clock=time.monotonic() - seconds, waited=0.0, machine=None, own=0.0, peak=0)


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes this process may use, with those it uses already: the machine's free memory or the lowest group limit.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current) and cgroup-v1/memory.rst.
    """
    available = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    limits = [left for group in _control_groups(cgroups, own) if (left := _group_limit(group)) is not None]
    return int(min([available, *limits]))


def unused_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that no process uses now: of the machine, or of the control group with the fewest left.

    Pages of the page cache that were not used recently count as unused.
    """
    left = [psutil.virtual_memory().available]
    for group in _control_groups(cgroups, own):
        limit, used = _group_limit(group), _group_usage(group)
        if limit is not None and used is not None:
            left.append(max(0, limit - used))
    return int(min(left))


def _group_usage(group: Path) -> int | None:
    """Bytes a control group uses, without the file pages it could drop; None if its files cannot be read."""
    for usage in ("memory.current", "memory.usage_in_bytes"):
        try:
            used = int((group / usage).read_text())
            fields = dict(line.split()[:2] for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return used - int(fields.get("inactive_file", 0))
    return None


def _control_groups(cgroups: Path, own: Path) -> list[Path]:
    """The folders of this process's control groups up to the root, both versions; a container sees its own as root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    inner = next((line.split("::", 1)[1].strip("/") for line in lines if line.startswith("0::")), "")
    path = Path(inner)
    return [cgroups / part for part in (path, *path.parents)] + [cgroups / "memory"]


def _group_limit(group: Path) -> int | None:
    """The memory limit of a control group in bytes; None if it sets no limit."""
    for limit in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((group / limit).read_text())
        except (OSError, ValueError):
            continue
    return None


def peak_memory() -> int:
    """The peak memory of this process in bytes.

    On Linux from VmHWM, which counts this program alone: getrusage also counts the parent's memory at the fork.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
