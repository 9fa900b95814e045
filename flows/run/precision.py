"""Compares a job's precision with single precision on some of its own windows, before anything is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.flows.job.options import MIN_GATE
from tilewright.flows.plan.model_graph import load_model, load_reference
from tilewright.flows.precision.windows import MAX_READ, compared_windows
from tilewright.tasks.block.infer import infer_block

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.block.infer import BlockResult, LoadedModel
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.plan.plan import Plan


PERCENT_TOLERANCE, DEVIATION_TOLERANCE = 2, 0.01
"""Pixels agree with the same class, with percentages within two points, and with values within a hundredth of the
layer's standard deviation."""


class PrecisionError(ValueError):
    """Another precision than single was requested, and its results differ too much from single precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionFound:
    """How a precision compares with single: ``shares`` of agreeing pixels by layer of the product, over some windows.

    The seconds are those of one window, read inputs to layers, by a single caller, with the model and as single
    precision would run it here: the shortest of all windows.
    """

    shares: dict[str, float]
    n_windows: int
    n_pixels: int
    gate: float
    seconds: float
    reference_seconds: float
    reference: str

    def to_json(self) -> dict[str, Any]:
        """The values of the report."""
        return {
            "agreement": self.shares,
            "gate": self.gate,
            "windows": self.n_windows,
            "pixels": self.n_pixels,
            "seconds_per_window": self.seconds,
            "fp32_seconds_per_window": self.reference_seconds,
            "fp32_provider": self.reference,
        }


def check_precision(plan: Plan, card: ModelCard, *, provider: str, gate: float = MIN_GATE) -> PrecisionFound:
    """The comparison of a plan's precision with single precision, over windows spread over the plan.

    Raises PrecisionError where a layer agrees on a smaller share than ``gate``, and where no window has a valid pixel.
    """
    precision = plan.model.precision
    models = (load_reference(plan, card, provider=provider), load_model(plan, card, provider=provider))
    agreements: dict[str, list[np.ndarray]] = {}
    fastest, n_windows = [np.inf, np.inf], 0
    for inputs in compared_windows(plan):
        if not n_windows:
            # The first call of a session prepares it.
            for model in models:
                infer_block(plan, model, inputs)
        results = [_timed(plan, model, inputs) for model in models]
        fastest = [min(each, result[1]) for each, result in zip(fastest, results, strict=True)]
        n_windows += 1
        single, other = (result.layers for result, _ in results)
        for spec in card.layer_specs():
            if spec.name in plan.raster.layers:
                agreements.setdefault(spec.name, []).append(agreement(spec, single[spec.name], other[spec.name]))
    if not n_windows:
        unlike = "other than those it was calibrated on " if precision == "int8" else ""
        raise PrecisionError(
            f"precision: {precision} could not be held against fp32: none of {MAX_READ} windows {unlike}has a valid "
            "pixel. Run with precision: fp32."
        )
    joined = {name: np.concatenate(parts) for name, parts in agreements.items()}
    found = PrecisionFound(
        # A layer without a value in either precision agrees.
        shares={name: float(agree.mean()) if agree.size else 1.0 for name, agree in joined.items()},
        n_windows=n_windows,
        n_pixels=max(agree.size for agree in joined.values()),
        gate=gate,
        seconds=fastest[1],
        reference_seconds=fastest[0],
        reference=models[0].session.provider,
    )
    _hold(found, precision)
    return found


def _hold(found: PrecisionFound, precision: str) -> None:
    worst = min(found.shares, key=lambda name: found.shares[name])
    if found.shares[worst] < found.gate:
        raise PrecisionError(
            f"precision: {precision} gives the {worst} of fp32 on {found.shares[worst]:.2%} of the pixels of "
            f"{found.n_windows} of the job's windows; {found.gate:.3%} is needed (precision_gate). Run "
            "with precision: fp32."
        )


def _timed(plan: Plan, model: LoadedModel, inputs: BlockInputs) -> tuple[BlockResult, float]:
    began = time.perf_counter()
    result = infer_block(plan, model, inputs)
    return result, (time.perf_counter() - began) / max(1, result.windows_run)


def agreement(spec: LayerSpec, single: np.ndarray, half: np.ndarray) -> np.ndarray:
    """True where half precision agrees with single, (pixel) bool over the pixels that have a value in either."""
    if spec.dtype.startswith("float"):
        compared = ~(np.isnan(single) & np.isnan(half))
        deviation = float(np.nanstd(single)) if np.isfinite(single).any() else 0.0
        return np.asarray(np.abs(single - half)[compared] <= DEVIATION_TOLERANCE * deviation)
    compared = (single != spec.nodata) | (half != spec.nodata)
    difference = np.abs(single.astype(int) - half.astype(int))[compared]
    return np.asarray(difference <= (PERCENT_TOLERANCE if spec.kind in {"percent", "vector"} else 0))
