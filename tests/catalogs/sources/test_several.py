"""Several sources: which one a collection comes from, and by which name a scene tells its own."""

from __future__ import annotations

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.registry import resolve_source, resolve_sources
from tilewright.catalogs.sources.source import Sources

PLACES = {"sentinel-2-l2a": "earth-search", "dem": "planetary-computer"}


def test_a_collection_comes_from_its_own_source_by_any_of_its_names():
    sources = resolve_sources({"sentinel-2-l2a": "earth-search", "cop-dem-glo-30": "planetary-computer"})
    assert sources.of("dem").name == "planetary-computer"
    assert sources.of("cop-dem-glo-30").name == "planetary-computer"
    assert sources.of("sentinel-1-rtc") is None
    assert sources.single is None
    one = Sources.one(resolve_source("cdse"))
    assert one.of("anything").name == one.named("whatever").name == "cdse"


def test_their_json_is_read_back_and_holds_what_one_alone_has():
    sources = resolve_sources(PLACES)
    assert Sources.from_json(sources.to_json()) == sources
    assert sources.request_json() == sources.to_json() == {"sources": {key: value.to_json() for key, value in
                                                                      sources.by_collection.items()}}  # fmt: skip
    one = Sources.one(resolve_source("cdse"))
    assert one.request_json() == {"source": resolve_source("cdse").to_json()}
    assert Sources.from_json(one.to_json()) == one


def test_places_of_one_name_are_told_apart(tmp_path):
    for year in ("2023", "2024"):
        (tmp_path / year / "maps").mkdir(parents=True)
        (tmp_path / year / "maps" / "catalog.json").write_text("{}")
    given = {"now": str(tmp_path / "2024/maps"), "prior": str(tmp_path / "2023/maps")}
    sources = resolve_sources(given)
    assert [source.name for source in sources] == ["maps (now)", "maps (prior)"]
    assert sources.named("maps (prior)").href.startswith(str(tmp_path / "2023"))
    same = resolve_sources({"a": "earth-search", "b": "earth-search"})
    assert [source.name for source in same] == ["earth-search"]
    with pytest.raises(CatalogError, match="'maps' is none of the sources maps"):
        sources.named("maps")


def test_a_source_that_is_none_is_named_by_its_key(tmp_path):
    with pytest.raises(CatalogError, match=r"sources\.prior: source 'out' is neither a known source"):
        resolve_sources({"dem": "cdse", "prior": "out"}, base=tmp_path)


@pytest.mark.parametrize("plain", [{"sources": {}}, {"sources": []}, {"sources": {"": {}}}, {"sources": {"a": 5}}])
def test_a_bent_plan_has_no_sources(plain):
    with pytest.raises((CatalogError, AttributeError)):
        Sources.from_json(plain)


def test_a_plan_promises_nothing():
    """The Item of a product that is to be made is the planner's alone: no document brings it."""
    plain = {**resolve_source("cdse").to_json(), "promised": {"id": "x"}}
    assert Sources.from_json(plain).single.promised is None
    with pytest.raises(CatalogError, match="unknown keys promised"):
        resolve_source({"like": "cdse", "promised": {}})
