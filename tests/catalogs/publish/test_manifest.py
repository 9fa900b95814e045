from __future__ import annotations

import dataclasses
import json
import math
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

from tests.support.published import BOX, CHECKSUM, JUNE, outline
from tilewright.catalogs.publish.manifest import ManifestRow, write_manifest
from tilewright.catalogs.scene import BandAsset, Scene


def scene(number: int) -> Scene:
    asset = BandAsset(
        band="red",
        key="B04",
        href=f"https://files.example.com/{number}/B04.tif?sig=secret",
        index=1,
        dtype="uint16",
        nodata=0,
        scale=1e-4,
        offset=-0.1,
        unit="reflectance",
        crs="EPSG:32633",
        shape=(10980, 10980),
        transform=(10, 0, 300000, 0, -10, 5400000),
        checksum=CHECKSUM,
    )
    return Scene(
        id=f"S2_{number}",
        collection="sentinel-2-l2a",
        source="somewhere",
        datetime=JUNE + timedelta(days=number),
        solar_day=f"2021-06-{number + 1:02}",
        geometry=outline(BOX),
        bbox=BOX,
        platform="sentinel-2b",
        granule="33UUP",
        orbit_state=None,
        relative_orbit=22,
        cloud_cover=1.5,
        baseline="05.00",
        state="offset-in-dn",
        state_reason="baseline 05.00",
        assets=(asset, dataclasses.replace(asset, band="nodata", nodata=math.nan, checksum=None)),
    )


def test_the_manifest_holds_every_scene_unsigned_and_gives_them_back(tmp_path: Path) -> None:
    rows = [
        ManifestRow(scene=scene(n), href=f"https://stac.example.com/S2_{n}?sig=secret", used_in_blocks=n)
        for n in (3, 1)
    ]
    write_manifest(tmp_path / "inputs.parquet", rows)
    table = pq.read_table(tmp_path / "inputs.parquet").to_pylist()
    assert "secret" not in str(table)
    assert [row["id"] for row in table] == ["S2_1", "S2_3"]
    assert {
        name: table[1][name] for name in ("href", "checksum", "state", "baseline", "cloud_cover", "used_in_blocks")
    } == {
        "href": "https://stac.example.com/S2_3",
        "checksum": CHECKSUM,
        "state": "offset-in-dn",
        "baseline": "05.00",
        "cloud_cover": 1.5,
        "used_in_blocks": 3,
    }
    read = Scene.from_json(json.loads(table[0]["scene"]))
    assert read.asset("red") == dataclasses.replace(scene(1).assets[0], href="https://files.example.com/1/B04.tif")
    assert math.isnan(read.assets[1].nodata or 0)
    assert dataclasses.replace(read, assets=()) == dataclasses.replace(scene(1), assets=())


def test_the_same_manifest_is_the_same_bytes_and_an_empty_one_is_one(tmp_path: Path) -> None:
    rows = [
        ManifestRow(scene=scene(1), href="h", used_in_blocks=1),
        ManifestRow(scene=scene(2), href="h", used_in_blocks=0),
    ]
    write_manifest(tmp_path / "a", rows)
    write_manifest(tmp_path / "b", reversed(rows))
    write_manifest(tmp_path / "none", [])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.read_table(tmp_path / "none").num_rows == 0
