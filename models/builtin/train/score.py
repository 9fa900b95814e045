"""The score of a map against the truth: intersection over union per class, over the pixels known in both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilewright.models.spec.outputs import ClassSpec


NODATA = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Agreement of two class maps.

    `iou` per class name is the number of its pixels in both maps over that in either; `mean_iou` their mean;
    `accuracy` the share of equal pixels; `known` the share of pixels known in both maps, the only ones compared.
    """

    iou: dict[str, float]
    mean_iou: float
    accuracy: float
    known: float

    def to_json(self) -> dict[str, Any]:
        """The score rounded to four digits, as JSON values."""
        return {
            "mean_iou": round(self.mean_iou, 4),
            "accuracy": round(self.accuracy, 4),
            "known": round(self.known, 4),
            "iou": {name: round(value, 4) for name, value in self.iou.items()},
        }


def score_map(found: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Sequence[ClassSpec]) -> Score:
    """The score of a map (y, x) of class values against the truth of the same shape; 255 is unknown in both.

    A class that neither map holds has no intersection over union and is left out.
    """
    known = (found != NODATA) & (truth != NODATA)
    mapped, expected = found[known], truth[known]
    iou = {
        each.name: float(((mapped == each.value) & (expected == each.value)).sum() / either)
        for each in classes
        if (either := int(((mapped == each.value) | (expected == each.value)).sum()))
    }
    return Score(
        iou=iou,
        mean_iou=float(np.mean(list(iou.values()))) if iou else 0.0,
        accuracy=float((mapped == expected).mean()) if mapped.size else 0.0,
        known=float(known.mean()),
    )
