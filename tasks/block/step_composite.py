"""The composite of a step over a block: its passes read and reduced, strip by strip."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.compose.composite import count_passes, pass_ranks, reduce_passes, scene_ranks
from tilewright.tasks.compose.reducers import SELECTING_REDUCERS, reducer_radius_px
from tilewright.tasks.compose.stored_reducers import count_numbers, reduce_numbers, takes_numbers
from tilewright.tasks.cube.at_once import done_at_once
from tilewright.tasks.cube.read_pass import ArrayReads, FileReads, PassRequest, SceneReads, read_pass
from tilewright.tasks.cube.spare import SPARE
from tilewright.tasks.cube.stored_numbers import NotStoredError, OtherTypeError, common_conversions
from tilewright.tasks.plan.pass_request import pass_request
from tilewright.tasks.read.resample.pixels import convert_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.compose.steps import StepPlan
    from tilewright.tasks.cube.scene_band import BandRequest
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.read.access import Access
    from tilewright.tasks.read.resample.pixels import Conversion


STACK_BYTES = 256e6
"""Bytes of the observations of a step that are held at a time; a block with more is composited in strips of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInput:
    """One input over one block: the cube engine, the input's plan, and the block's geobox on the input's grid."""

    engine: str
    entry: InputPlan
    geobox: GeoBox

    @property
    def request(self) -> PassRequest:
        """The bands and the mask that are read of each scene."""
        entry = self.entry
        return pass_request(entry, entry.bands, resampling=entry.resampling, resolution=float(self.geobox.affine.a))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPasses:
    """The passes of step `index` that have scenes on a block: (place in it, scenes in the order they are asked)."""

    index: int
    step: StepPlan
    looks: tuple[tuple[int, tuple[Scene, ...]], ...]

    @property
    def scenes(self) -> list[Scene]:
        """The scenes of all passes."""
        return [scene for _, members in self.looks for scene in members]


def composite_step(
    block_input: BlockInput, seen: SeenPasses, access: Access, *, values: np.ndarray, counts: np.ndarray
) -> None:
    """Write a step's composite to `values` (band, y, x) and its observations to `counts` (y, x), strip by strip."""
    entry, (height, width) = block_input.entry, block_input.geobox.shape.yx
    resolution = float(block_input.geobox.affine.a)
    if len(seen.looks) == 1 and entry.reducer not in SELECTING_REDUCERS:
        # The only observation is the composite: it is read where the model's windows are cut from.
        _read_stack(block_input, seen, access, out=values[:, np.newaxis])
        _to_unit(entry, values)
        counts[...] = np.isfinite(values).all(axis=0)
        return
    conversions = None
    if block_input.engine == "direct" and takes_numbers(entry.reducer, len(seen.looks)):
        conversions = common_conversions(seen.scenes, block_input.request.bands)
    # Of the mask and of reducers that look at neighbours.
    reach = entry.mask.radius_px(resolution) + reducer_radius_px(entry.reducer, resolution)
    # Rows above `plain` are made by floats.
    top, plain = 0, height if conversions is None else 0
    while top < height:
        n_bytes = (4 if top < plain else 2) * values.size * len(seen.looks)
        bottom = min(top + ceil(height / max(ceil(n_bytes / STACK_BYTES), 1)), plain if top < plain else height)
        first, last = max(0, top - reach), min(height, bottom + reach)
        strip = replace(block_input, geobox=block_input.geobox[first:last, 0:width])
        inner = slice(top - first, bottom - first)
        made = values[:, top:bottom], counts[top:bottom]
        try:
            if conversions is None or top < plain:
                _composite_strip(strip, seen, access, inner=inner, values=made[0], counts=made[1])
            else:
                _composite_numbers(strip, seen, access, conversions, inner=inner, values=made[0], counts=made[1])
        except NotStoredError as error:
            # By floats, of which fewer rows fit: all rows of a file of another type, else those of this strip.
            plain = height if isinstance(error, OtherTypeError) else bottom
            continue
        top = bottom


