"""The schemas at hand: complete, able to refer to each other, and quick to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tilewright.catalogs.publish.validate import PUBLISHED
from tilewright.catalogs.schemas import COLLECTION, ITEM, stac_schemas
from tilewright.models.card.schema import CHECKED, MLM, card_schemas


def test_every_declared_extension_has_its_schema() -> None:
    assert {ITEM, COLLECTION, MLM, *PUBLISHED} <= set(stac_schemas().by_address)
    assert {ITEM, MLM, *CHECKED} <= set(card_schemas().by_address)


@pytest.mark.parametrize("address", [ITEM, COLLECTION, MLM, *PUBLISHED])
def test_every_reference_of_a_schema_is_resolved_without_a_network(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a schema was fetched"))
    schemas = card_schemas() if address == MLM else stac_schemas()
    bands = {"properties": {"bands": [{"name": "x"}], "mlm:output": [{"classification:classes": [{"value": 1}]}]}}
    for kind in ("Feature", "Collection"):
        list(schemas.failures({"type": kind, "assets": {"a": {"href": "x"}}, **bands}, address))


def test_amendments_for_cards_leave_the_schemas_of_others_alone() -> None:
    before = repr(stac_schemas().by_address[MLM])
    card_schemas()
    assert repr(stac_schemas().by_address[MLM]) == before
    assert card_schemas().by_address[MLM] != stac_schemas().by_address[MLM]
    assert card_schemas().by_address[ITEM] != stac_schemas().by_address[ITEM]


def test_of_several_alternatives_the_place_to_change_is_named() -> None:
    """A polygon's ring is wrong: the failure is in the ring, not that no geometry fits."""
    item = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[["x", 1], [2, 2], [1, 2], [1, 1]]]}}
    places = {"/".join(map(str, failure.absolute_path)) for failure in stac_schemas().failures(item, ITEM)}
    assert "geometry/coordinates/0/0/0" in places


@pytest.mark.parametrize("module", ["tilewright.catalogs.schemas", "tilewright.catalogs.publish.validate"])
def test_jsonschema_is_loaded_only_to_validate(module: str) -> None:
    probe = f"import sys, {module}; print(sorted({{'jsonschema', 'referencing', 'pystac'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
