"""The grid a foreign item says its assets have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.foreign import only


@pytest.mark.parametrize(
    ("level", "crs"),
    [
        ({"proj:epsg": 32633}, "EPSG:32633"),
        ({"proj:code": "EPSG:3035"}, "EPSG:3035"),
        ({"proj:epsg": None, "proj:code": None}, ""),
        ({"proj:code": "IAU_2015:49910"}, "IAU_2015:49910"),
    ],
)
def test_the_crs_is_found_on_the_asset_or_the_item(level: dict[str, Any], crs: str) -> None:
    assert only({"red": {"href": "r.tif", **level}}).crs == crs
    assert only({"red": {"href": "r.tif"}}, **level).crs == crs


def test_wkt_and_projjson_become_wkt() -> None:
    from pyproj import CRS

    laea = CRS.from_epsg(3035)
    for level in ({"proj:wkt2": laea.to_wkt()}, {"proj:projjson": laea.to_json_dict()}):
        assert CRS.from_user_input(only({"red": {"href": "r.tif", **level}}).crs) == laea
    assert only({"red": {"href": "r.tif", "proj:wkt2": "nonsense"}}).crs == ""


@pytest.mark.parametrize("transform", [[0, 0, 0, 0, 0, 0], [399960, 10, 0, 4500000, 0, -10], [1, 2], None, ["x"] * 6])
def test_a_transform_that_cannot_be_one_is_left_to_the_file(transform: Any) -> None:
    assert only({"red": {"href": "r.tif", "proj:transform": transform, "proj:shape": [0, 5]}}).transform is None
    assert only({"red": {"href": "r.tif", "proj:transform": transform, "proj:shape": [0, 5]}}).shape is None


def test_nine_numbers_of_a_transform_are_six() -> None:
    nine = [10, 0, 3, 0, -10, 4, 0, 0, 1]
    assert only({"red": {"href": "r.tif", "proj:transform": nine}}).transform == (10.0, 0.0, 3.0, 0.0, -10.0, 4.0)
