"""Compares half with single precision on some of a job's own windows, before anything is written."""

from __future__ import annotations

from itertools import chain, islice, product
from typing import TYPE_CHECKING

import numpy as np

from tilewright.flows.plan.model_graph import load_model
from tilewright.flows.runners.worker import plan_source, scene_access
from tilewright.tasks.block.infer import infer_block
from tilewright.tasks.block.inputs import read_inputs
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.read.failures import FailureLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.blocks import Block
    from tilewright.tasks.plan.plan import Plan


N_WINDOWS = 4
"""Windows with valid pixels that are compared."""

MAX_READ = 16
"""Windows that are read at most to find them."""

MIN_AGREEMENT = 0.995
"""Share of each layer's pixels that must agree at least."""

PERCENT_TOLERANCE, DEVIATION_TOLERANCE = 2, 0.01
"""Pixels agree with the same class, with percentages within two points, and with values within a hundredth of the
layer's standard deviation."""


class PrecisionError(ValueError):
    """Half precision was requested, and its results differ too much from single precision."""


def check_precision(plan: Plan, card: ModelCard, *, provider: str) -> dict[str, float]:
    """The share of agreeing pixels by layer, over windows spread over the plan.

    Raises PrecisionError where a layer agrees on fewer than LEAST_SHARE, and where no window has a valid pixel.
    """
    models = [load_model(plan, card, provider=provider, precision=precision) for precision in ("fp32", "fp16")]
    agreements: dict[str, list[np.ndarray]] = {}
    for inputs in _first_windows(plan):
        single, half = (infer_block(plan, model, inputs).layers for model in models)
        for spec in card.layer_specs():
            agreements.setdefault(spec.name, []).append(_agreement(spec, single[spec.name], half[spec.name]))
    if not agreements:
        raise PrecisionError(
            f"precision: fp16 could not be held against fp32: none of {MAX_READ} windows has a valid pixel. Run with "
            "precision: fp32."
        )
    shares = {name: float(np.concatenate(parts).mean()) for name, parts in agreements.items()}
    worst = min(shares, key=lambda name: shares[name])
    if shares[worst] < MIN_AGREEMENT:
        raise PrecisionError(
            f"precision: fp16 gives the {worst} of fp32 on {shares[worst]:.2%} of the pixels of the job's first "
            f"windows; {MIN_AGREEMENT:.1%} is needed. Run with precision: fp32."
        )
    return shares


def _first_windows(plan: Plan) -> Iterator[BlockInputs]:
    """The inputs of up to N_WINDOWS windows with valid pixels, spread over the plan."""
    access = scene_access(plan_source(plan), FailureLog(tolerance=0))
    n_found = 0
    for candidate in _candidates(plan):
        inputs = read_inputs(plan, candidate, access)
        if inputs.valid[candidate.inner.slices_in(candidate.outer)].any():
            n_found += 1
            yield inputs
        if n_found == N_WINDOWS:
            return


def _candidates(plan: Plan) -> Iterator[Block]:
    """Up to MAX_READ blocks of one step each: first the middles of blocks spread over the plan, then the rest."""
    step, halo = plan.raster.lattice.step, plan.raster.lattice.halo + plan.raster.margin
    boxes = [block.inner.intersect(plan.raster.grid.extent) for block in plan.raster.all_blocks()]
    middles = [
        ((box.row_start + box.row_stop) // 2 // step, (box.col_start + box.col_stop) // 2 // step)
        for box in boxes[:: max(1, len(boxes) // N_WINDOWS)]
    ]
    others = (place for box in boxes for place in product(*block_range(box, block=step)))
    for row, col in islice(dict.fromkeys(chain(middles, islice(others, MAX_READ))), MAX_READ):
        yield block_at(row=row, col=col, block=step, halo=halo)


def _agreement(spec: LayerSpec, single: np.ndarray, half: np.ndarray) -> np.ndarray:
    """True where half precision agrees with single, (pixel) bool over the pixels that have a value in either."""
    if spec.kind == "value":
        compared = ~(np.isnan(single) & np.isnan(half))
        deviation = float(np.nanstd(single)) if np.isfinite(single).any() else 0.0
        return np.asarray(np.abs(single - half)[compared] <= DEVIATION_TOLERANCE * deviation)
    compared = (single != spec.nodata) | (half != spec.nodata)
    difference = np.abs(single.astype(int) - half.astype(int))[compared]
    return np.asarray(difference <= (PERCENT_TOLERANCE if spec.kind == "percent" else 0))
