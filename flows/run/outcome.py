"""The outcome of a run, and the closing summary made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.report.format import duration, percent, plural, share
from tilewright.tasks.report.performance import mostly_start_up

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a finished run. ``output``: the product's folder or URI, ``report``: what report.json holds."""

    name: str
    output: str
    report: dict[str, Any]
    already_complete: bool = False

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


def closing_lines(outcome: Outcome) -> list[str]:
    """The lines of the closing summary: state, main figures, paths of the product."""
    report = outcome.report
    places = [
        f"  product  {outcome.output}",
        f"  report   {outcome.place('report.html')}",
        f"  picture  {outcome.place('preview.png')}",
    ]
    if outcome.already_complete:
        return [f"{outcome.name}: complete already, nothing was written", *places]
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
        *([f"  ! {percent(missing)} of the area has no data: no usable observation there"] if missing >= 1 else []),
        *[f"  {words}" for layer in report["layers"] for words in _class_words(layer)],
        f"  {scenes}, {blocks}, {windows} on {report['provider']}, {report['km2_per_s']:.1f} km²/s",
        f"  {_efficiency(report)}",
        f"  exact: {report.get('exactness', 'proven' if report['exact'] else 'no')}: {report['exact_reason']}",
        *places,
    ]


def _efficiency(report: Mapping[str, Any]) -> str:
    floor, seconds = report["floor_seconds"], report["seconds"]["total"]
    if floor is None:
        return f"{duration(seconds)} in all; no scene could be timed for a floor"
    short = ", most of it start-up and publishing" if mostly_start_up(report) else ""
    return f"{duration(seconds)} in all{short}; floor {duration(floor)}, efficiency {share(report['efficiency'])}"


def _class_words(layer: Mapping[str, Any]) -> list[str]:
    classes = [entry for entry in layer.get("classes") or [] if entry.get("pixels")]
    if not classes:
        return []
    shares = ", ".join(f"{entry['name']} {entry['area_km2']:.2f} km² ({entry['percent']:.1f} %)" for entry in classes)
    return [f"{layer['name']}: {shares}"]
