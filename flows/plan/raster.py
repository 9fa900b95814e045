"""Grid, windows and blocks of a job, decided before any scene is known."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from shapely.geometry import box

from tilewright.flows.job.job import JobError
from tilewright.flows.job.options import PolygonOptions
from tilewright.flows.policies import MIN_BLOCKS_IN_MEMORY
from tilewright.models.card.tile import DEFAULT_STEP
from tilewright.models.fields import did_you_mean
from tilewright.tasks.cog.parts import MAX_SIDE
from tilewright.tasks.compose.cell_choice import cell_side
from tilewright.tasks.compose.reducers import reducer_radius_px
from tilewright.tasks.grid.areas import MAX_METRES_PER_DEGREE
from tilewright.tasks.grid.blocks import plan_blocks
from tilewright.tasks.grid.cells import parts_with_pixels
from tilewright.tasks.grid.crs import crs_unit, is_geographic
from tilewright.tasks.grid.grid import Grid, chosen_crs, plan_grid, project_area
from tilewright.tasks.grid.windows import lattice_of
from tilewright.tasks.places.patches import SIDE as READ_SIDE
from tilewright.tasks.places.rows import place_rows
from tilewright.tasks.plan.places import ROWS_PER_UNIT
from tilewright.tasks.plan.raster import RasterPlan, aoi_json
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.flows.job.areas.area import Area
    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.facts import ModelFacts
    from tilewright.models.measure.window import WindowChoice
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.plan.inputs import InputPlan

DEFAULT_RESOLUTION = 10.0
"""Metres, if neither job nor card has a resolution: the finest of Sentinel-2."""

LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES = 1e8, 1e9
"""Bytes that the model inputs of the blocks in memory may take, on small and large machines: so large are blocks."""

BLOCKS_DIVISOR = 16
"""The blocks' inputs take at most one part in so many of the free memory: the model and decoded files want theirs."""

PASSES_OF_EACH = 12
"""Passes assumed where each is a step of its own, since no scene is known yet."""

MOST_PARTS = 10_000
"""Files of a layer; the Earth at 10 m has 4,770 of the usual size."""

SMALL_BLOCK, LARGE_BLOCK = 1024, 2048
"""Pixels: small areas get several blocks to show progress, large ones lose less to halos (FACTS, Inference)."""


def cut_raster(job: Job, card: ModelCard, facts: ModelFacts, *, free: int, block: int | None = None) -> RasterPlan:
    """The raster plan of a job; its margin for masks and composites is still 0.

    The job says how large its blocks are, else ``block``, else the card and the ``free`` memory in bytes.

    Raises JobError or GridError for an impossible grid, a layer that the card does not give, and more blocks than the
    limit.
    """
    grid = _model_grid(job, card, facts.scale)
    size = job.tile.block or block or _block_size(card, grid.extent, facts.windows, free=free)
    lattice = lattice_of(facts.windows, block=size)
    aoi, layers = project_area(job.area.geometry, grid.crs), _layers(job, card)
    _check_polygons(job, card, layers, grid.crs)
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
        spare=lattice.half_step if card.seams and lattice.merge == "trim" else 0,
        layers=layers,
        blocks=tuple((block.row, block.col) for block in blocks),
    )


def cut_places(job: Job, card: ModelCard, windows: WindowChoice) -> tuple[RasterPlan, PlaceRows]:
    """The grid of a job over places with its layers and windows, whose blocks are units of rows, and the rows on it.

    Raises JobError or GridError for an impossible grid, a card that finds boxes, a layer that the card does not give,
    more units than the limit, and for places that the CRS cannot show.
    """
    if card.boxes:
        raise JobError(
            f"places: {card.name} finds boxes, which lie anywhere in a window and not at its place: give an area."
        )
    crs = _places_crs(job)
    if is_geographic(crs):
        _check_degrees(job, card)
    lattice = lattice_of(windows, block=READ_SIDE)
    rows = job_rows(job, card, lattice)
    if not len(rows.order):
        raise JobError(f"places: none of them lies where {crs} has a place: give another grid.crs.")
    grid = Grid(crs=crs, resolution=_places_resolution(job, card), extent=rows.extent)
    n_units = len(rows.units(ROWS_PER_UNIT))
    if n_units > job.limits.blocks:
        raise JobError(
            f"places: {len(rows):,} rows are over limits.blocks = {job.limits.blocks:,} units: cut the table."
        )
    raster = RasterPlan(
        grid=grid,
        aoi=aoi_json(box(*grid.bounds_of(grid.extent))),
        up=1,
        down=1,
        lattice=lattice,
        margin=0,
        layers=_layers(job, card),
        blocks=tuple((number, 0) for number in range(n_units)),
    )
    return raster, rows


def job_rows(job: Job, card: ModelCard, lattice: Lattice) -> PlaceRows:
    """The rows of a job's places on their grid, with the windows of a lattice."""
    places = job.places
    assert places is not None, "a job over places has rows"
    return place_rows(
        places.table,
        crs=_places_crs(job),
        resolution=_places_resolution(job, card),
        window=lattice.window,
        align=alignment(card, lattice),
        # An empty period means the job's.
        periods=(job.period, *((period,) for period in places.periods)),
        of_row=places.of_row + 1,
    )


