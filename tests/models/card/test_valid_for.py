"""What a card says its model was made for, and how it is refused where it says it wrongly."""

from __future__ import annotations

import pytest
from shapely.geometry import box

from tests.support.cards import good_card, load, put
from tilewright.models.builtin.build import FOLDER
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError

SQUARE = {"type": "Polygon", "coordinates": [[[10, 45], [20, 45], [20, 50], [10, 50], [10, 45]]]}
HIGH = {"type": "Polygon", "coordinates": [[[10, 45, 1], [20, 45, 2], [20, 50, 3], [10, 50, 4], [10, 45, 1]]]}
BOW = {"type": "Polygon", "coordinates": [[[10, 45], [20, 50], [20, 45], [10, 50], [10, 45]]]}
OTHER = {"type": "Polygon", "coordinates": [[[20, 45], [30, 45], [30, 50], [20, 50], [20, 45]]]}


def feature(geometry):
    return {"type": "Feature", "properties": {}, "geometry": geometry}


JUMPING = {"type": "Polygon", "coordinates": [[[179, 10], [-179, 10], [-179, 20], [179, 20], [179, 10]]]}


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ([10, 45, 20, 50], box(10, 45, 20, 50)),
        ([170, -10, -170, 10], box(170, -10, 180, 10).union(box(-180, -10, -170, 10))),
        ([170, -10, -180, 10], box(170, -10, 180, 10)),
        (SQUARE, box(10, 45, 20, 50)),
        (HIGH, box(10, 45, 20, 50)),
        (feature(SQUARE), box(10, 45, 20, 50)),
        ({"type": "FeatureCollection", "features": [feature(SQUARE), feature(OTHER)]}, box(10, 45, 30, 50)),
        ({"type": "GeometryCollection", "geometries": [SQUARE, OTHER]}, box(10, 45, 30, 50)),
        (
            {"type": "Polygon", "coordinates": [[[-180, 0], [180, 0], [180, 9], [-180, 9], [-180, 0]]]},
            box(-180, 0, 180, 9),
        ),
    ],
)
def test_an_area_is_a_box_or_geojson(tmp_path, area, expected):
    card = good_card()
    put(card, "tw:valid_for", {"area": area})
    made = load(tmp_path, card).valid_for
    assert made.area is not None
    assert made.area.symmetric_difference(expected).area == 0
    assert (made.months, made.platforms, made.simulated) == ((), (), False)


def test_months_are_sorted_and_platforms_in_lower_case(tmp_path):
    card = good_card()
    put(card, "tw:valid_for", {"months": [7, 5, 6], "platforms": ["Sentinel-2A", "sentinel-2b"]})
    made = load(tmp_path, card).valid_for
    assert (made.area, made.months, made.platforms) == (None, (5, 6, 7), ("sentinel-2a", "sentinel-2b"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("area", [10, 45, 20]),
        ("area", [10, 45, 10, 50]),
        ("area", [10, 50, 20, 45]),
        ("area", [10, 45, 200, 50]),
        ("area", [10, 45, 20, True]),
        ("area", "Austria"),
        ("area", {"type": "Polygon"}),
        ("area", {"coordinates": []}),
        ("area", {"type": "Point", "coordinates": [10, 45]}),
        ("area", {"type": "FeatureCollection", "features": []}),
        ("area", BOW),
        ("area", [180, 10, -180, 20]),
        ("area", [180.0, -60, -180.0, -50]),
        ("area", JUMPING),
        ("area", feature(JUMPING)),
        ("area", {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"], JUMPING["coordinates"]]}),
        ("area", {"type": "Polygon", "coordinates": [[[100, 0], [-100, 0], [-100, 10], [100, 10], [100, 0]]]}),
        ("area", {"type": "Polygon", "coordinates": [[[-179, 0], [0, 9], [179, 0], [-179, 0]]]}),
        ("months", 5),
        ("months", []),
        ("months", [0]),
        ("months", [13]),
        ("months", [5, 5]),
        ("months", [5.0]),
        ("months", ["May"]),
        ("months", [True]),
        ("platforms", "sentinel-2a"),
        ("platforms", []),
        ("platforms", [""]),
        ("platforms", [2]),
        ("platforms", ["sentinel-2a", "Sentinel-2A"]),
        ("month", [5]),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(tmp_path, field, value):
    card = good_card()
    put(card, "tw:valid_for", {field: value})
    with pytest.raises(CardError, match=rf"properties\.tw:valid_for\.{field} is "):
        load(tmp_path, card)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tw:valid_for", {}, "properties.tw:valid_for is {}"),
        ("tw:valid_for", [5], "properties.tw:valid_for is "),
        ("tw:simulated", "yes", "properties.tw:simulated is 'yes'"),
        ("tw:validfor", {"months": [5]}, "did you mean 'tw:valid_for'"),
    ],
)
def test_a_wrong_form_is_refused(tmp_path, path, value, words):
    card = good_card()
    put(card, path, value)
    with pytest.raises(CardError) as refusal:
        load(tmp_path, card)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"tw:simulated": True}, True),
        ({"mlm:pretrained_source": "simulated sample of Tilewright"}, True),
        ({"mlm:pretrained_source": "radiative-transfer simulated spectra"}, True),
        ({"mlm:pretrained_source": "EuroCrops"}, False),
        ({"mlm:pretrained_source": "simulated and real", "tw:simulated": False}, False),
    ],
)
def test_simulated_training_is_said_by_a_field_or_by_the_source_of_pretraining(tmp_path, fields, expected):
    card = good_card()
    for path, value in fields.items():
        put(card, path, value)
    assert load(tmp_path, card).valid_for.simulated is expected


@pytest.mark.parametrize(
    ("name", "simulated"), [("sample-landcover", True), ("sample-forest", True), ("ndwi-water", False)]
)
def test_the_built_in_models_say_whether_they_saw_real_pixels(name, simulated):
    assert load_card(FOLDER / name).valid_for.simulated is simulated
