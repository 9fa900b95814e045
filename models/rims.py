"""Rims of a window beyond the end of the archive, mirrored from the window's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
