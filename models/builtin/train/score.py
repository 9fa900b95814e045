"""How well a map agrees with the truth: intersection over union per class, over pixels that both know."""

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

    `iou` per class name: pixels of the class in both over pixels of it in either; `mean_iou` their mean; `accuracy` the
    share of alike pixels; `known` the share of pixels both maps know, the only ones compared.
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

    A class that neither holds has no intersection over union and is left out.
    """
    known = (found != NODATA) & (truth != NODATA)
    mine, right = found[known], truth[known]
    iou = {
        each.name: float(((mine == each.value) & (right == each.value)).sum() / either)
        for each in classes
        if (either := int(((mine == each.value) | (right == each.value)).sum()))
    }
    return Score(
        iou=iou,
        mean_iou=float(np.mean(list(iou.values()))) if iou else 0.0,
        accuracy=float((mine == right).mean()) if mine.size else 0.0,
        known=float(known.mean()),
    )
