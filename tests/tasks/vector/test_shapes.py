"""Shapes are those of the whole map at once, whatever the strips, and valid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import rasterio.features
import shapely
from rasterio.transform import Affine

from tilewright.tasks.vector import parts, shapes
from tilewright.tasks.vector.parts import Unions, label_parts
from tilewright.tasks.vector.shapes import ShapeStream

NODATA = 255
Found = list[tuple[int, bytes, bool]]


def streamed(values: np.ndarray, cuts: list[int], *, connectivity: int, row: int = 0, col: int = 0) -> Found:
    """(value, normalised WKB in pixels of the array, touches the edge) of every shape, sorted."""
    stream = ShapeStream(row=row, col=col, width=values.shape[1], connectivity=connectivity)  # type: ignore[arg-type]
    edge = np.ones(values.shape, dtype=bool)
    edge[1:-1, 1:-1] = False
    strips = [slice(*both) for both in itertools.pairwise(cuts)]
    given = [some for each in strips for some in stream.take(values[each], values[each] != NODATA, edge=edge[each])]
    members: dict[int, tuple[int, list[shapely.Polygon], bool]] = {}
    for some in [*given, *stream.end()]:
        places = some.outlines.places - np.array([col, row])
        offsets = some.outlines.rings, some.outlines.polygons
        polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, places.astype(float), offsets)
        assert (shapely.area(polygons) == some.outlines.n_pixels).all()
        assert (shapely.length(polygons) == some.outlines.across + some.outlines.along).all()
        for polygon, value, group, touches in zip(polygons, some.value, some.group, some.touches_edge, strict=True):
            _, known, before = members.get(group, (0, [], False))
            members[group] = int(value), [*known, polygon], bool(touches) or before
    found = []
    for value, polygons_, touches in members.values():
        whole = polygons_[0] if len(polygons_) == 1 else shapely.MultiPolygon(polygons_)
        assert whole.is_valid
        found.append((value, shapely.normalize(whole).wkb, touches))
    return sorted(found)


def by_gdal(values: np.ndarray, connectivity: int) -> list[tuple[int, shapely.Geometry]]:
    given = rasterio.features.shapes(
        values, mask=values != NODATA, connectivity=connectivity, transform=Affine.identity()
    )
    return [(int(value), shapely.geometry.shape(plain)) for plain, value in given]


def some_map(seed: int) -> tuple[np.ndarray, np.random.Generator]:
    random = np.random.default_rng(seed)
    height, width, kinds = (int(number) for number in random.integers(1, (17, 17, 10)))
    values = random.integers(0, kinds + 1, (height, width)).astype(np.uint8)
    if seed % 2:
        # Mostly one value: large shapes with holes, and holes that touch at corners.
        values[random.random(values.shape) < 0.75] = 3
    if seed % 3 == 0:
        values[random.random(values.shape) < 0.3] = NODATA
    return values, random


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("first", range(0, 240, 40))
def test_they_are_those_of_the_whole_map_in_any_strips(
    monkeypatch: pytest.MonkeyPatch, first: int, connectivity: int
) -> None:
    for seed in range(first, first + 40):
        values, random = some_map(seed)
        height = len(values)
        whole = streamed(values, [0, height], connectivity=connectivity)
        wanted = by_gdal(values, connectivity)
        if connectivity == 4:
            assert sorted((value, shapely.normalize(each).wkb) for value, each in wanted) == [one[:2] for one in whole]
        else:
            # GDAL's own touch themselves, and are not valid.
            areas = sorted((value, shapely.make_valid(each).area) for value, each in wanted)
            assert areas == sorted((value, shapely.from_wkb(wkb).area) for value, wkb, _ in whole)
        for _ in range(3):
            inner = random.integers(1, height, int(random.integers(0, height))) if height > 1 else []
            monkeypatch.setattr(shapes, "LEAST_CORNERS", int(random.choice([0, 3, 30])))
            monkeypatch.setattr(parts, "FEW_VALUES", int(random.choice([0, 20])))
            cuts = [0, *sorted({int(cut) for cut in inner}), height]
            row, col = (int(number) for number in random.integers(-1000, 1000, 2))
            assert streamed(values, cuts, connectivity=connectivity, row=row, col=col) == whole


def test_a_shape_that_touches_itself_has_a_hole_there() -> None:
    ring = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 2]], dtype=np.uint8)
    found = {value: shapely.from_wkb(wkb) for value, wkb, _ in streamed(ring, [0, 1, 2, 3], connectivity=4)}
    assert len(found[1].interiors) == 1
    assert found[1].area == 7
    both = {value: shapely.from_wkb(wkb) for value, wkb, _ in streamed(ring, [0, 1, 2, 3], connectivity=8)}
    assert both[2].geom_type == "MultiPolygon"
    assert both[2].area == 2


def test_a_map_without_values_has_no_shapes() -> None:
    nothing = np.full((5, 4), NODATA, dtype=np.uint8)
    assert streamed(nothing, [0, 2, 5], connectivity=4) == []


def test_only_shapes_at_the_edge_touch_it() -> None:
    values = np.zeros((5, 5), dtype=np.uint8)
    values[2, 2], values[4, 0] = 1, 2
    touches = {value: touching for value, _, touching in streamed(values, [0, 3, 5], connectivity=4)}
    assert touches == {0: True, 1: False, 2: True}


def test_closed_shapes_are_given_out_and_no_longer_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rows of separate squares: never more corners are held than a few strips have."""
    monkeypatch.setattr(shapes, "LEAST_CORNERS", 100)
    strip = np.full((4, 40), NODATA, dtype=np.uint8)
    strip[1:3, 1::4] = 7
    stream, n_given, held = ShapeStream(row=0, col=0, width=40), 0, []
    for _ in range(1000):
        some = stream.take(strip, strip != NODATA, edge=np.zeros(strip.shape, dtype=bool))
        n_given += sum(len(each.value) for each in some)
        held.append(stream._n_held)
    assert n_given + sum(len(each.value) for each in stream.end()) == 10_000
    assert max(held) < 200


def test_labels_are_the_same_value_by_value_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values, random = some_map(7)
    valid = random.random(values.shape) < 0.8
    few = label_parts(values, valid)
    monkeypatch.setattr(parts, "FEW_VALUES", 0)
    many = label_parts(values, valid)
    for one, other in ((few, many), (many, few)):
        # The numbers differ; one part of the first is one of the second.
        assert all(len(np.unique(other[0][one[0] == number])) == 1 for number in range(1, len(one[1])))
        assert np.array_equal(one[1][one[0]][valid], values[valid])


def test_unions_know_a_set_by_its_least_number() -> None:
    unions = Unions()
    unions.add(6)
    unions.join(np.array([5, 3]), np.array([4, 1]))
    assert unions.find(np.arange(6)).tolist() == [0, 1, 2, 1, 4, 4]
    assert unions.add(2) == 6
    unions.join(np.array([4, 6, 3]), np.array([6, 6, 7]))
    unions.join(np.array([5]), np.array([7]))
    assert unions.find(np.arange(8)).tolist() == [0, 1, 2, 1, 1, 1, 1, 1]
