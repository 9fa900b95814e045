"""A map of change: which class means none, its largest places, and what is told of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tilewright.models.spec.outputs import ClassSpec, LayerSpec
from tilewright.tasks.compare.pair import change_json, find_parts, unchanged_class
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.ground import mean_pixel_km2
from tilewright.tasks.grid.pixel_box import PixelBox


def layer(*names: str, name: str = "change") -> LayerSpec:
    classes = tuple(ClassSpec(value=value, name=each) for value, each in enumerate(names))
    return LayerSpec(name=name, kind="class", source="class", classes=classes)


@pytest.mark.parametrize(
    ("spec", "value"),
    [(layer("unchanged", "changed"), 0), (layer("changed", "Unchanged"), 1), (layer("x", "No-Change"), 1),
     (layer("no_change", "loss"), 0), (layer("none", "reservoir"), 0), (layer("stable", "gain"), 0),
     (layer("none", "damaged", name="class"), None), (layer("land", "water"), None), (layer("unstable", "x"), None),
     (layer("unchanged", "no change"), None), (layer("none of it", "x"), None)],
)  # fmt: skip
def test_a_class_means_no_change_only_if_its_name_says_so(spec: LayerSpec, value: int | None) -> None:
    assert unchanged_class(spec) == value


def grid_of(shape: tuple[int, int]) -> Grid:
    return Grid(crs="EPSG:32633", resolution=10.0, extent=PixelBox.at(-540_000, 40_000, shape=shape))


def test_the_largest_places_come_first_and_their_points_lie_inside() -> None:
    values = np.zeros((60, 80), dtype=np.uint8)
    values[5:45, 10:14] = values[41:45, 10:60] = 1  # an L, whose middle lies outside
    values[50:55, 20:30] = 2
    values[57, 70] = 2
    values[:3] = 255
    found = find_parts(values, grid_of(values.shape), nodata=255, unchanged=0)
    assert [part.value for part in found.largest] == [1, 2, 2]
    assert found.n == 3
    pixel = mean_pixel_km2(grid_of(values.shape), grid_of(values.shape).extent)
    assert [part.km2 / pixel for part in found.largest] == pytest.approx([40 * 4 + 46 * 4, 50, 1], rel=1e-5)
    assert found.largest[0].box == PixelBox.at(-540_000 + 5, 40_000 + 10, shape=(40, 50))
    for part in found.largest:
        assert part.values.shape == part.inside.shape
        assert set(np.unique(part.values[part.inside])) == {part.value}
        assert part.inside.sum() * pixel == pytest.approx(part.km2, rel=1e-5)


def test_pixels_of_a_smaller_level_count_for_all_beneath() -> None:
    values = np.zeros((30, 40), dtype=np.uint8)
    values[10:20, 5:9] = 1
    grid = grid_of((118, 158))
    found = find_parts(values, grid, nodata=255, unchanged=0, factor=4)
    assert found.largest[0].km2 == pytest.approx(40 * 16 * mean_pixel_km2(grid, grid.extent), rel=1e-5)
    assert found.largest[0].box == PixelBox.at(-540_000 + 40, 40_000 + 20, shape=(40, 16))
    assert found.factor == 4


CASES = {
    "changed": ([[0, 0], [0, 1]], "unchanged", "changed"),
    "nothing changed": ([[0, 0], [0, 0]], "unchanged", "changed"),
    "nothing seen": ([[255, 255], [255, 255]], "unchanged", "changed"),
    "not told": ([[0, 0], [0, 1]], "land", "water"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told_is_json_and_claims_no_more_than_is_known(case: str) -> None:
    rows, *names = CASES[case]
    values, spec = np.array(rows, dtype=np.uint8), layer(*names)
    grid = grid_of(values.shape)
    classes = [{"value": value, "area_km2": int((values == value).sum()) * 1e-4} for value in (0, 1)]
    found = find_parts(values, grid, nodata=255, unchanged=unchanged_class(spec))
    told = change_json(spec, found, grid, classes=classes, missing=0.0)
    json.dumps(told, allow_nan=False)
    wanted = {
        "changed": ("unchanged", 1e-4, 25.0, 1),
        "nothing changed": ("unchanged", 0, 0, 0),
        "nothing seen": ("unchanged", 0, None, 0),
        "not told": (None, None, None, 2),
    }[case]
    assert (told["unchanged"], told["changed_km2"], told["changed_percent"], told["n_places"]) == pytest.approx(wanted)
    assert any("changed" in sentence for sentence in told["summary"]) == (case in {"changed", "nothing changed"})
    assert len(told["places"]) == wanted[3]
