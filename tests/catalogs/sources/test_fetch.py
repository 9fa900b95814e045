"""Failures that will not heal are told soon; those that may are asked again."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import requests

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.s3 import s3_settings_of
from tilewright.catalogs.sources import fetch
from tilewright.catalogs.sources.fetch import quoted, read_json
from tilewright.catalogs.sources.registry import known_sources, sign_href
from tilewright.catalogs.sources.signing import SigningError

NOBODY = "http://127.0.0.1:9"


class Counting(BaseHTTPRequestHandler):
    """A server that counts what it is asked; `answers` are its statuses, the last one for ever."""

    asked = 0
    answers: tuple[int, ...] = (200,)
    silent = 0.0

    def do_GET(self) -> None:
        status = self.answers[min(type(self).asked, len(self.answers) - 1)]
        type(self).asked += 1
        time.sleep(self.silent)
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def counting(serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, type[Counting]]]:
    def start(**how: Any) -> tuple[str, type[Counting]]:
        handler = type("One", (Counting,), {"asked": 0, **how})
        return f"{serve(handler)}/x.json", handler

    return start


@pytest.mark.parametrize(
    ("answers", "asked", "ends"),
    [
        ((503, 429, 200), 3, None),
        ((500, 200), 2, None),
        ((404,), 1, "HTTP 404"),
        ((401,), 1, "HTTP 401"),
        ((403,), 1, "HTTP 403"),
        ((410,), 1, "HTTP 410"),
        ((501,), 1, "HTTP 501"),
        ((502,), 4, "HTTP 502"),
    ],
)
def test_a_server_is_asked_again_where_that_may_help(
    answers: tuple[int, ...], asked: int, ends: str | None, counting: Callable[..., tuple[str, type[Counting]]]
) -> None:
    href, handler = counting(answers=answers)
    if ends is None:
        assert read_json(href, origin=href) == {}
    else:
        with pytest.raises(CatalogError, match=ends):
            read_json(href, origin=href)
    assert handler.asked == asked


def test_a_server_that_is_silent_is_asked_twice(
    counting: Callable[..., tuple[str, type[Counting]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.2)
    href, handler = counting(silent=1.0)
    with pytest.raises(CatalogError, match="cannot be reached"):
        read_json(href, origin=href)
    assert handler.asked == 2


@pytest.mark.parametrize("href", [f"{NOBODY}/x.json", "https://no-such-host.invalid/x.json", "s3://bucket/x.json"])
def test_where_no_one_answers_is_told_within_seconds(href: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"AWS_ENDPOINT_URL": NOBODY, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(CatalogError, match=r"cannot be (reached|read)"):
        read_json(href, origin=href, s3=s3_settings_of(environ))
    assert time.monotonic() - began < 20


def test_a_token_service_that_is_away_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from planetary_computer import sas

    monkeypatch.setenv("PC_SDK_SAS_URL", NOBODY)
    monkeypatch.setattr(sas, "TOKEN_CACHE", {})
    sas.Settings.get.cache_clear()
    began = time.monotonic()
    with pytest.raises(SigningError, match="gave no token"):
        sign_href(known_sources()["planetary-computer"], "https://x.blob.core.windows.net/c/a.tif")
    sas.Settings.get.cache_clear()
    assert time.monotonic() - began < 20


def test_an_answer_is_quoted_from_its_start_and_a_request_of_many_values_not_at_all():
    asked = requests.Request("POST", "https://api.example/search", json={"token": "hUnTeR2zQ9x"})
    began = time.process_time()
    assert quoted(b"no: hUnTeR2zQ9x " + b"=" + b"a-" * 2**22, asked).startswith("no: ...")
    many = requests.Request("POST", "https://api.example/search", json={"ids": [f"word{n}" for n in range(50_000)]})
    assert quoted(b"word7 is wrong", many) == ""
    assert time.process_time() - began < 5
