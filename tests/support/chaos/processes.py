"""Runs of the real command in processes that are forked from one with everything imported: a start costs 10 ms."""

from __future__ import annotations

import functools
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import psutil

PRELOADED = (
    "distributed",
    "obstore",
    "stac_geoparquet.arrow",
    "zarr.storage",
    "tilewright.flows.cli.main",
    "tilewright.flows.cli.printed.terminal",
    "tilewright.flows.maintain.clean",
    "tilewright.flows.plan.make",
    "tilewright.flows.plan.model_card",
    "tilewright.flows.run.context",
    "tilewright.flows.run.pipeline",
    "tilewright.flows.run.predict",
    "tilewright.flows.runners.cluster",
    "tilewright.tasks.cog.write",
    "tilewright.tasks.publish.layers",
    "tilewright.tasks.publish.publish",
    "tilewright.tasks.report.background",
    "tilewright.tasks.report.render",
)
"""All that a run imports. None of these starts a thread when it is imported, so that the process may fork."""

LOCK_SECONDS = 1.5
"""The age at which a lock is taken over in these runs."""

POLL_SECONDS = 0.01
"""Seconds between two looks at a process."""

_looking = threading.Lock()
"""Whoever starts a process looks at those of other threads too, and an exit code can be read once: the second reader
would find 255."""

SHORT_PAUSES = (0.02, 0.05, 0.2)
"""Seconds before each of our retries in these runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The ``number``-th change that a process makes in storage, and the signal it gets before or after it."""

    number: int
    after: bool
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """The first call of a function, by module and name, at which the process gets a signal."""

    module: str
    name: str
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The words of a command and how its process differs from others.

    ``host``: the name of the machine it takes itself for. ``ahead``: seconds that its clock is ahead. ``file_limit``:
    the longest file that it may write, in bytes.
    """

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    at: Moment | None = None
    within: Within | None = None
    ahead: float = 0.0
    file_limit: int | None = None


@dataclass(slots=True, kw_only=True)
class Running:
    """A process under way; ``log`` gets what it says on both streams."""

    process: Any
    log: Path
    launch: Launch

    @property
    def pid(self) -> int:
        """The process's id."""
        return int(self.process.pid)

    def send(self, number: int) -> bool:
        """True if the process was there to get the signal."""
        if self.code() is not None:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def stopped(self) -> bool:
        """True if the process is held by SIGSTOP."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def ended(self, seconds: float) -> int:
        """The exit code, negative for a signal. Fails if the process has not ended by then; it is killed."""
        code = self._ended_within(seconds)
        if code is None:
            self.send(signal.SIGKILL)
            self._ended_within(10)
            raise AssertionError(f"{' '.join(self.launch.words)} still ran after {seconds:.0f} s: {self.said()[-800:]}")
        return code

    def _ended_within(self, seconds: float) -> int | None:
        until = time.monotonic() + seconds
        while (code := self.code()) is None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return code

    def code(self) -> int | None:
        """The exit code, None while the process runs."""
        with _looking:
            code = self.process.exitcode
        return None if code is None else int(code)

    def said(self) -> str:
        """What the process said so far."""
        return self.log.read_text(errors="replace")


class Forks:
    """Starts commands; everything they share is imported once, when the first is started."""

    def __init__(self, folder: Path, *, picture_size: int = 64) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._numbers, self._picture_size = folder, count(1), picture_size
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def start(self, launch: Launch) -> Running:
        """The command under way."""
        log = self._folder / f"{next(self._numbers)}.log"
        log.touch()
        process = self._context.Process(target=_live, args=(launch, str(log), self._picture_size))
        with _looking:
            process.start()
        return Running(process=process, log=log, launch=launch)


def _live(launch: Launch, log: str, picture_size: int) -> None:
    """The life of a forked process: the command, as a shell would start it."""
    stream = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ.update(launch.env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _be_quick(picture_size)
    if launch.host is not None:
        _be_on(launch.host)
    if launch.ahead:
        _be_ahead(launch.ahead)
    if launch.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (launch.file_limit, resource.RLIM_INFINITY))
    if launch.at is not None:
        signal_at(launch.at)
    if launch.within is not None:
        _signal_within(launch.within)
    import_module("tilewright.flows.cli.__main__").program(list(launch.words))


def _be_quick(picture_size: int) -> None:
    """Small pictures, short waits between tries, a lock that is stale soon."""
    import_module("tilewright.tasks.publish.publish").PICTURE_SIZE = picture_size
    import_module("tilewright.tasks.storage.errors").RETRY_PAUSES = SHORT_PAUSES
    import_module("tilewright.tasks.storage.bucket").RETRIES["backoff"]["init_backoff"] /= 20
    os.environ["TILEWRIGHT_LOCK_SECONDS"] = str(LOCK_SECONDS)
    for name in ("tilewright.tasks.storage.lock", "tilewright.flows.environment"):
        import_module(name).SHORTEST_LOCK = LOCK_SECONDS
    # Of a lock that cannot be read.
    import_module("tilewright.tasks.storage.lock").LOCK_SECONDS = LOCK_SECONDS
    import_module("tilewright.tasks.storage.guard").WAIT_SECONDS = 3 * LOCK_SECONDS


def _be_on(host: str) -> None:
    """Take this process for one of another machine."""
    for name in ("tilewright.flows.machine", "tilewright.flows.run.lock_wait"):
        import_module(name).HOST = host


def _be_ahead(seconds: float) -> None:
    """Set this process's clock ahead."""
    told = time.time
    time.time = lambda: told() + seconds


def _signal_within(within: Within) -> None:
    module, once = import_module(within.module), count(1)
    real = getattr(module, within.name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        if next(once) == 1:
            os.kill(os.getpid(), within.signal)
        return real(*args, **kwargs)

    setattr(module, within.name, call)


class _Counted:
    """Counts what the process changes in storage and gives it its signal at one of the changes."""

    def __init__(self) -> None:
        self.at: Moment | None = None
        self.numbers = count(1)

    def watch(self) -> None:
        """Count from now on."""
        import obstore

        for name in ("put", "delete"):
            setattr(obstore, name, self._counted(getattr(obstore, name)))
            setattr(obstore, f"{name}_async", self._counted_async(getattr(obstore, f"{name}_async")))
        Path.replace = self._counted(Path.replace)  # type: ignore[method-assign]

    def _signal(self, number: int, *, after: bool) -> None:
        if self.at is not None and (number, after) == (self.at.number, self.at.after):
            os.kill(os.getpid(), self.at.signal)

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            number = next(self.numbers)
            self._signal(number, after=False)
            result = change(*args, **kwargs)
            self._signal(number, after=True)
            return result

        return call

    def _counted_async(self, change: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            number = next(self.numbers)
            self._signal(number, after=False)
            result = await change(*args, **kwargs)
            self._signal(number, after=True)
            return result

        return call


_COUNTED: list[_Counted] = []
"""The one counter of this process, once it counts."""


def signal_at(moment: Moment | None) -> int:
    """Arm this process: its changes are counted from now, and it gets the signal at the moment. Returns its id."""
    if not _COUNTED:
        _COUNTED.append(_Counted())
        _COUNTED[0].watch()
    _COUNTED[0].at, _COUNTED[0].numbers = moment, count(1)
    return os.getpid()
