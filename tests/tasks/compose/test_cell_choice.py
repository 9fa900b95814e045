"""The passes of a cell by hand, and a choice that gives each pixel those of its own cell, however a box is cut."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tilewright.tasks.compose.cell_choice import CellChoice, LookCost, cell_side, choose_passes, make_choice
from tilewright.tasks.grid.pixel_box import PixelBox

SIDE = 4
COST = LookCost(files=2, n_bytes=100, seconds=0.5)
TAKEN = {
    (-1, -2): ((0,), (0, 1)),
    (-1, -1): ((1, 2), ()),
    (0, -2): ((0,), (1,)),
    (0, -1): ((0, 2), (1,)),
    (0, 0): ((2,), (0,)),
}
"""Per cell the passes of two steps; the cell (-1, 0) was not looked at."""


def choice():
    return make_choice(TAKEN, side=SIDE, shares=[(0.5, None, 0.25), (1.0, 0.0)], n_found=20, cost=COST)


def clear_of(*rows):
    return np.array([[letter == "o" for letter in row] for row in rows])


@pytest.mark.parametrize(
    ("rows", "most", "fill", "chosen"),
    [
        (["....", "oooo", "oo.."], 1, False, (1,)),
        (["oo..", "oo..", "..oo"], 1, False, (0,)),
        (["oo..", "oo..", "..oo"], 1, True, (0, 2)),
        (["ooo.", "o...", "...o", "..oo"], 1, True, (0, 3)),
        (["oo..", ".o..", "..o.", "..oo"], 1, True, (0, 3)),
        (["oo..", "oo..", "...."], 1, True, (0,)),
        (["....", "....", "...."], 2, True, (0, 1)),
        (["o...", "....", "oo.."], 2, False, (0, 2)),
        (["o" * 39 + ".", "o" * 40, "." * 40], 1, False, (0,)),
    ],
    ids=[
        "the clearest", "the earlier of equal ones", "and one for what it does not see", "the clearer that sees it",
        "the one that sees most of it", "none where none sees more", "no pass sees any", "in order of time",
        "nearly equal is equal",
    ],
)  # fmt: skip
def test_the_passes_of_a_cell(rows, most, fill, chosen):
    assert choose_passes(clear_of(*rows), [50.0] * len(rows), most=most, fill=fill) == chosen


@pytest.mark.parametrize(
    ("covers", "chosen"),
    [([50.0, 20.0, 0.0], 1), ([20.0, 20.0, 0.0], 0), ([math.inf, 90.0, 0.0], 1), ([math.inf, math.inf, 0.0], 0)],
)
def test_of_equally_clear_passes_the_statement_decides(covers, chosen):
    assert choose_passes(clear_of("oo..", "..oo", "o..."), covers, most=1, fill=False) == (chosen,)


@pytest.mark.parametrize(("step", "side"), [(64, 512), (512, 512), (500, 1000), (8, 512), (1536, 1536), (7, 518)])
def test_a_cell_is_whole_steps_of_512_pixels_or_more(step, side):
    assert cell_side(step) == side


def test_a_choice_is_the_same_after_a_round_trip():
    again = CellChoice.from_json(json.loads(json.dumps(choice().to_json())))
    assert (again, again.cost) == (choice(), COST)
    assert (again.n_cells, again.n_chosen, again.n_found) == (5, 12, 20)


def test_passes_that_no_cell_takes_are_left_out_by_number():
    kept = choice().renumbered([[0, 1, 2], [0, 1]])
    assert kept == choice()
    only = make_choice({(0, 0): ((3, 5),)}, side=SIDE, shares=[(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)], n_found=6, cost=COST)
    fewer = only.renumbered([[3, 5]])
    assert (fewer.sets, fewer.shares) == ((((0, 1),),), ((0.4, 0.6),))


@settings(max_examples=60, deadline=None)
@given(st.integers(-4, 3), st.integers(-8, -1), st.integers(1, 8), st.integers(1, 8))
def test_each_pixel_of_a_box_has_the_passes_of_its_own_cell(row, col, height, width):
    stop = (min(row + height, 4), min(col + width, 0))
    box = PixelBox(row_start=row, row_stop=stop[0], col_start=col, col_stop=stop[1])
    geobox = GeoBox(box.shape, Affine(10.0, 0, 10.0 * col, 0, -10.0, -10.0 * row), "EPSG:32633")
    for step, number in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        by_hand = [
            [number in TAKEN[y // SIDE, x // SIDE][step] for x in range(col, stop[1])] for y in range(row, stop[0])
        ]
        wanted = choice().wanted(step, number, geobox)
        assert np.array_equal(np.ones(box.shape, bool) if wanted is None else wanted, by_hand)
        assert (number in choice().passes_in(step, box)) == np.any(by_hand)


def test_a_cell_that_nobody_looked_at_is_never_taken_for_an_empty_one():
    for box in (PixelBox.at(-4, 0, shape=(4, 4)), PixelBox.at(-8, -8, shape=(8, 4)), PixelBox.at(0, -12, shape=(4, 8))):
        with pytest.raises(AssertionError, match="looked at"):
            choice().passes_in(0, box)


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: plain.update(side=0),
        lambda plain: plain["steps"].pop() and plain["steps"][0].update(rows=[]),
        lambda plain: plain["steps"][0]["rows"].pop(),
        lambda plain: plain["steps"][0]["rows"][0].__setitem__(1, 10**12),
        lambda plain: plain["steps"][0]["rows"][0].__setitem__(1, -1),
        lambda plain: plain["steps"][0]["rows"][0].__setitem__(0, 99),
        lambda plain: plain["steps"][0]["rows"].__setitem__(0, [0, 1]),
        lambda plain: plain["steps"][1]["sets"].append([7]),
        lambda plain: plain["steps"][1].update(clear=[]),
    ],
)
def test_a_damaged_choice_is_none(damage):
    plain = choice().to_json()
    damage(plain)
    with pytest.raises((AssertionError, ValueError)):
        CellChoice.from_json(plain)
