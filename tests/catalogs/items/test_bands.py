"""The grid a foreign item says its assets have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.foreign import HOME, item, only
from tilewright.catalogs.items.normalise import read_item


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


STATED = {"data_type": "uint16", "nodata": 7, "unit": "reflectance", "raster:scale": 0.001, "raster:offset": -0.2}


@pytest.mark.parametrize(
    ("asset", "right"),
    [
        ({}, (0.001, -0.2, 7.0)),
        ({"bands": [{"name": "own"}]}, (0.001, -0.2, 7.0)),
        ({"raster:scale": 0.002}, (0.002, -0.2, 7.0)),
        ({"bands": [{"name": "own", "nodata": 0, "raster:offset": 0.0}]}, (0.001, 0.0, 0.0)),
        ({"raster:bands": [{"scale": 0.004, "offset": 0.1, "nodata": 1}]}, (0.004, 0.1, 1.0)),
        ({"nodata": 3, "eo:bands": [{"name": "own"}]}, (0.001, -0.2, 3.0)),
    ],
)
def test_numbers_in_the_items_properties_hold_for_assets_that_state_none(asset: Any, right: tuple[float, ...]) -> None:
    band = only({"own": {"href": "x.tif", **asset}}, collection="mine", **STATED)
    assert (band.scale, band.offset, band.nodata, band.dtype, band.unit) == (*right, "uint16", "reflectance")


TWO = [{"name": "u"}, {"name": "v"}]


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"eo:bands": TWO, "raster:bands": [{"scale": 0.1}]}, "states scale in raster:bands for 1 of its bands"),
        ({"bands": TWO, "raster:bands": [{"offset": 1, "nodata": 0}]}, "states nodata, offset in raster:bands"),
        ({"eo:bands": TWO, "bands": [{"name": "u", "raster:scale": 0.1}]}, "states scale in bands for 1"),
        ({"eo:bands": TWO, "bands": [{"name": "u", "nodata": 0}]}, "states nodata in bands for 1"),
        (
            {"eo:bands": TWO, "raster:bands": [{"data_type": "uint16", "scale": 0.1}]},
            "say them under bands in the source",
        ),
    ],
)
def test_a_band_without_the_numbers_of_its_neighbours_is_lost(lists: dict[str, Any], said: str) -> None:
    read = read_item(item({"stack": {"href": "x.tif", **lists}}, collection="mine"), HOME)
    assert [band.band for band in read.named.scene.assets] == ["u"]
    ((lost, error),) = read.lost
    assert lost.band == "v"
    assert "its asset stack" in str(error)
    assert said in str(error)


@pytest.mark.parametrize(
    "lists",
    [
        {"eo:bands": TWO},
        {"eo:bands": TWO, "raster:bands": [{"data_type": "uint16"}]},
        {"eo:bands": TWO, "raster:bands": [{"scale": 0.1}, {"scale": 0.2}]},
        {"eo:bands": TWO, "raster:bands": [{"scale": 0.1}, {}]},
        {"eo:bands": TWO, "raster:bands": [{"scale": 0.1}], "raster:scale": 0.1},
    ],
)
def test_a_band_whose_numbers_can_be_known_stays(lists: dict[str, Any]) -> None:
    read = read_item(item({"stack": {"href": "x.tif", **lists}}, collection="mine"), HOME)
    assert [band.band for band in read.named.scene.assets] == ["u", "v"]
