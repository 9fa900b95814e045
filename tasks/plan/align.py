"""How a plan moves dates onto one of them: which inputs, by what reference, and how far around pixels decide."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from tilewright.tasks.compose.reducers import reducer_radius_px

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.plan.inputs import InputPlan

FIRST = "first"
"""The word for the first step of an input in place of its label."""

WINDOW, STEP = 256, 128
"""Pixels a side of the windows in which shifts are measured, and from one window's middle to the next one's."""

AROUND = 3 * STEP
"""Pixels beyond a pixel up to which windows decide where it is read: the nodes around it, the neighbours whose median
these are, and the half of a window."""

SEEN_BEST = ("red", "nir", "green")
"""Bands in which shifts are measured, the first that an input has: sharp ones. Else its first band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignPlan:
    """Dates are moved onto step ``to``, a label or "first", by shifts of at most ``most`` metres.

    They are measured in ``band``; "" is the first of SEEN_BEST that an input has.
    """

    to: str
    most: float
    band: str = ""

    def reference(self, entry: InputPlan) -> int | None:
        """The step of an input that its others are moved onto; None for an input that is not moved.

        Those are inputs of one step, and of classes, in which nothing can be measured.
        """
        if len(entry.steps) < 2 or entry.unit == "class":
            return None
        labels = [step.label for step in entry.steps]
        return 0 if self.to == FIRST else labels.index(self.to) if self.to in labels else None

    def band_of(self, entry: InputPlan) -> str:
        """The band of an input in which its shifts are measured."""
        return self.band or next((band for band in SEEN_BEST if band in entry.bands), entry.bands[0])


def joined_counts(parts: Iterable[Mapping[str, Mapping[str, list[int]]]]) -> dict[str, dict[str, list[int]]]:
    """What was measured in several blocks, by input and step, as of one (``tasks/serving/moves.py``)."""
    joined: dict[str, dict[str, list[int]]] = {}
    for part in parts:
        for name, told in part.items():
            mine = joined.setdefault(name, {"windows": [0, 0, 0], "x": [], "y": [], "left": []})
            mine["windows"] = [one + other for one, other in zip(mine["windows"], told["windows"], strict=True)]
            for key in ("x", "y", "left"):
                mine[key].extend(told[key])
    return joined


def measured_around(entry: InputPlan, resolution: float) -> int:
    """Pixels of an input beyond a pixel that is read up to which others decide about its shift."""
    return AROUND + composed_around(entry, resolution)


def composed_around(entry: InputPlan, resolution: float) -> int:
    """Pixels of an input beyond a pixel of its composite that decide about it: for masks that grow, and reducers."""
    return ceil(entry.mask.radius_px(resolution)) + ceil(reducer_radius_px(entry.reducer, resolution))
