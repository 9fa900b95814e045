"""The server answers this machine's own browser alone, only reads, and no path leads out of the page."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.support.viewed import page_of, patches, put_layer, put_product


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "out"
    put_product(folder, [put_layer(folder, "class", patches((64, 64)))])
    (folder.parent / "secret.txt").write_text("secret")
    with page_of(folder) as served:
        yield served


def asked(page, path=None, *, method="GET", **headers):
    """The status and the headers of an answer."""
    parts = urlsplit(page.address)
    client = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    client.putrequest(method, parts.path if path is None else path, skip_host="Host" in headers)
    for name, value in headers.items():
        client.putheader(name, value)
    client.endheaders()
    answer = client.getresponse()
    body = answer.read()
    client.close()
    return answer.status, dict(answer.getheaders()), body


def test_the_page_may_load_nothing_but_its_own_files(page):
    status, headers, body = asked(page)
    assert status == 200
    rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert b"http://" not in body
    assert b"https://" not in body
    for name in ("view.js", "map.js", "panel.js", "chart.js", "view.css", "leaflet.js", "leaflet.css", "products.json"):
        assert page.status(name) == 200, name


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("127.0.0.1", 403),
        ("", 403),
    ],
)
def test_a_name_that_somebody_made_lead_here_is_refused(page, host, status):
    port = urlsplit(page.address).port
    assert asked(page, Host=host.format(port=port))[0] == status


def test_a_page_of_others_is_refused(page):
    port = urlsplit(page.address).port
    assert asked(page, Origin="http://evil.example")[0] == 403
    assert asked(page, Origin="null")[0] == 403
    assert asked(page, Origin=f"http://127.0.0.1:{port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_only_get_is_answered(page, method):
    status, headers, _ = asked(page, method=method)
    assert (status, headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "path", ["/", "/products.json", "/x/products.json", "/" + "a" * 16 + "/products.json", "//", "*"]
)
def test_without_its_key_there_is_no_page(page, path):
    assert asked(page, path)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "/etc/passwd",
        "view.js/../../serve.py",
        "index.html",
        "tiles/0/0/12/2200/1416.png/..",
        "tiles/0/0/-1/0/0.png",
        "tiles/0/0/3/8/0.png",
        "tiles/0/0/25/0/0.png",
        "tiles/0/0/999999999999/0/0.png",
        "tiles/0/1/0/0/0.png",
        "tiles/1/0/0/0/0.png",
        "tiles/0/0/%D9%A3/0/0.png",
        "tables/0/0.json",
        "scenes/7.json",
        "values.json",
        "values.json?lon=1",
        "values.json?lon=nan&lat=1",
        "values.json?lon=1e999&lat=1",
        "values.json?lon=1&lat=91",
        "values.json?lon=1&lat=2&more=3",
        "series/0.json?lon=x&lat=2",
        "a" * 2000,
    ],
)
def test_a_path_that_is_none_is_refused(page, path):
    before = urlsplit(page.address).path
    status, _, body = asked(page, before + path)
    assert status == 404
    assert b"secret" not in body


def test_a_browser_that_sends_garbage_ends_nothing(page):
    import socket

    parts = urlsplit(page.address)
    for words in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 70_000 + b"\r\n\r\n",
    ):
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as client:
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            client.recv(100)
    assert page.status("products.json") == 200


def test_many_tiles_at_once_are_the_same_as_one_after_the_other(page):
    from concurrent.futures import ThreadPoolExecutor

    tiles = [(13, 4404 + col, 2820 + row) for col in range(5) for row in range(5)]
    one_by_one = [page.tile(0, 0, *tile) for tile in tiles]
    with ThreadPoolExecutor(16) as pool:
        at_once = list(pool.map(lambda tile: page.tile(0, 0, *tile), tiles * 4))
    assert all(np.array_equal(each, one_by_one[place % 25]) for place, each in enumerate(at_once))
