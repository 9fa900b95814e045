"""What one input of a model takes: collection, bands, unit, dates, scaling, missing values, layout."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tilewright.models.spec.arrays import input_axes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.spec.expression import Expression
    from tilewright.models.spec.scaling import Scaling


DatesKind = Literal["composite", "pair", "series", "each", "static"]

Gaps = Literal["leave", "carry", "interpolate"]

Fill = float | Literal["nearest", "mean", "nearest-date"]

ExtraKind = Literal["day_of_year", "valid_mask", "lonlat", "wavelengths", "constant"]

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "day_of_year": ("day_of_year", "year", "month", "days_since_first"),
    "lonlat": ("lon", "lat"),
}
"""What the last axis of an extra input may hold, by kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatesSpec:
    """Which dates an input takes.

    `steps` is the length of the time axis (1 composite or static, 2 pair, T series; None for `each` with a free axis);
    `every` is the length of a series' step ("month", "week", "10D", ...), None when the period is cut into equal parts.
    """

    kind: DatesKind = "composite"
    reducer: str = "median"
    steps: int | None = 1
    every: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSpec:
    """What stands where an observation is missing, in physical units before scaling.

    `fill`: one rule for all bands or one per band: a number, "nearest" (nearest valid pixel of the window),
    "nearest-date" (the same pixel's nearest step), "mean" (of the band and step in the window).
    `pad`: rims where the archive ends. `steps`: what to do with a step that has no scene at all.
    `gaps`: what stands at a step where a pixel was not seen, before windows are cut: "leave" it missing, "carry" the
    value of the nearest date, "interpolate" between the dates around; None where the card leaves it to the job.
    """

    fill: Fill | tuple[Fill, ...] = "nearest"
    pad: Literal["mirror", "fill"] = "mirror"
    steps: Literal["fill", "refuse"] = "fill"
    gaps: Gaps | None = None

    def of_band(self, index: int) -> Fill:
        """The fill rule of one band by its place in `InputSpec.bands`."""
        return self.fill[index] if isinstance(self.fill, tuple) else self.fill


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of the graph that is filled with pixels.

    `bands` in the order given (derived names included), `source_bands` what must be read, in order of first use;
    `shape` with -1 where free, `dim_order` as the card writes it; `value_scaling` one per band;
    `filter` what scenes must satisfy beside their collection (mode, orbit_state, ...);
    `resize` the method by which a window is brought to the height and width in `shape`, None when it has that size.
    """

    name: str
    collection: str
    bands: tuple[str, ...]
    source_bands: tuple[str, ...]
    derived: Mapping[str, str] = field(default_factory=dict)
    expressions: Mapping[str, Expression] = field(default_factory=dict)
    unit: str = "reflectance"
    resolution: float | None = None
    resampling: str = "bilinear"
    dates: DatesSpec = field(default_factory=DatesSpec)
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    value_scaling: tuple[Scaling, ...]
    missing: MissingSpec = field(default_factory=MissingSpec)
    optional: bool = False
    resize: str | None = None
    fold: Literal["time-major", "band-major"] = "time-major"
    filter: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[str, ...]:
        """The meaning of each dimension: batch, time, bands, height, width."""
        axes = input_axes(self.dim_order)
        assert axes is not None, f"the input {self.name} was accepted with the unknown dimensions {self.dim_order}"
        return axes

    def size(self, axis: str) -> int | None:
        """The fixed size of an axis, None when it is free or not there."""
        axes = self.axes
        length = self.shape[axes.index(axis)] if axis in axes else -1
        return None if length < 1 else length

    @property
    def window(self) -> int | None:
        """Height (= width) of the array in pixels, None when free or pixel-wise."""
        return self.size("height")

    @property
    def pixelwise(self) -> bool:
        """Whether the array has no height and width: each pixel is a row of the batch."""
        return "height" not in self.axes

    @property
    def folded(self) -> bool:
        """Whether several steps stand in the bands axis instead of a time axis of their own."""
        return "time" not in self.axes and (self.dates.steps or 1) > 1

    @property
    def neutral(self) -> tuple[float, ...]:
        """Per band, the physical value used where a whole window has no valid pixel and the rule is no number."""
        return tuple(scaling.neutral if math.isfinite(scaling.neutral) else 0.0 for scaling in self.value_scaling)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraInput:
    """One input of the graph that is computed, not read.

    `of` names the input whose steps, mask or bands it speaks of; `parts` what its feature axis holds;
    `values` the constants or wavelengths (micrometres); `shift` and `gain` bring a value v to `(v - shift) * gain`.
    """

    name: str
    kind: ExtraKind
    of: str
    parts: tuple[str, ...]
    values: tuple[float, ...]
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    shift: float = 0.0
    gain: float = 1.0

    @property
    def of_window(self) -> bool:
        """Whether one value sums up a whole window, and so depends on where windows lie."""
        return self.kind in {"valid_mask", "lonlat"} and "height" not in (input_axes(self.dim_order) or ())
