"""Files of items that are pages of more: the next file is read, or the page is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_catalogs import item, links, names, search, write
from tilewright.catalogs.errors import CatalogError


def page(*names: str, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [item(name, day) for day, name in enumerate(names, 1)], **more}


ON = {"rel": "next", "href": "b.json"}

AROUND = {"rel": "next", "href": "a.json"}


@pytest.mark.parametrize(
    ("first", "second", "right"),
    [
        (page("i", "j", links=[ON]), page("k"), ["i", "j", "k"]),
        (page("i", links=[{**ON, "method": "get"}]), page("k", links=[]), ["i", "k"]),
        (page("i", links=[ON]), page("k", links=[AROUND]), ["i", "k"]),
        (page("i", links=[ON], numberMatched=3), page("j", "k"), ["i", "j", "k"]),
        (page("i", links=[ON], context={"matched": 2}), page("j"), ["i", "j"]),
        (page("i", links=[ON], numberMatched=1), page("j"), ["i"]),
        (page("i", links=[{"rel": "next", "href": ""}]), page("j"), ["i"]),
        (page("i", links=[ON]), page(links=[{"rel": "next", "href": "gone.json"}]), ["i"]),
    ],
)
def test_a_file_of_items_may_go_on_in_another(first: Any, second: Any, right: list[str], tmp_path: Path) -> None:
    write(tmp_path / "b.json", second)
    alone = write(tmp_path / "a.json", first)
    tree = write(tmp_path / "c.json", {"type": "Catalog", "id": "c", "links": links("a.json", rel="items")})
    assert sorted(names(search(alone))) == right
    assert sorted(names(search(tree))) == right


@pytest.mark.parametrize("more", [{}, {"numberMatched": 7}, {"context": {"matched": 2}}])
def test_the_first_page_of_a_search_alone_is_refused(more: dict[str, Any], tmp_path: Path) -> None:
    on = {"rel": "next", "href": "https://stac.example.org/search", "method": "POST", "body": {"token": "next:1"}}
    with pytest.raises(CatalogError, match=r"a\.json is one page of a search that goes on"):
        search(write(tmp_path / "a.json", page("i", links=[on], **more)))
    assert names(search(write(tmp_path / "b.json", page("i", links=[on], numberMatched=1)))) == ["i"]
