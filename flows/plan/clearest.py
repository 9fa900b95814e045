"""The passes that each cell takes, chosen by a look at the overviews of the scenes' masks before any band is read."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from tilewright.flows.access import scene_access
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.identities import identify_inputs
from tilewright.tasks.compose.cell_choice import SAMPLE_PIXELS, LookCost, cell_side, choose_passes, make_choice
from tilewright.tasks.compose.mask import dropped_pixels
from tilewright.tasks.compose.mask_rule import CLASS_KINDS
from tilewright.tasks.compose.steps import kept_passes
from tilewright.tasks.cube.look import clear_samples
from tilewright.tasks.cube.scene_band import BandRequest
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.failures import FailureLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.sources.source import Sources
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.options import Clearest
    from tilewright.tasks.compose.cell_choice import CellChoice
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.plan.raster import RasterPlan
    from tilewright.tasks.read.access import Access

Cell = tuple[int, int]
"""(row, column) of a cell, in cells from the CRS origin."""

Passes = tuple[tuple[int, tuple[int, ...]], ...]
"""Passes over a cell in one step: (number of the pass, indices of its scenes that touch the cell)."""

Found = dict[Cell, tuple[Passes, ...]]
"""The passes over each cell, per step."""

AT_ONCE = 8


def choose_where_clear(job: Job, plan: Plan, sources: Sources) -> Plan:
    """The plan with a choice of passes by cell, and without the scenes that no cell takes; itself if not asked for.

    Masks are read as blocks read them: held to their identity, with retries, failures tolerated as far as the job says.

    Raises JobError where no input has a mask to look at, ReadError for a mask that cannot be read.
    """
    clearest = job.filter.clearest
    if clearest is None or clearest.by == "statement":
        return plan
    if all(entry.mask.kind == "none" for entry in plan.inputs):
        raise JobError(
            "filter.clearest: by: pixels looks at masks, and no input has one. Leave mask.kind none out, choose a "
            "source whose scenes have a mask, or write by: statement."
        )
    masks = replace(plan, inputs=tuple(replace(entry, bands=()) for entry in plan.inputs))
    told = identify_inputs(masks, sources)
    access = scene_access(sources, FailureLog(tolerance=job.tolerance.failed_reads))
    made: list[tuple[InputPlan, InputPlan]] = []
    for entry, looked_at in zip(plan.inputs, told.inputs, strict=True):
        # Inputs that differ in name only are looked at once, and stay alike.
        same = next((done for given, done in made if replace(given, name=entry.name) == entry), None)
        chosen = _chosen(entry, looked_at.scenes, plan.raster, clearest, access) if same is None else same
        made.append((entry, replace(chosen, name=entry.name)))
    return replace(plan, inputs=tuple(entry for _, entry in made))


def _chosen(
    entry: InputPlan, scenes: tuple[Scene, ...], raster: RasterPlan, clearest: Clearest, access: Access
) -> InputPlan:
    """An input with its choice; ``scenes`` are its own with the identities of their masks."""
    if entry.mask.kind == "none" or not any(len(step.passes) > clearest.most for step in entry.steps):
        return entry
    began = time.perf_counter()
    side = cell_side(raster.lattice.step)
    found = _found(entry, raster, side=side)
    stats = ReadStats()
    looks = _Looks(entry=entry, grid=raster.grid, side=side, access=replace(access, stats=stats))
    clear = looks.read(_rectangles(found, most=clearest.most), scenes)
    taken = {
        cell: tuple(_taken(each, clear, cell, clearest, scenes) for each in steps) for cell, steps in found.items()
    }
    cost = LookCost(
        files=len(clear) * len(entry.mask.bands),
        n_bytes=stats.decoded_bytes,
        seconds=round(time.perf_counter() - began, 3),
    )
    choice = make_choice(
        taken,
        side=side * entry.finer // entry.coarser,
        shares=[_shares(found, clear, index, len(step.passes)) for index, step in enumerate(entry.steps)],
        n_found=sum(len(each) for steps in found.values() for each in steps),
        cost=cost,
    )
    return _kept(entry, choice)


def _kept(entry: InputPlan, choice: CellChoice) -> InputPlan:
    """The input with a choice, without the passes and scenes that no cell takes."""
    kept = [sorted(choice.chosen(index)) for index in range(len(entry.steps))]
    steps = tuple(_kept_step(step, numbers) for step, numbers in zip(entry.steps, kept, strict=True))
    used = frozenset[str]().union(*(step.scenes for step in steps))
    scenes = tuple(scene for scene in entry.scenes if scene.id in used)
    return replace(entry, scenes=scenes, steps=steps, choice=choice.renumbered(kept))


def _kept_step(step: StepPlan, numbers: list[int]) -> StepPlan:
    """A step with some of its passes; its middle stays that of all, so that it does not depend on the choice."""
    days = sorted(step.days)
    return replace(kept_passes(step, numbers), found=(days[0], days[-1])) if days else step


def _found(entry: InputPlan, raster: RasterPlan, *, side: int) -> Found:
    """The passes over each cell that a block touches, with its halo."""
    coverage = entry.coverage(raster.grid)
    cells = {
        (row, col)
        for block in raster.all_blocks()
        for rows, cols in [block_range(block.outer, block=side)]
        for row in rows
        for col in cols
    }
    found: Found = {}
    for row, col in sorted(cells):
        box = entry.box(PixelBox.at(row * side, col * side, shape=(side, side)))
        touching = {entry.scenes[index].id: index for index in coverage.indices(box)}
        found[row, col] = tuple(
            tuple((n, tuple(touching[name] for name in ids)) for n, ids in entry.passes_of(step, touching).items())
            for step in range(len(entry.steps))
        )
    return found


def _rectangles(found: Found, *, most: int) -> dict[int, PixelBox]:
    """The rectangle of cells that each scene is looked at in, by its index: none where all passes are taken anyway."""
    rectangles: dict[int, PixelBox] = {}
    for (row, col), steps in found.items():
        here = PixelBox.at(row, col, shape=(1, 1))
        for passes in steps:
            for index in (index for _, members in passes if len(passes) > most for index in members):
                rectangles[index] = rectangles[index].around(here) if index in rectangles else here
    return rectangles


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClearCells:
    """The clear samples of a scene in a rectangle of cells: (row, column, samples of the cell) as packed bits."""

    cells: PixelBox
    bits: np.ndarray
    n_samples: int

    def holds(self, cell: Cell) -> bool:
        return not PixelBox.at(*cell, shape=(1, 1)).intersect(self.cells).empty

    def of(self, cell: Cell) -> np.ndarray:
        bits = self.bits[cell[0] - self.cells.row_start, cell[1] - self.cells.col_start]
        return np.unpackbits(bits, count=self.n_samples).astype(bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looks:
    """Looks at the masks of an input's scenes; ``side``: pixels of the model's ``grid`` for each side of a cell."""

    entry: InputPlan
    grid: Grid
    side: int
    access: Access

    @property
    def n_samples(self) -> int:
        """Samples for each side of a cell."""
        return self.side // SAMPLE_PIXELS

    @property
    def size(self) -> float:
        """The side of a sample in units of the CRS."""
        return self.grid.resolution * self.side / self.n_samples

    def read(self, rectangles: Mapping[int, PixelBox], scenes: tuple[Scene, ...]) -> dict[int, _ClearCells]:
        """The clear samples of the scenes, by index, in their rectangles of cells."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            read = pool.map(lambda index: self._read(scenes[index], rectangles[index]), rectangles)
            return dict(zip(rectangles, read, strict=True))

    def _read(self, scene: Scene, cells: PixelBox) -> _ClearCells:
        rule, n, size = self.entry.mask, self.n_samples, self.size
        (rows, cols) = cells.shape
        origin = Affine(size, 0.0, cells.col_start * n * size, 0.0, -size, -cells.row_start * n * size)
        clear = clear_samples(
            scene,
            GeoBox((rows * n, cols * n), origin, self.grid.crs),
            self.access,
            quality=tuple(self._requests()),
            judge=partial(dropped_pixels, rule=rule, resolution=size),
            reach=rule.radius_px(size),
        )
        by_cell = clear.reshape(rows, n, cols, n).transpose(0, 2, 1, 3).reshape(rows, cols, n * n)
        return _ClearCells(cells=cells, bits=np.packbits(by_cell, axis=-1), n_samples=n * n)

    def _requests(self) -> Iterator[BandRequest]:
        entry = self.entry
        for band in entry.mask.bands:
            unit = "class" if entry.mask.kind in CLASS_KINDS else entry.stored_unit(band)
            yield BandRequest(band=band, unit=unit, resampling="nearest", coarse=True)


