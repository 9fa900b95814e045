"""The signals that ask a run to end: it unwinds as on Ctrl-C, and is gone before whoever asked loses patience."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


GRACE_SECONDS = 20.0
"""Seconds from a signal to the end of the process, whatever it is doing: Kubernetes kills 30 s after SIGTERM unless
told otherwise. Source: Kubernetes, Pod v1 core, terminationGracePeriodSeconds."""

LAST_ACT_SECONDS = 3.0
"""Seconds that the last acts of a process may take that did not unwind in time."""

REPEAT_SECONDS = 0.05
"""After this time an interruption is raised again that fell where its exception would be dropped."""

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""The signals that ask for an end, beside Ctrl-C: of Kubernetes and batch systems, and of a terminal that closes."""

_last_acts: list[Callable[[], object]] = []


class EndedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised in the main thread: whatever gives way to Ctrl-C gives way to it. Holds its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def interruption_words(error: KeyboardInterrupt) -> str:
    """How a run was ended that did not fail: "Interrupted" by Ctrl-C, "Ended by SIGTERM"."""
    return f"Ended by {error}" if isinstance(error, EndedError) else "Interrupted"


@contextmanager
def last_act(act: Callable[[], object]) -> Iterator[None]:
    """Has ``act`` done if the process is ended in this context because it did not unwind within the grace."""
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


@contextmanager
def heard_signals() -> Iterator[None]:
    """Raise EndedError on SIGTERM and SIGHUP, and KeyboardInterrupt on Ctrl-C, whatever they became on their way.

    A signal that was ignored when the process started (``nohup``) stays ignored. GRACE_SECONDS after the first SIGTERM
    or SIGHUP the process ends with exit code 128 + its number. Outside of the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _Signals()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    taken = [number for number, handler in before.items() if _is_free(number, handler)]
    with _deadline():
        for number in taken:
            signal.signal(number, signals.on_signal)
        try:
            yield
        except Exception as error:
            if signals.number is None:
                raise
            # What an interrupted import or a terminal that closed made of the interruption.
            raise signals.interruption() from error
        finally:
            for number in taken:
                signal.signal(number, before[number])


def _is_free(number: int, handler: object) -> bool:
    return handler == signal.SIG_DFL or (number == signal.SIGINT and callable(handler))


class _Signals:
    """The signal that came, SIGTERM and SIGHUP before Ctrl-C, and whether the process unwinds because of it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._unwinding = False

    def interruption(self) -> KeyboardInterrupt:
        """The exception for the signal that came."""
        return EndedError(self.number) if self.number in ENDING else KeyboardInterrupt()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise the interruption, a moment later where Python would drop it."""
        if self._unwinding and number in ENDING:
            # A second request would only break off the unwinding; the deadline of the first one stands.
            return
        if self.number not in ENDING:
            self.number = number
        if _is_dropped(frame):
            threading.Timer(REPEAT_SECONDS, signal.raise_signal, (number,)).start()
            return
        self._unwinding = self._unwinding or number in ENDING
        raise self.interruption()


def _is_dropped(frame: FrameType | None) -> bool:
    """True where an exception raised now would be lost: in callbacks of weak references, finalizers, imports.

    Python prints those of callbacks and goes on; compiled modules print, or answer with another error, what is raised
    while they import others. No import takes longer than a person waits after Ctrl-C.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_name in {"cb", "__del__"} or code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def _deadline() -> Iterator[None]:
    """Ends the process GRACE_SECONDS after a SIGTERM or SIGHUP, even if its main thread never gets to hear of it.

    Python calls a handler between two steps of the main thread, which may be in a library for minutes; the number of
    the signal comes through a pipe at once.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), name="tilewright-signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)


def _watch(read: int) -> None:
    while numbers := os.read(read, 64):
        asked = [number for number in numbers if number in ENDING]
        if asked:
            time.sleep(GRACE_SECONDS)
            _end_now(128 + asked[0])
    os.close(read)


def _end_now(code: int) -> None:
    """End the process after its last acts, which may not keep it."""
    acts = threading.Thread(target=_do_last_acts, daemon=True)
    acts.start()
    acts.join(LAST_ACT_SECONDS)
    os._exit(code)


def _do_last_acts() -> None:
    for act in reversed(_last_acts):
        # Whatever goes wrong here, the process ends.
        with suppress(Exception):
            act()


def _forget_in_child() -> None:
    """A forked child is no run: its signals are not told to the parent, and end it as they end any process."""
    with suppress(ValueError):
        for number in ENDING:
            if getattr(signal.getsignal(number), "__func__", None) is _Signals.on_signal:
                signal.set_wakeup_fd(-1)
                signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)
