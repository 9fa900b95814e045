"""Groups of Zarr stores as assets: each array that the item names is one, and none hides another."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.foreign import HOME, item
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.assets import find_bands
from tilewright.catalogs.items.normalise import normalise_item

MEDIA = {"type": "application/vnd.zarr; version=3", "roles": ["data"]}


def group(size: int, *bands: str, told: dict[str, Any] | None = None, **asset: Any) -> dict[str, Any]:
    """The group r10m or its like, whose bands say `told` of themselves."""
    href = f"https://example.com/p.zarr/measurements/r{size}m"
    return {"href": href, **MEDIA, "bands": [{"name": band, **(told or {})} for band in bands], **asset}


def taken(assets: dict[str, Any]) -> dict[str, str]:
    """Band to what follows the store in its href."""
    scene = normalise_item(item(assets), HOME)
    return {asset.band: asset.href.partition("measurements/")[2] for asset in scene.assets}


STATED = {
    "the group's gsd": lambda size: {"gsd": size},
    "the band's gsd": lambda size: {"told": {"gsd": size}},
    "the band's pixels": lambda size: {"told": {"raster:spatial_resolution": size}},
    "the band's transform": lambda size: {"told": {"proj:transform": [size, 0, 0, 0, -size, 0]}},
    "the group's, and nothing at the band": lambda size: {"gsd": size, "told": {"gsd": None}},
}


@pytest.mark.parametrize("kind", STATED)
def test_of_several_groups_the_native_pixels_are_read(kind: str) -> None:
    told = STATED[kind]
    assets = {
        "a": group(60, "b02", "b8a", "b01", **told(60)),
        "b": group(20, "b02", "b8a", **told(20)),
        "z": group(10, "b02", "b03", **told(10)),
    }
    assert taken(assets) == {"coastal": "r60m/b01", "blue": "r10m/b02", "green": "r10m/b03", "nir08": "r20m/b8a"}


@pytest.mark.parametrize("first", [True, False])
def test_an_asset_of_its_own_comes_before_an_array_of_a_group(first: bool) -> None:
    own = {"g/b02": {"href": "https://example.com/p.zarr/measurements/own/b02", **MEDIA, "bands": [{"name": "b02"}]}}
    assets = {"g": group(10, "b02", "b03", gsd=10)}
    assert taken({**own, **assets} if first else {**assets, **own})["blue"] == "own/b02"


@pytest.mark.parametrize("names", [("b02", "b02"), ("b02", ""), ("b02", ".."), ("b02", "../b03"), ("b02", "%2e%2e")])
def test_names_that_are_no_arrays_make_no_hrefs(names: tuple[str, ...]) -> None:
    assert set(taken({"g": group(10, *names)}).values()) <= {"r10m"}


@pytest.mark.parametrize("groups", [1, 400])
def test_endless_lists_of_bands_are_refused_at_once(groups: int) -> None:
    names = [f"b{number}" for number in range(100_000 // groups)]
    assets = {f"g{number}": group(10, *names) for number in range(groups)}
    started = time.process_time()
    with pytest.raises(CatalogError, match="bands, and an item is read with at most"):
        find_bands(item(assets), "mine", HOME)
    assert time.process_time() - started < 1


ROOTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "stated": ({"zarr:node_type": "group"}, {"blue": "/b02", "green": "/b03"}),
    "not stated": ({}, {"blue": "", "green": ""}),
    "an array": ({"zarr:node_type": "array"}, {"blue": "", "green": ""}),
    "no store": ({"zarr:node_type": "group", "href": "https://example.com/p.tif"}, {"blue": "", "green": ""}),
    "no media type": ({"zarr:node_type": "group", "type": None}, {"blue": "/b02", "green": "/b03"}),
    "one band": ({"zarr:node_type": "group", "bands": [{"name": "b02"}]}, {"blue": "/b02"}),
    "one band that is not stated": ({"bands": [{"name": "b02"}]}, {"blue": ""}),
    "names that are no arrays": (
        {"zarr:node_type": "group", "bands": [{"name": "b02", "eo:common_name": "blue"}, {"name": "../b03"}]},
        {"blue": ""},
    ),
}


@pytest.mark.parametrize("slashes", ["", "/", "//"])
@pytest.mark.parametrize("kind", ROOTS)
def test_a_whole_store_is_a_group_where_its_asset_says_so(kind: str, slashes: str) -> None:
    stated, expected = ROOTS[kind]
    asset = {
        "href": f"https://example.com/p.zarr{slashes}",
        **MEDIA,
        "bands": [{"name": "b02"}, {"name": "b03"}],
        **stated,
    }
    scene = normalise_item(item({"all": asset}), HOME)
    found = {each.band: each.href.partition(".zarr")[2].rstrip("/") for each in scene.assets}
    assert {band: href for band, href in found.items() if band in {"blue", "green"}} == expected