def _shares(found: Found, clear: Mapping[int, _ClearCells], step: int, n_passes: int) -> list[float | None]:
    """The clear share of each pass of a step in the mean of its cells; None where none was looked at."""
    shares: list[list[float]] = [[] for _ in range(n_passes)]
    for cell, steps in found.items():
        for number, members in steps[step]:
            if all(index in clear and clear[index].holds(cell) for index in members):
                shares[number].append(float(_joined(clear, members, cell).mean()))
    return [round(sum(each) / len(each), 3) if each else None for each in shares]


def _joined(clear: Mapping[int, _ClearCells], members: tuple[int, ...], cell: Cell) -> np.ndarray:
    """True for the samples of a cell that some scene of a pass sees clear, (sample) bool."""
    return np.asarray(np.logical_or.reduce([clear[index].of(cell) for index in members]))


def _stated_cover(scenes: list[Scene]) -> float:
    """The mean cloud cover that scenes state, infinite if one states none."""
    return sum(math.inf if scene.cloud_cover is None else scene.cloud_cover for scene in scenes) / len(scenes)


def _taken(
    passes: Passes, clear: Mapping[int, _ClearCells], cell: Cell, clearest: Clearest, scenes: tuple[Scene, ...]
) -> tuple[int, ...]:
    """The numbers of the passes that a cell takes of those over it, in one step."""
    if len(passes) <= clearest.most:
        return tuple(number for number, _ in passes)
    samples = np.stack([_joined(clear, members, cell) for _, members in passes])
    stated = [_stated_cover([scenes[index] for index in members]) for _, members in passes]
    chosen = choose_passes(samples, stated, most=clearest.most, fill=clearest.holes == "fill")
    return tuple(passes[place][0] for place in chosen)
