"""The peak memory of a run, estimated from its plan; a run that does not fit is refused before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.flows.machine import free_memory
from tilewright.flows.plan.model_graph import plan_tuned_card
from tilewright.flows.policies import MIN_BLOCKS_IN_MEMORY, PLACES_CACHE_BYTES
from tilewright.models.measure.memory import called_pixels, card_memory, loop_memory
from tilewright.tasks.block.step_composite import STACK_BYTES
from tilewright.tasks.cog.spec import MAX_PARALLEL_FILES
from tilewright.tasks.plan.read_order import plan_read_order
from tilewright.tasks.read.gdal import CACHE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.plan.read_order import ReadOrder


LIBRARY_BYTES: Final = 380e6
"""Bytes of a process with all imports and a small model, measured on Linux with Python 3.11."""

MAX_DECODED_BYTES: Final = 2 * 2**30
"""Largest cache of decoded file blocks, in bytes: a dozen dates of four bands, six blocks wide."""

DECODED_DIVISOR: Final = 8
"""The cache of decoded file blocks takes at most one part in so many of the free memory."""

BLOCKS_OF_LAYERS: Final = 3
"""Blocks of layers in memory: one being filled, one being written and its compressed copy."""

FALLBACK_BYTES_PER_PIXEL: Final = 1000.0
"""Bytes per pixel of a window for a model that could not be measured: those of a small U-Net."""

ID_BYTES: Final = 12
"""Bytes per pixel of a row of blocks whose objects are numbered: marks, numbers and ids."""

FILE_BYTES: Final = 50e6
"""Bytes beside the strips of a file that is written, for the buffers of its threads."""

LARGEST_BYTES_PER_PIXEL: Final = 2e4
"""Bytes per pixel of a window above those of every known model: a run that fits with them needs no measurement."""


class LowMemoryError(JobError):
    """A job that needs more memory than is free; the message says how much, and what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes at the peak: ``fixed`` for libraries, weights and decoded pixels, ``blocks`` for blocks in memory,
    ``caller`` for each caller of the model. ``most_callers``: the model calls that one block can keep busy.
    """

    fixed: float
    blocks: float
    caller: float
    most_callers: int

    def total(self, n_callers: int) -> float:
        """Bytes with ``n_callers`` callers of the model."""
        return self.fixed + self.blocks + min(n_callers, self.most_callers) * self.caller


def read_order_of(plan: Plan, places: Sequence[tuple[int, int]], *, free: int) -> ReadOrder:
    """The order in which a process reads the blocks at (row, col), and the size of its cache; ``free`` in bytes."""
    return plan_read_order(plan, places, least=CACHE_BYTES, most=min(MAX_DECODED_BYTES, free // DECODED_DIVISOR))


def expected_memory(
    plan: Plan, card: ModelCard, *, free: int | None = None, batch: int = 1, on_gpu: bool = False
) -> MemoryEstimate:
    """The memory of a run, from the measured memory of its model; measures it where the cache does not hold it.

    ``free``: bytes that the run may use, None for those free now. ``on_gpu``: the model runs in the GPU's memory.
    """
    free = free_memory() if free is None else free
    if on_gpu:
        return _estimate(plan, card, free=free, batch=batch, per_pixel=0.0)
    measured = _model_bytes(plan, card)
    # A model of single pixels may need nothing beyond its inputs and outputs: 0 is a measurement.
    per_pixel = FALLBACK_BYTES_PER_PIXEL if measured is None else measured
    return _estimate(plan, card, free=free, batch=batch, per_pixel=per_pixel)


def _model_bytes(plan: Plan, card: ModelCard, *, known_only: bool = False) -> float | None:
    """Bytes that the model needs per pixel of a window; None where it could not be measured, or was not before."""
    if plan.model.tuned:
        card = plan_tuned_card(plan, card)
    window = plan.raster.lattice.window if plan.model.tuned else None
    cache, stride = cache_folder() / "memory", int(plan.model.receptive["stride"])
    return card_memory(card, stride=stride, cache=cache, window=window, known_only=known_only)


def _estimate(plan: Plan, card: ModelCard, *, free: int, batch: int, per_pixel: float) -> MemoryEstimate:
    windows = batch * plan.raster.lattice.window**2
    called = batch * called_pixels(card, window=plan.raster.lattice.window) * per_pixel
    # Scores in float32 and the arrays computed from them.
    scores = sum(3 * 4 * output.n_planes * output.scale**2 for output in card.outputs) + loop_memory(card)
    prepared = sum(2 * 4 * len(entry.bands) * len(entry.steps) * entry.density for entry in plan.inputs)
    layers = sum(spec.bytes_per_pixel for spec in card.layer_specs()) + 2
    results = BLOCKS_OF_LAYERS * layers * plan.raster.product_block**2
    reading = max((_composite_bytes(plan, entry) for entry in plan.inputs), default=0.0)
    decoded = sum(_decoded_bytes(plan, entry) for entry in plan.inputs)
    if plan.places is not None:
        # Each caller reads and answers a unit of its own, some neighbouring windows at a time.
        patch = reading + sum(_step_bytes(plan, entry) for entry in plan.inputs)
        return MemoryEstimate(
            fixed=LIBRARY_BYTES + 2 * _weight_bytes(card) + PLACES_CACHE_BYTES,
            blocks=0.0,
            caller=called + windows * (scores + prepared) + patch,
            most_callers=len(plan.raster.blocks),
        )
    cached = read_order_of(plan, plan.raster.blocks, free=free).cache_bytes
    in_memory = MIN_BLOCKS_IN_MEMORY * sum(_step_bytes(plan, entry) for entry in plan.inputs)
    return MemoryEstimate(
        fixed=LIBRARY_BYTES + 2 * _weight_bytes(card) + min(cached, decoded),
        blocks=in_memory + reading + results,
        caller=called + windows * (scores + prepared),
        most_callers=ceil(
            (plan.raster.lattice.block // plan.raster.lattice.step + 2 * plan.raster.lattice.reach) ** 2 / batch
        ),
    )


def known_memory(plan: Plan, card: ModelCard, *, n_callers: int, batch: int = 1, on_gpu: bool = False) -> float | None:
    """Bytes of a run with so many callers; None where the memory of its model was not measured before."""
    free = free_memory()
    per_pixel = 0.0 if on_gpu else _model_bytes(plan, card, known_only=True)
    if per_pixel is None:
        return None
    return _estimate(plan, card, free=free, batch=batch, per_pixel=per_pixel).total(n_callers)


def fitting_callers(
    plan: Plan, card: ModelCard, *, n_callers: int, free: int, batch: int = 1, on_gpu: bool = False
) -> int:
    """The number of model callers that fit in ``free`` bytes, at most ``n_callers``; no pixel depends on it.

    The model is measured only where a very large one would not fit.

    Raises LowMemoryError where not even one caller fits.
    """
    if _estimate(plan, card, free=free, batch=batch, per_pixel=LARGEST_BYTES_PER_PIXEL).total(n_callers) <= free:
        return n_callers
    expected = expected_memory(plan, card, free=free, batch=batch, on_gpu=on_gpu)
    if expected.total(n_callers) <= free:
        return n_callers
    if expected.total(1) <= free:
        return int((free - expected.total(0)) // expected.caller)
    blocks, windows = expected.blocks / 1e6, expected.caller / 1e6
    smaller = "tile.block" if blocks > windows else "tile.step"
    now = plan.raster.lattice.block if smaller == "tile.block" else plan.raster.lattice.step
    raise LowMemoryError(
        f"No room for memory: this job needs about {expected.total(1) / 1e6:,.0f} MB ({blocks:,.0f} for blocks, "
        f"{windows:,.0f} for one window of the model), and {free / 1e6:,.0f} MB are free. Set a smaller {smaller} "
        f"(it is {now}), close other programs, or use a machine with more."
    )


def block_memory(plan: Plan) -> float:
    """Bytes to read one more block: its finished steps, and the step with the most days while it is composited."""
    reading = max((_composite_bytes(plan, entry) for entry in plan.inputs), default=0.0)
    return reading + sum(_step_bytes(plan, entry) for entry in plan.inputs)


def finish_memory(plan: Plan, card: ModelCard, *, n_cores: int) -> float:
    """Bytes to write files and smaller levels, which a run does while blocks come where it has room for them.

    A file holds a strip of 512 rows and its levels, read and written, and GDAL's buffers; a thread that cuts holds five
    blocks, and four more are being made smaller. A layer of ids is numbered by rows of blocks.
    """
    known = {spec.name: spec.bytes_per_pixel for spec in card.layer_specs()}
    sizes = sorted((sum(known[name] for name in layers) for layers in plan.files.values()), reverse=True)
    strips = [FILE_BYTES + 4 * 512 * plan.raster.product_grid.extent.shape[1] * size for size in sizes]
    block = plan.raster.product_block**2 * max([2, *(known[name] for name in plan.raster.layers)])
    ids = sum(1 for spec in card.layer_specs() if spec.kind == "id" and spec.name in plan.raster.layers)
    row = plan.raster.product_block * plan.raster.product_grid.extent.shape[1]
    return sum(strips[:MAX_PARALLEL_FILES]) + (5 * n_cores + 4) * block + ids * ID_BYTES * row


def inputs_memory(plan: Plan) -> float:
    """Bytes of the inputs of the blocks in memory, from which the planner chose how large they are."""
    return MIN_BLOCKS_IN_MEMORY * sum(_step_bytes(plan, entry) for entry in plan.inputs)


def _weight_bytes(card: ModelCard) -> int:
    files = [card.model_path, *card.weights, *(card.words.decoders if card.words else ())]
    return sum(path.stat().st_size for path in files) + sum(_weight_bytes(member) for member in card.members[1:])


def _read_side(plan: Plan) -> int:
    """Pixels per side of a block with its halo and margin."""
    return plan.raster.lattice.block + 2 * plan.raster.read_halo


def _step_bytes(plan: Plan, entry: InputPlan) -> float:
    """Bytes of a block's finished steps: float32 bands, counts per step, and masks made from them."""
    pixels = _read_side(plan) ** 2 * entry.density
    return pixels * (len(entry.steps) * (4 * len(entry.bands) + 2) + 3)


def _composite_bytes(plan: Plan, entry: InputPlan) -> float:
    """Bytes of the step with the most passes while it is composited: its observations, and one band's while it is
    reduced.
    """
    passes = max((len(step.passes) for step in entry.steps), default=1)
    pixels = _read_side(plan) ** 2 * entry.density
    return min(pixels * passes * 4 * len(entry.bands), STACK_BYTES) * (1 + 1 / max(len(entry.bands), 1))


def _decoded_bytes(plan: Plan, entry: InputPlan) -> float:
    """Bytes of all scenes and bands of an input over the whole area, as stored."""
    height, width = plan.raster.grid.extent.shape
    return 2 * height * width * entry.density * len(entry.bands) * len(entry.scenes)
