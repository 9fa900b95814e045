from __future__ import annotations

import copy

import pystac
import pytest

from tests.support.published import PRODUCT, later
from tilewright.catalogs.publish.collection import SUMMARISED, merge_bbox, update_collection, with_summaries
from tilewright.catalogs.publish.item import build_item
from tilewright.catalogs.publish.validate import validate_collection


def test_a_collection_gathers_items_and_widens() -> None:
    first = update_collection(None, build_item(PRODUCT))
    before = copy.deepcopy(first)
    both = update_collection(first, later(30, "july", (12.5, 48.0, 13.05, 48.45)), item_href="./july/item.json")
    assert first == before
    validate_collection(both)
    assert both["extent"]["spatial"]["bbox"] == [[12.5, 48.0, 13.1, 48.5]]
    assert both["extent"]["temporal"]["interval"] == [["2021-06-01T00:00:00Z", "2021-07-30T00:00:00Z"]]
    assert both["summaries"]["proj:code"] == ["EPSG:32632", "EPSG:32633"]
    hrefs = [link["href"] for link in both["links"] if link["rel"] == "item"]
    assert hrefs == ["./item.json", "./july/item.json"]


def test_an_item_is_in_a_collection_once() -> None:
    once = update_collection(None, build_item(PRODUCT))
    assert update_collection(once, build_item(PRODUCT)) == once
    moved = update_collection(once, build_item(PRODUCT), item_href="./elsewhere/item.json")
    assert [link["href"] for link in moved["links"] if link["rel"] == "item"] == ["./elsewhere/item.json"]


def test_a_collection_keeps_what_others_wrote() -> None:
    once = update_collection(None, build_item(PRODUCT), title="Water")
    once["keywords"] = ["mine"]
    once["extent"]["temporal"]["interval"] = [["2015-01-01T00:00:00Z", None]]
    again = update_collection(once, later(30, "july"), title="ignored")
    assert (again["title"], again["keywords"]) == ("Water", ["mine"])
    assert again["extent"]["temporal"]["interval"] == [["2015-01-01T00:00:00Z", None]]


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ([10, 0, 20, 5], [15, -5, 30, 3], [10, -5, 30, 5]),
        ([170, 0, 180, 1], [-180, 0, -170, 1], [170, 0, -170, 1]),
        ([170, 0, -170, 1], [-175, 0, -160, 1], [170, 0, -160, 1]),
        ([-180, -90, 180, 90], [170, 0, -170, 1], [-180, -90, 180, 90]),
        ([170, 0, 180, 1], [160, 0, 175, 1], [160, 0, 180, 1]),
        ([-180, 0, -170, 1], [-175, 0, -160, 1], [-180, 0, -160, 1]),
        ([0, 0, 10, 1], [0, 0, 10, 1], [0, 0, 10, 1]),
    ],
)
def test_boxes_merge_the_short_way_round(one: list[float], other: list[float], merged: list[float]) -> None:
    assert merge_bbox(one, other) == merged
    assert merge_bbox(other, one) == merged


def with_properties(name: str, **properties: object) -> pystac.Item:
    item = later(30, name)
    for key, value in properties.items():
        item.properties[key.replace("_", ":", 1) if key != "gsd" else key] = value
    return item


def test_summaries_hold_the_values_of_one_and_of_several_items() -> None:
    first = update_collection(None, build_item(PRODUCT))
    properties = build_item(PRODUCT).properties
    assert first["summaries"] == {
        name: sorted(value) if isinstance(value, list) else [value]
        for name in SUMMARISED
        if (value := properties.get(name)) is not None
    }
    both = update_collection(first, with_properties("july", gsd=20.0, platform="sentinel-2b"), item_href="./july.json")
    assert both["summaries"]["gsd"] == sorted({properties["gsd"], 20.0})
    assert both["summaries"]["platform"] == sorted({properties["platform"], "sentinel-2b"})
    assert both["summaries"]["proj:code"] == ["EPSG:32632", "EPSG:32633"]


def test_summaries_are_made_anew_of_the_items_that_are_left() -> None:
    items = [build_item(PRODUCT), with_properties("july", gsd=20.0)]
    both = update_collection(update_collection(None, items[0]), items[1], item_href="./july.json")
    both["summaries"] |= {"mine": ["kept"], "processing:level": {"type": "string"}}
    left = with_summaries(both, [items[1].properties])
    assert left["summaries"]["gsd"] == [20.0]
    assert left["summaries"]["proj:code"] == ["EPSG:32632"]
    assert left["summaries"]["mine"] == ["kept"]
    assert left["summaries"]["processing:level"] == {"type": "string"}
    assert both["summaries"]["gsd"] != [20.0]


@pytest.mark.parametrize(
    ("known", "merged"),
    [
        ({"minimum": 5, "maximum": 15}, {"minimum": 5, "maximum": 20.0}),
        ({"minimum": 30, "maximum": 60}, {"minimum": 20.0, "maximum": 60}),
        ({"type": "number"}, {"type": "number"}),
        (["unknown"], [20.0, "unknown"]),
    ],
)
def test_summaries_that_others_wrote_in_another_form_are_kept_and_true(known: object, merged: object) -> None:
    once = update_collection(None, build_item(PRODUCT))
    once["summaries"]["gsd"] = known
    both = update_collection(once, with_properties("july", gsd=20.0), item_href="./july.json")
    assert both["summaries"]["gsd"] == merged
