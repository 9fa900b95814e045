"""Plain files with dates as a source."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

from tests.support.small_catalogs import search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.catalogs.sources.source import Source


def geotiff(path: Path, *, n_bands: int = 1, west: float = 500_000, driver: str = "GTiff") -> str:
    profile = {"driver": driver, "width": 100, "height": 100, "count": n_bands, "dtype": "int16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=from_origin(west, 5_000_000, 10, 10), nodata=-1, **profile) as file:
        file.write(np.ones((n_bands, 100, 100), np.int16))
    return path.name


def test_a_list_of_files_is_a_source(tmp_path: Path) -> None:
    geotiff(tmp_path / "stack.tif", n_bands=3)
    geotiff(tmp_path / "extra.tif")
    geotiff(tmp_path / "east.tif", west=501_000)
    text = """
collection: own
defaults: {datetime: 2021-06-17, scale: 0.01, unit: reflectance}
files:
  - {href: stack.tif, bands: {red: 1, nir: 3}, cloud_cover: 3}
  - {href: extra.tif, band: extra, scale: 1, nodata: 7}
  - {href: east.tif, band: red}
  - {href: never-opened.tif, band: red, datetime: 1999-01-01}
"""
    source = write(tmp_path / "mine.yaml", text)
    west, east = search(
        source, collection="own", bands=["nir", "red"], aoi=box(14, 45, 16, 46), start=datetime(2021, 1, 1, tzinfo=UTC)
    )
    assert [(asset.band, asset.key, asset.index) for asset in west.assets] == [
        ("extra", "extra", 1),
        ("file_1_2", "file_1", 2),
        ("nir", "file_1", 3),
        ("red", "file_1", 1),
    ]
    red, extra = west.asset("red"), west.asset("extra")
    assert (red.href, red.dtype, red.nodata, red.scale, red.unit) == (
        str(tmp_path / "stack.tif"),
        "int16",
        -1.0,
        0.01,
        "reflectance",
    )
    assert (extra.scale, extra.nodata) == (1.0, 7.0)
    assert (red.crs, red.shape, red.transform) == (
        "EPSG:32633",
        (100, 100),
        (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0),
    )
    assert (west.id, east.id, west.cloud_cover) == ("own_20210617T000000", "own_20210617T000000_1", 3.0)
    assert box(*west.bbox).area > 0
    assert west.bbox[2] == pytest.approx(east.bbox[0], abs=1e-4)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({}, "needs href, datetime, collection and band"),
        ({"href": "a.tif", "datetime": "2021-01-01"}, "needs href, datetime, collection and band"),
        ({"href": "a.tif", "datetime": "tomorrow", "band": "red"}, "expected like 2021-06-17"),
        ({"href": "a.tif", "datetime": "2021-01-01", "band": "red", "colour": 1}, "unknown fields colour"),
        ({"href": "a.tif", "datetime": "2021-01-01", "bands": {"red": 2}}, "red cannot be number 2"),
        ({"href": "b.tif", "datetime": "2021-01-01", "band": "red"}, "cannot be read as GeoTIFF"),
        ({"href": "c.vrt", "datetime": "2021-01-01", "band": "red"}, "cannot be read as GeoTIFF"),
    ],
)
def test_an_entry_that_is_not_as_documented_is_refused(tmp_path: Path, entry: dict[str, Any], sentence: str) -> None:
    geotiff(tmp_path / "a.tif")
    (tmp_path / "c.vrt").write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    source = resolve_source({"files": [entry], "collection": "own"}, base=tmp_path)
    with pytest.raises(CatalogError, match=sentence):
        search(source, collection="own")


def test_files_of_sentinel_2_must_say_their_baseline_or_offset(tmp_path: Path) -> None:
    geotiff(tmp_path / "a.tif")
    entry = {"href": "a.tif", "datetime": "2022-06-01", "band": "red"}

    def state(**more: Any) -> str:
        source = resolve_source({"files": [{**entry, **more}], "collection": "sentinel-2-l2a"}, base=tmp_path)
        (scene,) = search(source, aoi=box(14, 45, 16, 46), radiometry="metadata" if more.pop("trust", 0) else "auto")
        return str(scene.state)

    with pytest.raises(CatalogError, match="names no processing baseline and says nothing of an offset"):
        state()
    assert state(baseline="03.01") == "no-offset"
    assert state(offset=0) == "offset-applied"


def test_a_source_is_known_to_its_scenes_by_name(tmp_path: Path) -> None:
    geotiff(tmp_path / "a.tif")
    entry = {"href": "a.tif", "datetime": "2022-06-01", "band": "red"}
    source = resolve_source({"name": "field", "files": [entry], "collection": "own"}, base=tmp_path)
    assert isinstance(source, Source)
    (scene,) = search(source, collection="own", aoi=box(14, 45, 16, 46))
    assert scene.source == "field"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale": "0,0001"}, "has scale '0,0001'; expected a number other than 0"),
        ({"scale": 0}, "has scale 0; expected"),
        ({"offset": "none"}, "has offset 'none'; expected a number"),
        ({"nodata": [0, 255]}, r"has nodata \[0, 255\]; expected one number, or nan"),
        ({"nodata": "none"}, "has nodata 'none'; expected one number"),
        ({"cloud_cover": "12 %"}, "has cloud_cover '12 %'; expected percent"),
        ({"cloud_cover": 200}, "has cloud_cover 200; expected percent"),
        ({"relative_orbit": "A22"}, "has relative_orbit 'A22'; expected"),
    ],
)
def test_numbers_of_a_file_that_are_none_are_refused(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    entry = {"href": geotiff(tmp_path / "a.tif"), "band": "v", "datetime": "2021-06-17", **fields}
    with pytest.raises(CatalogError, match=f"a.tif {said}"):
        search(resolve_source({"collection": "own", "files": [entry]}, base=tmp_path), collection="own", bands=["v"])


ONE_DAY = {"datetime": "2021-06-17"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"band": "v"}, {"band": "v"}),
        ({"bands": ["u", "v"]}, {"band": "v"}),
        ({"band": "v"}, {"bands": {"v": 2}}),
        ({"band": "v", "scene": "x"}, {"band": "v", "scene": "x"}),
        ({"bands": ["u", "v"], "scene": "x"}, {"bands": {"v": 1, "u": 2}, "scene": "x"}),
    ],
)
def test_a_band_that_two_files_of_a_scene_give_is_refused(first: Any, second: Any, tmp_path: Path) -> None:
    """One of them would be lost. Apart, or as scenes of their own, both are found."""
    for name in ("a.tif", "b.tif"):
        geotiff(tmp_path / name, n_bands=len(first.get("bands", "1")) if name == "a.tif" else 2)
    entries = [{"href": "a.tif", **ONE_DAY, **first}, {"href": "b.tif", **ONE_DAY, **second}]
    if "band" in second:
        geotiff(tmp_path / "b.tif")
    asked: dict[str, Any] = {"collection": "own", "bands": ["v"], "aoi": box(14, 44, 16, 46)}
    with pytest.raises(CatalogError, match=r"scene .*: .*a\.tif and .*b\.tif both give [uv]; say `scene`"):
        search(resolve_source({"collection": "own", "files": entries}, base=tmp_path), **asked)
    apart = [{**entry, "scene": str(number)} for number, entry in enumerate(entries)]
    assert len(search(resolve_source({"collection": "own", "files": apart}, base=tmp_path), **asked)) == 2


def test_a_scene_covers_what_any_of_its_files_covers(tmp_path: Path) -> None:
    entries = [
        {"href": geotiff(tmp_path / "a.tif"), "band": "u", "scene": "x", **ONE_DAY},
        {"href": geotiff(tmp_path / "b.tif", west=520_000), "band": "v", "scene": "x", **ONE_DAY},
    ]
    east = box(15.26, 45.148, 15.262, 45.15)
    (scene,) = search(
        resolve_source({"collection": "own", "files": entries}, base=tmp_path), collection="own", bands=["v"], aoi=east
    )
    assert scene.bands == ("u", "v")
    assert scene.bbox[0] < 15.01
    assert scene.bbox[2] > 15.26


@pytest.mark.parametrize("href", ["own.zarr/red", "own.zarr", "own.zarr/", "OWN.ZARR/r10m/red", "own.zarr/red?v=1"])
def test_a_list_with_a_zarr_store_is_told_where_it_is_described(tmp_path: Path, href: str) -> None:
    entry = {"href": href, "datetime": "2021-01-01", "band": "red", "collection": "own"}
    source = resolve_source({"files": [entry]}, base=tmp_path)
    with pytest.raises(CatalogError, match=r"in a Zarr store.*STAC item.*data\.md"):
        search(source, collection="own", bands=["red"], aoi=box(14, 45, 16, 46))
