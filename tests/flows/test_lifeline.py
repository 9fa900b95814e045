"""A process that another one is tied to ends with it, however that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.paths import ROOT

PARENT = """
import os, subprocess, sys, time
from tilewright.flows.lifeline import end_with_this_process
child = subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
end_with_this_process(child)
print(child.pid, flush=True)
{ending}
"""

SLEEPS = "import time; time.sleep(100)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)"

ENDINGS = {
    "SIGKILL": "time.sleep(100)",
    "SIGTERM": "time.sleep(100)",
    "SIGHUP": "time.sleep(100)",
    "SIGINT": "time.sleep(100)",
    "an exception": "raise SystemError",
    "at once": "os._exit(3)",
    "the end": "",
}


def started(ending: str, child: str = SLEEPS) -> tuple[subprocess.Popen[str], int]:
    """The parent under way, and the number of its child, which may have ended by now."""
    words = [sys.executable, "-c", PARENT.format(child=child, ending=ending)]
    parent = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def gone(pid: int, seconds: float) -> bool:
    """True once the process has ended, whether or not anybody asked for its exit code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def guards_of(parent: int, child: int) -> list[int]:
    """The other children of a process; none where it has ended."""
    try:
        return [each.pid for each in psutil.Process(parent).children() if each.pid != child]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("how", ENDINGS)
def test_however_the_parent_ends_its_child_ends_too(how):
    parent, child = started(ENDINGS[how])
    guards = guards_of(parent.pid, child)
    if how.startswith("SIG"):
        assert psutil.pid_exists(child)
        parent.send_signal(getattr(signal, how))
    parent.wait(20)
    assert gone(child, 10)
    assert all(gone(guard, 10) for guard in guards), "the guard ends with what it guards"


def test_a_child_that_does_not_hear_sigterm_is_killed():
    parent, child = started(ENDINGS["SIGKILL"], DEAF)
    time.sleep(0.5)
    parent.kill()
    parent.wait(20)
    assert gone(child, 15)


def test_the_signals_of_the_parents_group_do_not_end_the_guard():
    words = [sys.executable, "-c", PARENT.format(child=SLEEPS, ending="time.sleep(100)")]
    parent = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait(20)
    assert gone(child, 10)


def test_a_child_that_ends_by_itself_takes_its_guard_along():
    parent, child = started("child.wait(); time.sleep(100)", "pass")
    assert gone(child, 20)
    end = time.monotonic() + 10
    while (guards := psutil.Process(parent.pid).children()) and time.monotonic() < end:
        if all(guard.status() == psutil.STATUS_ZOMBIE for guard in guards):
            break
        time.sleep(0.02)
    assert all(guard.status() == psutil.STATUS_ZOMBIE for guard in guards)
    parent.kill()
    parent.wait(20)
