"""Converts physical values to the array that a graph takes, exactly as the card says."""

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

    Order of operations: rims, unit (`unit` is the unit of `steps`, None = the card's), derived bands, missing values,
    resize, value_scaling in float32, layout, data type (whole numbers are rounded half to even and clipped to their
    range). `steps` is never changed. The result of window n depends on `steps[n]` alone, bit for bit.
    """
    assert steps.ndim == 5, f"steps must be (N, T, C, H, W), not {steps.shape}"
    assert steps.shape[2] == len(spec.source_bands), f"{steps.shape[2]} bands given, {spec.source_bands} expected"
    if spec.missing.pad == "mirror":
        steps = mirror_rims(steps)
    bands = derive_bands(spec, convert_unit(steps, source=unit or spec.unit, target=spec.unit))
    if spec.resize is not None:
        bands = fill_missing(bands, spec.missing, spec.neutral)
        size = spec.window or bands.shape[-1]
        bands = resize(bands, size=(size, size), method=spec.resize)
    n, t, _, height, width = bands.shape
    array, view = empty_array(spec, n=n, t=t, height=height, width=width)
    if spec.resize is None:
        # What is filled is scaled where it is, without another array of that size.
        in_place = view.dtype == np.float32 and view.flags.c_contiguous
        bands = fill_missing(bands, spec.missing, spec.neutral, out=view if in_place else None)
    _write_scaled(spec, bands, view)
    return array


def convert_unit(steps: NDArray[np.float32], *, source: str, target: str) -> NDArray[np.float32]:
    """The steps in the unit `target`: linear power to dB and back; power that is not positive is NaN in dB."""
    if source == target:
        return steps
    if (source, target) == ("linear", "db"):
        with np.errstate(all="ignore"):
            return np.where(steps > 0, np.float32(10) * np.log10(steps), np.float32(np.nan))
    assert (source, target) == ("db", "linear"), f"no way from {source} to {target}; refused where the job is planned"
    return np.power(np.float32(10), steps / np.float32(10))


def derive_bands(spec: InputSpec, steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The bands (N, T, C, H, W) in the card's order, from its source bands; `steps` itself if these are the same.

    A derived band is NaN where one of its source bands is NaN, and NaN or infinite where its arithmetic is undefined.
    """
    if spec.bands == spec.source_bands:
        return steps
    source_values = {name: steps[:, :, i] for i, name in enumerate(spec.source_bands)}
    n, t, _, height, width = steps.shape
    bands = np.empty((n, t, len(spec.bands), height, width), dtype=np.float32)
    for i, name in enumerate(spec.bands):
        bands[:, :, i] = spec.expressions[name](source_values) if name in spec.expressions else source_values[name]
    return bands


def empty_array(spec: InputSpec, *, n: int, t: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The graph's array, uninitialised, and a view of it as (N, T, C, H, W).

    If the card's array has no height and width, each pixel is a row of the batch: (N * H * W, ...), row by row.
    """
    sizes = {"batch": n, "time": t, "bands": len(spec.bands), "height": height, "width": width}
    split: list[str] = []
    for axis in spec.axes:
        split.extend(_merged_axes(spec, axis))
    full = np.empty([sizes[axis] for axis in split], dtype=spec.data_type)
    array = full.reshape([int(np.prod([sizes[part] for part in _merged_axes(spec, axis)])) for axis in spec.axes])
    absent = [axis for axis in sizes if axis not in split]
    assert all(sizes[axis] == 1 for axis in absent), f"{spec.name} has no place for {absent} of {sizes}"
    view = full.reshape(*full.shape, *[1] * len(absent)).transpose([[*split, *absent].index(axis) for axis in sizes])
    return array, view


def _merged_axes(spec: InputSpec, axis: str) -> tuple[str, ...]:
    """The axes merged into one dimension of the card's array, the slowest first."""
    if axis == "batch" and spec.pixelwise:
        return ("batch", "height", "width")
    if axis == "bands" and spec.folded:
        return ("time", "bands") if spec.fold == "time-major" else ("bands", "time")
    return (axis,)


def _write_scaled(spec: InputSpec, bands: NDArray[np.float32], view: NDArray[Any]) -> None:
    """Write every scaled band to `view`; float32 directly, other types through a float32 copy."""
    dtype = view.dtype
    if spec.value_scaling and all(scaling is spec.value_scaling[0] for scaling in spec.value_scaling):
        groups = [(spec.value_scaling[0], slice(None))]
    else:
        groups = [(scaling, slice(i, i + 1)) for i, scaling in enumerate(spec.value_scaling)]
    for scaling, channels in groups:
        source_values, target = bands[:, :, channels], view[:, :, channels]
        if dtype == np.float32 and scaling.kind == NO_SCALING.kind:
            if bands is not view:
                target[...] = source_values
        elif dtype == np.float32 and scaling.expression is None:
            scaling.apply(source_values, target)
        else:
            scaled = np.empty(source_values.shape, dtype=np.float32)
            scaling.apply(source_values, scaled)
            target[...] = _cast(scaled, dtype)


def _cast(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values as `dtype`. May overwrite `values`."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    if dtype.itemsize <= 2:
        return np.clip(np.rint(values, out=values), limits.min, limits.max, out=values).astype(dtype)
    # float64 holds every 32-bit limit; clipping in float32 would round 2**31 - 1 up and overflow.
    return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)
