"""The exit code of a command, and the one sentence on stderr if it is not 0."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from tilewright.flows.errors import is_own

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


REPEAT_SECONDS = 0.05
"""After this time Ctrl-C is raised again that fell into a callback whose exceptions Python drops."""


@contextmanager
def exit_codes(*, resumable: bool = False) -> Iterator[None]:
    """Exit 2 on a refused request, 1 on a failed run, 130 on Ctrl-C, each with one sentence and no traceback."""
    try:
        with _interrupt_over_import_error():
            yield
    except KeyboardInterrupt:
        kept = " What is finished is kept: the same command goes on from there." if resumable else ""
        say(f"Interrupted.{kept}")
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError) as error:
        if not is_own(error):
            raise
        say(str(error))
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from None


@contextmanager
def _interrupt_over_import_error() -> Iterator[None]:
    """Raise KeyboardInterrupt in place of the ImportError that an import interrupted by Ctrl-C may raise."""
    before, pressed = signal.getsignal(signal.SIGINT), False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        if _is_dropped(frame):
            # Asked again as soon as the callback has returned.
            threading.Timer(REPEAT_SECONDS, signal.raise_signal, (number,)).start()
        elif callable(before):
            before(number, frame)

    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    except ImportError as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _is_dropped(frame: FrameType | None) -> bool:
    """True where Python would print an exception raised now and go on: in callbacks of weak references and finalizers.

    The import system has one such callback per module that it loads (``_get_module_lock.<locals>.cb``).
    """
    while frame is not None:
        if frame.f_code.co_name in {"cb", "__del__"}:
            return True
        frame = frame.f_back
    return False


def say(sentence: str) -> None:
    """Print one sentence on stderr, after the command's name."""
    typer.echo(f"tilewright: {' '.join(sentence.split())}", err=True)
