from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator
from typing import Any

import pystac
import pytest

from tests.support.http_servers import QuietHandler, running
from tests.support.published import later
from tests.support.stac_api import TOKEN, TRANSACTIONS, Api, stac_api
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.publish.collection import update_collection
from tilewright.catalogs.publish.item import item_json
from tilewright.catalogs.publish.push import PushError, absolute_document, check_transactions, differences, push_item
from tilewright.catalogs.publish.validate import InvalidStacError, validate_item
from tilewright.catalogs.schemas import ALTERNATE


@pytest.fixture
def api() -> Iterator[tuple[str, Api]]:
    with stac_api() as found:
        yield found


BASE = "https://maps.example.com/danube/item.json"


AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def push(address: str, item: dict[str, Any], **options: Any) -> Any:
    collection = update_collection(None, pystac.Item.from_dict(item))
    return push_item(address, collection, item, **({"base": BASE, "headers": AUTHORIZED} | options))


def test_a_push_creates_then_does_nothing_then_updates(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    pushed = push(address, item)
    assert (pushed.action, pushed.href) == ("created", f"{address}/collections/water/items/danube-water")
    stored = state.documents["/collections/water/items/danube-water"]
    assert stored["assets"]["class"]["href"] == "https://maps.example.com/danube/class.tif"
    validate_item(stored)
    state.calls.clear()
    assert push(address, item).action == "unchanged"
    assert {method for method, _ in state.calls} == {"GET"}
    item["properties"]["title"] = "Another"
    assert push(address, item).action == "updated"
    assert state.documents["/collections/water/items/danube-water"]["properties"]["title"] == "Another"


def test_an_item_with_a_public_address_also_says_where_it_lies_in_its_bucket(
    api: tuple[str, Api], item: dict[str, Any]
) -> None:
    address, state = api
    assert push(address, item, bucket="s3://maps/danube/item.json").action == "created"
    stored = state.documents["/collections/water/items/danube-water"]
    validate_item(stored)
    for asset in stored["assets"].values():
        assert asset["href"].startswith("https://maps.example.com/danube/")
        key = asset["href"].removeprefix("https://maps.example.com/danube/")
        assert asset["alternate"] == {"s3": {"href": f"s3://maps/danube/{key}"}}
    assert ALTERNATE in stored["stac_extensions"]
    assert push(address, item, bucket="s3://maps/danube/item.json").action == "unchanged"
    # Without one they say nothing of it, and what a place lacks is refused.
    assert push(address, item).action == "updated"
    assert "alternate" not in str(state.documents["/collections/water/items/danube-water"]["assets"])
    stored["assets"]["class"]["alternate"] = {"s3": {"title": "nowhere"}}
    with pytest.raises(InvalidStacError, match="href"):
        validate_item(stored)


def test_a_push_widens_the_collection_of_the_api(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    push(address, item)
    state.documents["/collections/water"]["title"] = "Theirs"
    push(address, item_json(later(30, "july", (12.5, 48.0, 13.05, 48.45))))
    collection = state.documents["/collections/water"]
    assert collection["extent"]["spatial"]["bbox"] == [[12.5, 48.0, 13.1, 48.5]]
    assert collection["title"] == "Theirs"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_answer_lost_on_the_way_does_no_harm(api: tuple[str, Api], item: dict[str, Any], method: str) -> None:
    address, state = api
    push(address, item)
    if method == "POST":
        del state.documents["/collections/water/items/danube-water"]
    item["properties"]["title"] = "Another"
    state.lose_answer_to = method
    assert push(address, item).action == ("created" if method == "POST" else "updated")
    assert state.documents["/collections/water/items/danube-water"]["properties"]["title"] == "Another"


def test_what_reads_back_differently_is_an_error(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    push(address, item)
    state.alter = {"bbox": [0, 0, 1, 1]}
    with pytest.raises(PushError, match="reads back differently in bbox/0"):
        push(address, item)


def test_a_refusal_is_reported_without_the_credentials(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, _ = api
    with pytest.raises(PushError, match="was answered with HTTP 401") as caught:
        push(address, item, headers={"Authorization": "Bearer wrong"})
    assert "wrong" not in str(caught.value)


def test_an_api_that_does_not_answer_is_reported(item: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PushError, match=r"GET failed: .* cannot be reached"):
            push(address, item)


def test_a_product_without_a_public_address_is_not_pushed(api: tuple[str, Api], item: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match=r"/maps/item\.json is a local path"):
        push(api[0], item, base="/maps/item.json")


@pytest.mark.parametrize(
    ("landing", "words"),
    [
        ({"conformsTo": [TRANSACTIONS.replace("transaction", "filter"), 3]}, "lacks the transaction extension"),
        ({"conformsTo": []}, "lacks the transaction extension"),
        ({"type": "Catalog"}, "names no conformance classes"),
    ],
)
def test_an_api_that_accepts_no_items_is_refused_before_anything_is_sent(
    api: tuple[str, Api], landing: Any, words: str
) -> None:
    address, state = api
    check_transactions(f"{address}/", headers=AUTHORIZED)
    state.landing = landing
    with pytest.raises(CatalogError, match=words):
        check_transactions(address, headers=AUTHORIZED)
    assert {method for method, _ in state.calls} == {"GET"}


@pytest.mark.parametrize("address", ["stac.example.org", "s3://bucket/catalog.json", "/maps"])
def test_what_is_no_url_is_no_api(address: str) -> None:
    with pytest.raises(CatalogError, match="give an http"):
        check_transactions(address)


def test_hrefs_become_absolute_and_paths_of_the_machine_stay_at_home(item: dict[str, Any]) -> None:
    links = [("derived_from", "/home/me/card.json"), ("derived_from", "./card.json"), ("license", "https://x.org/l")]
    document = {**item, "links": [{"rel": rel, "href": href} for rel, href in (*links, ("root", "./x.json"))]}
    hrefs = [link["href"] for link in absolute_document(document, BASE)["links"]]
    assert hrefs == ["https://maps.example.com/danube/card.json", "https://x.org/l"]
    in_bucket = absolute_document(document, "s3://maps/danube/item.json")
    assert in_bucket["assets"]["class"]["href"] == "s3://maps/danube/class.tif"


def test_differences_see_what_changed_and_forgive_how_it_is_written() -> None:
    sent = {"a": "2021-06-01T00:00:00Z", "b": 1, "links": [{"rel": "x", "href": "y"}], "c": None}
    same = {"a": "2021-06-01T00:00:00.000+00:00", "b": 1.0, "links": [{"rel": "x", "href": "y", "z": 1}], "more": 1}
    assert differences(sent, same) == []
    assert differences(sent, same | {"a": "2021-06-02T00:00:00Z", "b": True, "links": []}) == ["a", "b", "links/x"]
    assert differences({"d": [1, {"e": "f"}]}, {"d": [1, {"e": "g"}]}) == ["d/1/e"]
    assert differences({"d": [1]}, {"d": [1, 2]}) == ["d"]


@pytest.mark.parametrize(
    "extent",
    [
        None,
        {},
        {"spatial": {"bbox": []}, "temporal": {"interval": [[None, None]]}},
        {"spatial": {"bbox": [[1, 2]]}, "temporal": {"interval": [[None, None]]}},
        {"spatial": {"bbox": [[1, 2, 3, 4]]}, "temporal": {"interval": []}},
        {"spatial": {"bbox": [[1, 2, 3, 4]]}, "temporal": {"interval": [["soon", None]]}},
    ],
)
def test_a_collection_whose_extent_cannot_be_read_is_reported(
    api: tuple[str, Api], item: dict[str, Any], extent: Any
) -> None:
    address, state = api
    push(address, item)
    state.documents["/collections/water"]["extent"] = extent
    with pytest.raises(PushError, match="the Collection water on the API has no extent that can be read"):
        push(address, item)


def test_an_extent_with_heights_is_widened_on_the_ground(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    push(address, item)
    extent = state.documents["/collections/water"]["extent"]
    west, south, east, north = extent["spatial"]["bbox"][0]
    extent["spatial"]["bbox"] = [[west, south, -10.0, east, north, 4000.0]]
    push(address, item_json(later(30, "july", (12.5, 48.0, 13.05, 48.45))))
    assert state.documents["/collections/water"]["extent"]["spatial"]["bbox"][0] == [12.5, 48.0, 13.1, 48.5]


def test_a_collection_that_the_token_may_not_see_is_reported(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, state = api
    answer = state.answer
    state.answer = lambda method, path, sent: (  # type: ignore[method-assign]
        (409, {}) if (method, path) == ("POST", "/collections") else answer(method, path, sent)
    )
    with pytest.raises(PushError, match="exists, but is not shown: use a token"):
        push(address, item)


@pytest.mark.parametrize("links", [[1], {"a": 1}, 5, None])
def test_links_of_any_shape_are_compared(api: tuple[str, Api], item: dict[str, Any], links: Any) -> None:
    address, state = api
    push(address, item)
    state.served = lambda place, document: {**document, "links": links}  # type: ignore[method-assign]
    with pytest.raises(PushError, match="reads back differently in links/derived_from"):
        push(address, item)


class Answer(QuietHandler):
    """Answers every request with a status, headers and a document, and keeps the Authorization it was sent."""

    status, location, seen = 200, "", []  # type: ignore[var-annotated]

    def exchange(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).seen.append(self.headers.get("Authorization"))
        body = str(self.headers).encode()
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location + self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = exchange  # noqa: N815


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_another_server_gets_no_token_by_a_redirect(item: dict[str, Any], host: str) -> None:
    """Another port is another server, on the same machine too."""
    other = type("Other", (Answer,), {"seen": [], "status": 404})
    with running(other) as target:
        port = target.rpartition(":")[2]
        first = type("First", (Answer,), {"seen": [], "status": 307, "location": f"http://{host}:{port}"})
        with running(first) as address, pytest.raises(PushError):
            push(address, item)
    assert AUTHORIZED["Authorization"] in first.seen
    assert other.seen
    assert set(other.seen) == {None}


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_an_api_that_sends_our_headers_back_shows_no_token(item: dict[str, Any], status: int) -> None:
    echo = type("Echo", (Answer,), {"seen": [], "status": status})
    with running(echo) as address, pytest.raises(PushError) as caught:
        push(address, item)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["schlüssel€", "two\nlines"])
def test_a_token_that_no_header_can_carry_is_not_shown(api: tuple[str, Api], item: dict[str, Any], token: str) -> None:
    with pytest.raises(PushError, match="the token holds characters that no HTTP header can carry") as caught:
        push(api[0], item, headers={"Authorization": f"Bearer {token}"})
    assert token not in "".join(traceback.format_exception(caught.value))