def alignment(card: ModelCard, lattice: Lattice) -> int:
    """Grid pixels at whose multiples the windows of places begin: those of the pixels of coarser inputs, and of the
    stride of a model that gives a raster, so that the centroid's pixel has the value that it has on a map.
    """
    ratios = (Fraction(card.ratio(spec)).limit_denominator(64).numerator for spec in card.inputs)
    return math.lcm(1, *ratios, lattice.stride if len(card.per_window) < len(card.outputs) else 1)


def _places_crs(job: Job) -> str:
    assert job.places is not None, "a job over places has rows"
    lon, lat = job.places.middle
    return chosen_crs(box(lon - 1e-6, lat - 1e-6, lon + 1e-6, lat + 1e-6), job.grid.crs)


def _places_resolution(job: Job, card: ModelCard) -> float:
    return job.grid.resolution or card.resolution or DEFAULT_RESOLUTION


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
    # A choice by cells is made of all passes over a cell, the largest part of which may lie beyond the area.
    by_cells = job.filter.clearest is not None and job.filter.clearest.by == "pixels"
    cell = math.ceil(math.sqrt(2) * cell_side(raster.lattice.step)) if by_cells else 0
    pixel = grid.resolution * (MAX_METRES_PER_DEGREE if is_geographic(grid.crs) else 1.0)
    return (raster.lattice.window + composites + cell) * pixel + job.mask.dilation


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


def _check_polygons(job: Job, card: ModelCard, layers: tuple[str, ...], crs: str) -> None:
    """Refuse polygons of what is no class layer of the product, or of a class that it has not."""
    specs = {spec.name: spec for spec in card.layer_specs() if spec.name in layers}
    objects = any(spec.kind == "id" for spec in specs.values())
    if (job.polygons or card.boxes or objects) and is_geographic(crs):
        of, otherwise = ("boxes" if card.boxes else "objects", "")
        if job.polygons:
            of, otherwise = "polygons", ", or leave polygons out"
        raise JobError(
            f"{of} have areas in square metres, and grid.crs {job.grid.crs!r} is in degrees: give a projected "
            f"grid.crs, e.g. 'utm'{otherwise}."
        )
    for name, options in job.polygons.items():
        if name not in specs:
            hint, known = did_you_mean(name, list(specs)), ", ".join(specs) or "none"
            raise JobError(f"polygons: {name[:80]!r} is no layer of the product{hint}. It has: {known}.")
        _check_layer_polygons(specs[name], options, specs)


def _check_layer_polygons(spec: LayerSpec, options: PolygonOptions, layers: Collection[str]) -> None:
    name, known = spec.name, [each.name for each in spec.classes]
    if spec.kind == "id":
        if options == PolygonOptions(columns="fiboa"):
            return
        already = f"the layer has its objects in {name}.parquet already"
        raise JobError(
            f"polygons.{name}: {already}, for which columns: fiboa may be asked and nothing else: leave it out."
        )
    if spec.kind != "class":
        raise JobError(f"polygons: the layer {name} holds values, not classes: a class layer has polygons.")
    if f"{name}_polygons" in layers:
        raise JobError(f"polygons: the table {name}_polygons would have the name of a layer: leave one of them out.")
    for wanted in options.classes:
        if wanted not in known:
            hint, there = did_you_mean(wanted, known), ", ".join(known)
            raise JobError(f"polygons.{name}.classes: {wanted[:80]!r} is no class{hint}. There are: {there}.")


def _layers(job: Job, card: ModelCard) -> tuple[str, ...]:
    names = tuple(spec.name for spec in card.layer_specs() if spec.kind != "scale")
    unknown = [name for name in job.layers if name not in names]
    if unknown:
        named = ", ".join(each[:80] for each in unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        named += f" not given by {card.name}{did_you_mean(unknown[0], names)}"
        raise JobError(f"layers: {named}. It gives: {', '.join(names) or 'no layer'}.")
    return card.with_scales((*job.layers, *(f"{name}_seam" for name in job.layers)) or names)


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


def _block_size(card: ModelCard, extent: PixelBox, windows: WindowChoice, *, free: int) -> int:
    """The block size, a multiple of the step: large for large areas, smaller if memory has no room for its inputs.

    A small area is cut in four, one read while another is in the model; not if windows blend, which run twice at rims.
    """
    step, side = windows.step, max(extent.shape)
    halved = max(math.ceil(side / 2 / step) * step, DEFAULT_STEP) if windows.merge == "trim" else side
    usual = LARGE_BLOCK if side > 2 * LARGE_BLOCK else SMALL_BLOCK
    # Blocks of one long step would leave all cores but one idle.
    largest = max(step, min(max(usual, step if step <= DEFAULT_STEP else 2 * step), halved))
    room = min(max(free / BLOCKS_DIVISOR, LEAST_BLOCK_BYTES), MOST_BLOCK_BYTES)
    fitting = math.sqrt(room / (MIN_BLOCKS_IN_MEMORY * _input_bytes(card))) - 2 * lattice_of(windows, block=step).halo
    return max(step, int(min(largest, fitting)) // step * step)


def _input_bytes(card: ModelCard) -> float:
    """Bytes of the finished steps of all inputs per pixel of the model grid: values, counts, masks; and of vectors."""
    return 3 * card.vector_bytes + sum(
        ((spec.dates.steps or PASSES_OF_EACH) * (4 * len(spec.source_bands) + 2) + 3) / card.ratio(spec) ** 2
        for spec in card.inputs
    )
