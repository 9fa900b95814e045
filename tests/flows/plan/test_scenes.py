from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import MultiPolygon, Point, box

from tilewright.flows.job.margin import search_area

GEOD = Geod(ellps="WGS84")


@given(
    lon=st.floats(-179.0, 178.0),
    lat=st.floats(-80.0, 80.0),
    towards=st.floats(0.0, 360.0),
    metres=st.floats(10.0, 50_000.0),
)
def test_whatever_is_nearer_than_asked_lies_in_the_surroundings(lon, lat, towards, metres):
    area = box(lon, lat, lon + 0.5, lat + 0.5)
    for corner_lon, corner_lat in ((lon, lat), (lon + 0.5, lat), (lon, lat + 0.5), (lon + 0.5, lat + 0.5)):
        found = GEOD.fwd(corner_lon, corner_lat, towards, metres * 0.999)
        assert search_area(area, metres=metres).buffer(1e-9).covers(Point(found[:2]))


def test_what_is_four_times_as_far_does_not():
    grown = search_area(box(10.0, 48.0, 11.0, 49.0), metres=10_000)
    for towards in range(0, 360, 30):
        assert not grown.covers(Point(GEOD.fwd(10.5, 48.5, towards, 130_000)[:2]))


@pytest.mark.parametrize(
    "area", [box(179.8, 0, 180, 1), MultiPolygon([box(179.8, 0, 180, 1), box(-180, 0, -179.9, 1)])]
)
def test_surroundings_go_on_beyond_180_degrees(area):
    grown = search_area(area, metres=20_000)
    assert grown.covers(Point(-179.95, 0.5))
    assert (grown.bounds[0], grown.bounds[2]) == (-180.0, 180.0)
    assert not grown.covers(Point(0.0, 0.5))
