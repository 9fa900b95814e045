"""Paging: each item once, and an end, whatever the catalog's links say."""

from __future__ import annotations

from typing import Any

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.pages import IDLE_PAGES, distinct_features, next_link


def page(*names: str | None, **more: Any) -> dict[str, Any]:
    features = [{"type": "Feature", "collection": "c", **({"id": name} if name else {"bbox": [1]})} for name in names]
    return {"features": features, **more}


def forever(*pages: dict[str, Any]) -> Any:
    """The pages again and again; a reader that does not stop by itself fails the test."""
    for _ in range(200):
        yield from pages
    raise AssertionError("the paging was followed for ever")


def taken(pages: Any, limit: int = 3) -> list[str | None]:
    return [feature.get("id") for feature in distinct_features(pages, name="here", limit=limit)]


ENDING = {
    "two pages": ([page("a", "b", "c"), page("d")], "abcd"),
    "an overlap": ([page("a", "b", "c"), page("b", "c", "d"), page("e")], "abcde"),
    "an empty page on the way": ([page("a", "b", "c"), page(), page("d")], "abcd"),
    "a few empty pages first": ([page()] * 5 + [page("a")], "a"),
    "a page that is no list": ([{"features": None}, page("a")], "a"),
    "short pages that repeat": (forever(page("a", "b")), "ab"),
    "two short pages in a circle": (forever(page("a", "b"), page("c")), "abc"),
    "full pages that repeat when all have come": (forever(page("a", "b", "c", numberMatched=3)), "abc"),
    "the older way to say how many": (forever(page("a", "b", "c", context={"matched": 3})), "abc"),
    "nothing, for ever, as the server says": (forever(page(numberMatched=0)), ""),
    "all have come, then nothing for ever": ([page("a", numberMatched=1), *[page()] * 100], "a"),
}


@pytest.mark.parametrize("name", ENDING)
def test_a_search_ends_with_each_item_once(name: str) -> None:
    pages, names = ENDING[name]
    assert taken(pages) == list(names)


@pytest.mark.parametrize(
    ("pages", "sentence"),
    [
        ([page("a", "b", "c"), *[page("a", "b", "c")] * 3], "goes round: .* 3 of an unknown number were given"),
        ([page("a", "b", "c", numberMatched=9), page("d"), page("b")], "goes round: .* 4 of 9 were given"),
        ([page("a", "b", numberMatched=9), page("a", "b")], "goes round: .* 2 of 9"),
        ([page()] * 99, "has no end: 20 pages in a row hold no item"),
        ([page("a", "b", "c"), *[page()] * 99], "has no end"),
    ],
)
def test_an_answer_that_may_not_be_complete_is_refused(pages: Any, sentence: str) -> None:
    with pytest.raises(CatalogError, match=f"^the paging of here {sentence}"):
        taken(iter(pages))


def test_items_without_an_id_are_told_apart_by_what_they_hold() -> None:
    other = {"type": "Feature", "collection": "c", "bbox": [2]}
    assert len(taken([page(None), {"features": [other]}, page(None)])) == 2


def test_items_of_two_collections_may_have_one_id() -> None:
    pages = [{"features": [{"id": "a", "collection": name} for name in ("c", "d")]}]
    assert taken(pages) == ["a", "a"]


@pytest.mark.parametrize(
    ("links", "href"),
    [
        ([], None),
        (None, None),
        ([None, 5, {"rel": "self", "href": "x"}], None),
        ([{"rel": "next", "href": None}], None),
        ([{"rel": "next", "href": " "}], None),
        ([{"rel": "next"}, {"rel": "next", "href": "y"}], "y"),
    ],
)
def test_a_link_that_leads_nowhere_is_no_next_page(links: Any, href: str | None) -> None:
    found = next_link({"links": links})
    assert (found and found["href"]) == href
    assert IDLE_PAGES == 20
