"""What stands where an observation is missing inside one window, from the window's own pixels only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilewright.models.spec.inputs import MissingSpec


def missing_bands(steps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a band has any missing value: (N, T, C) bool for steps (N, T, C, H, W); missing is NaN or infinite."""
    n, t, c = steps.shape[:3]
    return np.asarray(~np.isfinite(steps).reshape(n, t, c, -1).all(axis=-1))


def fill_missing(steps: NDArray[np.float32], rule: MissingSpec, neutral: Sequence[float]) -> NDArray[np.float32]:
    """The steps (N, T, C, H, W) with every missing value replaced: `steps` itself when none is missing, else a copy.

    Each window n is filled from itself alone, so a batch mate never changes it. `neutral` is the value per band where
    a window has no valid pixel of that band at any step and the rule is no number.
    "nearest": the nearest valid pixel of the same step (by Euclidean distance between pixel centres; ties as
    scipy.ndimage.distance_transform_edt resolves them, which depends on the mask alone), or where the step has none,
    the pixel of the nearest step after filling; "mean": of the valid pixels of the step, else of all steps;
    "nearest-date": the same pixel at the nearest step (ties: the earlier), then as "nearest".
    """
    lacking = missing_bands(steps)
    if not lacking.any():
        return steps
    filled = steps.copy()
    for n in np.flatnonzero(lacking.any(axis=(1, 2))):
        indices: dict[bytes, NDArray[np.intp]] = {}
        for c in np.flatnonzero(lacking[n].any(axis=0)):
            _fill_band(filled[n, :, c], rule.of_band(int(c)), neutral[int(c)], indices)
    return filled


def _fill_band(
    band: NDArray[np.float32], fill: float | str, neutral: float, indices: dict[bytes, NDArray[np.intp]]
) -> None:
    """Fill one band of one window (T, H, W) in place.

    `indices` keeps nearest-pixel tables by mask: bands mostly share their masks.
    """
    missing = ~np.isfinite(band)
    if not isinstance(fill, str):
        band[missing] = np.float32(fill)
        return
    if missing.all():
        band[...] = np.float32(neutral)
        return
    if fill == "mean":
        _fill_mean(band, missing)
        return
    if fill == "nearest-date":
        _fill_dates(band, missing)
        missing = ~np.isfinite(band)
    for t in np.flatnonzero(missing.any(axis=(1, 2))):
        if not missing[t].all():
            band[t][missing[t]] = band[t].ravel()[_nearest(missing[t], indices)]
    _fill_dates(band, ~np.isfinite(band))


def _nearest(missing: NDArray[np.bool_], indices: dict[bytes, NDArray[np.intp]]) -> NDArray[np.intp]:
    """For each missing pixel, row by row, the flat index of its nearest valid pixel."""
    key = missing.tobytes()
    if key not in indices:
        # The nearest valid pixel of a gap lies in the box around all gaps widened by one pixel: its rim is all valid.
        top, left, bottom, right = _box(missing)
        box = missing[top:bottom, left:right]
        from scipy import ndimage

        rows, cols = ndimage.distance_transform_edt(  # type: ignore[attr-defined]
            box, return_distances=False, return_indices=True
        )
        indices[key] = ((rows[box] + top) * missing.shape[1] + cols[box] + left).astype(np.intp)
    return indices[key]


def _box(missing: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Rows and columns (top, left, bottom, right; the last two excluded) that hold all gaps and one pixel more."""
    rows, cols = np.flatnonzero(missing.any(axis=1)), np.flatnonzero(missing.any(axis=0))
    return max(int(rows[0]) - 1, 0), max(int(cols[0]) - 1, 0), int(rows[-1]) + 2, int(cols[-1]) + 2


def _fill_mean(band: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    overall = band[~missing].mean(dtype=np.float64)
    for t in np.flatnonzero(missing.any(axis=(1, 2))):
        valid = band[t][~missing[t]]
        band[t][missing[t]] = np.float32(valid.mean(dtype=np.float64) if valid.size else overall)


def _fill_dates(band: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    """Fill from the same pixel at the nearest step that had a value, the earlier of two equally near."""
    n_steps = len(band)
    original = band.copy() if missing.any() else band
    for t in np.flatnonzero(missing.any(axis=(1, 2))):
        for other in sorted(range(n_steps), key=lambda step: (abs(step - t), step)):
            take = missing[t] & ~missing[other] & ~np.isfinite(band[t])
            band[t][take] = original[other][take]


def mirror_rims(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The steps (N, T, C, H, W) with each window's rims mirrored about its outermost pixels seen: `steps` itself where
    there are none, else a copy.

    A rim is made of the rows and columns at a side in which no step and no band has any value. What is missing inside
    stays missing, and is missing in its mirror image too. A window without any value stays as it is.
    """
    made = steps
    for n, window in enumerate(steps):
        if not _may_have_rims(window):
            continue
        seen = np.isfinite(window).any(axis=(0, 1))
        rows, cols = (_mirrored(seen.any(axis=axis)) for axis in (1, 0))
        if not (_is_plain(rows) and _is_plain(cols)):
            made = steps.copy() if made is steps else made
            made[n] = window[:, :, rows][:, :, :, cols]
    return made


def _may_have_rims(window: NDArray[np.float32]) -> bool:
    """Whether a whole row or column at one of the four sides is missing: a look at the frame only."""
    sides = (window[:, :, 0], window[:, :, -1], window[..., 0], window[..., -1])
    return not all(np.isfinite(side).any() for side in sides)


def _mirrored(seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each place along an axis the place it is taken from: itself between the first and the last seen."""
    if not seen.any():
        return np.arange(len(seen))
    first, last = (int(place) for place in np.flatnonzero(seen)[[0, -1]])
    period = max(1, 2 * (last - first))
    away = np.abs(np.arange(len(seen)) - first) % period
    return (first + np.minimum(away, period - away)).astype(np.intp)


def _is_plain(places: NDArray[np.intp]) -> bool:
    return bool((places == np.arange(len(places))).all())
