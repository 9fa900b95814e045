"""One odd item does not decide about all: it is left out by name, and the reason says which field."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box

from tests.support.small_catalogs import BOTH, item, names, search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.found import UNUSABLE, check_share, merged
from tilewright.catalogs.search import Filters, Found, search_items
from tilewright.catalogs.sources.registry import resolve_source

GOOD = [item("one", 1), item("two", 2), item("three", 3)]


def found_in(path: Path, *items: dict[str, Any], **asked: Any) -> Found:
    source = resolve_source(write(path / "c.json", {"type": "FeatureCollection", "features": list(items)}))
    question = {"collection": "sentinel-2-l2a", "aoi": BOTH, "start": None, "end": None, "bands": ["red"], **asked}
    return search_items(source, **question)


def odd(**change: Any) -> dict[str, Any]:
    return {**item("odd", 4), **change}


def ring(*corners: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]}


def asset(**fields: Any) -> dict[str, Any]:
    return {"red": {"href": "red.tif", **fields}}


def properties(**fields: Any) -> dict[str, Any]:
    return {**item("odd", 4)["properties"], **fields}


ODD = {
    "a ring of two corners": (odd(geometry=ring((10, 45), (11, 46))), "geometry"),
    "a ring of one corner, four times": (odd(geometry=ring(*[(10, 45)] * 4)), "geometry has no area"),
    "a point": (odd(geometry={"type": "Point", "coordinates": [10, 45]}), "geometry has no area"),
    "an unknown type": (odd(geometry={"type": "Circle", "coordinates": [10, 45]}), "geometry is not GeoJSON"),
    "coordinates that are NaN": (odd(geometry=ring((10, 45), (11, 45), (float("nan"), 46), (10, 45))), "geometry"),
    "a geometry that is a list": (odd(geometry=[1, 2], bbox=None), "neither a geometry nor a bbox"),
    "a box of three numbers": (odd(bbox=[10, 45, 11]), "neither a geometry nor a bbox"),
    "a box of words": (odd(bbox=["west", "south", "east", "north"]), "neither a geometry nor a bbox"),
    "no properties": (odd(properties=None), "datetime"),
    "a date that is none": (
        odd(properties=properties(datetime="2020-02-30T00:00:00Z")),
        "its date '2020-02-30T00:00:00Z'",
    ),
    "a date that is a number": (odd(properties=properties(datetime=20200104)), "its date '20200104'"),
    "an href that is a number": (odd(assets={"red": {"href": 5}}), "without an href"),
    "no href at all": (odd(assets={"red": {"type": "image/tiff"}}), "without an href"),
    "an href of a scheme that is not read": (odd(assets=asset(href="ftp://h.org/red.tif")), "scheme"),
    "a scale upside down": (
        odd(assets=asset(**{"raster:bands": [{"data_type": "uint16", "scale": 10000}]})),
        "scale 10000",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_the_others_are_found_and_the_odd_one_is_named(name: str, tmp_path: Path) -> None:
    broken, reason = ODD[name]
    found = found_in(tmp_path, GOOD[0], broken, *GOOD[1:])
    assert names(found.scenes) == ["one", "two", "three"]
    assert [entry.item for entry in found.left_out] == ["odd"]
    assert reason in found.left_out[0].reason
    assert found.fates["odd"] == UNUSABLE
    with pytest.raises(CatalogError, match=r"nothing left that can be used. 1 item .*: odd \("):
        search(write(tmp_path / "alone.json", broken))


def test_an_item_without_an_id_is_counted_though_it_has_no_name(tmp_path: Path) -> None:
    nameless = [odd(id=None), odd(id=""), odd(id=7)]
    found = found_in(tmp_path, *nameless, *GOOD)
    assert names(found.scenes) == ["one", "two", "three"]
    assert found.counts() == {"cannot be used": 3, "kept": 3}


@pytest.mark.parametrize(
    ("broken", "fate"),
    [
        (odd(geometry=ring((0, 0), (0, 0), (0, 0), (0, 0)), bbox=[100, 0, 101, 1]), "outside the area"),
        (
            odd(
                geometry={"type": "Polygon", "coordinates": [[]]},
                properties=properties(datetime="1999-01-01T00:00:00Z"),
            ),
            "outside the period",
        ),
        (odd(properties=properties(datetime="soon"), bbox=[100, 0, 101, 1]), "outside the area"),
    ],
)
def test_an_odd_item_elsewhere_is_not_worth_a_word(broken: dict[str, Any], fate: str, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    found = found_in(tmp_path, *GOOD, broken, start=datetime(2020, 1, 1, tzinfo=UTC))
    assert found.left_out == ()
    assert found.fates["odd"] == fate


def test_a_band_that_cannot_be_used_costs_its_item_only_what_was_asked_of_it(tmp_path: Path) -> None:
    half = odd(assets={"red": {"href": "red.tif"}, "nir": {"href": "ftp://h.org/nir.tif"}})
    quiet = found_in(tmp_path, *GOOD, half)
    assert (names(quiet.scenes)[-1], quiet.left_out) == ("odd", ())
    told = found_in(tmp_path, *GOOD, half, bands=["red", "nir"])
    assert told.scenes[-1].bands == ("red",)
    assert [entry.item for entry in told.left_out] == ["odd"]
    assert told.left_out[0].reason.startswith("without its band nir: ftp://h.org/nir.tif: the scheme is none of")
    lost = found_in(tmp_path, *GOOD, half, bands=["nir"])
    assert lost.fates == {
        "one": "without any of the bands",
        "two": "without any of the bands",
        "three": "without any of the bands",
        "odd": UNUSABLE,
    }


@pytest.mark.parametrize(
    ("most", "n_odd", "refused"), [(1.0, 30, False), (0.5, 3, False), (0.5, 4, True), (0.1, 1, True), (0.0, 1, True)]
)
def test_a_job_may_say_which_share_is_too_much(most: float, n_odd: int, refused: bool, tmp_path: Path) -> None:
    found = found_in(tmp_path, *GOOD, *({**odd(bbox=[1]), "id": f"odd-{n}"} for n in range(n_odd)))
    assert found.unusable_share == n_odd / (n_odd + 3)
    if refused:
        with pytest.raises(CatalogError, match=rf"tolerance.items_left_out is {most:g}\. {n_odd} item.*odd-0"):
            check_share(found, most=most, source="c")
    else:
        check_share(found, most=most, source="c")


@pytest.mark.parametrize(
    "hint",
    [
        {"proj:code": "EPSG:None"},
        {"proj:code": "EPSG:999999"},
        {"proj:epsg": -1},
        {"proj:epsg": 32633.5},
        {"proj:code": "IAU_2015:49900"},
        {"proj:code": "EPSG:5773"},
        {"proj:code": "EPSG:4978"},
        {"proj:wkt2": "GEOGCRS[nonsense"},
        {"proj:projjson": {"type": "nonsense"}},
        {"proj:projjson": [1]},
        {"proj:code": ""},
        {"proj:code": ["EPSG:32633"]},
    ],
)
def test_a_hint_that_no_one_can_use_is_none(hint: dict[str, Any], tmp_path: Path) -> None:
    (scene,) = found_in(tmp_path, odd(assets=asset(**hint))).scenes
    assert scene.assets[0].crs == ""


def test_an_unusable_code_of_the_asset_leaves_that_of_the_item(tmp_path: Path) -> None:
    plain = odd(assets=asset(**{"proj:code": "EPSG:None"}), properties=properties(**{"proj:epsg": "32633"}))
    assert found_in(tmp_path, plain).scenes[0].assets[0].crs == "EPSG:32633"


def test_every_item_has_one_fate_and_they_are_counted_in_the_order_of_the_conditions(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    items = [
        *(item(f"old-{n}", n + 1) for n in range(3)),
        {**item("far", 20), "bbox": [100, 0, 101, 1]},
        item("cloudy", 21, **{"eo:cloud_cover": 90}),
        item("other", 22, platform="sentinel-2a"),
        {**item("bare", 23, platform="sentinel-2b"), "assets": {"scl": {"href": "scl.tif"}}},
        odd(properties=properties(datetime=None)),
        item("kept", 24, platform="sentinel-2b"),
    ]
    filters = Filters(max_cloud=50, platforms=("sentinel-2b",))
    found = found_in(tmp_path, *items, start=datetime(2020, 1, 10, tzinfo=UTC), filters=filters, aoi=box(5, 44, 14, 52))
    assert names(found.scenes) == ["kept"]
    assert found.counts() == {
        "outside the period": 3,
        "outside the area": 1,
        "cloudier than filter.max_cloud": 1,
        "of another orbit, mode or platform than filter asks": 1,
        "without any of the bands": 1,
        "cannot be used": 1,
        "kept": 1,
    }
    assert {name: moment.day for name, moment in found.moments.items()} == {"old-0": 1, "old-1": 2, "old-2": 3}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (item("i", 1), item("i", 2)),
        (item("i", 2), item("i", 1)),
        (item("i", 1), {**item("i", 1), "bbox": [11, 45, 12, 46]}),
        (item("i", 1), {**item("i", 1), "bbox": [10.8, 45, 11.8, 46]}),
        (item("i", 1), item("i", 1, datetime="2020-01-01T10:02:00Z")),
    ],
)
def test_of_two_items_with_one_id_the_second_is_left_out_by_name(first: Any, second: Any, tmp_path: Path) -> None:
    found = found_in(tmp_path, first, second, item("other", 5))
    assert names(found.scenes) in (["i", "other"], ["other", "i"])
    assert found.scenes[0].datetime.isoformat()[:19] == first["properties"]["datetime"][:19]
    ((entry),) = found.left_out
    assert entry.item == "i"
    assert "has the same id" in entry.reason
    assert found.counts() == {"cannot be used": 1, "kept": 2}


@pytest.mark.parametrize(
    "second",
    [
        item("i", 1),
        item("i", 1, updated="2021-01-01T00:00:00Z"),
        item("i", 1, datetime="2020-01-01T10:00:30Z"),
        {**item("i", 1), "bbox": [10, 45, 11, 45.9]},
        item("i", 20),
    ],
)
def test_an_item_that_comes_twice_is_one(second: Any, tmp_path: Path) -> None:
    found = found_in(tmp_path, item("i", 1), second, end=datetime(2020, 1, 10, tzinfo=UTC))
    assert names(found.scenes) == ["i"]
    assert found.left_out == ()
    assert found.fates["i"] == "kept"


def test_two_periods_cannot_share_an_id_either(tmp_path: Path) -> None:
    parts = [found_in(tmp_path, item("i", day)) for day in (1, 20)]
    found = merged(parts)
    assert [scene.datetime.day for scene in found.scenes] == [1]
    assert [(entry.item, "2020-01-01" in entry.reason) for entry in found.left_out] == [("i", True)]


def test_a_band_that_cannot_be_used_anywhere_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    stack = {"href": "x.tif", "eo:bands": [{"name": "u"}, {"name": "v"}], "raster:bands": [{"scale": 0.1}]}
    entry = {**item("i", 1, collection="mine"), "assets": {"stack": stack}}
    found = found_in(tmp_path, entry, collection="mine", bands=["u", "v"])
    assert "without its band v: its asset stack states scale" in found.left_out[0].reason
    with pytest.raises(CatalogError, match="mine has no band w; it has: u"):
        found_in(tmp_path, entry, collection="mine", bands=["u", "w"])


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31",
        "2200-01-01T00:00:00Z",
        "1899-12-31T23:59:59Z",
        "1601-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("west", [-101, 10, 170])
def test_a_date_that_stands_for_none_is_left_out_where_the_period_is_open(
    moment: str, west: int, tmp_path: Path
) -> None:
    there: dict[str, Any] = {"bbox": [west, 45, west + 1, 46]}
    strange = {**item("odd", 4, datetime=moment), **there}
    found = found_in(tmp_path, {**item("one", 1), **there}, strange, aoi=box(west, 45, west + 1, 46))
    assert names(found.scenes) == ["one"]
    assert [entry.item for entry in found.left_out] == ["odd"]
    assert "is not in the years 1900 to 2199" in found.left_out[0].reason
    bounded = {"start": datetime(2020, 1, 1, tzinfo=UTC), "end": datetime(2020, 2, 1, tzinfo=UTC)}
    found = found_in(tmp_path, {**item("one", 1), **there}, strange, aoi=box(west, 45, west + 1, 46), **bounded)
    assert (names(found.scenes), found.left_out, found.fates["odd"]) == (["one"], (), "outside the period")


@pytest.mark.parametrize("collection", [None, "", ["sentinel-2-l2a"], 5, "absent"])
def test_an_item_that_names_no_collection_is_left_out_by_name(collection: Any, tmp_path: Path) -> None:
    entry = odd(collection=collection)
    if collection == "absent":
        del entry["collection"]
    found = found_in(tmp_path, *GOOD, entry)
    assert names(found.scenes) == ["one", "two", "three"]
    assert [(left.item, left.reason) for left in found.left_out] == [("odd", "it names no collection")]
