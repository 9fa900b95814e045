"""Every band is reachable by its own name; a name that several share asks for the exact one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_catalogs import item, search, write
from tilewright.catalogs.errors import CatalogError


def stack(name: str, day: int, *bands: tuple[str, str | None], one_file: bool = False, **more: Any) -> dict[str, Any]:
    """An item of bands (own name, common name), each in its own file, or all in one."""
    entries = [{"name": own, **({"eo:common_name": common} if common else {})} for own, common in bands]
    plain = item(name, day, collection=more.pop("collection", "psscene"), **more)
    if one_file:
        plain["assets"] = {"analytic": {"href": f"{name}.tif", "bands": entries}}
    else:
        plain["assets"] = {
            entry["name"]: {"href": f"{name}_{entry['name']}.tif", "bands": [entry]} for entry in entries
        }
    return plain


SUPERDOVE = (("coastal_blue", "coastal"), ("blue", "blue"), ("green_i", "green"), ("green", "green"), ("nir", "nir"))
REDEDGES = (("B05", "rededge"), ("B06", "rededge"), ("B04", "red"))


def found(
    path: Path, asked: str, *items: dict[str, Any], collection: str = "psscene"
) -> list[tuple[str, str, int] | None]:
    """Per scene the file and band that the name is read from."""
    source = write(path / "c.json", {"type": "FeatureCollection", "features": list(items)})
    scenes = search(source, collection=collection, bands=[asked])
    assets = [(scene.id, scene.asset(asked)) for scene in scenes]
    return [(name, Path(asset.href).name, asset.index) for name, asset in assets]


@pytest.mark.parametrize("one_file", [False, True])
@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("green", "green"),
        ("green_i", "green_i"),
        ("GREEN_I", "green_i"),
        ("coastal", "coastal_blue"),
        ("coastal_blue", "coastal_blue"),
        ("nir", "nir"),
    ],
)
def test_each_of_eight_bands_is_found_by_its_own_or_its_lone_common_name(
    asked: str, own: str, one_file: bool, tmp_path: Path
) -> None:
    place = [name for name, _ in SUPERDOVE].index(own) + 1
    expected = ("a", "a.tif", place) if one_file else ("a", f"a_{own}.tif", 1)
    assert found(tmp_path, asked, stack("a", 1, *SUPERDOVE, one_file=one_file)) == [expected]


@pytest.mark.parametrize(("asked", "file"), [("B05", "a_B05.tif"), ("B06", "a_B06.tif"), ("red", "a_B04.tif")])
def test_bands_that_share_a_common_name_are_found_by_their_own(asked: str, file: str, tmp_path: Path) -> None:
    assert found(tmp_path, asked, stack("a", 1, *REDEDGES)) == [("a", file, 1)]


def test_a_shared_name_asks_for_the_exact_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"rededge is the common name of B05, B06 in item a: ask for one by its own"):
        found(tmp_path, "rededge", stack("a", 1, *REDEDGES))


def test_a_scene_that_lacks_the_exact_band_is_not_given_its_neighbour(tmp_path: Path) -> None:
    """The second item has green_i alone, whose common name is green: it has no green."""
    items = [stack("both", 1, *SUPERDOVE), stack("lacks", 2, ("green_i", "green"), ("nir", "nir"))]
    assert found(tmp_path, "green", *items) == [("both", "both_green.tif", 1)]
    assert [entry[1] for entry in found(tmp_path, "green_i", *items)] == ["both_green_i.tif", "lacks_green_i.tif"]


def test_another_satellite_may_call_its_only_green_otherwise(tmp_path: Path) -> None:
    items = [stack("eight", 1, *SUPERDOVE), stack("four", 2, ("band2", "green"), ("band4", "nir"))]
    assert [entry[1] for entry in found(tmp_path, "green", *items)] == ["eight_green.tif", "four_band2.tif"]


@pytest.mark.parametrize(
    ("asked", "key"),
    [("B04", "red"), ("red", "red"), ("b04", "red"), ("rededge2", "B06"), ("rededge075", "B06"), ("B8A", "nir08")],
)
def test_sensor_names_are_names_too(asked: str, key: str, tmp_path: Path) -> None:
    plain = item("s", 1)
    plain["assets"] = {name: {"href": f"{name}.tif"} for name in ("red", "B06", "nir08", "scl")}
    assert found(tmp_path, asked, plain, collection="sentinel-2-l2a") == [("s", f"{key}.tif", 1)]


def test_one_band_may_be_asked_for_by_two_names(tmp_path: Path) -> None:
    source = write(tmp_path / "i.json", item("s", 1))
    (scene,) = search(source, bands=["B04", "red"])
    assert scene.bands == ("red", "B04")
    assert scene.asset("B04").href == scene.asset("red").href


def test_a_band_that_no_name_means_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"psscene has no band yellow; it has: blue, coastal, green, green_i, nir"):
        found(tmp_path, "yellow", stack("a", 1, *SUPERDOVE))


def same_name_in(*places: tuple[str, int], size: float | None = None) -> dict[str, Any]:
    """An item of a collection without a table whose assets hold bands named red: (asset, number of bands named so)."""
    plain = item("a", 1, collection="psscene")
    plain["assets"] = {key: {"href": f"{key}.tif", "bands": [{"name": "red"}] * n_bands} for key, n_bands in places}
    if size is not None:
        plain["assets"][places[-1][0]]["proj:transform"] = [size, 0, 0, 0, -size, 0]
    return plain


@pytest.mark.parametrize(
    ("places", "shown"),
    [
        ([("morning", 1), ("noon", 1)], "morning, noon"),
        ([("both", 2)], "both_1, both_2"),
        ([("sr", 1), ("toa", 1), ("udm", 1)], "sr, toa, udm"),
    ],
)
def test_one_name_of_several_bands_asks_for_their_places(
    places: list[tuple[str, int]], shown: str, tmp_path: Path
) -> None:
    with pytest.raises(CatalogError, match=f"red is the common name of {shown} in item a: ask for one by its own"):
        found(tmp_path, "red", same_name_in(*places))
    asked = shown.rsplit(", ", maxsplit=1)[-1]
    key, n_bands = places[-1]
    assert found(tmp_path, asked, same_name_in(*places)) == [("a", f"{key}.tif", n_bands)]


def test_an_asset_called_like_the_band_is_the_one_that_is_meant(tmp_path: Path) -> None:
    assert found(tmp_path, "red", same_name_in(("red", 1), ("red-jp2", 1))) == [("a", "red.tif", 1)]


def test_of_two_pixel_sizes_the_one_that_is_said_is_taken(tmp_path: Path) -> None:
    assert found(tmp_path, "red", same_name_in(("coarse", 1), ("fine", 1), size=10.0)) == [("a", "fine.tif", 1)]
