"""A process that ends another one as soon as this one is gone, however it went: also by SIGKILL, which nobody hears."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from select import select

PATIENCE_SECONDS = 5.0
"""Seconds that the other process gets to end after SIGTERM."""


def end_with_this_process(other: subprocess.Popen[bytes]) -> None:
    """Have a child of this process ended when this process is gone.

    A guard of its own session holds the reading end of a pipe whose writing end only this process has; the system
    closes it when the process ends in any way. The guard ends with what it guards.
    """
    reading, writing = os.pipe()
    # Never closed here, and not inherited by programs that this process starts.
    os.set_inheritable(reading, True)
    subprocess.Popen(  # noqa: S603 -- this file, run by this interpreter
        [sys.executable, "-I", "-S", __file__, str(reading), str(other.pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(reading,),
        start_new_session=True,
        cwd="/",
    )
    os.close(reading)
    _writing_ends.append(writing)


_writing_ends: list[int] = []


def _close_in_child() -> None:
    """A forked child must not keep the pipe open after its parent."""
    while _writing_ends:
        with suppress(OSError):
            os.close(_writing_ends.pop())


def _guard(reading: int, pid: int) -> None:
    """Wait for the end of the pipe, then end the process; or for the process to end first."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        # The number of a process that has ended may be another's by then; a descriptor stays with the process.
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select([reading, process], [], [])
    if process in ended:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number)
        if select([process], [], [], PATIENCE_SECONDS)[0]:
            return


if __name__ == "__main__":
    _guard(int(sys.argv[1]), int(sys.argv[2]))
else:
    os.register_at_fork(after_in_child=_close_in_child)
