"""The exit code of a command, and the one sentence on stderr if it is not 0."""

from __future__ import annotations

import errno
import signal
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tilewright.flows.ending import EndedError, heard_signals, interruption_words
from tilewright.flows.errors import ErrorClass, classify, is_own, sentence
from tilewright.flows.monitor.logs import clean_records
from tilewright.flows.shown import installable, shortened, shown, shown_lines
from tilewright.tasks.storage.errors import DISK_FULL_ERRNO, KEPT_NOTE

if TYPE_CHECKING:
    from collections.abc import Iterator


DEBUG = "--debug"

AS_JSON = "--json"

KEPT = " What is finished is kept: the same command goes on from there."

KEPT_WITHOUT = " What is finished is kept: the same command without {option} goes on from there."

NOT_BEGUN = " Nothing was begun yet: the same command begins it."

OTHER_RUN_EXIT = 75
"""The exit code where another run owns the output, or took it over: neither a bad request nor a failure, the same
command succeeds later. Source: sysexits.h, EX_TEMPFAIL."""

NOT_SAME_EXIT = 3
"""The exit code of ``compare --same`` where two products are further apart than they may be: it is the answer, and
neither a bad request nor a failure."""


STATES = {0: "complete", 1: "failed", 2: "refused", OTHER_RUN_EXIT: "busy"}
"""States of a notification by exit code; whatever is above OTHER_RUN_EXIT is a signal's."""


@dataclass(slots=True)
class Ending:
    """The output that an interrupted command makes, empty before it is known; who is notified of its end, and of what.

    ``products`` have a name, an output and a state; ``said`` is the last sentence on stderr; with ``as_json`` a
    JSON document is printed in any case, but where ``printed`` says that the answer stands on stdout already.
    """

    output: str = ""
    command: str = ""
    notify: str = ""
    products: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""
    as_json: bool = False
    printed: bool = False
    began: float = field(default_factory=time.monotonic)

    def notify_of(self, command: str, address: str | None) -> None:
        """Have the address, or the environment's, told how this command ends. Raises NotifyError for one that is none.

        Called before anything is done.
        """
        from tilewright.flows.environment import notify_address

        found = address or notify_address()
        if found:
            from tilewright.flows.monitor.notify import check_address

            check_address(found, given=bool(address))
            self.command, self.notify = command, found

    @property
    def begun(self) -> bool:
        """False if nothing was begun in the output; True if that is not known, as in a bucket."""
        from tilewright.tasks.storage.ledger import PLAN

        return "://" in self.output or not self.output or (Path(self.output) / PLAN).exists()


@contextmanager
def exit_codes(*, resumable: bool = False, restarts: str = "", as_json: bool = False) -> Iterator[Ending]:
    """The exit codes and sentences of ``told_exits``, and then the notification, if somebody is to get one."""
    ending, code = Ending(as_json=as_json), 0
    try:
        with told_exits(ending, resumable=resumable, restarts=restarts):
            yield ending
    except typer.Exit as end:
        code = end.exit_code
        raise
    except BaseException:
        code = 1
        raise
    finally:
        if ending.notify:
            _notify(ending, code)


def _notify(ending: Ending, code: int) -> None:
    """Tell how a command ended; a notification that fails is said, and changes no exit code."""
    from tilewright.flows.monitor.notify import TRIES, notification, notify

    ended = _state(code) == "interrupted"
    told = notification(
        command=ending.command,
        state=_state(code),
        code=code,
        seconds=time.monotonic() - ending.began,
        said=ending.said,
        products=ending.products or ([{"name": "", "output": ending.output}] if ending.output else []),
    )
    # Whoever ended it waits no longer than for one try.
    if failure := notify(ending.notify, told, tries=1 if ended else TRIES):
        with suppress(OSError):
            say(f"! {failure}")


def _state(code: int) -> str:
    return "interrupted" if code > OTHER_RUN_EXIT else STATES.get(code, "failed")


@contextmanager
def told_exits(ending: Ending, *, resumable: bool = False, restarts: str = "") -> Iterator[None]:
    """Exit 2 on a refused request, 1 on a failed run, 75 where another run owns the output.

    130 on Ctrl-C, 143 on SIGTERM, 129 on SIGHUP.

    Each comes with one sentence and no traceback. ``restarts`` is an option with which the command would begin anew.
    With `--debug` the trace of the error stands before the sentence.
    """
    clean_records()
    try:
        with heard_signals():
            yield
    except KeyboardInterrupt as interruption:
        goes_on = KEPT_WITHOUT.format(option=restarts) if restarts else KEPT
        kept = (goes_on if ending.begun else NOT_BEGUN) if resumable else ""
        number = interruption.number if isinstance(interruption, EndedError) else signal.SIGINT
        # A terminal that closed takes no words.
        ending.said = f"{interruption_words(interruption)}.{kept}"
        with suppress(OSError):
            say(ending.said)
        raise end_with(ending, 128 + number) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:  # the one place where what nobody foresaw is put into words
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise
        if DEBUG in sys.argv:
            typer.echo(shown_lines("".join(traceback.format_exception(error)).rstrip("\n")), err=True)
        ending.said = str(error) if is_own(error) else unforeseen(error)
        say(ending.said)
        if is_own(error):
            raise end_with(ending, exit_code(error)) from None
        raise end_with(ending, 1) from None


def end_with(ending: Ending, code: int) -> typer.Exit:
    """The exit with a code; a command that was to print JSON prints what it says, unless its answer stands already."""
    if ending.as_json and not ending.printed:
        from tilewright.flows.cli.options import print_json

        with suppress(OSError):
            print_json({"state": _state(code), "exit_code": code, "error": ending.said})
    return typer.Exit(code)


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


def say(words: str) -> None:
    """Print one sentence on stderr, after the command's name."""
    typer.echo(f"tilewright: {shortened(shown(installable(' '.join(words.split()))))}", err=True)
