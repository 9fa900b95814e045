"""Half precision held against single precision on a job's own first windows, before anything is written."""

from __future__ import annotations

from itertools import chain, islice, product
from typing import TYPE_CHECKING

import numpy as np

from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.runners.worker import scene_access
from tilewright.tasks.block.infer import infer_block
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.grid.blocks import block_at, block_range
from tilewright.tasks.read.failures import FailureLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.plan import Plan


WINDOWS = 4
"""Windows with valid pixels that are compared, and ..."""

TRIED = 16
"""... the most that are read to find them."""

LEAST_SHARE = 0.995
"""Share of each layer's pixels that must agree."""

POINTS, DEVIATIONS = 2, 0.01
"""What agrees: the same class, percentages within two points, values within a hundredth of their deviation."""


class PrecisionError(ValueError):
    """Half precision was asked for and does not answer as single precision does."""


def check_precision(plan: Plan, card: ModelCard, *, provider: str) -> dict[str, float]:
    """The share of pixels that agree, by layer, of windows spread over the plan.

    Raises PrecisionError where a layer agrees on fewer than LEAST_SHARE, and where no window has a valid pixel.
    """
    models = [load_model(plan, card, provider=provider, precision=precision) for precision in ("fp32", "fp16")]
    agreeing: dict[str, list[np.ndarray]] = {}
    for inputs in _first_windows(plan):
        single, half = (infer_block(plan, model, inputs).layers for model in models)
        for spec in card.layer_specs():
            agreeing.setdefault(spec.name, []).append(_agree(spec, single[spec.name], half[spec.name]))
    if not agreeing:
        raise PrecisionError(
            f"precision: fp16 could not be held against fp32: none of {TRIED} windows has a valid pixel. Run with "
            "precision: fp32."
        )
    shares = {name: float(np.concatenate(parts).mean()) for name, parts in agreeing.items()}
    worst = min(shares, key=lambda name: shares[name])
    if shares[worst] < LEAST_SHARE:
        raise PrecisionError(
            f"precision: fp16 gives the {worst} of fp32 on {shares[worst]:.2%} of the pixels of the job's first "
            f"windows; {LEAST_SHARE:.1%} is needed. Run with precision: fp32."
        )
    return shares


def _first_windows(plan: Plan) -> Iterator[BlockInputs]:
    """Up to WINDOWS single windows with valid pixels, from the middles of blocks spread over the plan."""
    access = scene_access(plan, FailureLog(tolerance=0))
    found = 0
    for cell in _cells(plan):
        inputs = read_inputs(plan, cell, access)
        if inputs.valid[cell.inner.slices_in(cell.outer)].any():
            found += 1
            yield inputs
        if found == WINDOWS:
            return


def _cells(plan: Plan) -> Iterator[Block]:
    """Up to TRIED blocks of one step each: first the middles of blocks spread over the plan, then whatever comes."""
    step, halo = plan.raster.lattice.step, plan.raster.lattice.halo + plan.raster.margin
    boxes = [block.inner.intersect(plan.raster.grid.extent) for block in plan.raster.all_blocks()]
    middles = [
        ((box.row_start + box.row_stop) // 2 // step, (box.col_start + box.col_stop) // 2 // step)
        for box in boxes[:: max(1, len(boxes) // WINDOWS)]
    ]
    rest = (place for box in boxes for place in product(*block_range(box, block=step)))
    for row, col in islice(dict.fromkeys(chain(middles, islice(rest, TRIED))), TRIED):
        yield block_at(row=row, col=col, block=step, halo=halo)


def _agree(spec: LayerSpec, single: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Whether each pixel that is not nodata in both agrees, in a row."""
    if spec.kind == "value":
        seen = ~(np.isnan(single) & np.isnan(half))
        deviation = float(np.nanstd(single)) if np.isfinite(single).any() else 0.0
        near: np.ndarray = np.abs(single - half)[seen] <= DEVIATIONS * deviation
        return near
    seen = (single != spec.nodata) | (half != spec.nodata)
    apart = np.abs(single.astype(int) - half.astype(int))[seen]
    same: np.ndarray = apart <= (POINTS if spec.kind == "percent" else 0)
    return same
