"""Grid, windows and blocks of a job, decided before any scene is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tilewright.flows.job.job import JobError
from tilewright.models.card.tile import DEFAULT_STEP
from tilewright.models.fields import did_you_mean
from tilewright.tasks.cog.parts import MAX_SIDE
from tilewright.tasks.compose.reducers import reducer_radius_px
from tilewright.tasks.grid.areas import MAX_METRES_PER_DEGREE
from tilewright.tasks.grid.blocks import plan_blocks
from tilewright.tasks.grid.cells import parts_with_pixels
from tilewright.tasks.grid.crs import crs_unit, is_geographic
from tilewright.tasks.grid.grid import plan_grid, project_area
from tilewright.tasks.grid.windows import lattice_of
from tilewright.tasks.plan.raster import RasterPlan, aoi_json
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from shapely.geometry.base import BaseGeometry

    from tilewright.flows.job.area import Area
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.facts import ModelFacts
    from tilewright.models.measure.window import WindowChoice
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.plan.inputs import InputPlan

DEFAULT_RESOLUTION = 10.0
"""Metres, if neither job nor card has a resolution: the finest of Sentinel-2."""

BLOCK_BYTES = 1e8
"""Bytes that the model inputs of a block may take; the block size follows from it. Pixels do not depend on it."""

LONG_REACH_BLOCK_BYTES = 1e9
"""The same for a step above the default: with blocks of one window all cores but one would be idle."""

MOST_PARTS = 10_000
"""Files of a layer; the Earth at 10 m has 4,770 of the usual size."""

SMALL_BLOCK, LARGE_BLOCK = 1024, 2048
"""Pixels: small areas get several blocks to show progress, large ones lose less to halos (FACTS, Inference)."""


def cut_raster(job: Job, card: ModelCard, facts: ModelFacts) -> RasterPlan:
    """The raster plan of a job; its margin for masks and composites is still 0.

    Raises JobError or GridError for an impossible grid, a layer that the card does not give, and more blocks than the
    limit.
    """
    grid = _model_grid(job, card, facts.scale)
    lattice = lattice_of(facts.windows, block=job.tile.block or _block_size(card, grid.extent, facts.windows))
    aoi = project_area(job.area.geometry, grid.crs)
    _check_pixels(grid, aoi)
    _check_files(job, grid, facts.scale)
    blocks = plan_blocks(grid, block=lattice.block, halo=lattice.halo, area=aoi, max_blocks=job.limits.blocks)
    return RasterPlan(
        grid=grid,
        aoi=aoi_json(aoi),
        up=facts.scale.numerator,
        down=facts.scale.denominator,
        lattice=lattice,
        margin=0,
        layers=_layers(job, card),
        blocks=tuple((block.row, block.col) for block in blocks),
    )


def _check_pixels(grid: Grid, aoi: BaseGeometry) -> None:
    """Refuse an area between the centres of pixels, or outside the grid's bounds: nothing of it would be mapped."""
    if not parts_with_pixels(grid, aoi).any():
        raise JobError(
            f"area: it holds no pixel's centre of the grid of {grid.resolution:g} {crs_unit(grid.crs)}, so nothing "
            "would be mapped. Enlarge the area, make grid.resolution finer, or move grid.bounds if they miss the area."
        )


def area_warnings(area: Area, raster: RasterPlan) -> Iterator[str]:
    """One sentence each on features of an area without a geometry, and on parts too small to be mapped."""
    if area.n_without_place:
        empty = plural(area.n_without_place, "null or empty geometry", "null or empty geometries")
        yield f"area: it has {empty} without a place, of which nothing is mapped."
    mapped = parts_with_pixels(raster.grid, raster.aoi_geometry)
    n_lost = int((~mapped).sum())
    if n_lost:
        yield (
            f"area: {n_lost:,} of its {len(mapped):,} parts hold no pixel's centre of the grid of "
            f"{raster.grid.resolution:g} {crs_unit(raster.grid.crs)}: nothing is mapped of them. A finer "
            "grid.resolution, or wider grid.bounds if they miss these parts, holds more of them."
        )


