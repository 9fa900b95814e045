"""The radiometric state of a scene: the truth table of the metadata, and what the pixels say against it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tilewright.catalogs.errors import CatalogError, RadiometryError
from tilewright.catalogs.gdal import read_overview
from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.items.radiometry import (
    DARK_SHARE,
    PIXELS_DECIDE,
    dark_share,
    decide_state,
    pixel_contradiction,
    verify_states,
)
from tilewright.catalogs.scene import BandAsset, Scene
from tilewright.catalogs.search import search_scenes
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.catalogs.sources.source import Source

ES = (-0.1,)

# baseline, flag, advertised, serves ESA's DN -> state, offset. The first lines are the traps: Earth Search advertises
# -0.1 on old baselines and on shifted pixels alike.
TRUTH = [
    ("02.14", None, ES, False, "no-offset", 0.0),
    ("03.01", False, ES, True, "no-offset", 0.0),
    ("03.00", True, (), False, "no-offset", 0.0),
    ("04.00", True, ES, False, "offset-applied", 0.0),
    ("05.09", True, (0.0,), True, "offset-applied", 0.0),
    ("05.09", False, ES, False, "offset-in-dn", -0.1),
    ("05.09", False, (0.0,), False, "offset-in-dn", -0.1),
    ("05.09", False, (), False, "offset-in-dn", -0.1),
    ("04.00", None, ES, False, "offset-in-dn", -0.1),
    ("05.11", None, (-0.2,), True, "offset-in-dn", -0.2),
    ("05.11", None, (0.0, 0.0), True, "offset-applied", 0.0),
    ("04.00", None, (), True, "offset-in-dn", -0.1),
    (None, True, ES, False, "offset-applied", 0.0),
    (None, None, ES, False, "offset-in-dn", -0.1),
]


@pytest.mark.parametrize("row", TRUTH)
def test_metadata_decides_by_baseline_then_flag_then_advertised_offset_then_source(row: tuple[Any, ...]) -> None:
    baseline, flag, advertised, as_esa, state, offset = row
    decided = decide_state(
        collection="sentinel-2-l2a", baseline=baseline, flag=flag, advertised=advertised, dn_as_esa=as_esa
    )
    assert (decided.state, decided.offset) == (state, offset)
    assert decided.reason


@pytest.mark.parametrize(("baseline", "as_esa"), [("05.09", False), (None, True), (None, False)])
def test_an_open_state_is_refused_unless_the_job_says_what_to_believe(baseline: str | None, as_esa: bool) -> None:
    def decide(radiometry: str) -> tuple[str, float]:
        decided = decide_state(
            collection="sentinel-2-l2a",
            baseline=baseline,
            flag=None,
            advertised=(),
            dn_as_esa=as_esa,
            radiometry=radiometry,
        )
        return decided.state, decided.offset

    with pytest.raises(CatalogError, match="radiometry: pixels"):
        decide("auto")
    assert decide("metadata") == ("offset-applied", 0.0)
    assert decide("pixels") == ("offset-in-dn", -0.1)


def test_other_sensors_have_no_such_state() -> None:
    decided = decide_state(collection="sentinel-1-grd", baseline=None, flag=None, advertised=(-0.1,), dn_as_esa=True)
    assert decided.state == "not-applicable"


def band(name: str, *, unit: str = "reflectance", offset: float = -0.1) -> BandAsset:
    return BandAsset(
        band=name,
        key=name,
        href=f"/{name}.tif",
        index=1,
        dtype="uint16",
        nodata=0.0,
        scale=1e-4,
        offset=offset,
        unit=unit,
        crs="EPSG:32633",
        shape=None,
        transform=None,
        checksum=None,
    )


def claiming(name: str = "claims", *bands: str) -> Scene:
    return Scene(
        id=name,
        collection="sentinel-2-l2a",
        source="test",
        datetime=datetime(2022, 6, 1, tzinfo=UTC),
        solar_day="2022-06-01",
        geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        bbox=(0, 0, 1, 1),
        platform=None,
        granule=None,
        orbit_state=None,
        relative_orbit=None,
        cloud_cover=None,
        baseline="05.09",
        state="offset-in-dn",
        state_reason="earthsearch:boa_offset_applied is false",
        assets=(*(band(name) for name in bands or ("blue", "nir")), band("scl", unit="class", offset=0.0)),
    )


def overview(n_dark: int, *, dark: int = 300, bright: int = 1500, size: int = 52) -> np.ndarray:
    """A 52 x 52 overview whose 50 x 50 inside has that many dark pixels."""
    pixels = np.full((size, size), bright, np.uint16)
    pixels[1:-1, 1:-1].flat[:n_dark] = dark
    inner = pixels[1:-1, 1:-1].copy()
    inner.flat[:n_dark] = dark
    pixels[1:-1, 1:-1] = inner
    return pixels


@pytest.mark.parametrize(("n_dark", "contradicts"), [(0, False), (25, False), (26, True), (2500, True)])
def test_more_than_one_percent_of_dark_pixels_contradicts(n_dark: int, contradicts: bool) -> None:
    assert DARK_SHARE == 0.01
    assert bool(pixel_contradiction(claiming(), lambda asset: overview(n_dark))) is contradicts


def test_dark_pixels_beside_nodata_and_on_the_rim_do_not_count() -> None:
    pixels = np.full((60, 60), 1500, np.uint16)
    pixels[:, 30:] = 0
    pixels[:, 29] = 500
    pixels[0, :] = pixels[-1, :] = pixels[:, 0] = np.where(pixels[:, 0] > 0, 500, 0)
    assert dark_share(pixels, 0.0) == 0.0


def test_too_few_pixels_prove_nothing() -> None:
    assert dark_share(np.full((6, 6), 300, np.uint16), 0.0) == 0.0
    assert dark_share(np.full((7, 7), 300, np.uint16), 0.0) == 1.0


def test_only_a_visible_band_of_a_claiming_scene_is_looked_at() -> None:
    looked: list[str] = []

    def look(asset: BandAsset) -> np.ndarray:
        looked.append(asset.band)
        return overview(2500)

    assert pixel_contradiction(claiming("a", "nir", "swir16"), look) is None
    assert pixel_contradiction(replace(claiming(), state="offset-applied"), look) is None
    assert looked == []
    assert pixel_contradiction(claiming("a", "nir", "red", "green"), look)
    assert looked == ["green"]


def test_contradictions_are_refused_by_name() -> None:
    scenes = [claiming("honest"), claiming("liar")]

    def look(asset: BandAsset) -> np.ndarray:
        return overview(0)

    verified = verify_states(scenes, radiometry="auto", read_overview=look)
    assert [scene.state for scene in verified] == ["offset-in-dn"] * 2
    with pytest.raises(CatalogError, match=r"liar .*100% of the valid DN of blue.*radiometry: pixels") as refusal:
        verify_states([claiming("liar")], radiometry="auto", read_overview=lambda asset: overview(2500))
    assert "honest" not in str(refusal.value)


def test_believing_the_pixels_takes_the_offset_away_and_says_so() -> None:
    (scene,) = verify_states([claiming()], radiometry="pixels", read_overview=lambda asset: overview(2500))
    assert scene.state == "offset-applied"
    assert "100% of the valid DN of blue" in scene.state_reason
    assert [asset.offset for asset in scene.assets] == [0.0, 0.0, 0.0]


def test_believing_the_metadata_does_not_look() -> None:
    def never(asset: BandAsset) -> np.ndarray:
        raise AssertionError(asset)

    assert verify_states([claiming()], radiometry="metadata", read_overview=never) == (claiming(),)


def test_the_next_visible_band_is_looked_at_when_one_cannot_be_read_and_a_blind_scene_says_so() -> None:
    def half_blind(asset: BandAsset) -> np.ndarray:
        if asset.band == "blue":
            raise OSError
        return overview(2500)

    assert "green" in str(pixel_contradiction(claiming("a", "blue", "green"), half_blind))

    def blind(asset: BandAsset) -> np.ndarray:
        raise OSError

    (scene,) = verify_states([claiming()], radiometry="auto", read_overview=blind)
    assert scene.state == "offset-in-dn"
    assert "could not be looked at" in scene.state_reason


def asked(name: str) -> Scene:
    """A scene of whose offset the metadata say nothing."""
    return replace(
        claiming(name), baseline="05.10", state_reason=f"names no processing baseline and no offset: {PIXELS_DECIDE}"
    )


@pytest.mark.parametrize(
    ("others", "offset"),
    [({"b": 0}, -0.1), ({"b": 2500}, 0.0), ({}, None), ({"b": 0, "c": 2500}, None), ({"b": -1}, None)],
)
def test_where_pixels_are_to_decide_and_tell_nothing_others_of_one_voice_do_or_it_is_refused(
    others: dict[str, int], offset: float | None
) -> None:
    """DN by scene: 0 agrees, 2500 contradicts, -1 cannot be read, as the scene `a` itself."""

    def look(asset: BandAsset) -> np.ndarray:
        by = others.get(asset.href[:1], -1)
        if by < 0:
            raise OSError
        return overview(2500, dark=1050 if by == 0 else 300)

    scenes = [
        replace(asked(name), assets=tuple(replace(each, href=f"{name}.tif") for each in asked(name).assets))
        for name in ("a", *others)
    ]
    if offset is None:
        with pytest.raises(RadiometryError, match=r"a \(its pixels could not be looked at.*state scale and offset"):
            verify_states(scenes, radiometry="pixels", read_overview=look)
        return
    # Where no baseline is stated scenes may be of any time, and are not alike.
    with pytest.raises(RadiometryError, match="leave these scenes out"):
        verify_states([replace(each, baseline=None) for each in scenes], radiometry="pixels", read_overview=look)
    first = verify_states(scenes, radiometry="pixels", read_overview=look)[0]
    assert {each.offset for each in first.assets if each.unit == "reflectance"} == {offset}
    assert "pixels of other scenes" in first.state_reason


def test_real_shifted_scenes_are_found_out_when_clear_and_clouds_prove_nothing(real: Path) -> None:
    """The April 2023 windows are shifted; if their items claim that they are not, the clear ones contradict."""
    source = resolve_source(str(real / "catalog.json"))
    shares = {}
    for path in sorted((real / "sentinel-2-l2a").glob("S2_2023*/*.json")):
        scene = normalise_item(json.loads(path.read_text()), source, location=str(path))
        shares[scene.solar_day] = dark_share(read_overview(scene.asset("coastal"), lambda href: href), 0.0)
    assert shares["2023-04-05"] > 0.9
    assert shares["2023-04-15"] > 0.9
    assert shares["2023-04-02"] == 0.0
    assert all(share == 0 or share > 0.5 for share in shares.values())


def test_a_false_flag_on_real_pixels_is_refused_at_search_and_both_ways_out_work(real: Path, tmp_path: Path) -> None:
    folder = real / "sentinel-2-l2a" / "S2_20230415_L2A"
    item = json.loads((folder / "S2_20230415_L2A.json").read_text())
    item["properties"]["earthsearch:boa_offset_applied"] = False
    for asset in item["assets"].values():
        asset["href"] = str(folder / asset["href"])
    (tmp_path / "item.json").write_text(json.dumps(item))
    source = resolve_source(str(tmp_path / "item.json"))

    def search(radiometry: str) -> Scene:
        (scene,) = search_scenes(
            source,
            collection="sentinel-2-l2a",
            aoi=box(5, 51, 6, 52),
            start=None,
            end=None,
            bands=["red"],
            radiometry=radiometry,
        )
        return scene

    with pytest.raises(CatalogError, match="S2_20230415_L2A"):
        search("auto")
    assert (search("pixels").state, search("pixels").asset("red").offset) == ("offset-applied", 0.0)  # type: ignore[union-attr]
    assert (search("metadata").state, search("metadata").asset("red").offset) == ("offset-in-dn", -0.1)  # type: ignore[union-attr]


def test_scl_and_other_layers_keep_their_numbers() -> None:
    item = {
        "id": "x",
        "collection": "sentinel-2-l2a",
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2023-01-01T00:00:00Z", "s2:processing_baseline": "05.09"},
        "assets": {
            "red": {"href": "red.tif", "raster:bands": [{"scale": 0.0001, "offset": -0.1}]},
            "scl": {"href": "scl.tif", "raster:bands": [{"scale": 0.0001, "offset": -0.1}]},
            "aot": {"href": "aot.tif"},
        },
    }
    scene = normalise_item(item, Source(name="t", kind="static", href="/data/catalog.json"))
    assert {asset.band: (asset.scale, asset.offset) for asset in scene.assets} == {
        "red": (1e-4, -0.1),
        "scl": (1.0, 0.0),
        "aot": (1e-3, 0.0),
    }
