"""An area asked by many threads at once, as blocks ask it: the answers of one thread, and no crash."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely

from tests.support.paths import ROOT
from tilewright.tasks.grid.cells import PreparedArea

SIDE = 8192


def star(corners: int) -> shapely.Polygon:
    """A polygon of long teeth, so that a box may lie within, across or outside of it anywhere."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = np.where(np.arange(corners) % 2, 0.48, 0.30) * SIDE
    return shapely.Polygon(np.column_stack([SIDE / 2 + reach * np.cos(angle), SIDE / 2 + reach * np.sin(angle)]))


def boxes(n: int) -> np.ndarray:
    random = np.random.default_rng(0)
    x, y = random.uniform(0, SIDE, (2, n))
    side = random.uniform(1, 300, n)
    return shapely.box(x, y, x + side, y + side)


@pytest.mark.parametrize("corners", [200, 20_000])
def test_threads_get_the_answers_of_one(corners):
    others = boxes(4000)
    touching, held = shapely.intersects(star(corners), others), shapely.contains(star(corners), others)
    assert 0 < held.sum() < touching.sum() < len(others)
    for _ in range(3):
        area = PreparedArea(star(corners))

        def ask(start: int, area: PreparedArea = area) -> tuple[list[bool], list[bool], list[bool]]:
            some = others[start : start + 40]
            return [area.touches(one) for one in some], area.touched(some).tolist(), [area.holds(one) for one in some]

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, range(0, len(others), 40)))
        for number, wanted in enumerate((touching, touching, held)):
            assert np.concatenate([each[number] for each in found]).tolist() == wanted.tolist()


def test_the_geometry_that_was_given_stays_as_it_was():
    given = star(50)
    area = PreparedArea(given)
    assert area.geometry is given
    assert not shapely.is_prepared(given)


def test_parts_near_a_box_are_all_that_touch_it_in_their_order():
    corners = [(x, y) for y in range(0, 100, 10) for x in range(0, 100, 10)]
    area = PreparedArea(shapely.MultiPolygon([shapely.box(x, y, x + 5, y + 5) for x, y in corners]))
    near = area.parts_near(shapely.box(12, 12, 38, 22))
    assert [part.bounds[:2] for part in near] == [(10, 10), (20, 10), (30, 10), (10, 20), (20, 20), (30, 20)]


ALONE = {
    "catalogs/search.py": "the area of one search, which one thread makes",
    "flows/ask/find.py": "the area of one question, which one thread asks",
    "flows/plan/scenes.py": "the area of one job, which one thread plans",
    "tasks/cube/look.py": "a footprint made for one call",
    "tasks/grid/cells.py": "a copy behind a lock, and parts made for one call",
    "tasks/places/matches.py": "behind a lock",
    "tasks/zones/measure.py": "a zone, which one thread measures",
}
"""Files that prepare a geometry, and why no two threads ask it at once."""


def test_no_geometry_is_prepared_that_threads_share():
    found = {
        str(path.relative_to(ROOT))
        for wing in ("catalogs", "flows", "models", "tasks")
        for path in (ROOT / wing).rglob("*.py")
        if re.search(r"shapely\.prepare\(|\bprep\(", path.read_text(encoding="utf-8"))
    }
    assert found == {*ALONE}
