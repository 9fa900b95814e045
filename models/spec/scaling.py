"""One entry of `value_scaling` as a function of physical values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.models.errors import CardError
from tilewright.models.spec.expression import Expression, parse_expression

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.models.fields import CardField


KINDS: Final = ("min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale", "processing")
"""Source: MLM extension v1.5, Value Scaling Object."""

FORMAT: Final = "tilewright"

VARIABLE: Final = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """`clip((x - shift) * gain, low, high)` for every MLM kind but `processing`, which is an expression over `x`.

    `neutral` is the physical value used where no value is known. Its scaled value lies near the middle of the training
    values (the mean of a z-score, the middle of a range, else 0).
    """

    kind: str
    shift: float = 0.0
    gain: float = 1.0
    low: float | None = None
    high: float | None = None
    neutral: float = 0.0
    expression: Expression | None = None

    @property
    def linear(self) -> bool:
        """Whether the scaling is `(x - shift) * gain` alone, so that it can be fused into a graph."""
        return self.expression is None and self.low is None and self.high is None

    def apply(self, values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the scaled float32 values to `out` (same shape; may be `values` itself)."""
        if self.expression is not None:
            out[...] = self.expression({VARIABLE: values})
            return
        if self.low is not None or self.high is not None:
            np.clip(values, _float32(self.low), _float32(self.high), out=out)
            return
        if self.shift == 0.0:
            np.multiply(values, np.float32(self.gain), out=out)
            return
        # Subtraction first keeps the digits of values that are many deviations away from zero (kelvin, metres).
        np.subtract(values, np.float32(self.shift), out=out)
        if self.gain != 1.0:
            np.multiply(out, np.float32(self.gain), out=out)


def _float32(value: float | None) -> np.float32 | None:
    return None if value is None else np.float32(value)


NO_SCALING: Final = Scaling(kind="none")


def parse_scaling(field: CardField) -> Scaling:
    """The scaling of one object of the card's `value_scaling`. Raises CardError naming its field.

    Source: MLM extension v1.5, Value Scaling Object: min-max `(x - minimum) / (maximum - minimum)`,
    z-score `(x - mean) / stddev`, offset `x - value`, scale `x / value`, clips as numpy's.
    """
    kind = field.choice("type", KINDS)
    match kind:
        case "min-max" | "clip":
            return _range(field, kind)
        case "z-score":
            mean, stddev = field.number("mean"), field.number("stddev", positive=True)
            return Scaling(kind=kind, shift=mean, gain=1.0 / stddev, neutral=mean)
        case "clip-min" | "clip-max":
            return _half_range(field, kind)
        case "offset":
            return Scaling(kind=kind, shift=field.number("value"))
        case "scale":
            return Scaling(kind=kind, gain=1.0 / _divisor(field))
    return _processing(field)


def _half_range(field: CardField, kind: str) -> Scaling:
    if kind == "clip-min":
        low = field.number("minimum")
        return Scaling(kind=kind, low=low, neutral=max(0.0, low))
    high = field.number("maximum")
    return Scaling(kind=kind, high=high, neutral=min(0.0, high))


def _range(field: CardField, kind: str) -> Scaling:
    low, high = field.number("minimum"), field.number("maximum")
    if not low < high:
        raise field.refuse("maximum", f"write a number greater than minimum ({low:g})")
    middle = (low + high) / 2
    if kind == "clip":
        return Scaling(kind=kind, low=low, high=high, neutral=middle)
    return Scaling(kind=kind, shift=low, gain=1.0 / (high - low), neutral=middle)


def _divisor(field: CardField) -> float:
    value = field.number("value")
    if value == 0:
        raise field.refuse("value", "write the number to divide by, not 0")
    return value


def _processing(field: CardField) -> Scaling:
    if field.text("format") != FORMAT:
        raise field.refuse("format", f"write {FORMAT!r}: no other expression language is run")
    expression = parse_expression(field.text("expression"), field=field.at("expression"))
    if expression.names != (VARIABLE,):
        raise CardError(f"{field.at('expression')} is {expression.text!r}; write arithmetic over {VARIABLE!r} alone")
    return Scaling(kind="processing", expression=expression)
