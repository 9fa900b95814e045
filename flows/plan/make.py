"""From a job to its frozen plan: card, scenes, grid, lattice and blocks, all decided before a pixel is read."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from tilewright.catalogs.sources.registry import resolve_source
from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.engine import plan_fused, plan_tuned
from tilewright.flows.plan.input_plans import plan_inputs
from tilewright.flows.plan.model_card import card_facts, job_card
from tilewright.flows.plan.rules import mask_warning
from tilewright.models.card.tile import DEFAULT_STEP
from tilewright.models.fields import did_you_mean
from tilewright.models.measure.memory import card_memory
from tilewright.models.measure.receptive import receptive_field
from tilewright.models.measure.window import choose_window
from tilewright.tasks.block.output_grid import output_scale
from tilewright.tasks.compose.reducers import reducer_radius_px
from tilewright.tasks.grid.areas import LONGEST_DEGREE, pixel_metres
from tilewright.tasks.grid.blocks import plan_blocks
from tilewright.tasks.grid.crs import is_geographic
from tilewright.tasks.grid.grid import Grid, plan_grid, project_area
from tilewright.tasks.grid.windows import lattice_of
from tilewright.tasks.plan import Plan, area_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.receptive import ReceptiveField
    from tilewright.models.measure.window import WindowChoice
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan import InputPlan


DEFAULT_RESOLUTION = 10.0
"""Metres, where neither job nor card says one: the finest Sentinel-2 has."""

BLOCK_BYTES = 1e8
"""What a block's model inputs may take; larger ones get smaller blocks. Pixels do not depend on it."""

LONG_REACH_BLOCK_BYTES = 1e9
"""The same where the step is larger than usual: a block of one window would leave all cores but one idle."""

SMALL_BLOCK, LARGE_BLOCK = 1024, 2048
"""Pixels: small areas get several blocks to show progress, large ones lose less to halos (FACTS, Inference)."""

VERSIONED = ("tilewright", "onnxruntime", "onnxruntime-gpu", "rasterio", "odc-stac", "numpy", "zarr")


def make_plan(job: Job) -> Plan:
    """The plan of a job.

    Raises a refusal (ValueError) for anything that cannot be done: unknown source, model or band, no scenes, a card
    that does not fit, more blocks than the limit.
    """
    card = job_card(job)
    _check_periods(job, card)
    source = resolve_source(job.source, base=job.base)
    receptive = receptive_field(card, cache=cache_folder() / "receptive")
    scale = max(output_scale(output, card, _windows(card, job, receptive)) for output in card.outputs)
    grid = _model_grid(job, card, scale)
    # The product's pixels are whole ones of the model's, and the other way round.
    stride = scale.denominator if scale >= Fraction(1, 64) else 1
    windows = _windows(card, job, receptive, stride=stride)
    lattice = lattice_of(windows, block=job.tile.block or _block_size(card, grid.area, windows))
    area = project_area(job.area.geometry, grid.crs)
    blocks = plan_blocks(grid, block=lattice.block, halo=lattice.halo, area=area, most=job.limits.blocks)
    inputs = plan_inputs(job, card, source, reach=_reach(job, card, grid, lattice))
    exact, exact_reason = _exactness(card, receptive, lattice)
    fused = plan_fused(job, card, lattice)
    return Plan(
        name=job.name,
        request={**job.request(), "source": source.to_json(), "model": card.digest},
        source=source.to_json(),
        card=card_facts(job, card),
        grid=grid,
        area=area_json(area),
        up=scale.numerator,
        down=scale.denominator,
        lattice=lattice,
        margin=_margin(inputs, grid, stride=lattice.stride),
        inputs=inputs,
        layers=_layers(job, card),
        engine=job.engine,
        receptive=asdict(receptive),
        exact=exact,
        exact_reason=exact_reason,
        windows_reason=windows.why,
        versions=versions(),
        fused=fused,
        precision=job.precision,
        tuned=plan_tuned(job, card, lattice, fused=fused),
        warnings=(*_warnings(job, card, inputs, grid, scale), *_block_warnings(job, lattice)),
        blocks=tuple((block.row, block.col) for block in blocks),
    )


def _check_periods(job: Job, card: ModelCard) -> None:
    """Refuse a before and an after for a model that would only mix them."""
    names = {period.name for period in job.period}
    if {"before", "after"} <= names and not any(spec.dates.kind in {"pair", "series"} for spec in card.inputs):
        raise JobError(
            f"period: {card.name} does not compare dates, so before and after would be mixed into one. "
            "Give one period, or a model that compares, e.g. cva-change."
        )


