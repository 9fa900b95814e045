"""Which assets of a foreign item are which of our bands, and what their numbers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.foreign import HOME, item, only
from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.scene import BandAsset
from tilewright.catalogs.sources.registry import known_sources
from tilewright.catalogs.sources.source import Source


@pytest.mark.parametrize(
    ("key", "band"),
    [
        ("red", "red"),
        ("B04", "red"),
        ("B04_10m", "red"),
        ("b04", "red"),
        ("B8A", "nir08"),
        ("nir08", "nir08"),
        ("rededge2", "rededge075"),
        ("B07_20m", "rededge078"),
        ("SCL_20m", "scl"),
        ("CLD", "cloud"),
        ("B09", "nir09"),
    ],
)
def test_keys_of_all_providers_mean_our_bands(key: str, band: str) -> None:
    assert only({key: {"href": "x.tif"}}).band == band


def test_of_several_resolutions_the_native_one_is_read_else_the_finest() -> None:
    assets = {
        f"B{n}_{size}m": {"href": f"{n}_{size}.jp2", "type": "image/jp2"} for n in ("02", "8A") for size in (60, 20)
    }
    assets |= {"B02_10m": {"href": "02_10.jp2"}, "B01_20m": {"href": "01_20.jp2"}, "B01_60m": {"href": "01_60.jp2"}}
    assets |= {"AOT_20m": {"href": "aot_20.jp2"}, "AOT_60m": {"href": "aot_60.jp2"}}
    scene = normalise_item(item(assets), HOME)
    assert {asset.band: asset.key for asset in scene.assets} == {
        "coastal": "B01_60m",
        "blue": "B02_10m",
        "nir08": "B8A_20m",
        "aot": "AOT_20m",
    }


def test_pictures_are_never_taken_for_bands() -> None:
    bands = [{"name": "B04", "common_name": "red"}, {"name": "B03", "common_name": "green"}]
    assets = {
        "visual": {"href": "tci.tif", "type": "image/tiff", "eo:bands": bands, "roles": ["data"]},
        "TCI_10m": {"href": "tci.jp2", "eo:bands": bands},
        "red-preview": {"href": "red.png", "type": "image/png", "eo:bands": bands[:1]},
        "look": {"href": "look.tif", "eo:bands": bands[:1], "roles": ["overview"]},
    }
    assert normalise_item(item(assets), HOME).assets == ()


def test_bands_are_found_in_a_stack_by_either_list_of_bands() -> None:
    for bands in (
        {"eo:bands": [{"name": "B02"}, {"name": "B04", "common_name": "red"}]},
        {"bands": [{"name": "B02"}, {"name": "x", "eo:common_name": "red"}]},
    ):
        scene = normalise_item(item({"stack": {"href": "stack.tif", **bands}}), HOME)
        assert [(asset.band, asset.key, asset.index) for asset in scene.assets] == [
            ("blue", "stack", 1),
            ("red", "stack", 2),
        ]


def test_a_named_asset_goes_before_a_stack() -> None:
    assets = {"all": {"href": "all.tif", "eo:bands": [{"name": "B04"}]}, "red": {"href": "red.tif"}}
    assert only(assets).key == "red"


def test_a_collection_of_the_users_own_keeps_its_band_names_or_takes_those_of_the_source() -> None:
    assets = {"ndvi": {"href": "ndvi.tif"}, "sr": {"href": "sr.tif", "bands": [{"name": "r"}, {"name": "n"}]}}
    assert normalise_item(item(assets, collection="mine"), HOME).bands == ("n", "ndvi", "r")
    bands = {"mine": {"red": {"asset": "sr", "index": 1, "scale": 0.01, "unit": "reflectance", "nodata": -1}}}
    source = Source(name="home", kind="static", href="/data/catalog.json", bands=bands)
    red = normalise_item(item(assets, collection="mine"), source).asset("red")
    assert red is not None
    assert (red.key, red.index, red.scale, red.offset, red.unit, red.nodata) == (
        "sr",
        1,
        0.01,
        0.0,
        "reflectance",
        -1.0,
    )


def test_an_item_as_the_copernicus_data_space_writes_it_passes() -> None:
    """STAC 1.1 with asset-level numbers, an offset on every asset, s3 first and a download service as alternate."""

    def asset(key: str, size: int) -> dict[str, Any]:
        href = f"s3://eodata/Sentinel-2/MSI/L2A/2024/x.SAFE/{key}.jp2"
        other = {"https": {"href": f"https://download.dataspace.copernicus.eu/odata/v1/{key}/$value"}}
        numbers = {"data_type": "uint16", "nodata": 0, "raster:scale": 0.0001, "raster:offset": -0.1}
        grid = {"proj:code": "EPSG:32633", "proj:shape": [109800 // size] * 2}
        return {"href": href, "type": "image/jp2", "alternate": other, "gsd": size, **numbers, **grid}

    assets = {key: asset(key, int(key[-3:-1])) for key in ("B04_10m", "B04_20m", "B8A_20m", "SCL_20m", "AOT_10m")}
    plain = item(assets, **{"processing:version": "05.10", "grid:code": "MGRS-33UUP", "s2:processing_baseline": None})
    scene = normalise_item(plain, known_sources()["cdse"])
    assert (scene.baseline, scene.granule, scene.state) == ("05.10", "33UUP", "offset-in-dn")
    assert [(a.band, a.key, a.offset, a.unit) for a in scene.assets] == [
        ("red", "B04_10m", -0.1, "reflectance"),
        ("nir08", "B8A_20m", -0.1, "reflectance"),
        ("scl", "SCL_20m", 0.0, "class"),
        ("aot", "AOT_10m", 0.0, "1"),
    ]
    assert {a.href[:12] for a in scene.assets} == {"s3://eodata/"}
    assert scene.asset("aot").scale == 1e-3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"data_type": "int16", "nodata": -1, "scale": 0.5, "offset": 2, "unit": "m"}]},
        {"bands": [{"data_type": "int16", "nodata": -1, "raster:scale": 0.5, "raster:offset": 2, "unit": "m"}]},
        {"data_type": "int16", "nodata": -1, "raster:scale": 0.5, "raster:offset": 2, "unit": "m"},
    ],
)
def test_numbers_are_found_where_stac_1_0_and_1_1_put_them(fields: dict[str, Any]) -> None:
    asset = only({"height": {"href": "h.tif", **fields}}, collection="mine")
    assert (asset.dtype, asset.nodata, asset.scale, asset.offset, asset.unit) == ("int16", -1.0, 0.5, 2.0, "m")


def test_a_float_band_without_a_scale_is_physical_already() -> None:
    assert only({"red": {"href": "r.tif", "raster:bands": [{"data_type": "float32"}]}}).scale == 1.0


def test_zero_percent_cloud_is_not_nodata() -> None:
    assert only({"cloud": {"href": "c.tif", "raster:bands": [{"nodata": 0}]}}).nodata is None


@pytest.mark.parametrize(
    ("place", "item", "source", "markers", "rest"),
    [
        ("sentinel-2-l2a/red", None, None, (None,), (0.0, False)),
        ("sentinel-2-l2a/red", 0, None, (0.0,), (0.0, False)),
        ("sentinel-2-l2a/red", -9999, None, (-9999.0,), (0.0, False)),
        ("sentinel-2-l2a/red", 65535, 0, (0.0, 65535.0), (0.0, False)),
        ("sentinel-2-l2a/red", 7, 7, (7.0,), (0.0, False)),
        ("sentinel-2-l2a/cloud", 0, None, (None,), (None, True)),
        ("sentinel-2-l2a/snow", 0, 255, (255.0,), (None, True)),
        ("my-own/red", None, None, (None,), (None, False)),
        ("my-own/red", "nan", -9999, (-9999.0, "nan"), (None, False)),
        ("sentinel-1-rtc/vv", None, None, (None,), (-32768.0, False)),
    ],
)
def test_markers_of_item_and_source_are_a_set_and_the_tables_is_only_usual(
    place: str, item: Any, source: Any, markers: Any, rest: tuple[float | None, bool]
) -> None:
    collection, band = place.split("/")
    own = {} if source is None else {collection: {band: {"asset": band, "nodata": source}}}
    described = Source(name="home", kind="static", href="/data/c.json", bands=own)
    fields = {} if item is None else {"raster:bands": [{"nodata": item}]}
    asset = only({band: {"href": "r.tif", **fields}}, described, collection=collection)
    assert tuple(str(marker) for marker in (asset.nodata, *asset.more_nodata)) == tuple(map(str, markers))
    assert (asset.usual_nodata, asset.zero_is_value) == rest
    assert str(BandAsset.from_json(json.loads(json.dumps(asset.to_json())))) == str(asset)


def test_the_bands_of_a_file_have_the_names_of_item_and_source() -> None:
    stack = {"href": "s.tif", "bands": [{"name": "red"}, {}, {"name": "blue"}, {}]}
    bands = {"mine": {"red": {"asset": "stack", "index": 1}, "nir": {"asset": "stack", "index": 4, "alpha": False}}}
    source = Source(name="home", kind="static", href="/data/c.json", bands=bands)
    red, nir = sorted(
        normalise_item(item({"stack": stack}, collection="mine"), source).assets, key=lambda asset: asset.index
    )
    assert red.band_names == nir.band_names == ("red", "", "blue", "nir")
    assert (red.alpha, nir.alpha) == (None, False)
    assert only({"red": {"href": "r.tif", "bands": [{"name": "red"}]}}).band_names == ()


@pytest.mark.parametrize(
    ("collection", "fields", "calibration"),
    [
        ("mine", {}, "none"),
        ("mine", {"raster:bands": [{"scale": 1}]}, "item"),
        ("mine", {"raster:bands": [{"offset": 3}]}, "item"),
        ("mine", {"raster:bands": [{"unit": "class"}]}, "stated"),
        ("dem", {}, "item"),
    ],
)
def test_a_band_says_whether_anybody_stated_its_scale(collection: str, fields: Any, calibration: str) -> None:
    assert only({"data": {"href": "r.tif", **fields}}, collection=collection).calibration == calibration


WHOLE = {"data_type": "uint16", "raster:scale": 0.0001, "raster:offset": -0.1}
FLOATS = {"dtype": "float32", "scale": 1}
HELD = {"s2:processing_baseline": "05.10", "earthsearch:boa_offset_applied": False}


@pytest.mark.parametrize(
    ("fields", "override", "properties", "scale", "offset"),
    [
        (WHOLE, {}, HELD, 0.0001, -0.1),
        (WHOLE, {"scale": 0.0001, "offset": 0}, HELD, 0.0001, 0.0),
        (WHOLE, {"scale": 0.0001, "offset": -0.2}, HELD, 0.0001, -0.2),
        (WHOLE, {**FLOATS, "offset": 0}, HELD, 1.0, 0.0),
        (WHOLE, FLOATS, HELD, 1.0, 0.0),
        (WHOLE, {"dtype": "float32"}, HELD, 1.0, 0.0),
        (WHOLE, {"dtype": "float32", "scale": 0.0001}, HELD, 0.0001, -0.1),
        (WHOLE, FLOATS, {"s2:processing_baseline": "05.10"}, 1.0, 0.0),
        ({"data_type": "float32"}, {}, HELD, 1.0, 0.0),
        ({"data_type": "float32"}, {}, {"s2:processing_baseline": None}, 1.0, 0.0),
        ({"data_type": "float32", "raster:scale": 0.0001}, {}, HELD, 0.0001, -0.1),
        ({"data_type": "float32", "raster:offset": -0.1}, {}, HELD, 1.0, -0.1),
        ({}, {}, {"s2:processing_baseline": "03.00"}, 0.0001, 0.0),
    ],
)
def test_esas_offset_is_that_of_whole_numbers_and_a_source_that_says_0_is_heard(
    fields: Any, override: Any, properties: Any, scale: float, offset: float
) -> None:
    bands = {"sentinel-2-l2a": {"red": {"asset": "red", **override}}} if override else {}
    source = Source(name="home", kind="static", href="/data/catalog.json", bands=bands)
    asset = only({"red": {"href": "r.tif", "eo:bands": [{"name": "red"}], **fields}}, source, **properties)
    assert (asset.scale, asset.offset) == (scale, offset)


@pytest.mark.parametrize(("stated", "unit"), [("dB", "db"), ("1", "linear"), (None, "linear"), ("decibel", "db")])
def test_backscatter_has_the_unit_of_its_asset_else_of_the_collection(stated: str | None, unit: str) -> None:
    assert only({"vv": {"href": "vv.tif", "unit": stated}}, collection="sentinel-1-rtc").unit == unit


def test_plain_grd_without_a_unit_is_uncalibrated_unless_the_source_says() -> None:
    assets = {"vv": {"href": "vv.tif"}}
    assert only(assets, collection="sentinel-1-grd").unit == "1"
    source = Source(name="home", kind="static", href="/data/c.json", units={"sentinel-1-grd": "linear"})
    assert only(assets, source, collection="sentinel-1-grd").unit == "linear"


def test_landsat_and_dem_have_their_tables() -> None:
    red = only({"red": {"href": "r.tif"}}, collection="landsat-c2-l2")
    assert (red.scale, red.offset, red.usual_nodata) == (2.75e-5, -0.2, 0.0)
    height = only({"data": {"href": "d.tif"}}, collection="cop-dem-glo-30")
    assert (height.band, height.unit, height.dtype) == ("elevation", "m", "float32")
