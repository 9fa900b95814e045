"""The scenes and steps of each place: matched by its window's footprint and its own period, whatever the other rows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

from tilewright.tasks.compose.steps import plan_steps
from tilewright.tasks.cube.coverage import outline_of
from tilewright.tasks.storage.ledger import json_digest

if TYPE_CHECKING:
    import numpy as np

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan

MOST_KEPT = 2048
"""Different matches that are kept, for the rows near each other that share them."""

Seen = tuple[tuple[int, ...], tuple[int, ...]]
"""The numbers of an input's scenes that a window and its margin read, and of those on the window itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Match:
    """What some rows have in common: the ``plan`` with their scenes and steps alone, None where an input that the
    model needs has none; ``digest`` is that of all scenes and steps.
    """

    plan: Plan | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """Matches rows of a table with the scenes of a plan. Thread-safe."""

    plan: Plan
    card: ModelCard
    rows: PlaceRows
    _known: dict[tuple[int, tuple[Seen, ...]], Match] = field(default_factory=dict, init=False, repr=False)
    _footprints: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _asking: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def match(self, row: int) -> Match:
        """The match of a row that has a window: the same object for rows with the same scenes and period."""
        box = self.rows.box(row)
        key = (int(self.rows.of_row[row]), tuple(self._seen(entry, box) for entry in self.plan.inputs))
        with self._lock:
            if key not in self._known:
                if len(self._known) >= MOST_KEPT:
                    self._known.clear()
                self._known[key] = self._make(key)
            return self._known[key]

    def _seen(self, entry: InputPlan, box: PixelBox) -> Seen:
        grid = self.plan.raster.grid
        read = entry.touching_indices(grid, entry.box(box.pad(self.plan.raster.margin)))
        if not read:
            return (), ()
        if entry.name not in self._footprints:
            footprints = shapely.from_wkb(shapely.to_wkb([shape(scene.geometry) for scene in entry.scenes]))
            shapely.prepare(footprints)
            self._footprints[entry.name] = footprints
        outline = outline_of(grid.bounds_of(box), grid.crs)
        here = self._footprints[entry.name][read]
        # Prepared geometries serve one thread at a time (`PreparedArea`).
        with self._asking:
            on_window = shapely.intersects(here, outline)
            if outline.bounds[2] > 180.0:
                on_window |= shapely.intersects(here, shapely.affinity.translate(outline, xoff=-360.0))
        # Footprints are simplified: where none reaches the window, those that nearly do may have pixels in it.
        touching = [index for index, on in zip(read, on_window, strict=True) if on] or read
        return tuple(read), tuple(touching)

    def _make(self, key: tuple[int, tuple[Seen, ...]]) -> Match:
        periods = self.rows.periods[key[0]]
        inputs: list[InputPlan] = []
        whole = True
        for spec, entry, (read, touching) in zip(self.card.inputs, self.plan.inputs, key[1], strict=True):
            on_window = frozenset(entry.scenes[index].id for index in touching)
            scenes = tuple(entry.scenes[index] for index in read) if touching else ()
            steps = _steps(spec, scenes, on_window, periods)
            used = frozenset[str]().union(*(step.scenes for step in steps))
            whole = whole and _suffices(spec, steps)
            inputs.append(replace(entry, scenes=tuple(one for one in scenes if one.id in used), steps=steps))
        digest = json_digest(
            [
                {
                    "scenes": [entry.scene_digest(number) for number in range(len(entry.scenes))],
                    "steps": entry.to_json()["steps"],
                }
                for entry in inputs
            ]
        )
        return Match(plan=replace(self.plan, inputs=tuple(inputs)) if whole else None, digest=digest)


def _steps(
    spec: InputSpec, scenes: tuple[Any, ...], touching: frozenset[str], periods: tuple[Any, ...]
) -> tuple[StepPlan, ...]:
    steps = plan_steps(scenes, spec.dates, periods, touching=touching)
    if not steps and spec.optional:
        # The graph still needs a time axis: one step without a scene.
        return plan_steps((), type(spec.dates)(kind="each", steps=1), periods)
    return steps


def _suffices(spec: InputSpec, steps: tuple[StepPlan, ...]) -> bool:
    """True if an input has the scenes without which a job over an area would be refused."""
    if spec.optional:
        return True
    passes = [bool(step.passes) for step in steps]
    needs_all = spec.dates.kind == "pair" or spec.missing.steps == "refuse"
    return all(passes) and bool(passes) if needs_all else any(passes)