def versions() -> dict[str, str]:
    """Versions of everything that may change a pixel."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _layers(job: Job, card: ModelCard) -> tuple[str, ...]:
    names = tuple(spec.name for spec in card.layer_specs())
    unknown = [name for name in job.layers if name not in names]
    if unknown:
        hint = did_you_mean(unknown[0], names)
        raise JobError(f"layers: {', '.join(unknown)} not given by {card.name}{hint}. It gives: {', '.join(names)}.")
    return tuple(name for name in names if not job.layers or name in job.layers)


def _windows(card: ModelCard, job: Job, receptive: ReceptiveField, *, stride: int = 1) -> WindowChoice:
    """The windows; a step that does not depend on the block tells the scale of outputs that answer once per window."""
    measure = partial(card_memory, card, stride=receptive.stride, cache=cache_folder() / "memory")
    return choose_window(card, receptive, stride=stride, step=job.tile.step, per_pixel=measure)


def _model_grid(job: Job, card: ModelCard, scale: Fraction) -> Grid:
    resolution = job.grid.resolution * float(scale) if job.grid.resolution else card.resolution or DEFAULT_RESOLUTION
    grid = plan_grid(job.area.geometry, crs=job.grid.crs, resolution=resolution, bounds=job.grid.bounds)
    if is_geographic(grid.crs):
        _check_degrees(job, card)
    return grid


def _check_degrees(job: Job, card: ModelCard) -> None:
    """Refuse what is told in metres, and a resolution nobody gave in degrees."""
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


def _block_size(card: ModelCard, area: PixelBox, windows: WindowChoice) -> int:
    """A multiple of the step: large for large areas, smaller where a block's inputs would not fit their room."""
    step = windows.step
    usual = step <= DEFAULT_STEP
    wish = max(LARGE_BLOCK if max(area.shape) > 2 * LARGE_BLOCK else SMALL_BLOCK, step if usual else 2 * step)
    per_pixel = sum(
        4 * (spec.dates.steps or 12) * len(spec.source_bands) / card.ratio(spec) ** 2 for spec in card.inputs
    )
    room = BLOCK_BYTES if usual else LONG_REACH_BLOCK_BYTES
    most = math.sqrt(room / (3 * per_pixel)) - 2 * lattice_of(windows, block=step).halo
    return max(step, int(min(wish, most)) // step * step)


def _reach(job: Job, card: ModelCard, grid: Grid, lattice: Lattice) -> float:
    """Metres by which windows that touch the area, and the masks and composites in them, see beyond it."""
    composites = max(reducer_radius_px(spec.dates.reducer, grid.resolution) for spec in card.inputs)
    pixel = grid.resolution * (LONGEST_DEGREE if is_geographic(grid.crs) else 1.0)
    return (lattice.window + composites) * pixel + job.mask.dilation


def _margin(inputs: Sequence[InputPlan], grid: Grid, *, stride: int) -> int:
    """Pixels by which masks and composites reach beyond a pixel, as whole strides."""
    reaches = [
        (entry.mask.radius_px(size) + reducer_radius_px(entry.reducer, size)) * entry.coarser / entry.finer
        for entry in inputs
        for size in (grid.resolution * entry.coarser / entry.finer,)
    ]
    return math.ceil(max(reaches, default=0) / stride) * stride


def _exactness(card: ModelCard, receptive: ReceptiveField, lattice: Lattice) -> tuple[bool, str]:
    if receptive.trim is None:
        return False, f"the model's receptive field has no bound ({receptive.reason}); its map depends on its windows"
    if lattice.merge == "blend":
        return False, "overlapping windows are blended, as the card asks; a seam is softened, not absent"
    if lattice.trim < receptive.trim:
        return False, f"the trim of {lattice.trim} px is less than the {receptive.trim} px the model needs"
    if summaries := [extra.name for extra in card.extras if extra.of_window and not card.pixelwise]:
        return False, f"input {summaries[0]} is one number for a whole window, so a map depends on its windows"
    if receptive.verdict != "bounded":
        return False, f"tiled equals whole to {receptive.tolerance:g} of the outputs' deviation ({receptive.reason})"
    # Blocks of the stride see less far beyond their rim than the pixel inside them that sees farthest.
    beyond = f", {receptive.trim} px beyond a stride of {receptive.stride}" if receptive.stride > 1 else ""
    seen = f"sees {receptive.radius} px around a pixel{beyond}, and windows lose {lattice.trim} px on each side"
    return True, f"the model {seen if receptive.radius else 'looks at each pixel alone'}: tiled equals whole"


def _block_warnings(job: Job, lattice: Lattice) -> Iterable[str]:
    if job.tile.block and job.tile.block != lattice.block:
        yield f"tile.block = {job.tile.block} is taken as {lattice.block} px: whole steps of {lattice.step} px."


def _warnings(job: Job, card: ModelCard, inputs: Sequence[InputPlan], grid: Grid, scale: Fraction) -> Iterable[str]:
    if card.resolution and is_geographic(grid.crs):
        height, width = pixel_metres(grid)
        yield (
            f"The model was made for {card.resolution:g} m pixels and sees ones of {grid.resolution:g} degrees, here "
            f"{height:.3g} m high and {width:.3g} m wide."
        )
    elif card.resolution and not math.isclose(grid.resolution, card.resolution):
        yield (
            f"The model was made for {card.resolution:g} m pixels and sees {grid.resolution:g} m ones "
            f"(grid.resolution = {grid.resolution / float(scale):g})."
        )
    for entry in inputs:
        if said := mask_warning(entry, job.mask):
            yield said
        gone = [step.label for step in entry.steps if not step.days]
        if gone:
            yield f"Input {entry.name}: no scene for step {', '.join(gone)}; it is filled as missing."
