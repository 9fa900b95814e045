"""Footprints at the antimeridian."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from shapely.geometry import Point, box, mapping, shape

from tilewright.catalogs.footprint import (
    bounds_of,
    centre_longitude,
    footprint_of,
    longitudes_of,
    solar_day,
    to_geojson,
)

ACROSS = [
    ({"type": "Polygon", "coordinates": [[[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]]}, None),
    ({"type": "Polygon", "coordinates": [[[179, 0], [181, 0], [181, 1], [179, 1], [179, 0]]]}, None),
    ({"type": "Polygon", "coordinates": [[[-181, 0], [-179, 0], [-179, 1], [-181, 1], [-181, 0]]]}, None),
    (None, [179, 0, -179, 1]),
    (None, [179, 0, -5, -179, 1, 9000]),
    (
        {
            "type": "MultiPolygon",
            "coordinates": [
                [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]],
                [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]],
            ],
        },
        None,
    ),
]


@pytest.mark.parametrize(("geometry", "bbox"), ACROSS)
def test_every_way_to_write_a_crossing_comes_out_as_the_same_two_parts(geometry: object, bbox: object) -> None:
    footprint = footprint_of(geometry, bbox)  # type: ignore[arg-type]
    assert footprint.equals(box(179, 0, 180, 1).union(box(-180, 0, -179, 1)))
    assert bounds_of(footprint) == (179.0, 0.0, -179.0, 1.0)
    assert abs(centre_longitude(footprint)) == 180.0
    assert not footprint.contains(Point(0, 0.5))


def test_the_whole_world_does_not_cross() -> None:
    for geometry in (mapping(box(-180, -90, 180, 90)), mapping(box(-60, 0, 170, 1))):
        footprint = footprint_of(geometry, None)
        assert bounds_of(footprint) == box(*shape(geometry).bounds).bounds


def test_a_bow_tie_is_made_valid() -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    footprint = footprint_of(bow, None)
    assert footprint.is_valid
    assert footprint.area == pytest.approx(2.0)


def test_the_solar_day_is_local() -> None:
    late = datetime(2021, 6, 17, 22, 30, tzinfo=UTC)
    assert solar_day(late, box(30, 0, 31, 1)) == "2021-06-18"
    assert solar_day(late, box(10, 0, 11, 1)) == "2021-06-17"
    assert solar_day(datetime(2021, 6, 17, 1, tzinfo=UTC), box(-120, 0, -119, 1)) == "2021-06-16"


def test_geojson_is_lists_all_the_way() -> None:
    assert to_geojson(box(0, 0, 1, 1))["coordinates"][0][0] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("west", "east", "pieces"),
    [
        (10, 20, [(10, 20)]),
        (-180, 180, [(-180, 180)]),
        (170, -170, [(-180, -170), (170, 180)]),
        (170, 190, [(-180, -170), (170, 180)]),
        (181, 185, [(-179, -175)]),
        (-190, -185, [(170, 175)]),
        (-190, -170, [(-180, -170), (170, 180)]),
        (359, 361, [(-1, 1)]),
        (540.5, 541, [(-179.5, -179)]),
    ],
)
def test_longitudes_of_a_box_lie_within_180_whatever_they_were_counted_from(west, east, pieces):
    wide = [piece for piece in longitudes_of(west, east) if piece[0] < piece[1]]
    assert sorted(wide) == pieces


def test_a_box_from_0_to_360_is_the_whole_world():
    assert {(-180.0, 0.0), (0.0, 180.0)} <= set(longitudes_of(0, 360))
