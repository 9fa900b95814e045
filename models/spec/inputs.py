"""One input of a model: collection, bands, unit, dates, scaling, missing values, layout."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tilewright.models.spec.arrays import input_axes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.spec.draws.stochastic import Draw
    from tilewright.models.spec.expression import Expression
    from tilewright.models.spec.scaling import Scaling
    from tilewright.models.spec.statistics import BandStatistics


DatesKind = Literal["composite", "pair", "series", "each", "static"]

Gaps = Literal["leave", "carry", "interpolate"]

Fill = float | Literal["nearest", "mean", "nearest-date"]

ExtraKind = Literal[
    "day_of_year",
    "valid_mask",
    "lonlat",
    "wavelengths",
    "constant",
    "place_mask",
    "pixel_size",
    "state",
    "noise",
    "drawn",
    "time",
    "tokens",
    "token_mask",
]

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "day_of_year": ("day_of_year", "year", "month", "days_since_first"),
    "lonlat": ("lon", "lat"),
    "pixel_size": ("width", "height"),
}
"""The parts that the feature axis of an extra input may hold, by kind."""


REDUCERS: Final = ("median", "mean", "min", "max", "first", "last", "least-cloudy", "medoid", "best-pixel")
"""The names of the reducers; another one is `percentile:p` with p from 0 to 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatesSpec:
    """The dates of one input.

    `steps` is the length of the time axis (1 composite or static, 2 pair, T series; None for `each` with a free axis);
    `every` is the length of a series' step ("month", "week", "10D", ...), None when the period is cut into equal parts.
    """

    kind: DatesKind = "composite"
    reducer: str = "median"
    steps: int | None = 1
    every: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSpec:
    """The values that replace missing observations, in physical units before scaling.

    `fill`: one rule for all bands or one per band: a number, "nearest" (nearest valid pixel of the window),
    "nearest-date" (the same pixel at the nearest step), "mean" (of the band and step in the window).
    `pad`: the rule for rims where the archive ends. `steps`: the rule for a step without any scene.
    `gaps`: the rule for a pixel not observed at a step, applied before windows are cut: "leave" it missing, "carry"
    the value of the nearest date, "interpolate" between the dates around; None if the card leaves the rule to the job.
    """

    fill: Fill | tuple[Fill, ...] = "nearest"
    pad: Literal["mirror", "fill"] = "mirror"
    steps: Literal["fill", "refuse"] = "fill"
    gaps: Gaps | None = None

    @property
    def from_window(self) -> bool:
        """Whether a missing value is filled from other pixels of its window, so that it hangs on the window's place.

        A number and the same pixel at another date do not; "nearest-date" falls back to "nearest" where no date has a
        value. Mirrored rims are the window's own pixels too.
        """
        rules = self.fill if isinstance(self.fill, tuple) else (self.fill,)
        return self.pad == "mirror" or any(isinstance(each, str) for each in rules)

    def of_band(self, index: int) -> Fill:
        """The fill rule of one band by its index in `InputSpec.bands`."""
        return self.fill[index] if isinstance(self.fill, tuple) else self.fill


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of the graph that is filled with pixels.

    `bands` are in the card's order (derived names included); `source_bands` are the bands to read, in order of first
    use. `shape` is -1 where free; `dim_order` is as written in the card; `value_scaling` has one entry per band.
    `filter` holds further conditions on scenes (mode, orbit_state, ...).
    `resize` is the method that resizes a window to the height and width in `shape`, None if it has that size.
    `statistics` are those of each band's values, None for a band of which the card tells none; empty for no band.
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
    statistics: tuple[BandStatistics | None, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """The meaning of each dimension: batch, time, bands, height, width."""
        axes = input_axes(self.dim_order)
        assert axes is not None, f"the input {self.name} was accepted with the unknown dimensions {self.dim_order}"
        return axes

    def size(self, axis: str) -> int | None:
        """The fixed size of an axis, None when it is free or absent."""
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
        """Whether several steps are folded into the bands axis, because the array has no time axis."""
        return "time" not in self.axes and (self.dates.steps or 1) > 1

    @property
    def told(self) -> bool:
        """Whether the card tells statistics of one of the bands."""
        return any(each is not None for each in self.statistics)

    @property
    def neutral(self) -> tuple[float, ...]:
        """Per band, the physical value used if a whole window has no valid pixel and the fill rule is no number."""
        return tuple(scaling.neutral if math.isfinite(scaling.neutral) else 0.0 for scaling in self.value_scaling)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraInput:
    """One input of the graph that is computed instead of read.

    `of` names the input whose steps, mask or bands it describes; `parts` are the entries of its feature axis;
    `values` are the constants, wavelengths (micrometres), the times of a loop, the tokens of a prompt or their mask; a
    value v is scaled to `(v - shift) * gain`. A loop's state has `scale` pixels per pixel of the card's grid, and
    begins with noise of `seed`. Noise, which no card names, goes onto the input `of` of that scale in so many passes as
    `values` begin with, of the deviations that follow, one for each band, as they are scaled; its array holds the
    absolute row and column of each window's first pixel, and its height and width. What a graph draws (`draw`) has
    `scale` pixels per pixel of the card's grid, and no height and width where it is the same in all windows.
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
    scale: float = 1.0
    seed: int = 0
    draw: Draw | None = None

    @property
    def of_window(self) -> bool:
        """Whether one value summarises a whole window, and so depends on the window's position."""
        return self.kind in {"valid_mask", "lonlat", "place_mask", "pixel_size"} and "height" not in (
            input_axes(self.dim_order) or ()
        )