def _check_files(job: Job, grid: Grid, scale: Fraction) -> None:
    """Refuse a grid whose layers would each be cut into more files than anyone wants."""
    side = job.cog.max_side or MAX_SIDE
    height, width = (math.ceil(pixels * scale / side) for pixels in grid.extent.shape)
    if height * width > MOST_PARTS:
        raise JobError(
            f"cog.max_side = {side} cuts each layer into {height:,} x {width:,} files, and at most {MOST_PARTS:,} are "
            "written: make it larger, the area or grid.bounds smaller, or grid.resolution coarser."
        )


def reach_metres(job: Job, card: ModelCard, raster: RasterPlan) -> float:
    """Metres beyond the area from which pixels are read, for the windows at its edge and their masks and composites."""
    grid = raster.grid
    composites = max(reducer_radius_px(spec.dates.reducer, grid.resolution) for spec in card.inputs)
    pixel = grid.resolution * (MAX_METRES_PER_DEGREE if is_geographic(grid.crs) else 1.0)
    return (raster.lattice.window + composites) * pixel + job.mask.dilation


def read_margin(inputs: Sequence[InputPlan], raster: RasterPlan) -> int:
    """Model-grid pixels beyond a window that masks and composites need, rounded up to whole strides."""
    stride = raster.lattice.stride
    sizes = {entry.name: entry.grid(raster.grid).resolution for entry in inputs}
    reaches = [
        (entry.mask.radius_px(sizes[entry.name]) + reducer_radius_px(entry.reducer, sizes[entry.name]))
        * entry.coarser
        / entry.finer
        for entry in inputs
    ]
    return math.ceil(max(reaches, default=0) / stride) * stride


def _layers(job: Job, card: ModelCard) -> tuple[str, ...]:
    names = tuple(spec.name for spec in card.layer_specs())
    unknown = [name for name in job.layers if name not in names]
    if unknown:
        hint = did_you_mean(unknown[0], names)
        named = ", ".join(each[:80] for each in unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        raise JobError(f"layers: {named} not given by {card.name}{hint}. It gives: {', '.join(names)}.")
    return tuple(name for name in names if not job.layers or name in job.layers)


def _model_grid(job: Job, card: ModelCard, scale: Fraction) -> Grid:
    resolution = job.grid.resolution * float(scale) if job.grid.resolution else card.resolution or DEFAULT_RESOLUTION
    grid = plan_grid(job.area.geometry, crs=job.grid.crs, resolution=resolution, bounds=job.grid.bounds)
    if is_geographic(grid.crs):
        _check_degrees(job, card)
    return grid


def _check_degrees(job: Job, card: ModelCard) -> None:
    """Refuse settings in metres, and a resolution that is not given in degrees, for a geographic grid."""
    if not job.grid.resolution:
        raise JobError(
            f"grid.crs {job.grid.crs!r} is geographic and the model's resolution is in metres: give grid.resolution in "
            "degrees, e.g. 0.0001, or a projected CRS, e.g. 'utm'."
        )
    if job.mask.dilation:
        raise JobError(
            "mask.dilation is in metres, which are not as many degrees in both directions: leave it out, or give a "
            "projected grid.crs, e.g. 'utm'."
        )
    if any(reducer_radius_px(spec.dates.reducer, 1.0) for spec in card.inputs):
        raise JobError(
            f"{card.name} composites by distance in metres (best-pixel), which has no one meaning in degrees: give a "
            "projected grid.crs, e.g. 'utm'."
        )


def _block_size(card: ModelCard, extent: PixelBox, windows: WindowChoice) -> int:
    """The block size, a multiple of the step: large for large areas, smaller if its inputs would exceed the limit."""
    step = windows.step
    short_step = step <= DEFAULT_STEP
    largest = LARGE_BLOCK if max(extent.shape) > 2 * LARGE_BLOCK else SMALL_BLOCK
    preferred = max(largest, step if short_step else 2 * step)
    per_pixel = sum(
        4 * (spec.dates.steps or 12) * len(spec.source_bands) / card.ratio(spec) ** 2 for spec in card.inputs
    )
    max_bytes = BLOCK_BYTES if short_step else LONG_REACH_BLOCK_BYTES
    fitting = math.sqrt(max_bytes / (3 * per_pixel)) - 2 * lattice_of(windows, block=step).halo
    return max(step, int(min(preferred, fitting)) // step * step)
