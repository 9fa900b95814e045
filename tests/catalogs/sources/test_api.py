"""Search of a STAC API: pages, trouble, and where it may not lead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from shapely.geometry import box

from tests.support.small_catalogs import item, names, search
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.search import Filters
from tilewright.catalogs.sources import fetch


class Api(BaseHTTPRequestHandler):
    """A STAC API in small: landing, collections, and a search that pages by POST body or by GET query."""

    items: ClassVar[list[dict[str, Any]]] = []
    methods = ("GET", "POST")
    page = 2
    asked: ClassVar[list[dict[str, Any]]] = []
    trouble: ClassVar[list[int]] = []

    def answer(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            found = [{"rel": "search", "href": f"{self.root}/search", "method": method} for method in self.methods]
            self.answer({"type": "Catalog", "id": "api", "conformsTo": [], "links": found})
        elif path == "/collections":
            self.answer({"collections": [{"id": "sentinel-s2-l2a-cogs"}, {"id": "naip"}], "links": []})
        elif path == "/search":
            query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            self.search({**query, "collections": query["collections"].split(",")}, "GET")
        else:
            self.answer({"code": "NotFound"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.trouble:
            self.answer({"description": "not now"}, self.trouble.pop(0))
        else:
            self.search(body, "POST")

    def search(self, query: dict[str, Any], method: str) -> None:
        self.asked.append({**query, "method": method})
        wanted = [entry for entry in self.items if entry["collection"] in query["collections"]]
        start = int(query.get("token", 0))
        following = start + self.page
        document: dict[str, Any] = {"type": "FeatureCollection", "features": wanted[start:following], "links": []}
        if following < len(wanted) and method == "POST":
            body = {**query, "token": following}
            document["links"] = [{"rel": "next", "href": f"{self.root}/search", "method": "POST", "body": body}]
        elif following < len(wanted):
            rest = f"collections={','.join(query['collections'])}&token={following}"
            document["links"] = [{"rel": "next", "href": f"{self.root}/search?{rest}"}]
        self.answer(document)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def api(serve: Callable[[Any], str]) -> Iterator[tuple[str, type[Api]]]:
    items = [item(f"i{day}", day, collection="sentinel-s2-l2a-cogs") for day in range(1, 8)]
    handler = type("OneApi", (Api,), {"items": items, "asked": [], "trouble": []})
    return serve(handler), handler  # type: ignore[return-value]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_api_is_searched_page_by_page_either_way(api: tuple[str, type[Api]], method: str) -> None:
    url, handler = api
    handler.methods = (method,)
    scenes = search(url, aoi=box(10, 45, 11, 46), start=datetime(2020, 1, 2, tzinfo=UTC))
    assert names(scenes) == ["i2", "i3", "i4", "i5", "i6", "i7"]
    assert {entry["method"] for entry in handler.asked} == {method}
    assert len(handler.asked) == 4
    assert handler.asked[0]["collections"] == ["sentinel-s2-l2a-cogs"]
    assert handler.asked[0]["datetime"] == "2020-01-02T00:00:00Z/.."
    assert scenes[0].assets[0].href == f"{url}/red.tif"
    assert scenes[0].source.startswith("127.0.0.1-")


def test_an_api_that_throttles_and_stumbles_is_asked_again(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.trouble += [429, 503]
    assert len(search(url)) == 7


def test_an_api_that_refuses_is_quoted(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.trouble.append(400)
    with pytest.raises(CatalogError, match=r"refused the search: HTTP 400: .*not now"):
        search(url)


def test_an_unknown_collection_of_an_api_names_those_it_has(api: tuple[str, type[Api]]) -> None:
    url, _ = api
    with pytest.raises(CatalogError, match="has no collection my-own; it has: naip, sentinel-s2-l2a-cogs"):
        search(url, collection="my-own")
    source = {"href": url, "name": "mine", "collections": {"own": "not-there"}}
    with pytest.raises(CatalogError, match="mine has no collection not-there; it has: naip"):
        search(source, collection="own")


def test_a_users_collection_is_searched_under_its_own_name(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.items = [item("n1", collection="naip")]
    source = {"href": url, "collections": {"own": "naip"}, "bands": {"own": {"rot": "red"}}}
    (scene,) = search(source, collection="own", bands=["rot"])
    assert (scene.collection, scene.state, scene.bands) == ("own", "not-applicable", ("rot",))


def test_an_api_that_goes_on_for_ever_is_stopped(api: tuple[str, type[Api]]) -> None:
    url, handler = api
    handler.items = [item(f"i{n}", collection="sentinel-s2-l2a-cogs") for n in range(50)]
    with pytest.raises(CatalogError, match="more than 10 items"):
        search(url, filters=Filters(limit_items=10))
    assert len(handler.asked) <= 6


def test_a_response_over_the_limit_is_cut_off(api: tuple[str, type[Api]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, handler = api
    handler.items = [item("x" * 200_000, collection="sentinel-s2-l2a-cogs")]
    original = fetch.send
    monkeypatch.setattr(
        "tilewright.catalogs.sources.api.send", lambda request, **more: original(request, **more, limit=100_000)
    )
    with pytest.raises(CatalogError, match="larger than"):
        search(url)


def test_an_endpoint_nobody_answers_at_is_one_sentence() -> None:
    with pytest.raises(
        CatalogError,
        match=r"^http://127.0.0.1:9/ cannot be reached \(no connection: check the address .*, or try again later\)$",
    ) as refusal:
        search("http://127.0.0.1:9/?token=SECRET")
    assert "SECRET" not in str(refusal.value)


def test_a_page_that_is_no_api_is_refused(serve: Callable[[Any], str]) -> None:
    class Page(Api):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

    with pytest.raises(CatalogError, match="is not JSON"):
        search(serve(Page))


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd"])
def test_a_redirect_is_not_followed_to_where_the_source_may_not_lead(serve: Callable[[Any], str], target: str) -> None:
    class Astray(Api):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(CatalogError, match="refused"):
        search(serve(Astray))


def test_redirects_end(serve: Callable[[Any], str]) -> None:
    class Circle(Api):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(CatalogError, match="redirects more than 5 times"):
        search(serve(Circle))


class Careless(Api):
    """A server that does not know the parameter `collections`."""

    def search(self, query: dict[str, Any], method: str) -> None:
        self.answer({"type": "FeatureCollection", "features": self.items, "links": []})


@pytest.mark.parametrize("others", ["naip", "sentinel-2-l1c", "Sentinel-S2-L2A-COGS", "sentinel-2-l2a-cogs-v2", "dem"])
@pytest.mark.parametrize("named", [False, True])
def test_items_of_another_collection_do_not_count(others: str, named: bool, serve: Callable[[Any], str]) -> None:
    """They have a band of the same name in the same place at the same time."""
    ours = item("ours", 1, collection="sentinel-s2-l2a-cogs")
    theirs = [item(f"x{day}", day, collection=others) for day in (1, 2)]
    url = serve(type("OneApi", (Careless,), {"items": [theirs[0], ours, theirs[1]]}))
    source = {"href": url, "collections": {"sentinel-2-l2a": "sentinel-s2-l2a-cogs"}} if named else url
    assert names(search(source)) == ["ours"]
    url = serve(type("OneApi", (Careless,), {"items": theirs}))
    source = {"href": url, "collections": {"sentinel-2-l2a": "sentinel-s2-l2a-cogs"}} if named else url
    with pytest.raises(CatalogError, match=f"search of sentinel-s2-l2a-cogs with items of {others} alone"):
        search(source)
