"""Scale and offset of reflectance: what can be meant passes, what cannot is refused with the reading that would fit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.foreign import HOME, item, only
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.normalise import normalise_item
from tilewright.catalogs.sources.source import Source

MODERN = {"s2:processing_baseline": "05.09"}


def red(collection: str = "sentinel-2-l2a", dtype: str = "uint16", **numbers: Any) -> Any:
    assets = {"red": {"href": "r.tif", "raster:bands": [{"data_type": dtype, "unit": "reflectance", **numbers}]}}
    return only(assets, collection=collection, **MODERN)


@pytest.mark.parametrize(
    ("numbers", "collection", "dtype", "reading"),
    [
        ({"scale": 1e-4, "offset": -1000}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 10000, "offset": -1000}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 10000, "offset": 1000}, "sentinel-2-l1c", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 10000, "offset": 0}, "sentinel-2-l2a", "int16", "scale 0.0001 and offset 0"),
        ({"scale": 1e-4, "offset": 0.1}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 1e-4, "offset": 1000}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"offset": -1000}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 1, "offset": 0}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset 0"),
        ({"scale": 0.01, "offset": -10}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": -1e-4, "offset": -0.1}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 1e-8, "offset": 0}, "sentinel-2-l2a", "uint16", "scale 0.0001 and offset 0"),
        ({"scale": 2.75e-5, "offset": 0.2}, "landsat-c2-l2", "uint16", "scale 2.75e-05 and offset -0.2"),
        ({"scale": 1 / 2.75e-5, "offset": -0.2}, "landsat-c2-l2", "uint16", "scale 2.75e-05 and offset -0.2"),
        ({"scale": 10000}, "mine", "uint16", "scale 0.0001 and offset 0"),
        ({"scale": 10000}, "mine", "float32", "scale 0.0001 and offset 0"),
        ({"scale": 1e-4, "offset": -1000}, "mine", "uint16", "scale 0.0001 and offset -0.1"),
        ({"scale": 255}, "mine", "uint8", "scale 0.00392157 and offset 0"),
        ({"scale": 0.004, "offset": float("nan")}, "mine", "uint8", "none that we know would fit"),
    ],
)
def test_numbers_that_cannot_be_reflectance_are_refused_with_the_reading_that_fits(
    numbers: dict[str, Any], collection: str, dtype: str, reading: str
) -> None:
    with pytest.raises(CatalogError, match=r"^item thing of home: its band red has scale ") as refusal:
        red(collection, dtype, **numbers)
    assert f"{reading} would fit" in str(refusal.value) or reading in str(refusal.value)
    # ESA's own DN have carried 1000 more since baseline 04.00: there offset 0 makes a reflectance that is 0.1 too high.
    both = collection.startswith("sentinel-2") and reading.endswith("offset 0")
    assert ("offset -0.1 if these are ESA's own DN" in str(refusal.value)) == both
    assert f"bands: {{{collection}: {{red: {{asset: red, scale: " in str(refusal.value)


@pytest.mark.parametrize(
    ("numbers", "collection", "dtype", "effective"),
    [
        ({"scale": 1e-4, "offset": -0.1}, "sentinel-2-l2a", "uint16", (1e-4, -0.1)),
        ({"scale": 1e-4, "offset": -0.2}, "sentinel-2-l2a", "uint16", (1e-4, -0.2)),
        ({"scale": 1e-4, "offset": 0}, "sentinel-2-l2a", "uint16", (1e-4, 0.0)),
        ({"scale": 1 / 255, "offset": 0}, "sentinel-2-l2a", "uint8", (1 / 255, 0.0)),
        ({"scale": 2.75e-5, "offset": -0.2}, "landsat-c2-l2", "uint16", (2.75e-5, -0.2)),
        ({"scale": 1.0, "offset": 0.0}, "landsat-c2-l2", "float32", (1.0, 0.0)),
        ({"scale": 0.01, "offset": 0}, "mine", "uint8", (0.01, 0.0)),
        ({"scale": 1e-4, "offset": 0.05}, "mine", "uint16", (1e-4, 0.05)),
        ({}, "mine", "uint8", (1.0, 0.0)),
        ({"scale": 0.01}, "mine", "float32", (0.01, 0.0)),
    ],
)
def test_numbers_that_can_be_meant_are_taken(
    numbers: dict[str, Any], collection: str, dtype: str, effective: tuple[float, float]
) -> None:
    asset = red(collection, dtype, **numbers)
    assert (asset.scale, asset.offset) == effective


def test_an_offset_that_is_not_used_is_not_judged() -> None:
    """The DN of the item are shifted already, and before baseline 04.00 there is no offset, whatever is stated."""
    bands = {"red": {"href": "r.tif", "raster:bands": [{"scale": 1e-4, "offset": -1000}]}}
    shifted = only(bands, **MODERN, **{"earthsearch:boa_offset_applied": True})
    old = only(bands, **{"s2:processing_baseline": "02.14"})
    assert (shifted.offset, old.offset) == (0.0, 0.0)


def test_heights_and_classes_are_not_judged() -> None:
    bands = {"height": {"href": "h.tif", "raster:bands": [{"data_type": "int16", "scale": 10, "offset": -1000}]}}
    assert only(bands, collection="mine").offset == -1000


def test_the_source_that_says_it_as_advised_is_believed() -> None:
    plain = item({"red": {"href": "r.tif", "raster:bands": [{"scale": 1e-4, "offset": -1000}]}}, **MODERN)
    said = {"sentinel-2-l2a": {"red": {"asset": "red", "scale": 0.0001, "offset": -0.1}}}
    source = Source(name="home", kind="static", href="/data/catalog.json", bands=said)
    with pytest.raises(CatalogError, match="offset -1000"):
        normalise_item(plain, HOME)
    asset = normalise_item(plain, source).assets[0]
    assert 3000 * asset.scale + asset.offset == pytest.approx(0.2)
