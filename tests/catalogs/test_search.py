"""Search: what is found, in which order, and what is refused, over every kind of source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import MultiPolygon, box, shape

from tests.support.danube import DANUBE, SCENE
from tests.support.small_catalogs import item, links, names, search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.search import Filters
from tilewright.catalogs.sources import fetch

AOI = box(*DANUBE)
JUNE = (datetime(2021, 6, 1, tzinfo=UTC), datetime(2021, 6, 30, 23, 59, 59, tzinfo=UTC))


# --- the real catalog


def test_the_danube_in_june_is_one_scene(real: Path) -> None:
    (scene,) = search(str(real / "catalog.json"), aoi=AOI, start=JUNE[0], end=JUNE[1], bands=["green", "nir"])
    assert (scene.id, scene.state, scene.source) == (SCENE, "no-offset", "real")
    assert Path(scene.asset("green").href).is_file()


def test_everything_comes_ordered_by_date_and_id(real: Path) -> None:
    scenes = search(str(real / "catalog.json"))
    assert len(scenes) == 14
    assert [(scene.datetime, scene.id) for scene in scenes] == sorted((s.datetime, s.id) for s in scenes)
    assert search(str(real / "catalog.json")) == scenes


def test_the_period_holds_both_its_ends(real: Path) -> None:
    taken = datetime(2021, 6, 17, 10, 5, 59, tzinfo=UTC)
    catalog = str(real / "catalog.json")
    moment = timedelta(microseconds=1)
    assert len(search(catalog, start=taken, end=taken)) == 1
    assert len(search(catalog, start=taken + moment, end=taken + timedelta(days=1))) == 0
    assert len(search(catalog, start=taken - timedelta(days=1), end=taken - moment)) == 0


def test_only_scenes_that_own_one_of_the_bands_come(real: Path) -> None:
    catalog = str(real / "catalog.json")
    assert len(search(catalog, bands=["scl"])) == 12
    assert len(search(catalog, bands=["scl", "green"])) == 14
    assert search(catalog, bands=["swir22"]) == ()
    with pytest.raises(
        CatalogError, match=r"sentinel-2-l2a has no band rad \(did you mean 'red'\?\); it has: aot, blue"
    ):
        search(catalog, bands=["rad", "nir"])


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"sentinel-2-l2a": {"nir": {"asset": "nire"}}}, None),
        ({"sentinel-2-l2a": {"nir": {"asset": "rad"}, "green": {"asset": "grean"}}}, "did you mean 'green'"),
        ({"sentinel2-l2a": {"nir": {"asset": "red"}}}, "bands has 'sentinel2-l2a'; did you mean 'sentinel-2-l2a'"),
        ({"sentinel-2-l2a": {"nirr": {"asset": "red"}}}, "bands.sentinel-2-l2a has 'nirr'; did you mean 'nir'"),
    ],
)
def test_a_misspelt_word_in_the_bands_of_a_source_never_falls_back_to_what_the_items_say(real, described, words):
    source = {"href": str(real / "catalog.json"), "bands": described}
    asked = {"aoi": AOI, "start": JUNE[0], "end": JUNE[1], "bands": ["green", "nir"]}
    if words is None:
        (scene,) = search(source, **asked)
        assert scene.asset("nir") is None
    else:
        with pytest.raises(CatalogError, match=words):
            search(source, **asked)


@pytest.mark.parametrize(
    "described",
    [
        {"sentinel-2-l2a": {"nir": {"asset": "red"}}},
        {"sentinel-2-l2a": {"nir": {"asset": "red"}, "swir16": {"asset": "none of the items has it"}}},
        # Bands of their own names, near to one that is asked, are bands.
        {"sentinel-2-l2a": {"nir": {"asset": "red"}, "nir08": {"asset": "nir"}}},
        {"my-own": {"nir": {"asset": "blue"}}, "sentinel-2-l2a": {"nir": {"asset": "red"}}},
        # Of another collection whose name is near.
        {"sentinel-2-l1c": {"nir": {"asset": "blue"}}, "sentinel-2-l2a": {"nir": {"asset": "red"}}},
    ],
)
def test_the_bands_of_a_source_go_before_those_of_the_items(real, described):
    source = {"href": str(real / "catalog.json"), "bands": described}
    (scene,) = search(source, aoi=AOI, start=JUNE[0], end=JUNE[1], bands=["green", "nir"])
    assert scene.asset("nir").href == scene.asset("red").href


def test_the_bands_of_a_collection_with_a_near_name_are_no_misspelling(real):
    source = {"href": str(real / "catalog.json"), "bands": {"sentinel-2-l1c": {"nir": {"asset": "red"}}}}
    (scene,) = search(source, aoi=AOI, start=JUNE[0], end=JUNE[1], bands=["green", "nir"])
    assert scene.asset("nir").href != scene.asset("red").href


def test_an_unknown_collection_names_those_there_are(real: Path) -> None:
    with pytest.raises(
        CatalogError, match="real has no collection landsat-c2-l2; it has: sentinel-1-grd, sentinel-2-l2a"
    ):
        search(str(real / "catalog.json"), collection="landsat-c2-l2")
    with pytest.raises(CatalogError, match="planetary-computer has no collection naip; it has: sentinel-2-l2a"):
        search("planetary-computer", collection="naip")


def test_an_area_outside_finds_nothing(real: Path) -> None:
    assert search(str(real / "catalog.json"), aoi=box(100, 0, 101, 1)) == ()


def test_a_corner_of_the_box_outside_the_footprint_is_not_enough(real: Path) -> None:
    (scene,) = search(str(real / "catalog.json"), aoi=AOI, start=JUNE[0], end=JUNE[1])
    minx, _, _, maxy = scene.bbox
    corner = box(minx, maxy - 1e-5, minx + 1e-5, maxy)
    assert not shape(scene.geometry).intersects(corner)
    assert search(str(real / "catalog.json"), aoi=corner) == ()


def test_clouds_filter_only_what_says_more(real: Path) -> None:
    catalog = str(real / "catalog.json")
    assert len(search(catalog, filters=Filters(max_cloud=1.2))) == 4
    assert len(search(catalog, filters=Filters(max_cloud=0))) == 3
    assert len(search(catalog, collection="sentinel-1-grd", bands=["vv"], filters=Filters(max_cloud=0))) == 10


def test_orbits_modes_and_platforms_filter_what_does_not_say_too(real: Path) -> None:
    catalog = str(real / "catalog.json")
    radar = {"collection": "sentinel-1-grd", "bands": ["vv"]}
    assert len(search(catalog, **radar, filters=Filters(mode="iw"))) == 10
    assert search(catalog, **radar, filters=Filters(mode="EW")) == ()
    assert search(catalog, **radar, filters=Filters(orbit_state="ascending")) == ()
    assert search(catalog, **radar, filters=Filters(relative_orbit=88)) == ()
    assert names(search(catalog, filters=Filters(platforms=("Sentinel-2B",)))) == [
        SCENE,
        "S2B_33UUP_20210925_1_L2A",
    ]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"radiometry": "guess"}, "radiometry is 'guess'; expected one of auto, pixels, metadata"),
        ({"aoi": box(0, 0, 1, 1).difference(box(0, 0, 1, 1))}, "the area is empty"),
        ({"start": JUNE[1], "end": JUNE[0]}, "the period is reversed"),
        ({"start": datetime(2021, 6, 1)}, "no time zone"),  # noqa: DTZ001
        ({"bands": []}, "no bands are asked"),
        ({"filters": {"max_cloud": 101}}, "expected a percentage"),
        ({"filters": {"orbit_state": "up"}}, "expected ascending or descending"),
        ({"filters": {"limit_items": 0}}, "at least 1"),
    ],
)
def test_a_request_that_cannot_be_is_refused_before_anything_is_read(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        search("earth-search", **{**asked, **({"filters": Filters(**asked["filters"])} if "filters" in asked else {})})


def test_more_items_than_the_limit_are_refused(real: Path) -> None:
    with pytest.raises(CatalogError, match="more than 13 items; raise limits.items"):
        search(str(real / "catalog.json"), filters=Filters(limit_items=13))
    assert len(search(str(real / "catalog.json"), filters=Filters(limit_items=14))) == 14


# --- made-up static catalogs


def test_one_item_and_an_item_collection_are_catalogs_too(tmp_path: Path) -> None:
    assert names(search(write(tmp_path / "one.json", item("one")))) == ["one"]
    features = {"type": "FeatureCollection", "features": [item("b"), item("a"), item("c", collection="naip")]}
    assert names(search(write(tmp_path / "many.json", features))) == ["a", "b"]


def test_collections_that_cannot_matter_are_not_entered(tmp_path: Path) -> None:
    """Documents below a skipped branch are unreadable, so that reading one would be refused."""

    def collection(name: str, bbox: list[float], interval: list[str | None]) -> dict[str, Any]:
        extent = {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [interval]}}
        return {"type": "Collection", "id": name, "extent": extent, "links": links("broken.json")}

    world, always = [-180, -90, 180, 90], [None, None]
    write(tmp_path / "broken.json", "broken")
    write(tmp_path / "naip.json", collection("naip", world, always))
    write(tmp_path / "far.json", collection("sentinel-2-l2a", [100, 0, 101, 1], always))
    write(tmp_path / "old.json", collection("sentinel-2-l2a", world, ["2015-01-01T00:00:00Z", "2016-01-01T00:00:00Z"]))
    write(tmp_path / "item.json", item("one"))
    children = links("naip.json", "far.json", "old.json", rel="child")
    root = write(
        tmp_path / "catalog.json", {"type": "Catalog", "id": "root", "links": [*children, *links("item.json")]}
    )
    assert names(search(root, aoi=box(10, 45, 11, 46), start=datetime(2019, 1, 1, tzinfo=UTC))) == ["one"]
    write(tmp_path / "naip.json", collection("sentinel-2-l2a", world, always))
    with pytest.raises(CatalogError, match=r"broken.json is not JSON"):
        search(root, aoi=box(10, 45, 11, 46))


def test_a_catalog_that_leads_back_to_itself_ends(tmp_path: Path) -> None:
    loop = {"type": "Catalog", "id": "a", "links": [*links("./catalog.json", rel="child"), *links("i.json", "i.json")]}
    write(tmp_path / "i.json", item("one"))
    assert names(search(write(tmp_path / "catalog.json", loop))) == ["one"]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "is no STAC catalog"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_stac_is_refused(tmp_path: Path, document: str, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        search(write(tmp_path / "catalog.json", document))


def test_a_document_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_json = fetch.read_json
    monkeypatch.setattr(fetch, "read_json", lambda href, **options: read_json(href, **options, limit=100))
    with pytest.raises(CatalogError, match="larger than"):
        search(write(tmp_path / "catalog.json", item("x" * 200)))


def test_an_area_across_the_antimeridian_finds_both_sides(tmp_path: Path) -> None:
    east, west, across, far = item("east"), item("west"), item("across"), item("far")
    east["bbox"], west["bbox"], across["bbox"] = [178, 0, 179, 1], [-179, 0, -178, 1], [179.9, 0, -179.9, 1]
    features = {"type": "FeatureCollection", "features": [east, west, across, far]}
    aoi = MultiPolygon([box(178.5, 0, 180, 1), box(-180, 0, -178.5, 1)])
    scenes = search(write(tmp_path / "am.json", features), aoi=aoi)
    assert names(scenes) == ["across", "east", "west"]
    assert scenes[0].bbox == (179.9, 0.0, -179.9, 1.0)


def test_of_two_processings_the_newest_baseline_is_left(tmp_path: Path) -> None:
    both = [
        item(f"S2B_33UUP_20200101_{n}_L2A", platform="Sentinel-2B", **{"s2:processing_baseline": baseline})
        for n, baseline in ((0, "05.00"), (1, "02.14"))
    ]
    both[0]["properties"]["earthsearch:boa_offset_applied"] = True
    (scene,) = search(write(tmp_path / "two.json", {"type": "FeatureCollection", "features": both}))
    assert (scene.id, scene.replaces) == ("S2B_33UUP_20200101_0_L2A", ("S2B_33UUP_20200101_1_L2A",))


def test_an_item_outside_the_question_cannot_spoil_the_answer(tmp_path: Path) -> None:
    spoiled = item("spoiled", 20, **{"s2:processing_baseline": "05.09"})
    root = write(tmp_path / "c.json", {"type": "FeatureCollection", "features": [item("good"), spoiled]})
    early = datetime(2020, 1, 10, tzinfo=UTC)
    assert names(search(root, end=early)) == ["good"]
    with pytest.raises(CatalogError, match=r"item spoiled of c: has baseline 05.09 and says nothing"):
        search(root)
