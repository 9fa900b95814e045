"""The disturbances: each starts runs of a case, disturbs them, and says what came of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.support.chaos.case import RUN_SECONDS, Case
from tests.support.chaos.checks import ledger, lock_holder
from tests.support.chaos.places import BucketPlace
from tests.support.chaos.processes import LOCK_SECONDS, Moment, Running

RUN_TIME_S = 1.6
"""About the time of a run in a folder; one in a bucket takes ``BUCKET_TIMES`` as long."""

BUCKET_TIMES = 4

CHANGES = 230
"""About the number of changes of storage in a whole run."""

WAITS = 75
"""The exit code of a run that found another one at work."""

HEARD = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
"""The signals that end a run, and its exit codes."""

GRACE_S = 30.0
"""Seconds that Kubernetes gives a container to end."""

HELD_WORDS = "is stopped in the middle of a write"
"""What a run says that waited in vain for one that is stopped while it writes a file."""

Outcome = tuple[int, str]
"""The number of disturbances that really happened, and what came of them in a word."""


def killed_at_a_time(case: Case) -> Outcome:
    """SIGKILL at any time of a run."""
    run = case.start()
    time.sleep(case.random.uniform(0, _run_time(case)))
    run.send(signal.SIGKILL)
    return _killed(case, "kill at a time", run)


def killed_at_a_change(case: Case) -> Outcome:
    """SIGKILL just before or just after the n-th change that a run makes in storage."""
    number, after = _change(case.random), case.random.random() < 0.5
    if isinstance(case.place, BucketPlace):
        run = case.start()
        case.place.proxy.arm(run.pid, number, after=after)
    else:
        run = case.start(at=Moment(number=number, after=after, signal=signal.SIGKILL))
    outcome = _killed(case, "kill at a change", run)
    if isinstance(case.place, BucketPlace):
        case.place.proxy.victim = None
    return outcome


def asked_to_end(case: Case) -> Outcome:
    """SIGTERM, SIGHUP or Ctrl-C at any time: an end within the grace, with its code, without a lock left behind."""
    kind = "asked to end"
    number = case.random.choice(list(HEARD))
    run = case.start()
    time.sleep(case.random.uniform(0, _run_time(case)))
    began = time.monotonic()
    run.send(number)
    code = run.ended(RUN_SECONDS)
    # Before the command is there to hear it, a signal ends the process as it ends any, and Ctrl-C a fork of the tests.
    if code not in {-number, 1} or run.said():
        case.end(kind, run, expected=(0, HEARD[number], -number))
    if time.monotonic() - began > GRACE_S:
        case.note(kind, f"{time.monotonic() - began:.0f} s from {number.name} to the end")
    if code != -number and lock_holder(case.place.objects()) == run.pid:
        case.note(kind, f"{number.name} left the lock behind, exit code {code}")
    case.look(kind)
    return (1, "ended") if code else (0, "finished before")


def paused_and_taken_over(case: Case) -> Outcome:
    """SIGSTOP for longer than the lock's age, a run elsewhere that takes over and finishes, SIGCONT."""
    kind = "pause and takeover"
    first = case.start(at=Moment(number=_change(case.random), after=case.random.random() < 0.5, signal=signal.SIGSTOP))
    while first.code() is None and not first.stopped():
        time.sleep(0.01)
    if first.code() is not None:
        case.end(kind, first)
        case.look(kind)
        return 0, "finished before"
    time.sleep(1.4 * LOCK_SECONDS)
    second = case.start(host="elsewhere")
    if case.random.random() < 0.25:
        # The first wakes while the second is at work.
        time.sleep(case.random.uniform(0, _run_time(case)))
        first.send(signal.SIGCONT)
    code = case.end(kind, second)
    # One that is stopped in the middle of a write into a folder holds the folder until it goes on.
    if code not in {0, WAITS} and HELD_WORDS not in second.said():
        case.note(kind, f"exit code {code} of the second: {second.said()[-300:]}")
    if code == 0 and first.stopped():
        case.look(kind)
    first.send(signal.SIGCONT)
    woken = case.end(kind, first, expected=(0, WAITS))
    case.look(kind, late_put=isinstance(case.place, BucketPlace))
    return 1, f"second: {code}, woken: {woken}"


