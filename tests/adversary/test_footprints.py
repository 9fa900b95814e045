"""Footprints that cost minutes to mend are left out in a moment; those that producers publish by mistake are mended."""

from __future__ import annotations

import math
import random
import time

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.footprint import footprint_of

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def star(n, step):
    ring = [[10 + math.cos(2 * math.pi * i * step / n), 45 + math.sin(2 * math.pi * i * step / n)] for i in range(n)]
    return polygon([*ring, ring[0]])


def scribble(n):
    drawn = random.Random(1)  # noqa: S311
    ring = [[10 + drawn.random(), 45 + drawn.random()] for _ in range(n)]
    return polygon([*ring, ring[0]])


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def squares(n_side, step=1.0):
    corners = [(x * step, y * step) for x in range(n_side) for y in range(n_side)]
    return {"type": "MultiPolygon", "coordinates": [[[[x + a, y + b] for a, b in SQUARE]] for x, y in corners]}


COSTLY = {
    "a star of hundreds": lambda: star(301, 150),
    "a star of ten thousand": lambda: star(9999, 4999),
    "a star of more": lambda: star(20_001, 10_000),
    "a scribble": lambda: scribble(2000),
    "there and back": lambda: polygon([[10, 45], [11, 45]] * 4000 + [[11, 46], [10, 45]]),
    "a pile": lambda: {"type": "MultiPolygon", "coordinates": [[SQUARE]] * 1500},
    "a thousand holes": lambda: polygon(SQUARE, *[[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.1]]] * 1500),
    "overlapping squares": lambda: squares(30, 0.3),
}

MENDED = {
    "a bow tie": lambda: polygon([[10, 45], [11, 46], [11, 45], [10, 46], [10, 45]]),
    "a small star": lambda: star(31, 15),
    "a repeated corner": lambda: polygon([[10, 45], [11, 45], [11, 45], [11, 46], [10, 46], [10, 45]]),
    "a spike": lambda: polygon([[10, 45], [11, 45], [11, 46], [11, 50], [11, 46], [10, 46], [10, 45]]),
    "tiles that share edges": lambda: squares(20),
    "a valid coast": lambda: polygon([[0, 0], *[[i / 1000, 1 + (i % 2)] for i in range(30_000)], [30, 0], [0, 0]]),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_a_footprint_that_crosses_itself_without_end_is_left_out_in_a_moment(kind):
    geometry, began = COSTLY[kind](), time.process_time()
    with pytest.raises(CatalogError, match="crosses itself"):
        footprint_of(geometry, None)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("kind", MENDED)
def test_a_footprint_with_a_fault_of_its_maker_is_mended(kind):
    found = footprint_of(MENDED[kind](), None)
    assert found.is_valid
    assert found.area > 0
