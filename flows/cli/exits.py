"""The exit code of a command, and the one sentence on stderr if it is not 0."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from tilewright.flows.ending import EndedError, heard_signals
from tilewright.flows.errors import ErrorClass, classify, is_own, sentence
from tilewright.flows.monitor.logs import clean_records
from tilewright.flows.shown import shortened, shown, shown_lines
from tilewright.tasks.storage.errors import DISK_FULL_ERRNO, KEPT_NOTE

if TYPE_CHECKING:
    from collections.abc import Iterator


DEBUG = "--debug"

OTHER_RUN_EXIT = 75
"""The exit code where another run owns the output, or took it over: neither a bad request nor a failure, the same
command succeeds later. Source: sysexits.h, EX_TEMPFAIL."""


@contextmanager
def exit_codes(*, resumable: bool = False) -> Iterator[None]:
    """Exit 2 on a refused request, 1 on a failed run, 75 where another run owns the output.

    130 on Ctrl-C, 143 on SIGTERM, 129 on SIGHUP.

    Each comes with one sentence and no traceback.
    With `--debug` the trace of the error stands before the sentence.
    """
    clean_records()
    try:
        with heard_signals():
            yield
    except KeyboardInterrupt as interruption:
        kept = " What is finished is kept: the same command goes on from there." if resumable else ""
        number = interruption.number if isinstance(interruption, EndedError) else signal.SIGINT
        # A terminal that closed takes no words.
        with suppress(OSError):
            say(f"{'Interrupted' if number == signal.SIGINT else f'Ended by {interruption}'}.{kept}")
        raise typer.Exit(128 + number) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:  # the one place where what nobody foresaw is put into words
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise
        if DEBUG in sys.argv:
            typer.echo(shown_lines("".join(traceback.format_exception(error)).rstrip("\n")), err=True)
        if is_own(error):
            say(str(error))
            raise typer.Exit(exit_code(error)) from None
        say(unforeseen(error))
        raise typer.Exit(1) from None


def exit_code(error: Exception) -> int:
    """The exit code of an error of this project."""
    if classify(error) is ErrorClass.OTHER_RUN:
        return OTHER_RUN_EXIT
    return 2 if isinstance(error, ValueError) else 1


def unforeseen(error: Exception) -> str:
    """One sentence about an error that is not ours: the machine's, or a fault of this program."""
    said = sentence(error)
    name = type(error).__name__
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNO:
        return f"The disk is full ({said}): make room. {KEPT_NOTE}"
    if isinstance(error, MemoryError):
        return f"The memory does not suffice ({said}): use fewer --workers or a smaller tile.block. {KEPT_NOTE}"
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return f"{said}: check the path and its permissions."
    return (
        f"An error that was not foreseen ({name}: {said}). Run again with {DEBUG} for its trace, and report it with "
        f"that. {KEPT_NOTE}"
    )


class DebugAnywhere(TyperGroup):
    """The command, which takes `--debug` at any place among its words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words without the option, which `exit_codes` looks up itself."""
        words = args[: args.index("--")] if "--" in args else args
        kept: list[str] = super().parse_args(ctx, [word for word in words if word != DEBUG] + args[len(words) :])
        return kept


def say(words: str) -> None:
    """Print one sentence on stderr, after the command's name."""
    typer.echo(f"tilewright: {shortened(shown(' '.join(words.split())))}", err=True)
