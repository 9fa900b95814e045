"""An array at half its resolution: classes by the most frequent of each four pixels, values by their mean."""

from __future__ import annotations

from itertools import combinations

import numpy as np

METHODS = {"class": "mode", "percent": "average", "value": "average"}
"""What each kind's way is called by GDAL and by the multiscales convention."""


def halve(pixels: np.ndarray, *, kind: str, nodata: float) -> np.ndarray:
    """Half of (height, width) pixels, odd sides rounded up, same dtype; nodata only where all four pixels are.

    Of classes that are equally frequent the one met first wins, from the upper left in reading order. Whole numbers
    are rounded to the nearest, halves up.
    """
    quads = _quads(pixels, nodata)
    valid = ~np.isnan(quads) if np.isnan(nodata) else quads != nodata
    if kind == "class":
        return _most_frequent(quads, valid)
    return _mean(quads, valid, nodata)


def _quads(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """The four pixels behind each new one, shape (4, ceil(height / 2), ceil(width / 2)); nodata beyond the rim."""
    height, width = pixels.shape
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2)), constant_values=nodata)
    return np.stack([pixels[row::2, col::2] for row in (0, 1) for col in (0, 1)])


def _most_frequent(quads: np.ndarray, valid: np.ndarray) -> np.ndarray:
    votes = valid.astype(np.uint8)
    for one, other in combinations(range(4), 2):
        same = (quads[one] == quads[other]) & valid[one]
        votes[one] += same
        votes[other] += same
    return np.take_along_axis(quads, votes.argmax(axis=0)[np.newaxis], axis=0)[0]


def _mean(quads: np.ndarray, valid: np.ndarray, nodata: float) -> np.ndarray:
    count = valid.sum(axis=0)
    total = np.where(valid, quads, 0).sum(axis=0, dtype=np.float64)
    mean = np.divide(total, count, out=np.full(count.shape, nodata, dtype=np.float64), where=count > 0)
    if np.issubdtype(quads.dtype, np.integer):
        mean = np.floor(mean + 0.5)
    return mean.astype(quads.dtype)
