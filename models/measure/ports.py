"""A card's inputs and outputs as ports of the probe: the meaning of each axis, and the range of values to try."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.models.measure.probe import Port
from tilewright.models.measure.reach.values import Plane
from tilewright.models.run.smoke_run import OTHER_RANGE, physical_range
from tilewright.models.spec.arrays import input_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import ExtraInput, InputSpec
    from tilewright.models.spec.outputs import OutputSpec


EXTRA_RANGES: Final = {
    "day_of_year": (1.0, 366.0),
    "valid_mask": (0.0, 1.0),
    "place_mask": (0.0, 1.0),
    "lonlat": (-90.0, 90.0),
    "state": (-3.0, 3.0),
    "pixel_size": (0.3, 60.0),
}

FINEST_SHARE: Final = 1000
"""Largest denominator of the ratio of two inputs' pixel sizes."""


def card_ports(card: ModelCard) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The card's inputs (extra ones included) and outputs; sizes are relative to its grid, that of the finest input."""
    ratios = {spec.name: Fraction(1 / card.ratio(spec)).limit_denominator(FINEST_SHARE) for spec in card.inputs}
    pixels = tuple(_input(spec, ratios[spec.name]) for spec in card.inputs)
    steps = {spec.name: spec.dates.steps or -1 for spec in card.inputs}
    ratios |= {
        each.name: Fraction(each.scale).limit_denominator(FINEST_SHARE)
        for each in card.extras
        if each.kind in {"state", "drawn"}
    }
    extras = tuple(
        _extra(extra, ratios.get(extra.name, ratios[extra.of]), n_steps=steps[extra.of]) for extra in card.extras
    )
    return (*pixels, *extras), tuple(_output(spec) for spec in card.outputs)


def _input(spec: InputSpec, ratio: Fraction) -> Port:
    low, high = _scaled_range(spec)
    return Port(
        name=spec.name, dims=spec.axes, shape=_known_shape(spec), dtype=spec.data_type, ratio=ratio, low=low, high=high
    )


def _known_shape(spec: InputSpec) -> tuple[int, ...]:
    """The shape, in which free bands and steps are replaced by the numbers that the card states elsewhere."""
    n_steps = spec.dates.steps or -1
    known = {"bands": len(spec.bands) * (n_steps if spec.folded else 1), "time": n_steps}
    return tuple(
        known.get(axis, -1) if length < 1 else length for axis, length in zip(spec.axes, spec.shape, strict=True)
    )


def _scaled_range(spec: InputSpec) -> tuple[float, float]:
    """The range of the graph's input over all bands: physical values of the unit, scaled as in the card."""
    limits = []
    for band, scaling in zip(spec.bands, spec.value_scaling, strict=True):
        physical = OTHER_RANGE if band in spec.derived else physical_range(spec.unit)
        values = np.linspace(*physical, 32, dtype=np.float32)
        scaling.apply(values, values)
        limits.extend(values[np.isfinite(values)].tolist())
    low, high = min(limits, default=0.0), max(limits, default=1.0)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _extra(extra: ExtraInput, ratio: Fraction, *, n_steps: int) -> Port:
    known = {"time": n_steps, "bands": len(extra.values) if extra.kind == "wavelengths" else max(1, len(extra.parts))}
    known["token"] = len(extra.values) or -1
    axes = input_axes(extra.dim_order) or extra.dim_order
    shape = tuple(known.get(axis, -1) if n < 1 else n for axis, n in zip(axes, extra.shape, strict=True))
    ends = extra.draw.ends if extra.draw else EXTRA_RANGES.get(extra.kind, OTHER_RANGE)
    if extra.kind == "time":
        # A loop looks at several; all of them are of the graph's range.
        ends = (min(extra.values), max(extra.values))
    low, high = ((end - extra.shift) * extra.gain for end in ends)
    return Port(
        name=extra.name,
        dims=axes,
        shape=shape,
        dtype=extra.data_type,
        ratio=ratio,
        low=min(low, high),
        high=max(low, high),
        constants=tuple((each - extra.shift) * extra.gain for each in extra.values if extra.kind != "time"),
    )


def _output(spec: OutputSpec) -> Port:
    ratio = Fraction(spec.scale).limit_denominator(FINEST_SHARE)
    return Port(name=spec.name, dims=spec.axes, shape=spec.shape, dtype=spec.data_type, ratio=ratio, crop=spec.cropped)


def planes(ports: Sequence[Port], *, rows: bool = False) -> tuple[Plane, ...]:
    """The ports as planes for following the reach over height and width; `rows`: over the windows of a batch instead,
    or over its pixels where each is a row.
    """
    return tuple(
        Plane(
            name=port.name,
            rank=len(port.dims),
            places=_places(port, rows=rows),
            ratio=Fraction(1) if rows else port.ratio,
            crop=port.crop if port.spatial and not rows else (0, 0),
        )
        for port in ports
    )


def _places(port: Port, *, rows: bool) -> dict[str, int]:
    rank = len(port.dims)
    if rows:
        return {"h": port.dims.index("batch") - rank} if "batch" in port.dims else {}
    return {name: axis - rank for name, axis in zip("hw", port.axes, strict=True)} if port.spatial else {}
