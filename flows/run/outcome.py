"""The outcome of a run, and the closing summary made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.report.fields import mapping, rows, text, texts
from tilewright.tasks.report.format import duration, percent, plural, share
from tilewright.tasks.report.performance import mostly_start_up

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a finished run. ``output``: the product's folder or URI, ``report``: what report.json holds.

    ``off``: what was other than foretold by more than a quarter, in words; empty if nothing was.
    """

    name: str
    output: str
    report: dict[str, Any]
    already_complete: bool = False
    off: str = ""

    def place(self, name: str) -> str:
        """The path or URI of a file of the product."""
        return f"{self.output.rstrip('/')}/{name}"

    def summary(self) -> dict[str, Any]:
        """The outcome for machines."""
        return {
            "name": self.name,
            "state": "complete",
            "already_complete": self.already_complete,
            "output": self.output,
            "item": self.place("item.json"),
            "report": self.report,
        }


def closing_lines(outcome: Outcome, *, copied: Path | None = None) -> list[str]:
    """The lines of the closing summary: state, main figures, paths of the product, and of a copy of its table."""
    # The pictures of the report come with it, which nothing before the end of a run needs.
    from tilewright.tasks.report.sections import input_files_text

    report = outcome.report
    places = [
        f"  product  {outcome.output}",
        f"  report   {outcome.place('report.html')}",
        f"  picture  {outcome.place('preview.png')}",
        *(f"  table    {outcome.place(file)}, {n_rows}" for file, n_rows in table_words(report)),
        *([f"  copy     {copied}"] if copied is not None else []),
    ]
    if outcome.already_complete:
        written = "nothing was written" if copied is None else f"only its table was written, to {copied}"
        return [f"{outcome.name}: complete already, {written}", *places]
    if found := mapping(report, "places"):
        return [*_places_lines(outcome, found), *places]
    missing = report.get("missing_percent") or 0.0
    scenes, blocks, windows = (
        plural(n, noun)
        for n, noun in (
            (len(report["scenes"]), "scene"),
            (report["blocks"], "block"),
            (report["windows_run"], "window"),
        )
    )
    return [
        f"{outcome.name}: {report['area_km2']:.1f} km² mapped with {report['model']['name']}",
        *([f"  ! {percent(missing)} of the area has no data: {_why_missing(report)}"] if missing >= 1 else []),
        *_drift_lines(report),
        *[f"  {words}" for layer in report["layers"] for words in _class_words(layer)],
        *[
            f"  {text(row, 'name')}: vectors of {row.get('dimensions')} numbers, one for each of its {text(row, 'of')}"
            for row in rows(report, "embeddings")
        ],
        *[f"  {words}" for words in texts(mapping(report, "change"), "summary")],
        f"  {scenes}, {blocks}, {windows} on {report['provider']}{_speed(report)}",
        *([f"  inputs: {files}"] if (files := input_files_text(mapping(report, "input_files"))) else []),
        f"  {_efficiency(report)}",
        *([f"  {outcome.off}"] if outcome.off else []),
        f"  exact: {report.get('exactness', 'proven' if report['exact'] else 'no')}: {report['exact_reason']}",
        *places,
    ]


def _why_missing(report: Mapping[str, Any]) -> str:
    dropped = ", or what was seen is masked" if mapping(report, "masked") else ""
    screened = ", or the screen left it out" if mapping(report, "screen") else ""
    return f"no usable observation there{dropped}{screened}"


def _drift_lines(report: Mapping[str, Any]) -> list[str]:
    """The warnings of inputs that are unlike those of the model's training."""
    return [f"  ! {text(row, 'warning')}" for row in rows(report, "drift") if text(row, "warning")]


def _places_lines(outcome: Outcome, found: Mapping[str, Any]) -> list[str]:
    """The main figures of a table of places."""
    report = outcome.report
    unseen = found["rows"] - found["observed"]
    scenes, windows = plural(len(report["scenes"]), "scene"), plural(report["windows_run"], "window")
    made, total = report["blocks_made"], duration(report["seconds"]["total"])
    speed = (
        f"{report['places_per_s']:.0f} places/s"
        if made and "places_per_s" in report
        else "all of them stood from before"
    )
    counts = [
        (
            layer["name"],
            ", ".join(f"{each['name']} {each['places']:,}" for each in rows(layer, "classes") if each["places"]),
        )
        for layer in rows(found, "layers")
        if layer.get("classes")
    ]
    return [
        f"{outcome.name}: {plural(found['rows'], 'place')} by {report['model']['name']}",
        *([f"  ! {plural(unseen, 'place')} without a usable observation: no value there"] if unseen else []),
        *_drift_lines(report),
        *[f"  {name}: {words}" for name, words in counts if words],
        f"  {scenes}, {plural(report['blocks'], 'unit')}, {windows} on {report['provider']}, {speed}, {total} in all",
        f"  exact: {report['exactness']}: {report['exact_reason']}",
    ]


def table_words(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The tables of shapes that a report names: their files, and their rows in words."""
    return [(text(table, "file"), plural(table.get("rows"), "row")) for table in rows(report, "tables")]


def _speed(report: Mapping[str, Any]) -> str:
    """The speed of this call, with what it made where that is not all: blocks from before took it no time."""
    made, speed = report.get("blocks_made", report["blocks"]), f"{report['km2_per_s']:.1f} km²/s"
    if not made:
        return "; all of it stood from before, this call mapped none"
    if made < report["blocks"]:
        return f"; this call mapped {plural(made, 'block')}, {plural(report['windows_made'], 'window')}, at {speed}"
    return f", {speed}"


def _efficiency(report: Mapping[str, Any]) -> str:
    floor, seconds = report["floor_seconds"], report["seconds"]["total"]
    if not report.get("blocks_made", 1):
        return f"{duration(seconds)} in all, for publishing"
    if floor is None:
        return f"{duration(seconds)} in all; how fast it could be is not known, as no scene lies on a local disk"
    if mostly_start_up(report):
        return f"{duration(seconds)} in all, most of it start-up and publishing"
    least = f"reading, model and writing alone take {duration(floor)} here at the least (floor)"
    return f"{duration(seconds)} in all; {least}: efficiency {share(report['efficiency'])}"


def _class_words(layer: Mapping[str, Any]) -> list[str]:
    classes = [entry for entry in layer.get("classes") or [] if entry.get("pixels")]
    if not classes:
        return []
    shares = ", ".join(f"{entry['name']} {entry['area_km2']:.2f} km² ({entry['percent']:.1f} %)" for entry in classes)
    return [f"{layer['name']}: {shares}"]
