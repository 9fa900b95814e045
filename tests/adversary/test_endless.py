"""Servers and catalogs without an end: each ends in the time and within the size that is stated for it."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import socket
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.http_servers import QuietHandler, running
from tests.support.small_catalogs import item, links, search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.items.inherited import Collections
from tilewright.catalogs.search import Filters
from tilewright.catalogs.sources import api, fetch, static
from tilewright.catalogs.sources.fetch import parse_json, read_json
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.catalogs.sources.source import RawItem
from tilewright.tasks.read.gdal import read_header
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError, read_with_retries

SECONDS = 0.4
"""The time for a document in these tests; in earnest it is minutes."""

PAUSE = 0.05

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


HANDSHAKE = "a handshake that drips"

SLOW = {
    HANDSHAKE: (b"\x16\x03\x03\x40\x00", b"\x02"),
    "silence": (b"", b""),
    "a status that drips": (b"HTTP/1.1 2", b"0"),
    "headers that drip": (OK, b"x"),
    "headers that go on": (OK, b"a: b\r\n"),
    "answers to wait for the answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body that drips": (OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "a body without a length that drips": (OK + b"\r\n", b" "),
    "chunks that drip": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "the length of a chunk that drips": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers that drip": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n"),
    "a compressed body that drips": (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{")[:10], b"\0"),
    "a redirect that drips": (b"HTTP/1.1 302 Found\r\nLocation: /", b"a"),
    "an error that drips": (b"HTTP/1.1 503 Slow\r\nContent-Length: 100000\r\n\r\n", b" "),
}
"""First bytes of an answer, and the piece that follows again and again."""


@contextmanager
def slow_server(first, piece):
    """The address of a server that answers every request so."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection):
        try:
            connection.recv(65536)
            connection.sendall(first)
            while True:
                connection.sendall(piece)
                time.sleep(PAUSE)
        except OSError:
            connection.close()

    def accept():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize("kind", SLOW)
def test_a_document_ends_in_its_time_however_it_drips(kind, monkeypatch):
    monkeypatch.setattr(fetch, "DOCUMENT_SECONDS", SECONDS)
    first, piece = SLOW[kind]
    scheme = "https" if kind == HANDSHAKE else "http"
    with slow_server(first, piece) as address, within(SECONDS + 1.5):
        url = f"{scheme}://{address}/x"
        with pytest.raises(CatalogError, match=r"takes longer than 0.4 s|cannot be reached|is not JSON"):
            read_json(url, origin=url)


@pytest.mark.parametrize("kind", ["silence", "a body that drips", "a redirect that drips"])
def test_the_collections_that_items_name_share_the_time_of_one_document(kind, monkeypatch):
    """Each item names a collection of its own, whose document never ends; the items are still there."""
    monkeypatch.setattr(fetch, "DOCUMENT_SECONDS", SECONDS)
    with slow_server(*SLOW[kind]) as address, within(SECONDS + 2):
        asked = Collections(source=resolve_source({"name": "s", "kind": "static", "href": f"http://{address}/c.json"}))
        items = [{**item(f"i{n}", collection=f"c{n}"), "links": links(f"{n}", rel="collection")} for n in range(40)]
        for each in items:
            assert asked.complete(RawItem(item=each, location=f"http://{address}/i.json")) == each
    assert len(asked.unread) == 40
    assert "not asked for" in asked.unread["c39"]


def test_the_collections_that_items_name_share_the_size_of_one_document(tmp_path):
    asked = Collections(source=resolve_source(write(tmp_path / "catalog.json", {})), _bytes=10_000)
    for number in range(10):
        write(tmp_path / f"{number}.json", {"padding": "x" * 3000})
        each = {**item("i", collection=f"c{number}"), "links": links(f"{number}.json", rel="collection")}
        asked.complete(RawItem(item=each, location=str(tmp_path / "i.json")))
    assert sorted(asked.unread) == [f"c{number}" for number in range(3, 10)]


QUICK = {"GDAL_HTTP_TIMEOUT": "2", "GDAL_HTTP_CONNECTTIMEOUT": "2", "GDAL_HTTP_LOW_SPEED_TIME": "1"}


@pytest.mark.parametrize("kind", [kind for kind in SLOW if "chunk" not in kind and "length" not in kind])
def test_a_read_of_pixels_ends_in_its_time_however_it_drips(kind):
    first, piece = SLOW[kind]
    scheme = "https" if kind == HANDSHAKE else "http"
    with slow_server(first, piece) as address, within(5):
        url = f"{scheme}://{address}/x.tif"
        with pytest.raises(UnreadableError, match="after 1 attempt"):
            read_with_retries(
                lambda signed, attempt: read_header(f"{signed}?{attempt}", signed=f"{signed}?{attempt}", extra=QUICK),
                href=url,
                sign=lambda: url,
                policy=RetryPolicy(attempts=1, probe_timeout_s=0.3, sleep=lambda seconds: None),
            )


