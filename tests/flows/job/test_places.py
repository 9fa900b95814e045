"""What is searched for places: few spans and boxes that hold all rows, and scenes that some row may see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tilewright.flows.job.places.footprint import MOST_CELLS, footprint, middle
from tilewright.flows.job.places.search import MOST_SPANS, joined_spans, row_warnings, seen_by_some

START = datetime(2020, 1, 1, tzinfo=UTC)


def span(day, length=1):
    return START + timedelta(days=day), START + timedelta(days=day + length)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 90)), min_size=1, max_size=80))
def test_joined_spans_hold_all_spans_and_are_few(days):
    spans = [span(*each) for each in days]
    joined = joined_spans(spans)
    assert len(joined) <= MOST_SPANS
    assert all(any(first <= start and end <= last for first, last in joined) for start, end in spans)
    assert all(one[1] < other[0] for one, other in pairwise(joined))


def test_spans_far_from_each_other_stay_apart():
    assert joined_spans([span(400), span(0), span(20)]) == [(span(0)[0], span(20)[1]), span(400)]


lonlat = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(st.lists(lonlat, min_size=1, max_size=400))
def test_the_footprint_holds_every_place_in_few_boxes(places):
    outline = footprint(np.array(places))
    assert shapely.covers(outline, shapely.points(np.array(places))).all()
    assert len(shapely.get_parts(outline)) <= MOST_CELLS
    west, south, east, north = outline.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90


def test_the_middle_of_places_on_both_sides_of_180_degrees_lies_there():
    lon, lat = middle(np.array([[179.0, 10.0], [-179.0, 10.0]]))
    assert abs(abs(lon) - 180) < 1e-9
    assert lat == pytest.approx(10.0, abs=0.01)


def test_footprints_near_a_place_are_kept_across_180_degrees_too():
    places = np.array([[179.999, 0.0], [10.0, 50.0]])
    outlines = [shapely.box(-180, -1, -179, 1), shapely.box(9, 49, 9.99, 51), shapely.box(0, 0, 1, 1)]
    assert seen_by_some(outlines, places, metres=500).tolist() == [True, True, False]


def test_warnings_tell_of_rows_without_a_window_and_far_from_the_zone():
    near, far = [15.0, 48.0], [30.0, 48.0]
    told = list(row_warnings(np.array([near, far]), n_rows=3, crs="EPSG:32633", asked="utm"))
    assert told[0].startswith("places: 1 of 3 rows have no geometry")
    assert told[1].startswith("places: 1 of 3 rows lie over 6 degrees from the middle of EPSG:32633")
    assert list(row_warnings(np.array([near, far]), n_rows=2, crs="EPSG:32633", asked="EPSG:32633")) == []
