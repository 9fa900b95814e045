"""Inputs of a graph that are no pixels of a collection: dates, positions, masks, constants, noise, prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.spec.arrays import input_axes
from tilewright.models.spec.words import KINDS as WORDS
from tilewright.models.transforms.draws import drawn_numbers
from tilewright.models.transforms.noise import normal_noise

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from tilewright.models.spec.inputs import ExtraInput


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFacts:
    """The facts from which extra inputs are computed, for N windows of one input.

    `days`: one date per step (the middle of a step that has several). `valid`: (N, T, H, W), True = observed.
    `lonlat`: (N, 2, H, W) in degrees at the pixel centres, longitude first. `mask`: (N, H, W), True = inside the place
    that the window is centred on. `corners`: (N, 2), the absolute row and column of each window's first pixel.
    `pixel_size`: (N, 2) in metres, width first. A fact that no extra needs may be None.
    """

    n: int
    height: int
    width: int
    days: tuple[date, ...] = ()
    valid: NDArray[np.bool_] | None = None
    lonlat: NDArray[np.float64] | None = None
    mask: NDArray[np.bool_] | None = None
    corners: NDArray[np.int64] | None = None
    pixel_size: NDArray[np.float64] | None = None


def prepare_extra(extra: ExtraInput, facts: WindowFacts) -> NDArray[Any]:
    """The array of one extra input in the card's layout and data type: computed in float64, scaled, cast once.

    Without height and width a mask is the valid share of the window, and a position is the window's centre.
    """
    axes = input_axes(extra.dim_order)
    assert axes is not None, f"{extra.name} was accepted with the unknown dimensions {extra.dim_order}"
    if extra.kind == "state":
        return _first_states(extra, facts)
    if extra.kind == "noise":
        assert facts.corners is not None, f"{extra.name} needs the place of each window"
        shape = np.broadcast_to(np.array([facts.height, facts.width], np.int64), facts.corners.shape)
        return np.concatenate([facts.corners, shape], axis=1)
    if extra.kind == "drawn":
        corners = np.zeros((facts.n, 2), np.int64) if facts.corners is None else facts.corners
        sides = np.broadcast_to(np.array([facts.height, facts.width], np.int64), corners.shape)
        return drawn_numbers(extra, np.concatenate([corners, sides], axis=1), n=facts.n, step=0)
    if extra.kind in WORDS:
        assert extra.values, f"{extra.name} needs the tokens of a prompt"
        return np.tile(np.array(extra.values, dtype=extra.data_type), (facts.n, 1))
    values = _broadcast_values(extra, facts, spatial="height" in axes)
    sizes = dict(zip(_AXES, values.shape, strict=True))
    if extra.kind == "constant":
        sizes |= {axis: size for axis, size in zip(axes, extra.shape, strict=True) if size > 0 and axis != "batch"}
        constants = np.array(extra.values, dtype=np.float64)
        if constants.size > 1:
            constants = constants.reshape([1 if axis == "batch" else sizes[axis] for axis in axes])
        grid = np.broadcast_to(constants, [sizes[axis] for axis in axes])
    else:
        keep = [_AXES.index(axis) for axis in axes]
        dropped = tuple(i for i, axis in enumerate(_AXES) if axis not in axes)
        ordered = values.transpose([*keep, *dropped])
        assert all(values.shape[i] == 1 for i in dropped), f"{extra.name} has no place for {values.shape}"
        grid = ordered.reshape([sizes[axis] for axis in axes])
    scaled = (np.asarray(grid, dtype=np.float64) - extra.shift) * extra.gain
    dtype = np.dtype(extra.data_type)
    return np.ascontiguousarray((np.rint(scaled) if dtype.kind in "iu" else scaled).astype(dtype))


_AXES: Final = ("batch", "time", "bands", "height", "width")


def _broadcast_values(extra: ExtraInput, facts: WindowFacts, *, spatial: bool) -> NDArray[np.float64]:
    """The values as (N, T, C, H, W), with size 1 along axes on which they do not vary."""
    height, width = (facts.height, facts.width) if spatial else (1, 1)
    if extra.kind == "day_of_year":
        parts = np.array([[_date_part(day, part, facts.days[0]) for part in extra.parts] for day in facts.days])
        return np.broadcast_to(parts[None, :, :, None, None], (facts.n, *parts.shape, 1, 1))
    if extra.kind in {"wavelengths", "pixel_size"}:
        vectors = _sizes(extra, facts) if extra.kind == "pixel_size" else np.array(extra.values)[None]
        return np.broadcast_to(vectors[:, None, :, None, None], (facts.n, 1, vectors.shape[1], 1, 1))
    if extra.kind == "valid_mask":
        assert facts.valid is not None, f"{extra.name} needs the valid mask of {extra.of}"
        valid = facts.valid[:, :, None].astype(np.float64)
        valid = valid if spatial else valid.mean(axis=(3, 4), keepdims=True)
        return valid if "time" in (input_axes(extra.dim_order) or ()) else valid.min(axis=1, keepdims=True)
    if extra.kind == "place_mask":
        assert facts.mask is not None, f"{extra.name} needs a place for each window"
        inside = facts.mask[:, None, None].astype(np.float64)
        return inside if spatial else inside.mean(axis=(3, 4), keepdims=True)
    if extra.kind == "lonlat":
        assert facts.lonlat is not None, f"{extra.name} needs longitude and latitude"
        order = [("lon", "lat").index(part) for part in extra.parts]
        positions = facts.lonlat[:, None, order]
        return positions if spatial else positions.mean(axis=(3, 4), keepdims=True)
    return np.full((facts.n, 1, 1, height, width), extra.values[0] if extra.kind == "time" else 0.0)


def _first_states(extra: ExtraInput, facts: WindowFacts) -> NDArray[Any]:
    """The noise with which a loop begins in each window, (N, channel, height, width)."""
    assert facts.corners is not None, f"{extra.name} needs the place of each window"
    noise = [
        normal_noise(
            seed=extra.seed,
            step=0,
            channels=extra.shape[1],
            rows=range(row, row + facts.height),
            cols=range(col, col + facts.width),
        )
        for row, col in facts.corners.tolist()
    ]
    return np.stack(noise).astype(extra.data_type, copy=False)


def _sizes(extra: ExtraInput, facts: WindowFacts) -> NDArray[np.float64]:
    """The sizes (N, parts) of the pixels in metres."""
    assert facts.pixel_size is not None, f"{extra.name} needs the size of pixels"
    return facts.pixel_size[:, [("width", "height").index(part) for part in extra.parts]]


def _date_part(day: date, part: str, first: date) -> float:
    match part:
        case "day_of_year":
            return float(day.timetuple().tm_yday)
        case "year":
            return float(day.year)
        case "month":
            return float(day.month)
    return float((day - first).days)