def _composite_numbers(
    strip: BlockInput,
    seen: SeenPasses,
    access: Access,
    conversions: Sequence[Conversion],
    *,
    inner: slice,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """The same as `_composite_strip`, by the stored numbers of scenes that all have all bands in one state.

    Raises NotStoredError for a file that is not what its item states.
    """
    with SPARE.lent((len(values), len(seen.looks), *strip.geobox.shape.yx), np.uint16) as whole:
        _read_stack(strip, seen, access, out=whole)
        stack = whole[:, :, inner]
        counts[...] = count_numbers(stack[0])
        for numbers, conversion, out in zip(stack, conversions, values, strict=True):
            reduce_numbers(numbers, counts, strip.entry.reducer, conversion, out=out)
    if strip.entry.working_unit != strip.entry.unit:
        _to_unit(strip.entry, values)
        # Power without a logarithm is no observation.
        counts[...] = np.where(np.isfinite(values).all(axis=0), counts, 0)


def _composite_strip(
    strip: BlockInput, seen: SeenPasses, access: Access, *, inner: slice, values: np.ndarray, counts: np.ndarray
) -> None:
    """Write the composite of the rows `inner` of a strip to `values` (band, y, x), their observations to `counts`."""
    entry = strip.entry
    stack = np.empty((len(values), len(seen.looks), *strip.geobox.shape.yx), dtype=np.float32)
    ranks = _read_stack(strip, seen, access, out=stack)
    values[...] = reduce_passes(
        stack,
        entry.reducer,
        ranks=ranks,
        days=[seen.step.days[number] for number, _ in seen.looks],
        middle=seen.step.centre,
        resolution=float(strip.geobox.affine.a),
    )[:, inner]
    _to_unit(entry, values)
    # Where every scene has every band, one band tells for all.
    alike = all(scene.asset(band) is not None for scene in seen.scenes for band in entry.bands)
    counted = count_passes(stack[:1] if alike else stack)[inner]
    # Passes that together give no value are no observation: those without a band where one pass is taken for all
    # bands, and power without a logarithm.
    counts[...] = np.where(np.isfinite(values).all(axis=0), counted, 0)


def _to_unit(entry: InputPlan, values: np.ndarray) -> None:
    """Turn composites in the unit in which they were made into the input's, where they are."""
    if entry.working_unit != entry.unit:
        values[...] = convert_unit(values, source=entry.working_unit, target=entry.unit)


def _read_stack(
    block_input: BlockInput, seen: SeenPasses, access: Access, *, out: np.ndarray
) -> list[int] | np.ndarray | None:
    """Read the observations of a step on a geobox; returns the ranks of its passes as `reduce_passes` takes them.

    `out` (band, pass, y, x) gets the observations: float32 in the working unit, NaN = not seen, or uint16 stored
    numbers, `MISSING` = not seen. Raises ReadError, and for numbers NotStoredError.
    """
    request = block_input.request
    reads = _scene_reads(block_input, request, seen.scenes, access)
    at_once = min(access.threads, len(seen.looks))
    of_scenes = scene_ranks(seen.scenes, block_input.entry.reducer)
    ranks = pass_ranks([[scene.id for scene in members] for _, members in seen.looks], of_scenes) if of_scenes else None
    # Passes whose scenes alternate in the order have one only pixel by pixel.
    taken = np.zeros(out.shape[1:], dtype=np.uint16) if of_scenes and ranks is None else None

    def read(number: int) -> None:
        place, members = seen.looks[number]
        here = None if taken is None else taken[number]
        wanted = block_input.entry.wanted(seen.index, place, block_input.geobox)
        per_pass = access.threads // at_once
        read_pass(members, reads, request, out=out[:, number], taken=here, wanted=wanted, threads=per_pass)
        if here is not None:
            here[...] = np.array([of_scenes[scene.id] for scene in members], dtype=np.uint16)[here]

    deque(done_at_once(read, range(len(seen.looks)), threads=at_once), maxlen=0)
    return ranks if taken is None else taken


def _scene_reads(block_input: BlockInput, request: PassRequest, scenes: Sequence[Scene], access: Access) -> SceneReads:
    """The pixels of the scenes: read from their files, or laid out by the library that the plan names."""
    files = FileReads(block_input.geobox, access)
    if block_input.engine == "direct":
        return files
    return ArrayReads(_laid_out(block_input, request.bands, scenes, access), files)


def _laid_out(
    block_input: BlockInput, bands: Sequence[BandRequest], scenes: Sequence[Scene], access: Access
) -> Mapping[tuple[str, BandRequest], np.ndarray]:
    """The bands of the scenes that have them, by scene id and request, as a library of another maker lays them out."""
    # Half a second of imports that only their users pay.
    from dask import threaded  # noqa: PLC0415
    from dask.base import compute  # noqa: PLC0415

    from tilewright.tasks.cube.engines import ENGINES  # noqa: PLC0415

    lazy = ENGINES[block_input.engine](scenes, bands, block_input.geobox, chunks=None, access=access)
    # The scheduler itself, not its name: with a name Dask imports its distributed part to look for a client.
    (made,) = compute(lazy, scheduler=threaded.get, num_workers=access.threads)
    return {
        (scene.id, band): made[band.band][number]
        for band in bands
        for number, scene in enumerate(scenes)
        if scene.asset(band.band) is not None
    }
