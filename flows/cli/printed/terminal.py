"""The output of a running command: a progress bar on a terminal, a line per stage elsewhere, a closing summary."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tilewright.flows.notebook.live import stage_words
from tilewright.flows.run.outcome import closing_lines
from tilewright.flows.shown import MAX_WIDTH, shown, wrapped
from tilewright.tasks.progress import Advance, Event, Notice, Stage
from tilewright.tasks.report.format import duration, plural

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from rich.progress import Task

    from tilewright.flows.run.outcome import Outcome


LINE_SECONDS = 10.0
"""Seconds between two progress lines of a stage where no bar can be drawn."""


class _Count(ProgressColumn):
    """Units done and their total; empty for a stage without units."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


class _Speed(ProgressColumn):
    """Mapped km2 per second since the stage began."""

    def render(self, task: Task) -> Text:
        km2 = float(task.fields.get("km2", 0.0))
        elapsed = task.elapsed or 0.0
        return Text(f"{km2 / elapsed:.1f} km²/s" if km2 and elapsed else "")


class _Left(TimeRemainingColumn):
    """Time left, once it can be estimated."""

    def render(self, task: Task) -> Text:
        return Text() if task.time_remaining is None else super().render(task) + Text(" left")


class Terminal:
    """A listener that draws a progress bar on stderr if that is a terminal, and prints lines otherwise."""

    def __init__(self, *, quiet: bool = False, brief: bool = False, verbose: bool = False) -> None:
        """Print nothing (``quiet``), the last line alone (``brief``), or more than usual (``verbose``)."""
        quiet = quiet or brief
        self.brief, self.verbose = brief, verbose
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.out = Console(highlight=False, soft_wrap=True)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Count(),
            _Speed(),
            TimeElapsedColumn(),
            _Left(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            transient=True,
        )
        self.task: TaskID | None = None
        self.began = self.printed_at = self.stage_began = time.monotonic()
        # Logs of cron and of containers have no clock of their own.
        self.dated = not self.console.is_terminal
        self.stage = ""

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        self._end_stage()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Stage():
                self._start(event)
            case Advance() if self.task is not None:
                self._advance(event, self.task)
            case Notice():
                where = ", ".join(part for part in (event.block, event.item) if part) if self.verbose else ""
                self._note(f"! {shown(event.text)}{f' ({shown(where)})' if where else ''}")
            case _:
                pass

    def _start(self, stage: Stage) -> None:
        words = shown(stage_words(stage))
        self._end_stage()
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.bars.start()
        self.stage, self.stage_began = words, time.monotonic()
        self.task = self.bars.add_task(words, total=stage.total or None, km2=0.0)
        if self.bars.disable:
            self._say(f"{words} ...")

    def _advance(self, event: Advance, task: TaskID) -> None:
        shown = self.bars.tasks[-1]
        self.bars.update(task, advance=event.done, km2=shown.fields["km2"] + event.km2)
        if self.bars.disable and self.verbose and shown.total and time.monotonic() - self.printed_at > LINE_SECONDS:
            self._say(f"{shown.description}: {shown.completed:.0f} of {shown.total:.0f}")

    def _end_stage(self) -> None:
        """Say how long a stage took that is over."""
        if self.verbose and self.stage and self.bars.tasks:
            self._say(f"{self.stage}: {duration(time.monotonic() - self.stage_began)}")
        self.stage = ""

    def _say(self, words: str) -> None:
        self.printed_at = time.monotonic()
        moment = f"{datetime.now().astimezone().isoformat(timespec='seconds')} " if self.dated else ""
        self.console.print(Text(f"{moment}{words}"), soft_wrap=True)

    def _note(self, words: str) -> None:
        if self.dated:
            self._say(words)
            return
        first, *more = wrapped(words, min(self.console.width, MAX_WIDTH))
        self.console.print(Text(first[:1], style="yellow") + Text(first[1:]), soft_wrap=True)
        for line in more:
            self.console.print(Text(line), soft_wrap=True)

    def _print(self, words: str) -> None:
        for line in wrapped(shown(words), min(self.out.width, MAX_WIDTH)):
            self.out.print(line, markup=False)

    def close_run(self, outcome: Outcome, *, copied: Path | None = None, newer: int = 0) -> None:
        """Print the closing summary in place of the bar, and that there are so many newer scenes."""
        self.bars.stop()
        self._end_stage()
        lines = closing_lines(outcome, copied=copied)
        if self.brief:
            self.out.print(shown(f"{lines[0]}: {outcome.output}"), markup=False)
            return
        for line in lines:
            self._print(line)
        if newer:
            verb, them = ("is", "it") if newer == 1 else ("are", "them")
            self._print(f"  ! there {verb} {plural(newer, 'newer scene')} for this job: --update looks at {them}")

    def close_demo(self, outcomes: Iterable[Outcome]) -> None:
        """Print the summary of each demo product as soon as it is done, then the next steps."""
        for outcome in outcomes:
            self.close_run(outcome)
            self.out.print("")
        self.out.print(f"Done in {time.monotonic() - self.began:.0f} s. Next:")
        self.out.print("  open a report.html above in a browser, or a .tif in QGIS")
        self.out.print("  write a job of your own for a public catalog: README.md, Your own job")
