"""A look at a few of a plan's own pixels before it runs: whether its inputs are those that the model was trained on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from rasterio.errors import RasterioError

from tilewright.catalogs.errors import CatalogError
from tilewright.flows.access import plan_sources, scene_access
from tilewright.flows.estimate.samples import QUICK
from tilewright.flows.precision.windows import spread_blocks
from tilewright.tasks.audit.drift.sums import InputSums, add_sums
from tilewright.tasks.audit.drift.words import drift_rows, drift_warnings
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.block.observed import sum_values
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.compose.steps import kept_passes
from tilewright.tasks.grid.area_mask import area_mask
from tilewright.tasks.read.failures import FailureLog, ReadError
from tilewright.tasks.read.retry import RetryPolicy
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.access import Access, Reading


PLACES: Final = {False: 16, True: 6}
"""Places that are looked at, of files on a disk and of those on a network; three times as many where little is seen."""

ENOUGH, LEAST = 20_000, 1_000
"""Pixels of a band from which no further places are looked at, and below which nothing is told of it."""

PASSES: Final = {False: 4, True: 2}
"""Passes of an input that are looked at, spread over all of its steps."""

SIDE: Final = 64
"""Pixels per side of a place, or a few more."""

BUDGET_S: Final = 8.0
"""Seconds after which no further place is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLook:
    """What a look told: a row for each input whose card tells statistics (``drift_rows``), of so many places."""

    rows: tuple[dict[str, Any], ...]
    n_places: int

    def to_json(self) -> dict[str, Any]:
        """The key ``drift`` of a dry run."""
        return {"drift": list(self.rows)}

    def lines(self) -> list[tuple[str, str]]:
        """The look as (label, text), for the terminal."""
        if self.warnings:
            return [("values", f"far from what the model was trained on, in a look at {self._places}")]
        n_bands = sum(len(row["bands"]) for row in self.rows)
        told = f"of {plural(n_bands, 'band')} not far from the training's mean and spread, in a look at {self._places}"
        return [("values", f"{told}; that says nothing of a season that moves few of them")]

    @property
    def _places(self) -> str:
        return plural(self.n_places, "place")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences of warning."""
        return tuple(drift_warnings(self.rows))


def look_for_drift(plan: Plan, card: ModelCard) -> DriftLook | None:
    """What a few passes at a few places of a plan's area tell of its inputs, each pixel judged by its own mask.

    None where it cannot be known cheaply: a card without statistics, rows of places, masks that a model makes, files
    that do not answer at once, or no pixel seen.
    """
    if plan.places is not None or plan.mask_model is not None or not any(spec.told for spec in card.inputs):
        return None
    remote = plan.remote
    few = replace(plan, inputs=tuple(_thinned(entry, PASSES[remote]) for entry in plan.inputs))
    until, parts = time.monotonic() + BUDGET_S, list[InputSums]()
    access = _quick_access(plan)
    # A multiple of the pixels of all inputs.
    unit = math.lcm(*(entry.coarser for entry in plan.inputs))
    try:
        for block in islice(spread_blocks(few, side=unit * max(1, round(SIDE / unit))), 3 * PLACES[remote]):
            inside = area_mask(plan.raster.grid, block.inner, plan.raster.area)
            parts.append(sum_values(few, card, read_inputs(few, block, access), block.inner, inside))
            if time.monotonic() > until or (len(parts) >= PLACES[remote] and _least_seen(parts) >= ENOUGH):
                break
    except (ReadError, CatalogError, RasterioError, OSError):
        return None
    rows = [row for row in drift_rows(card.inputs, parts) if all(band["values"] >= LEAST for band in row["bands"])]
    return DriftLook(rows=tuple(rows), n_places=len(parts)) if rows else None


def _least_seen(parts: list[InputSums]) -> int:
    """The values of the band of which the fewest were seen."""
    return min((sums[0] for bands in add_sums(parts).values() for sums in bands if sums), default=0)


def _thinned(entry: InputPlan, most: int) -> InputPlan:
    """The input with at most so many of its passes, spread evenly, and their scenes."""
    places = [(index, number) for index, step in enumerate(entry.steps) for number in range(len(step.passes))]
    n_kept = min(most, len(places))
    kept = {places[(2 * number + 1) * len(places) // (2 * n_kept)] for number in range(n_kept)}
    steps = tuple(
        kept_passes(step, [number for at, number in sorted(kept) if at == index])
        for index, step in enumerate(entry.steps)
    )
    used = frozenset[str]().union(*(step.scenes for step in steps))
    return replace(
        entry, steps=steps, scenes=tuple(scene for scene in entry.scenes if scene.id in used), choice=None, gaps="leave"
    )


def _quick_access(plan: Plan) -> Access:
    """The access of a run with as many threads, which asks each file once."""
    threads = WorkerSettings().reads_at_once(remote=plan.remote)
    access = scene_access(plan_sources(plan), FailureLog(tolerance=0), threads=threads)
    readings = {name: _quick(reading) for name, reading in access.readings.items()}
    return replace(access, reading=_quick(access.reading), readings=readings)


def _quick(reading: Reading) -> Reading:
    return replace(reading, gdal={**reading.gdal, **QUICK}, retry=RetryPolicy(attempts=1))
