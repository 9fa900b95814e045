"""Pixels much finer than what a satellite sees are told before they cost anything, in plan, check and import."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tilewright.flows.plan.rules import fine_pixels
from tilewright.models.card.registry import find_card


@pytest.mark.parametrize(
    ("collection", "pixel", "said"),
    [
        ("sentinel-2-l2a", 0.1, "sentinel-2-l2a has 10 m pixels and the grid 0.1 m: 10\u202f000 times the pixels"),
        ("sentinel-2-c1-l2a", 2.5, "sentinel-2-l2a has 10 m pixels and the grid 2.5 m: 16 times the pixels"),
        ("sentinel-2-l2a", 5.0, None),
        ("sentinel-2-l2a", 20.0, None),
        ("my-drone", 0.1, None),
    ],
)
def test_pixels_finer_than_the_finest_band_are_told(collection, pixel, said):
    card = find_card("ndwi-water")
    spec = replace(card.inputs[0], collection=collection)
    found = fine_pixels(replace(card, inputs=(spec,)), {spec.name: pixel}, "the grid")
    assert found == (f"{said} and nothing more to see." if said else None)


def test_a_coarse_input_beside_a_fine_one_is_none():
    card = find_card("sample-fusion")
    assert len(card.inputs) > 1
    sizes = {spec.name: 10.0 for spec in card.inputs}
    coarse = (card.inputs[0], replace(card.inputs[1], collection="my-coarse"))
    assert fine_pixels(card, sizes, "the grid") is None
    assert fine_pixels(card, dict.fromkeys(sizes, 1.0), "the grid").startswith("sentinel-")
    assert fine_pixels(replace(card, inputs=coarse), dict.fromkeys(sizes, 1.0), "the grid") is None