def bomb(n_bytes):
    """gzip of spaces, a thousandth of them in size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = b" " * 2**20
    return b"".join(packer.compress(piece) for _ in range(n_bytes // 2**20)) + packer.flush()


BOMBS = {
    "gzip": ("gzip", bomb(2**29)),
    "deflate": ("deflate", zlib.compress(b" " * 2**27, 9)),
    "gzip in gzip": ("gzip, gzip", gzip.compress(bomb(2**29))),
    "gzip in gzip in gzip": ("gzip, gzip, gzip", gzip.compress(gzip.compress(bomb(2**29)))),
    "many gzips": (", ".join(["gzip"] * 50), b""),
    "brotli": ("br", b"\x1b" * 10**6),
    "zstd": ("zstd", b"\x28\xb5\x2f\xfd" + b"\0" * 10**6),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_compressed_document_is_unpacked_up_to_the_limit(kind):
    encoding, content = BOMBS[kind]

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.send_response(200)
            self.send_header("Content-Encoding", encoding)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with running(Handler) as url, within(10):
        tracemalloc.start()
        with pytest.raises(CatalogError, match=r"larger than 8 MB|cannot be reached|is not JSON"):
            read_json(url, origin=url, limit=2**23)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ("100000", "asks to wait 100000 s"),
        ("9" * 30, "asks to wait 9"),
        ("9" * 5000, None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "asks to wait 2"),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("61", "asks to wait 61 s"),
        ("soon", None),
        ("1e9", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_no_document_waits_longer_than_a_minute(asked, refused, status):

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.send_response(status)
            self.send_header("Retry-After", asked)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with running(Handler) as url, within(8), pytest.raises(CatalogError, match=refused or f"HTTP {status}"):
        read_json(url, origin=url)


def test_a_read_of_pixels_waits_a_minute_at_most_and_says_what_was_asked():
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.send_response(429)
            self.send_header("Retry-After", "100000")
            self.send_header("Content-Length", "0")
            self.end_headers()

    waits = []
    with running(Handler) as url, pytest.raises(UnreadableError, match="answers 429 and asks to wait 100000 s"):
        read_with_retries(
            lambda signed, attempt: read_header(f"{url}/{attempt}.tif", signed=f"{url}/{attempt}.tif", extra={}),
            href=f"{url}/x.tif",
            sign=lambda: f"{url}/x.tif",
            policy=RetryPolicy(sleep=waits.append),
        )
    assert max(waits) == 60.0
    assert len(waits) == 5


def landing(href="/search"):
    """The landing page of an API, and its list of collections."""
    link = {"rel": "search", "href": href, "method": "GET"}
    return {"conformsTo": [], "links": [link], "collections": [{"id": "sentinel-2-l2a"}]}


TREES = {
    "children without end": lambda path: {
        "type": "Catalog",
        "links": links(*(f"{path}/{n}" for n in "abc"), rel="child"),
    },
    "a child of a child": lambda path: {"type": "Catalog", "links": links(f"{path}/a", rel="child")},
    "items that link to items": lambda path: {"links": links(f"{path}/a", f"{path}/b", rel="items")},
    "a million links": lambda path: {"links": links(*(f"/{path}{n}" for n in range(100_000)), rel="item")},
    "pages without items": lambda path: {
        "type": "FeatureCollection",
        "features": [item("other", collection="other")],
        "links": links(f"{path}/n", rel="next"),
    },
}


@pytest.mark.parametrize("kind", TREES)
def test_a_static_catalog_without_end_is_left(kind, monkeypatch):
    monkeypatch.setattr(static, "MOST_DOCUMENTS", 300)

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.reply(TREES[kind](self.path.rstrip("/")))

    with running(Handler) as url, within(10), pytest.raises(CatalogError, match="holds more than 300 documents"):
        search(f"{url}/catalog.json")


@pytest.mark.parametrize("circle", [["/catalog.json"], ["/a", "/catalog.json"], ["/a#1", "/a#2", "/catalog.json#x"]])
def test_a_static_catalog_that_goes_round_ends(circle):
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.reply({"type": "Catalog", "links": links(*circle, rel="child")})

    with running(Handler) as url, within(3), pytest.raises(CatalogError, match="has no collection"):
        search(f"{url}/catalog.json")


@pytest.mark.parametrize("module", [static, api])
def test_a_search_ends_in_its_time_when_each_document_is_slow(module, monkeypatch):
    monkeypatch.setattr(module, "SEARCH_SECONDS", 1.0)
    number = itertools.count()

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            time.sleep(0.3)
            if module is static:
                return self.reply({"type": "Catalog", "links": links(f"/{next(number)}", rel="child")})
            if "search" not in self.path:
                return self.reply(landing())
            page = {"type": "FeatureCollection", "features": [item(f"i{next(number)}")]}
            here = f"http://127.0.0.1:{self.server.server_port}"
            return self.reply({**page, "links": links(f"{here}/search?{next(number)}", rel="next")})

    with (
        running(Handler) as url,
        within(4),
        pytest.raises(CatalogError, match=r"took longer than 1 s|takes longer than"),
    ):
        search(f"{url}/catalog.json" if module is static else url)


def _paging(pages):
    """A handler of an API whose pages are those of an iterator."""

    class Handler(QuietHandler):
        seen: list[tuple[str, str, dict[str, str]]] = []  # noqa: RUF012 -- shared by the handlers of the server

        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.seen.append((self.command, self.path, dict(self.headers)))
            if "search" in self.path:
                here = f'"http://127.0.0.1:{self.server.server_port}/search'
                return self.reply(json.loads(json.dumps(next(pages)).replace('"/search', here)))
            return self.reply(landing())

        do_POST = do_DELETE = do_PUT = do_GET  # noqa: N815 -- http.server's names

    return Handler


def page(number, **more):
    plain = {"type": "FeatureCollection", "features": [], "links": links(f"/search?{number}", rel="next")}
    return {**plain, **more}


PAGERS = {
    "empty pages": ((page(n) for n in itertools.count()), "has no end"),
    "pages of what is no item": ((page(n, features=[1, None, "x"]) for n in itertools.count()), "has no end"),
    "one page again and again": ((page(0, features=[item("a")]) for _ in itertools.count()), None),
    "more items than asked for": (
        (page(n, features=[item(f"i{n}-{m}") for m in range(5000)]) for n in itertools.count()),
        "gives more than 50 items",
    ),
    "a number of matches that no machine holds": (
        (page(n, numberMatched=10**300) for n in itertools.count()),
        "has no end",
    ),
    "a page that is to be deleted": (
        iter([page(0, features=[item("a")], links=[{"rel": "next", "href": "/search", "method": "DELETE"}])]),
        "by DELETE: only GET and POST",
    ),
    "a page inside": (
        iter([page(0, features=[item("a")], links=links("http://169.254.169.254/search", rel="next"))]),
        "link-local",
    ),
    "a page that is a device": (
        iter([page(0, features=[item("a")], links=links("file:///dev/zero", rel="next"))]),
        "must not name local files",
    ),
}


@pytest.mark.parametrize("kind", PAGERS)
def test_a_paging_without_end_or_elsewhere_is_left(kind):
    pages, sentence = PAGERS[kind]
    with running(_paging(pages)) as url, within(8):
        if sentence is None:
            assert len(search(url, filters=Filters(limit_items=50))) == 1
            return
        with pytest.raises(CatalogError, match=sentence):
            search(url, filters=Filters(limit_items=50))


def test_a_link_to_the_next_page_sets_no_header_that_says_whom_a_request_is_for():
    headers = {"Host": "inside", "Transfer-Encoding": "chunked", "Cookie": "a=b", "X-Page": "2"}
    pages = iter([page(0, links=[{"rel": "next", "href": "/search?2", "headers": headers}]), page(1, links=[])])
    handler = _paging(pages)
    with running(handler) as url:
        assert search(url) == ()
    sent = next(given for _, path, given in handler.seen if path == "/search?2")
    assert sent["X-Page"] == "2"
    assert "inside" not in sent.values()
    assert not {"Transfer-Encoding", "Cookie"} & set(sent)


def test_the_search_of_an_api_is_no_file_of_this_machine(tmp_path):
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.reply(landing("file:///dev/zero"))

    with running(Handler) as url, within(3), pytest.raises(CatalogError, match="must not name local files"):
        search(url)


@pytest.mark.parametrize("kind", ["a device", "a pipe", "a folder", "itself as a device", "a sparse file"])
def test_a_local_catalog_names_files_alone(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    target = {"a device": "/dev/zero", "a pipe": "pipe", "a folder": ".", "a sparse file": "sparse"}.get(
        kind, "/dev/zero"
    )
    catalog = write(tmp_path / "catalog.json", {"type": "Catalog", "links": links(target)})
    if kind == "itself as a device":
        Path(catalog).unlink()
        Path(catalog).symlink_to("/dev/zero")
    with within(3), pytest.raises(CatalogError, match="no file that can be read|larger than 64 MB|neither"):
        search(catalog)


@pytest.mark.parametrize(
    "content",
    [b'{"a": [' + b"[]," * 6_000_000 + b"0]}", b'{"a": [' + b'{"":0},' * 4_000_000 + b"0]}", b"[" * 6_000_000],
    ids=["empty lists", "small mappings", "depth"],
)
def test_a_document_has_a_bounded_number_of_values(content):
    with within(2), pytest.raises(CatalogError, match="more than 5000000 values"):
        parse_json(content, "x.json")


def test_a_large_document_of_coordinates_is_read():
    plain = {"coordinates": [[12.3456789, 45.6789] for _ in range(100_000)]}
    assert parse_json(json.dumps(plain).encode(), "x.json") == plain
