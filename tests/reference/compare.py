"""Layers of a run beside the reference's answer, and the first difference in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.reference.looks import Look
from tests.reference.reference import Answer

FILL = -1.0
"""Value that the cards of these tests put where a step has none."""

ROUNDING = 1e-5


def filled(expected: Answer) -> list[np.ndarray]:
    """The layers that a card that hands its bands on must give: NaN where no map is, the fill where a step has none."""
    flat = expected.composites.reshape(-1, *expected.mapped.shape)
    return [np.where(expected.mapped, np.nan_to_num(each, nan=FILL), np.nan) for each in flat]


def differences(expected: Answer, layers: Mapping[str, np.ndarray], observed: np.ndarray) -> str:
    """How the layers, in their order, and the observations differ from the answer; empty where they do not."""
    sure = ~expected.unsure
    assert observed.shape == sure.shape, f"{observed.shape} pixels of observations, {sure.shape} expected"
    pairs = dict(zip(layers, zip(filled(expected), layers.values(), strict=True), strict=True))
    pairs["observations"] = expected.observations.astype(float), observed.astype(float)
    wrong = {name: sure & ~np.isclose(*pair, rtol=0, atol=ROUNDING, equal_nan=True) for name, pair in pairs.items()}
    counts = {name: int(where.sum()) for name, where in wrong.items() if where.any()}
    if not counts:
        return ""
    name = next(iter(counts))
    place = tuple(int(index) for index in np.argwhere(wrong[name])[0])
    story = [
        f"{int(np.any(list(wrong.values()), axis=0).sum())} of {int(sure.sum())} pixels differ, by layer {counts};",
        f"the first of {name} at (row, col) {place}:",
        *(f"  {each}: expected {pair[0][place]:.5f}, got {pair[1][place]:.5f}" for each, pair in pairs.items()),
    ]
    for step, passes in enumerate(expected.passes):
        for number, one in enumerate(passes):
            story += [f"  step {step} pass {number}: {_words(look, place)}" for look in one]
    return "\n".join(story)


def _words(look: Look, place: tuple[int, ...]) -> str:
    values = ", ".join(f"{band} {numbers[place]:.5f}" for band, numbers in look.values.items())
    item = look.item
    kind = [item["properties"].get(key) for key in ("platform", "sat:relative_orbit", "eo:cloud_cover")]
    signs = {band: item["assets"][band].get("title") for band in look.values}
    masked = sorted(set(item["assets"]) & {"scl", "blue", "cloud"})
    state = f"there {bool(look.there[place])}, seen {bool(look.seen[place])}, masked by {masked}"
    return f"{item['id']} {look.moment.isoformat()} {kind}: {values}; {state}; {signs}"
