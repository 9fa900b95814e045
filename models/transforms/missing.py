"""Fills missing observations inside one window, from the window's own pixels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilewright.models.spec.inputs import MissingSpec


def missing_bands(steps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a band has any missing value, (N, T, C) bool, for steps (N, T, C, H, W); missing is NaN or infinite."""
    n, t, c = steps.shape[:3]
    return np.asarray(~np.isfinite(steps).reshape(n, t, c, -1).all(axis=-1))


def fill_missing(
    steps: NDArray[np.float32],
    rule: MissingSpec,
    neutral: Sequence[float],
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The steps (N, T, C, H, W) with every missing value replaced: `steps` itself when none is missing, else a copy,
    which is made in `out` if that is given.

    Each window n is filled from itself alone, so another window of the batch never changes it. `neutral` is the value
    per band for a window that has no valid pixel of that band at any step, if the rule is no number.
    "nearest": the nearest valid pixel of the same step (by Euclidean distance between pixel centres; ties as
    scipy.ndimage.distance_transform_edt resolves them, which depends on the mask alone); if the step has no valid
    pixel, the same pixel of the nearest step after filling. "mean": the mean of the valid pixels of the step, else of
    all steps. "nearest-date": the same pixel at the nearest step (ties: the earlier), then as "nearest".
    """
    missing = missing_bands(steps)
    if not missing.any():
        return steps
    filled = np.empty_like(steps) if out is None else out
    filled[...] = steps
    for n in np.flatnonzero(missing.any(axis=(1, 2))):
        indices: dict[bytes, NDArray[np.intp]] = {}
        for c in np.flatnonzero(missing[n].any(axis=0)):
            _fill_band(filled[n, :, c], rule.of_band(int(c)), neutral[int(c)], indices)
    return filled


def _fill_band(
    band: NDArray[np.float32], fill: float | str, neutral: float, indices: dict[bytes, NDArray[np.intp]]
) -> None:
    """Fill one band of one window (T, H, W) in place.

    `indices` caches nearest-pixel tables by mask, because most bands share their masks.
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
        from scipy import ndimage

        # The box holds all gaps and one pixel more on each side. That rim is valid, so no nearest pixel lies outside.
        gap_rows, gap_cols = np.flatnonzero(missing.any(axis=1)), np.flatnonzero(missing.any(axis=0))
        top, left = max(int(gap_rows[0]) - 1, 0), max(int(gap_cols[0]) - 1, 0)
        box = missing[top : gap_rows[-1] + 2, left : gap_cols[-1] + 2]
        rows, cols = ndimage.distance_transform_edt(  # type: ignore[attr-defined]
            box, return_distances=False, return_indices=True
        )
        indices[key] = ((rows[box] + top) * missing.shape[1] + cols[box] + left).astype(np.intp)
    return indices[key]


def _fill_mean(band: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    overall = band[~missing].mean(dtype=np.float64)
    for t in np.flatnonzero(missing.any(axis=(1, 2))):
        valid = band[t][~missing[t]]
        band[t][missing[t]] = np.float32(valid.mean(dtype=np.float64) if valid.size else overall)


def _fill_dates(band: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    """Fill in place from the same pixel at the nearest step that had a value; ties: the earlier step."""
    n_steps = len(band)
    original = band.copy() if missing.any() else band
    for t in np.flatnonzero(missing.any(axis=(1, 2))):
        for other in sorted(range(n_steps), key=lambda step: (abs(step - t), step)):
            take = missing[t] & ~missing[other] & ~np.isfinite(band[t])
            band[t][take] = original[other][take]


def mirror_rims(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The steps (N, T, C, H, W) with each window's rims mirrored about its outermost observed pixels: `steps` itself if
    no window has a rim, else a copy.

    A rim is the rows and columns at a side in which no step and no band has a value. A pixel missing inside stays
    missing, and its mirror image is missing too. A window without any value is unchanged.
    """
    mirrored = steps
    for n, window in enumerate(steps):
        # Cheap test first: without a whole row or column missing at one of the four sides there is no rim.
        sides = (window[:, :, 0], window[:, :, -1], window[..., 0], window[..., -1])
        if all(np.isfinite(side).any() for side in sides):
            continue
        observed = np.isfinite(window).any(axis=(0, 1))
        rows, cols = (_mirrored_indices(observed.any(axis=axis)) for axis in (1, 0))
        if not (_is_identity(rows) and _is_identity(cols)):
            mirrored = steps.copy() if mirrored is steps else mirrored
            # The rims alone are written: rows first, whose columns are then mirrored with the others.
            for index in np.flatnonzero(rows != np.arange(len(rows))):
                mirrored[n][:, :, index] = window[:, :, rows[index]]
            beside = np.flatnonzero(cols != np.arange(len(cols)))
            mirrored[n][..., beside] = mirrored[n][..., cols[beside]]
    return mirrored


def _mirrored_indices(observed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each index along an axis the source index: itself between the first and the last observed index."""
    if not observed.any():
        return np.arange(len(observed))
    first, last = (int(index) for index in np.flatnonzero(observed)[[0, -1]])
    period = max(1, 2 * (last - first))
    distance = np.abs(np.arange(len(observed)) - first) % period
    return (first + np.minimum(distance, period - distance)).astype(np.intp)


def _is_identity(indices: NDArray[np.intp]) -> bool:
    return bool((indices == np.arange(len(indices))).all())
