"""The unit a card's input has where it says none is the one its collection's bands are given in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import shape

from tests.support.worlds import World, area
from tilewright.catalogs.search import search_scenes
from tilewright.catalogs.sensors import BANDS
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.models.card.parse_inputs import _default_unit


@pytest.mark.parametrize("collection", sorted(BANDS))
def test_cards_and_catalogs_agree_on_a_collections_unit(collection: str) -> None:
    units = {facts.unit for facts in BANDS[collection]} - {"class", "1"}
    given = _default_unit(collection)
    assert given in units or (given == "linear" and not units), f"{collection}: {given}, its bands have {units}"


def test_collections_of_ones_own_have_no_unit() -> None:
    assert [_default_unit(name) for name in ("demography", "sentinel-22", "maps")] == ["1", "1", "1"]
    assert [_default_unit(name) for name in ("cop-dem-glo-30", "cop-dem-glo-90")] == ["m", "m"]


@pytest.mark.parametrize("name", ["dem", "cop-dem-glo-30", "copernicus-dem-30m"])
def test_elevation_is_found_by_any_of_its_names(name: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add(np.full((16, 16), 300.0, np.float32), "elevation", collection="cop-dem-glo-30", unit="m")
    aoi = shape(area((0, 16), (0, 16)))
    found = search_scenes(
        resolve_source(world.source), collection=name, aoi=aoi, start=None, end=None, bands=["elevation"]
    )
    assert [scene.collection for scene in found] == ["dem"]
