"""What the command shows: a progress bar while it works, tables and a closing summary."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

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
from rich.table import Table
from rich.text import Text

from tasks.progress import Advance, Event, Notice, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from rich.progress import Task

    from catalogs.scene import Scene
    from flows.estimate import Estimate
    from flows.outcome import Outcome
    from models.card import ModelCard
    from models.check import CheckReport
    from tasks.plan import Plan

WORDS = {
    "sample": "Building the simulated sample",
    "plan": "Planning",
    "prepare": "Preparing the output",
    "blocks": "Mapping blocks",
    "cogs": "Writing Cloud-Optimized GeoTIFFs",
    "publish": "Publishing",
}


class _Speed(ProgressColumn):
    """Ground covered per second since the stage began."""

    def render(self, task: Task) -> Text:
        km2 = float(task.fields.get("km2", 0.0))
        elapsed = task.elapsed or 0.0
        return Text(f"{km2 / elapsed:.1f} km²/s" if km2 and elapsed else "", style="cyan")


class Terminal:
    """A listener that draws a bar on stderr where that is a terminal, and one line per stage where it is not."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.out = Console(highlight=False, soft_wrap=True)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _Speed(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            transient=True,
        )
        self.task: TaskID | None = None
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Stage():
                self._start(event)
            case Advance() if self.task is not None:
                km2 = self.bars.tasks[-1].fields.get("km2", 0.0) + event.km2
                self.bars.update(self.task, advance=event.done, km2=km2)
            case Notice():
                self.console.print(Text("! ", style="yellow") + Text(event.text))
            case _:
                pass

    def _start(self, stage: Stage) -> None:
        words = f"{WORDS.get(stage.name, stage.name)}{f' ({stage.note})' if stage.note else ''}"
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = self.bars.add_task(words, total=stage.total or 1, km2=0.0)
        if self.bars.disable:
            self.console.print(f"{words} ...", markup=False)

    def close_run(self, outcome: Outcome) -> None:
        """Say where the product is and what to do next."""
        for line in closing_lines(outcome):
            self.out.print(line, markup=False)

    def close_demo(self, outcomes: Sequence[Outcome]) -> None:
        """Say where the demo's products are and what to do next."""
        for outcome in outcomes:
            self.close_run(outcome)
            self.out.print("")
        self.out.print(f"Done in {time.monotonic() - self.began:.0f} s, on simulated scenes. Next:")
        self.out.print("  open a report.html above in a browser, or a .tif in QGIS", markup=False)
        self.out.print("  see README.md for a job on a public catalog", markup=False)


def closing_lines(outcome: Outcome) -> list[str]:
    """The closing summary: state, what is where, the figures that matter, what to do next."""
    report = outcome.report
    if outcome.already_complete:
        return [f"{outcome.name}: complete already, nothing was written. {outcome.place('report.html')}"]
    lines = [f"{outcome.name}: {report['area_km2']:.1f} km² mapped with {report['model']['name']}"]
    missing = 1 - report["area_km2"] / report.get("area_asked_km2", report["area_km2"] or 1)
    if missing > 0.01:
        lines.append(f"  ! {missing:.0%} of the area has no data: no usable observation there")
    lines += [f"  {words}" for layer in report["layers"] for words in _class_words(layer)]
    lines += [
        (
            f"  {len(report['scenes'])} scenes, {report['blocks']} blocks, {report['windows_run']} windows on "
            f"{report['provider']}, {report['km2_per_s']:.1f} km²/s, efficiency {_number(report['efficiency'])}"
        ),
        f"  {'exact' if report['exact'] else 'not exact'}: {report['exact_reason']}",
        f"  product  {outcome.output}",
        f"  report   {outcome.place('report.html')}",
        f"  picture  {outcome.place('preview.png')}",
    ]
    return lines


def _class_words(layer: Mapping[str, Any]) -> list[str]:
    classes = [entry for entry in layer.get("classes") or [] if entry.get("pixels")]
    if not classes:
        return []
    shares = ", ".join(f"{entry['name']} {entry['area_km2']:.2f} km² ({entry['percent']:.1f} %)" for entry in classes)
    return [f"{layer['name']}: {shares}"]


def print_estimate(plan: Plan, estimate: Estimate, *, more: Sequence[tuple[str, str]] = ()) -> None:
    """Print the dry run as a table, with (label, words) of ``more`` below."""
    console = Console(highlight=False)
    table = Table(title=f"Plan of {plan.name}", show_header=False, title_justify="left", box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, words in [*estimate.lines(plan), *more]:
        table.add_row(label, Text(words))
    console.print(table)
    for warning in plan.warnings:
        console.print(Text("! ", style="yellow") + Text(warning))


def print_status(standing: Mapping[str, Any]) -> None:
    """Print a product's state."""
    console = Console(highlight=False)
    done, total = standing["blocks_done"], standing["blocks_total"]
    console.print(f"{standing['name']}: {standing['state']}, {done} of {total} blocks", markup=False)
    for failure in standing["failures"]:
        console.print(f"  failed: {' '.join(f'{key}={value}' for key, value in failure.items())}", markup=False)
    console.print(f"  {standing['advice']}", markup=False)


def print_scenes(scenes: Sequence[Scene]) -> None:
    """Print the scenes of a job, one a line."""
    table = Table(box=None, pad_edge=False)
    for heading in ("date", "scene", "cloud %", "baseline", "radiometric state", "because"):
        table.add_column(heading, overflow="fold")
    for scene in scenes:
        cloud = "" if scene.cloud_cover is None else f"{scene.cloud_cover:.0f}"
        table.add_row(
            scene.datetime.strftime("%Y-%m-%d"),
            Text(scene.id),
            cloud,
            Text(scene.baseline or ""),
            scene.state,
            Text(scene.state_reason),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def print_models(cards: Sequence[ModelCard]) -> None:
    """Print the registry, one model a line."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "task", "reads", "gives"):
        table.add_column(heading, overflow="fold")
    for card in cards:
        reads = "; ".join(f"{entry.collection}: {' '.join(entry.bands)}" for entry in card.inputs)
        gives = " ".join(layer for output in card.outputs for layer in output.layers)
        table.add_row(Text(card.name), Text(", ".join(card.tasks)), Text(reads), Text(gives))
    Console(highlight=False).print(table)


def print_card(card: ModelCard) -> None:
    """Print what a card asks for and gives."""
    console = Console(highlight=False)
    console.print(f"{card.name}  ({', '.join(card.tasks)}; sha256 {card.sha256[:12]})", markup=False)
    for entry in card.inputs:
        unit = f"{entry.unit} at {entry.resolution or 'any'} m, dates: {entry.dates.kind}"
        console.print(f"  in   {entry.name}: {entry.collection} {' '.join(entry.bands)} ({unit})", markup=False)
    for output in card.outputs:
        classes = ", ".join(known.name for known in output.classes)
        console.print(
            f"  out  {output.name}: {' '.join(output.layers)}{f' ({classes})' if classes else ''}", markup=False
        )


def print_check(report: CheckReport) -> None:
    """Print the check of a card, one finding a row."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, words in report.lines():
        table.add_row(label, Text(words))
    Console(highlight=False).print(table)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
