"""Physical values as the array a graph takes, exactly as the card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.spec.scaling import NO_SCALING
from tilewright.models.transforms.missing import fill_missing, mirror_rims
from tilewright.models.transforms.resize import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilewright.models.spec.inputs import InputSpec


def prepare_input(spec: InputSpec, steps: NDArray[np.float32], *, unit: str | None = None) -> NDArray[Any]:
    """The array of the graph's input `spec.name` for the steps (N, T, C, H, W) of its `source_bands`, NaN = missing.

    In this order: rims, unit (`unit` is what the steps come in, None = the card's), derived bands, missing values,
    resize, value_scaling in float32, layout, data type (whole numbers by rounding half to even and clipping to their
    range). `steps` is never changed. What comes out for window n depends on `steps[n]` alone, bit for bit.
    """
    assert steps.ndim == 5, f"steps must be (N, T, C, H, W), not {steps.shape}"
    assert steps.shape[2] == len(spec.source_bands), f"{steps.shape[2]} bands given, {spec.source_bands} expected"
    if spec.missing.pad == "mirror":
        steps = mirror_rims(steps)
    bands = derive_bands(spec, convert_unit(steps, given=unit or spec.unit, wanted=spec.unit))
    bands = fill_missing(bands, spec.missing, spec.neutral)
    if spec.resize is not None:
        size = spec.window or bands.shape[-1]
        bands = resize(bands, size=(size, size), method=spec.resize)
    n, t, _, height, width = bands.shape
    array, view = empty_array(spec, n=n, t=t, height=height, width=width)
    _write_scaled(spec, bands, view)
    return array


def absent_input(spec: InputSpec, *, n: int, height: int, width: int, steps: int = 1) -> NDArray[Any]:
    """The array of an optional input that has no scene: every value missing, so filled by the card's rule."""
    shape = (n, spec.dates.steps or steps, len(spec.source_bands), height, width)
    return prepare_input(spec, np.full(shape, np.nan, dtype=np.float32))


def convert_unit(steps: NDArray[np.float32], *, given: str, wanted: str) -> NDArray[np.float32]:
    """The steps in the unit wanted: linear power to dB and back; power that is not positive is missing in dB."""
    if given == wanted:
        return steps
    if (given, wanted) == ("linear", "db"):
        with np.errstate(all="ignore"):
            return np.where(steps > 0, np.float32(10) * np.log10(steps), np.float32(np.nan))
    assert (given, wanted) == ("db", "linear"), f"no way from {given} to {wanted}; refused where the job is planned"
    return np.power(np.float32(10), steps / np.float32(10))


def derive_bands(spec: InputSpec, steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The bands (N, T, C, H, W) in the card's order, from its source bands; `steps` itself when these are the same.

    A derived band is NaN where one of its bands is, and where its arithmetic has no answer.
    """
    if spec.bands == spec.source_bands:
        return steps
    source = {name: steps[:, :, i] for i, name in enumerate(spec.source_bands)}
    n, t, _, height, width = steps.shape
    bands = np.empty((n, t, len(spec.bands), height, width), dtype=np.float32)
    for i, name in enumerate(spec.bands):
        bands[:, :, i] = spec.expressions[name](source) if name in spec.expressions else source[name]
    return bands


def empty_array(spec: InputSpec, *, n: int, t: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The graph's array, not yet written, and the same memory seen as (N, T, C, H, W).

    Without height and width in the card each pixel is a row of the batch: (N * H * W, ...), row by row.
    """
    sizes = {"batch": n, "time": t, "bands": len(spec.bands), "height": height, "width": width}
    split: list[str] = []
    for axis in spec.axes:
        split.extend(_parts(spec, axis))
    full = np.empty([sizes[axis] for axis in split], dtype=spec.data_type)
    array = full.reshape([int(np.prod([sizes[part] for part in _parts(spec, axis)])) for axis in spec.axes])
    absent = [axis for axis in sizes if axis not in split]
    assert all(sizes[axis] == 1 for axis in absent), f"{spec.name} has no place for {absent} of {sizes}"
    view = full.reshape(*full.shape, *[1] * len(absent)).transpose([[*split, *absent].index(axis) for axis in sizes])
    return array, view


def _parts(spec: InputSpec, axis: str) -> tuple[str, ...]:
    """The axes that stand in one dimension of the card's array, the slowest first."""
    if axis == "batch" and spec.pixelwise:
        return ("batch", "height", "width")
    if axis == "bands" and spec.folded:
        return ("time", "bands") if spec.fold == "time-major" else ("bands", "time")
    return (axis,)


def _write_scaled(spec: InputSpec, bands: NDArray[np.float32], view: NDArray[Any]) -> None:
    """Write every band scaled, straight into the array where it is float32 and lies as the bands do."""
    kind = view.dtype
    if spec.value_scaling and all(scaling is spec.value_scaling[0] for scaling in spec.value_scaling):
        groups = [(spec.value_scaling[0], slice(None))]
    else:
        groups = [(scaling, slice(i, i + 1)) for i, scaling in enumerate(spec.value_scaling)]
    for scaling, channels in groups:
        source, target = bands[:, :, channels], view[:, :, channels]
        if kind == np.float32 and scaling.kind == NO_SCALING.kind:
            target[...] = source
        elif kind == np.float32 and scaling.expression is None:
            scaling.apply(source, target)
        else:
            scaled = np.empty(source.shape, dtype=np.float32)
            scaling.apply(source, scaled)
            target[...] = _cast(scaled, kind)


def _cast(values: NDArray[np.float32], kind: np.dtype[Any]) -> NDArray[Any]:
    """The values, which are written over, as another type."""
    if kind.kind not in "iu":
        return values.astype(kind)
    limits = np.iinfo(kind)
    if kind.itemsize <= 2:
        return np.clip(np.rint(values, out=values), limits.min, limits.max, out=values).astype(kind)
    # float64 holds every 32-bit limit; clipping in float32 would round 2**31 - 1 up and overflow.
    return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(kind)
