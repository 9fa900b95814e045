"""Foreign items in one normal form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pystac
import pytest

from catalogs.errors import CatalogError
from catalogs.items import Scene, normalise_item
from catalogs.sources import Source, known_sources

HOME = Source(name="home", kind="static", href="/data/catalog.json")
AWAY = Source(name="away", kind="api", href="https://stac.example.org/v1", prefer="https")
LEVEL_2A = [
    *("coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078"),
    *("nir", "nir08", "nir09", "swir16", "swir22", "scl", "aot", "wvp"),
]


def item(assets: dict[str, Any], *, collection: str = "sentinel-2-l2a", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "thing",
        "collection": collection,
        "bbox": [10, 45, 11, 46],
        "properties": {"datetime": "2021-06-17T10:05:59Z", "s2:processing_baseline": "03.00", **properties},
        "assets": assets,
        "links": [],
    }


def only(assets: dict[str, Any], source: Source = HOME, **more: Any) -> Any:
    """The one band of an item."""
    (asset,) = normalise_item(item(assets, **more), source).assets
    return asset


# --- the real items of other providers


def test_the_planetary_computer_item_passes(real: Path) -> None:
    plain = json.loads((real / "stac-items/pc_s2_item.json").read_text())
    scene = normalise_item(plain, known_sources()["planetary-computer"])
    assert list(scene.bands) == LEVEL_2A
    assert (scene.platform, scene.granule, scene.baseline, scene.relative_orbit) == (
        "sentinel-2b",
        "06VVN",
        "02.12",
        43,
    )
    assert (scene.state, scene.state_reason) == ("no-offset", "baseline 02.12 < 04.00")
    assert scene.solar_day == "2019-06-29"
    swir = scene.asset("swir16")
    assert swir is not None
    assert (swir.key, swir.crs, swir.shape) == ("B11", "EPSG:32606", (5490, 5490))
    assert swir.transform == (20.0, 0.0, 399960.0, 0.0, -20.0, 6800040.0)
    assert (swir.unit, swir.dtype, swir.nodata, swir.scale, swir.offset) == ("reflectance", "uint16", 0.0, 1e-4, 0.0)


def test_the_earth_search_v0_item_passes_with_its_baseline_from_the_product_name(real: Path) -> None:
    plain = json.loads((real / "stac-items/es_s2_item.json").read_text())
    scene = normalise_item(plain, known_sources()["earth-search"])
    assert scene.collection == "sentinel-2-l2a"
    assert list(scene.bands) == LEVEL_2A
    assert (scene.baseline, scene.granule, scene.sequence) == ("02.14", "28QCH", 0)
    assert scene.asset("nir08").key == "B8A"  # type: ignore[union-attr]


def test_the_hundred_geoparquet_items_pass_whichever_source_leads_there(real: Path) -> None:
    stac_table_to_items = pytest.importorskip("stac_geoparquet.arrow").stac_table_to_items
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(real / "stac-items/100-sentinel-2-items.parquet")
    for source in (known_sources()["planetary-computer"], HOME):
        scenes = [normalise_item(plain, source) for plain in stac_table_to_items(table)]
        assert len(scenes) == 100
        assert {(scene.state, len(scene.assets)) for scene in scenes} == {("offset-in-dn", 15)}
        assert {asset.offset for scene in scenes for asset in scene.assets if asset.unit == "reflectance"} == {-0.1}


def test_the_real_catalog_items_pass_as_pystac_items_too(real: Path) -> None:
    path = real / "sentinel-2-l2a/S2B_33UUP_20210617_1_L2A/S2B_33UUP_20210617_1_L2A.json"
    scene = normalise_item(pystac.Item.from_file(str(path)), HOME)
    assert scene == normalise_item(json.loads(path.read_text()), HOME, location=str(path))
    assert scene.asset("nir").href == str(path.parent / "nir.tif")  # type: ignore[union-attr]
    assert Path(scene.asset("nir").href).exists()  # type: ignore[union-attr]


def test_sentinel_1_unit_one_is_linear_power(real: Path) -> None:
    path = next((real / "sentinel-1-grd").glob("*/*.json"))
    scene = normalise_item(json.loads(path.read_text()), HOME, location=str(path))
    assert scene.state == "not-applicable"
    assert [(a.band, a.unit, a.dtype, a.nodata) for a in scene.assets] == [
        ("vv", "linear", "float32", -9999.0),
        ("vh", "linear", "float32", -9999.0),
    ]


# --- a scene survives the plan


def test_a_scene_comes_back_from_json_exactly(real: Path) -> None:
    for path in real.glob("sentinel-*/*/*.json"):
        scene = normalise_item(json.loads(path.read_text()), HOME, location=str(path))
        assert Scene.from_json(json.loads(json.dumps(scene.to_json(), allow_nan=False))) == scene


def test_a_nodata_of_nan_survives_strict_json() -> None:
    plain = item({"dem": {"href": "dem.tif", "raster:bands": [{"nodata": "nan"}]}}, collection="dem")
    scene = normalise_item(plain, HOME)
    again = Scene.from_json(json.loads(json.dumps(scene.to_json(), allow_nan=False)))
    assert math.isnan(again.assets[0].nodata)  # type: ignore[arg-type]


# --- names of bands


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


def test_a_collection_of_the_users_own_keeps_its_band_names_or_takes_those_told() -> None:
    assets = {"ndvi": {"href": "ndvi.tif"}, "sr": {"href": "sr.tif", "bands": [{"name": "r"}, {"name": "n"}]}}
    assert normalise_item(item(assets, collection="mine"), HOME).bands == ("n", "ndvi", "r")
    told = {"mine": {"red": {"asset": "sr", "index": 1, "scale": 0.01, "unit": "reflectance", "nodata": -1}}}
    source = Source(name="home", kind="static", href="/data/catalog.json", bands=told)
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


# --- numbers of bands


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


@pytest.mark.parametrize(("stated", "unit"), [("dB", "db"), ("1", "linear"), (None, "linear"), ("decibel", "db")])
def test_backscatter_has_the_unit_of_its_asset_else_of_the_collection(stated: str | None, unit: str) -> None:
    assert only({"vv": {"href": "vv.tif", "unit": stated}}, collection="sentinel-1-rtc").unit == unit


def test_plain_grd_without_a_unit_is_uncalibrated_unless_the_source_says() -> None:
    assets = {"vv": {"href": "vv.tif"}}
    assert only(assets, collection="sentinel-1-grd").unit == "1"
    told = Source(name="home", kind="static", href="/data/c.json", units={"sentinel-1-grd": "linear"})
    assert only(assets, told, collection="sentinel-1-grd").unit == "linear"


def test_landsat_and_dem_have_their_tables() -> None:
    red = only({"red": {"href": "r.tif"}}, collection="landsat-c2-l2")
    assert (red.scale, red.offset, red.nodata) == (2.75e-5, -0.2, 0.0)
    height = only({"data": {"href": "d.tif"}}, collection="cop-dem-glo-30")
    assert (height.band, height.unit, height.dtype) == ("elevation", "m", "float32")


# --- grids


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
    with pytest.raises(CatalogError, match="item thing of home: its CRS"):
        only({"red": {"href": "r.tif", "proj:wkt2": "nonsense"}})


@pytest.mark.parametrize("transform", [[0, 0, 0, 0, 0, 0], [399960, 10, 0, 4500000, 0, -10], [1, 2], None, ["x"] * 6])
def test_a_transform_that_cannot_be_one_is_left_to_the_file(transform: Any) -> None:
    assert only({"red": {"href": "r.tif", "proj:transform": transform, "proj:shape": [0, 5]}}).transform is None
    assert only({"red": {"href": "r.tif", "proj:transform": transform, "proj:shape": [0, 5]}}).shape is None


def test_nine_numbers_of_a_transform_are_six() -> None:
    nine = [10, 0, 3, 0, -10, 4, 0, 0, 1]
    assert only({"red": {"href": "r.tif", "proj:transform": nine}}).transform == (10.0, 0.0, 3.0, 0.0, -10.0, 4.0)


# --- hrefs


def test_relative_hrefs_refer_to_where_the_item_was_read() -> None:
    plain = item({"red": {"href": "./a/../red.tif"}})
    assert normalise_item(plain, HOME, location="/data/x/item.json").assets[0].href == "/data/x/red.tif"
    assert normalise_item(plain, AWAY, location="https://h.org/x/i.json").assets[0].href == "https://h.org/x/red.tif"
    s3 = Source(name="b", kind="static", href="s3://bucket/catalog.json")
    assert normalise_item(plain, s3, location="s3://bucket/x/i.json").assets[0].href == "s3://bucket/x/red.tif"


def test_the_scheme_a_source_prefers_is_taken_among_alternates() -> None:
    asset = {"href": "s3://b/red.tif", "alternate": {"web": {"href": "https://h.org/red.tif"}}}
    assert only({"red": asset}, AWAY).href == "https://h.org/red.tif"
    assert (
        only({"red": asset}, Source(name="c", kind="api", href="https://h.org", prefer="s3")).href == "s3://b/red.tif"
    )
    # what the source may not read is no choice
    local = {"href": "file:///etc/passwd", "alternate": {"web": {"href": "https://h.org/red.tif"}}}
    assert only({"red": local}, AWAY).href == "https://h.org/red.tif"


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "ftp://h.org/x",
        "http://[::1]/x",
        "http://2130706433/x",
        "http://localhost:8080/x",
        "http://10.0.0.1/x",
    ],
)
def test_a_remote_item_leads_nowhere_private(href: str) -> None:
    with pytest.raises(CatalogError, match=r"item thing of away: .*refused"):
        normalise_item(item({"red": {"href": href}}), AWAY, location="file:///x")


def test_a_link_to_itself_cannot_make_a_remote_item_local() -> None:
    plain = item({"red": {"href": "passwd"}})
    plain["links"] = [{"rel": "self", "href": "file:///etc/item.json"}]
    assert normalise_item(plain, AWAY).assets[0].href == "https://stac.example.org/passwd"


# --- granules


@pytest.mark.parametrize(
    ("name", "properties", "granule"),
    [
        ("S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531", {}, "06VVN"),
        ("S2A_5QKB_20200714_0_L2A", {}, "05QKB"),
        ("x", {"grid:code": "MGRS-5QKB"}, "05QKB"),
        ("x", {"s2:mgrs_tile": "33UUP"}, "33UUP"),
        ("x", {"mgrs:utm_zone": 5, "mgrs:latitude_band": "Q", "mgrs:grid_square": "KB"}, "05QKB"),
        ("x", {"landsat:wrs_path": "192", "landsat:wrs_row": "027"}, "WRS2-192027"),
        ("S1A_IW_GRDH_1SDV_20210616T165021_20210616T165046_038369_rtc", {}, None),
        ("x", {"grid:code": "WRS2-192027"}, None),
    ],
)
def test_granules_are_read_where_providers_put_them(name: str, properties: dict[str, Any], granule: str | None) -> None:
    plain = {**item({"red": {"href": "r.tif"}}, **properties), "id": name}
    assert normalise_item(plain, HOME).granule == granule


# --- what is missing or wrong


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": None}, "it has no id"),
        ({"collection": None}, "names no collection"),
        ({"bbox": None}, "neither a geometry nor a bbox"),
        ({"geometry": {"type": "Polygon", "coordinates": "x"}}, "not GeoJSON"),
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "no area"),
        ({"properties": {"datetime": None}}, "neither datetime nor start_datetime"),
    ],
)
def test_an_item_that_cannot_be_placed_is_refused_by_name(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CatalogError, match=rf"^item .* of home: .*{sentence}"):
        normalise_item({**item({"red": {"href": "r.tif"}}), **change}, HOME)


def test_null_fields_count_as_missing() -> None:
    plain = item({"red": {"href": "r.tif", "raster:bands": None, "eo:bands": None, "roles": None}, "gone": None})
    assert normalise_item(plain, HOME).bands == ("red",)


def test_a_range_of_dates_counts_from_its_start() -> None:
    plain = item({"red": {"href": "r.tif"}}, datetime=None, start_datetime="2020-01-02T03:04:05+02:00")
    assert normalise_item(plain, HOME).datetime.isoformat() == "2020-01-02T01:04:05+00:00"


def test_a_footprint_cut_at_the_antimeridian_keeps_its_centre_and_box() -> None:
    halves = (
        [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]],
        [[[-180, 0], [-178, 0], [-178, 1], [-180, 1], [-180, 0]]],
    )
    plain = item({"red": {"href": "r.tif"}}, datetime="2021-06-17T23:00:00Z")
    plain["geometry"] = {"type": "MultiPolygon", "coordinates": list(halves)}
    scene = normalise_item(plain, HOME)
    assert scene.bbox == (179.0, 0.0, -178.0, 1.0)
    # centre 180.5 E = 179.5 W: twelve hours behind, not in the middle of the map
    assert scene.solar_day == "2021-06-17"
