from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pystac
import pytest

from tests.support.published import later
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.publish.collection import update_collection
from tilewright.catalogs.publish.item import item_json
from tilewright.catalogs.publish.push import PushError, differences, push_item
from tilewright.catalogs.publish.validate import validate_item


class Api:
    """A STAC API with the transaction extension: POST refuses what exists (409), PUT what does not (404)."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.lose_answer_to: str | None = None
        self.alter: dict[str, Any] = {}

    def answer(self, method: str, path: str, sent: dict[str, Any] | None) -> tuple[int, Any]:
        self.calls.append((method, path))
        if method == "GET":
            found = self.documents.get(path)
            return (200, self.served(path, found)) if found else (404, {"code": "NotFound"})
        assert sent is not None
        place = f"{path}/{sent['id']}" if method == "POST" else path
        if method == "POST" and place in self.documents:
            return 409, {"code": "ConflictError"}
        if method == "PUT" and place not in self.documents:
            return 404, {"code": "NotFound"}
        if place.rpartition("/items/")[0] and place.rpartition("/items/")[0] not in self.documents:
            return 404, {"code": "NotFound", "description": "no such collection"}
        self.documents[place] = sent
        if self.lose_answer_to == method:
            self.lose_answer_to = None
            return 503, {"code": "lost"}
        return (201 if method == "POST" else 200), self.served(place, sent)

    def served(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """As pgstac does: own links in front, microseconds in instants, floats for whole numbers."""
        served = json.loads(json.dumps(document).replace('T00:00:00Z"', 'T00:00:00.000000+00:00"'))
        served["links"] = [{"rel": "self", "href": place}, *served["links"]]
        return served | self.alter


@pytest.fixture
def api() -> Iterator[tuple[str, Api]]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def exchange(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != "Bearer sesame":
                status, document = 401, {"code": "Unauthorized"}
            else:
                status, document = state.answer(self.command, self.path, sent)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = exchange  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    server.server_close()


BASE = "https://maps.example.com/danube/item.json"


AUTHORIZED = {"Authorization": "Bearer sesame"}


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


def test_a_refusal_is_told_without_the_credentials(api: tuple[str, Api], item: dict[str, Any]) -> None:
    address, _ = api
    with pytest.raises(PushError, match="was answered with HTTP 401") as caught:
        push(address, item, headers={"Authorization": "Bearer wrong"})
    assert "wrong" not in str(caught.value)


def test_an_api_that_is_not_there_is_told(item: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PushError, match=r"GET failed: .* cannot be reached"):
            push(address, item)


def test_a_product_without_a_public_address_is_not_pushed(api: tuple[str, Api], item: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match=r"/maps/item\.json is a local path"):
        push(api[0], item, base="/maps/item.json")


def test_differences_see_what_changed_and_forgive_how_it_is_written() -> None:
    sent = {"a": "2021-06-01T00:00:00Z", "b": 1, "links": [{"rel": "x", "href": "y"}], "c": None}
    same = {"a": "2021-06-01T00:00:00.000+00:00", "b": 1.0, "links": [{"rel": "x", "href": "y", "z": 1}], "more": 1}
    assert differences(sent, same) == []
    assert differences(sent, same | {"a": "2021-06-02T00:00:00Z", "b": True, "links": []}) == ["a", "b", "links/x"]
    assert differences({"d": [1, {"e": "f"}]}, {"d": [1, {"e": "g"}]}) == ["d/1/e"]
    assert differences({"d": [1]}, {"d": [1, 2]}) == ["d"]