def two_at_once(case: Case) -> Outcome:
    """Two runs at once, on one machine or on two, also over a lock whose holder is dead."""
    kind = "two at once"
    hosts = case.random.choice([(None, None), (None, "elsewhere"), ("here", "elsewhere")])
    runs = [case.start(host=host) for host in hosts]
    codes = sorted(case.end(kind, run, expected=(0, WAITS)) for run in runs)
    if 0 not in codes:
        case.note(kind, f"neither of two runs finished: {codes}")
    case.look(kind)
    return 1, f"ended: {codes[0]} and {codes[1]}"


def clock_ahead(case: Case) -> Outcome:
    """A run elsewhere, whose clock is 200 s ahead, while this one lives: it must not take over."""
    kind = "clock ahead"
    first = case.start()
    time.sleep(case.random.uniform(0.2, 0.5) * _run_time(case))
    second = case.start(host="elsewhere", ahead=200.0)
    codes = [case.end(kind, first, expected=(0,)), case.end(kind, second, expected=(0, WAITS))]
    case.look(kind)
    return 1, f"ended: {codes[0]} and {codes[1]}"


def disk_full(case: Case) -> Outcome:
    """Files that cannot grow beyond some length, as on a disk that is full."""
    kind = "disk full"
    # The words of a run, which go to a file too, are shorter.
    limit = int(10 ** case.random.uniform(3.3, 4.8))
    run = case.start(file_limit=limit)
    code = case.end(kind, run, expected=(0, 1))
    # What the process says is a file too, which may be cut off.
    if code == 1 and "disk is full" not in run.said() and len(run.said()) < limit:
        case.note(kind, f"no word about the disk: {run.said()[-300:]}")
    case.look(kind)
    return (1, "ended: 1") if code else (0, "finished")


def storage_faults(case: Case) -> Outcome:
    """Requests that fail on their way: broken before and after, cut, refused, throttled, slow."""
    kind = "storage faults"
    assert isinstance(case.place, BucketPlace)
    proxy = case.place.proxy
    before, proxy.share = len(proxy.faults), case.random.uniform(0.01, 0.07)
    code = case.end(kind, case.start(), expected=(0, 1))
    proxy.share = 0.0
    case.look(kind)
    return len(proxy.faults) - before, f"ended: {code}"


def state_garbled(case: Case) -> Outcome:
    """A file of the state cut off or overwritten between two runs, as by a crash of the machine."""
    kind = "state garbled"
    objects = case.place.objects()
    names = [name for name in objects if name.startswith((".tilewright/ledger/", ".tilewright/cogs/"))]
    names += [name for name in objects if name in {".tilewright/lock.json", ".tilewright/failures.ndjson"}]
    names += [name for name in objects if name in {"report.json", "progress.json"}]
    if not names or case.finished:
        return 0, "nothing to garble"
    name = case.random.choice(sorted(names))
    content = case.random.choice([b"", objects[name][: len(objects[name]) // 2], b"\0" * 200, b"[]", b'"x"', b"{"])
    _overwrite(case, name, content)
    for block in ledger({name: content}):
        case.kept.pop(block, None)
    case.end(kind, case.start(), expected=(0,))
    case.look(kind)
    return 1, name.split("/")[-2] if "/" in name[12:] else name


EVENTS: dict[str, Callable[[Case], Outcome]] = {
    "kill at a time": killed_at_a_time,
    "kill at a change": killed_at_a_change,
    "asked to end": asked_to_end,
    "pause and takeover": paused_and_taken_over,
    "two at once": two_at_once,
    "clock ahead": clock_ahead,
    "disk full": disk_full,
    "storage faults": storage_faults,
    "state garbled": state_garbled,
}
"""The kinds by name."""


def _killed(case: Case, kind: str, run: Running) -> Outcome:
    code = case.end(kind, run)
    if code >= 0 and code != 0:
        case.note(kind, f"exit code {code} without being killed: {run.said()[-300:]}")
    case.look(kind)
    return (1, "killed") if code == -signal.SIGKILL else (0, "finished before")


def _run_time(case: Case) -> float:
    return RUN_TIME_S * (BUCKET_TIMES if isinstance(case.place, BucketPlace) else 1)


def _change(random: Random) -> int:
    """A number of a change: any of a whole run, or rather an early one, since a later run has fewer left."""
    return random.randint(1, CHANGES) if random.random() < 0.5 else int(CHANGES ** random.random())


def _overwrite(case: Case, name: str, content: bytes) -> None:
    if isinstance(case.place, BucketPlace):
        import obstore

        obstore.put(case.place.store, name, content)
        return
    path = Path(case.place.uri) / name
    with suppress(FileNotFoundError):
        path.write_bytes(content)
