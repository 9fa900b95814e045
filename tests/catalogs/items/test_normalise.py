"""Foreign items in one normal form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pystac
import pytest

from tests.support.danube import SCENE
from tests.support.foreign import AWAY, HOME, item, only
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.scene import Scene
from tilewright.catalogs.sources.registry import known_sources
from tilewright.catalogs.sources.source import Source

LEVEL_2A = [
    *("coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078"),
    *("nir", "nir08", "nir09", "swir16", "swir22", "scl", "aot", "wvp"),
]


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
    assert (swir.unit, swir.dtype, swir.usual_nodata, swir.scale, swir.offset) == (
        "reflectance",
        "uint16",
        0.0,
        1e-4,
        0.0,
    )


def test_the_earth_search_v0_item_passes_with_its_baseline_from_the_product_name(real: Path) -> None:
    plain = json.loads((real / "stac-items/es_s2_item.json").read_text())
    scene = normalise_item(plain, known_sources()["earth-search"])
    assert scene.collection == "sentinel-2-l2a"
    assert list(scene.bands) == LEVEL_2A
    assert (scene.baseline, scene.granule, scene.sequence) == ("02.14", "28QCH", 0)
    assert scene.asset("nir08").key == "B8A"  # type: ignore[union-attr]


def test_the_hundred_geoparquet_items_pass_whichever_source_leads_there(real: Path) -> None:
    from pyarrow import parquet
    from stac_geoparquet.arrow import stac_table_to_items

    table = parquet.read_table(real / "stac-items/100-sentinel-2-items.parquet")
    for source in (known_sources()["planetary-computer"], HOME):
        scenes = [normalise_item(plain, source) for plain in stac_table_to_items(table)]
        assert len(scenes) == 100
        assert {(scene.state, len(scene.assets)) for scene in scenes} == {("offset-in-dn", 15)}
        assert {asset.offset for scene in scenes for asset in scene.assets if asset.unit == "reflectance"} == {-0.1}


def test_the_real_catalog_items_pass_as_pystac_items_too(real: Path) -> None:
    path = real / f"sentinel-2-l2a/{SCENE}/{SCENE}.json"
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
