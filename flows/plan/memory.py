"""How much memory a run will hold at its peak, told from its plan; refused early where there is less."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.flows.machine import free_memory
from tilewright.flows.plan.model_graph import plan_tuned_card
from tilewright.models.measure.memory import card_memory
from tilewright.tasks.block.read_order import plan_read_order
from tilewright.tasks.read.gdal import CACHE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.read_order import ReadOrder
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


LIBRARIES: Final = 380e6
"""Bytes a process has with all it imports and a small model, measured on Linux with Python 3.11."""

MOST_DECODED: Final = 2 * 2**30
"""Bytes of decoded file blocks kept at most: a dozen dates of four bands, six blocks wide."""

DECODED_SHARE: Final = 8
"""The part of free memory, one in so many, that decoded file blocks may take."""

RESULTS_HELD: Final = 3
"""Blocks of layers at hand: one being filled, one being written and its compressed copy."""

FALLBACK_PER_PIXEL: Final = 1000.0
"""Bytes per pixel of a window where a model's own could not be measured: a small U-Net's."""


LARGEST_PER_PIXEL: Final = 2e4
"""Bytes per pixel of a window beyond any model seen: where even that fits, nothing need be measured."""

FEWEST_ALIVE = 3
"""Blocks in memory that keep two cores busy: one being read, one in the model, and the one that follows it without a
gap. More would only fill the memory."""


class RoomError(JobError):
    """No room for memory: what the job needs, what is free, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes at the peak: what any run has, of pixels and layers, and of one caller of the model.

    ``most_callers`` are the calls of the model that one block can keep busy.
    """

    fixed: float
    blocks: float
    caller: float
    most_callers: int

    def total(self, n_callers: int) -> float:
        """Bytes with so many callers."""
        return self.fixed + self.blocks + min(n_callers, self.most_callers) * self.caller


def read_order_of(plan: Plan, places: Sequence[tuple[int, int]], *, free: int) -> ReadOrder:
    """In which order a process reads the blocks at (row, col), and the decoded pixels it keeps, with ``free`` bytes to
    count on.
    """
    return plan_read_order(plan, places, least=CACHE_BYTES, most=min(MOST_DECODED, free // DECODED_SHARE))


def expected_memory(
    plan: Plan, card: ModelCard, *, free: int | None = None, batch: int = 1, on_gpu: bool = False
) -> MemoryEstimate:
    """What a run of a plan holds, from the measured memory of its model; measures that where it is not yet known.

    ``free`` are the bytes it may count on, None for what is free now; ``on_gpu``: the model's own memory is the GPU's.
    """
    free = free_memory() if free is None else free
    if on_gpu:
        return _expected(plan, card, free=free, batch=batch, per_pixel=0.0)
    if plan.model.tuned:
        card = plan_tuned_card(plan, card)
    window = plan.raster.lattice.window if plan.model.tuned else None
    cache = cache_folder() / "memory"
    measured = card_memory(card, stride=int(plan.model.receptive["stride"]), cache=cache, window=window)
    return _expected(plan, card, free=free, batch=batch, per_pixel=measured or FALLBACK_PER_PIXEL)


def _expected(plan: Plan, card: ModelCard, *, free: int, batch: int, per_pixel: float) -> MemoryEstimate:
    windows = batch * plan.raster.lattice.window**2
    # Scores in float32 and what is made of them.
    scores = sum(3 * 4 * output.n_planes * output.scale**2 for output in card.outputs)
    prepared = sum(2 * 4 * len(entry.bands) * len(entry.steps) * entry.density for entry in plan.inputs)
    layers = sum(4 if spec.dtype == "float32" else 1 for spec in card.layer_specs()) + 2
    results = RESULTS_HELD * layers * plan.raster.product_block**2
    reading = max((_reading(plan, entry) for entry in plan.inputs), default=0.0)
    kept = read_order_of(plan, plan.raster.blocks, free=free).cache_bytes
    held = FEWEST_ALIVE * sum(_composited(plan, entry) for entry in plan.inputs)
    return MemoryEstimate(
        fixed=LIBRARIES + 2 * _weights(card) + min(kept, sum(_decoded(plan, entry) for entry in plan.inputs)),
        blocks=held + reading + results,
        caller=windows * (per_pixel + scores + prepared),
        most_callers=ceil(
            (plan.raster.lattice.block // plan.raster.lattice.step + 2 * plan.raster.lattice.reach) ** 2 / batch
        ),
    )


def fitting_callers(
    plan: Plan, card: ModelCard, *, n_callers: int, free: int, batch: int = 1, on_gpu: bool = False
) -> int:
    """How many callers of the model ``free`` bytes have room for, at most as many as asked; no pixel depends on it.

    The model is measured only where a very large one would not fit. Raises RoomError where not even one caller fits.
    """
    if _expected(plan, card, free=free, batch=batch, per_pixel=LARGEST_PER_PIXEL).total(n_callers) <= free:
        return n_callers
    expected = expected_memory(plan, card, free=free, batch=batch, on_gpu=on_gpu)
    if expected.total(n_callers) <= free:
        return n_callers
    if expected.total(1) <= free:
        return int((free - expected.total(0)) // expected.caller)
    blocks, windows = expected.blocks / 1e6, expected.caller / 1e6
    smaller = "tile.block" if blocks > windows else "tile.step"
    now = plan.raster.lattice.block if smaller == "tile.block" else plan.raster.lattice.step
    raise RoomError(
        f"No room for memory: this job needs about {expected.total(1) / 1e6:,.0f} MB ({blocks:,.0f} for blocks, "
        f"{windows:,.0f} for one window of the model), and {free / 1e6:,.0f} MB are free. Set a smaller {smaller} "
        f"(it is {now}), close other programs, or use a machine with more."
    )


def block_memory(plan: Plan) -> float:
    """Bytes that reading one more block takes: its finished steps, and the step with the most days meanwhile."""
    reading = max((_reading(plan, entry) for entry in plan.inputs), default=0.0)
    return reading + sum(_composited(plan, entry) for entry in plan.inputs)


def _weights(card: ModelCard) -> int:
    files = [card.model_path, *card.weights]
    return sum(path.stat().st_size for path in files) + sum(_weights(member) for member in card.members[1:])


def _side(plan: Plan) -> int:
    """Pixels per side of a block as it is read."""
    return plan.raster.lattice.block + 2 * (plan.raster.lattice.halo + plan.raster.margin)


def _composited(plan: Plan, entry: InputPlan) -> float:
    """Bytes of a block's finished steps: float32 bands, counts per step, and what is made of these."""
    pixels = _side(plan) ** 2 * entry.density
    return pixels * (len(entry.steps) * (4 * len(entry.bands) + 2) + 3)


def _reading(plan: Plan, entry: InputPlan) -> float:
    """Bytes of the step with the most days while it is composited: as stored, and one band of all days as float32."""
    days = max((len(step.days) for step in entry.steps), default=1)
    bands = len({*entry.bands, *entry.mask.bands})
    return _side(plan) ** 2 * entry.density * days * (2 * bands + 4)


def _decoded(plan: Plan, entry: InputPlan) -> float:
    """Bytes of all that is decoded over the whole area."""
    height, width = plan.raster.grid.extent.shape
    return 2 * height * width * entry.density * len(entry.bands) * len(entry.scenes)
