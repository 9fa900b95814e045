"""An authority of one's own: one variable, and search, files and buckets trust it; without it each says so at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.support.http_servers import QuietHandler
from tests.support.small_catalogs import item, names, search
from tests.support.tls_servers import tls_server
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.gdal import read_overview
from tilewright.catalogs.s3 import CA_BUNDLES, s3_settings_of
from tilewright.catalogs.sources.fetch import read_json
from tilewright.flows.environment import certificates, reading_settings, storage_options
from tilewright.models.card.registry import find_card
from tilewright.models.errors import CardError
from tilewright.tasks.read.gdal import gdal_path, reading_env
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


class Place(QuietHandler):
    """A STAC API, files with ranges, and the few requests of S3 that a small object needs."""

    files: dict[str, bytes]
    payers: list[str | None]

    def do_GET(self) -> None:  # noqa: N802 -- http.server's name
        self.payers.append(self.headers.get("x-amz-request-payer"))
        if self.path == "/":
            self.reply({"type": "Catalog", "id": "a", "conformsTo": [], "links": []})
        elif self.path == "/collections":
            self.reply({"collections": [{"id": "sentinel-2-l2a"}], "links": []})
        else:
            self.give(self.files.get(self.path))

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def do_POST(self) -> None:  # noqa: N802 -- http.server's name
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply({"type": "FeatureCollection", "features": [item("one")], "links": []})

    def do_PUT(self) -> None:  # noqa: N802 -- http.server's name
        self.payers.append(self.headers.get("x-amz-request-payer"))
        self.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(self, content: bytes | None) -> None:
        start, _, stop = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
        body = b"" if content is None else content[int(start) : int(stop or len(content)) + 1]
        self.send_response(404 if content is None else 206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        if content is not None and "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(body) - 1}/{len(content)}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, type[Place]]]:
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "a.tif"
    options: dict[str, Any] = {"width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(5e5, 5.4e6, 10, 10), **options) as file:
        file.write(np.full((1, 64, 64), 1234, np.uint16))
    files = {
        **{f"/bucket/{name}.tif": path.read_bytes() for name in ("first", "second")},
        "/a.tif": path.read_bytes(),
        "/bucket/a.tif": path.read_bytes(),
        "/bucket/c.json": json.dumps(item("c")).encode(),
    }
    handler = type("OnePlace", (Place,), {"files": files, "payers": []})
    with tls_server(handler, folder) as (address, authority):
        yield address, authority, handler


@pytest.mark.parametrize("variable", CA_BUNDLES)
def test_one_variable_makes_every_client_trust_the_authority(
    place: tuple[str, Path, type[Place]], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, authority, _ = place
    for name in CA_BUNDLES:
        monkeypatch.delenv(name, raising=False)
    environ = {variable: str(authority), "AWS_ENDPOINT_URL": address, **KEYS}
    for name, value in KEYS.items() | {("AWS_ENDPOINT_URL", address)}:
        monkeypatch.setenv(name, value)
    s3 = s3_settings_of(environ)
    (scene,) = search(address, s3)
    assert scene.id == "one"
    for href in (f"{address}/a.tif", "s3://bucket/a.tif"):
        asset = replace(scene.assets[0], href=href, index=1)
        assert read_overview(asset, lambda href: href, s3=s3).max() == 1234
        with reading_env(reading_settings(environ)), rasterio.open(gdal_path(href)) as file:
            assert file.read(1).min() == 1234
    assert names(search("s3://bucket/c.json", s3)) == ["c"]
    output = open_storage("s3://bucket/out", options=storage_options("s3://bucket/out", environ))
    output.write("x.txt", b"written")
    assert output.read("x.txt") == b"written"


def test_without_it_the_sentence_names_the_variable_and_comes_at_once(place: tuple[str, Path, type[Place]]) -> None:
    address, _, _ = place
    began = time.monotonic()
    with pytest.raises(CatalogError, match=r"its certificate is not trusted: .* in REQUESTS_CA_BUNDLE"):
        search(address)
    assert time.monotonic() - began < 5


def test_a_file_that_is_not_there_is_refused_wherever_it_would_be_used(tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": str(tmp_path / "none.pem")}
    s3 = s3_settings_of(environ)
    with pytest.raises(CatalogError, match=r"none.pem.*no such file: give a PEM file"):
        read_json("https://127.0.0.1:9/a.json", origin="https://127.0.0.1:9/", s3=s3)
    for uri in ("s3://b/x", "gs://b/x"):
        with pytest.raises(StoreError, match="no such file"):
            storage_options(uri, environ)
    with pytest.raises(StoreError, match="no such file"):
        reading_settings(environ)
    assert storage_options("/local", environ) == {}


def test_the_requester_pays_with_every_client_that_reads_a_bucket(
    place: tuple[str, Path, type[Place]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, authority, handler = place
    environ = {
        "AWS_REQUEST_PAYER": "requester",
        "AWS_ENDPOINT_URL": address,
        "REQUESTS_CA_BUNDLE": str(authority),
        **KEYS,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    s3 = s3_settings_of(environ)
    handler.payers.clear()
    (scene,) = search("s3://bucket/c.json", s3)
    assert handler.payers == ["requester"]
    read_overview(replace(scene.assets[0], href="s3://bucket/first.tif"), lambda href: href, s3=s3)
    with reading_env(reading_settings(environ)), rasterio.open(gdal_path("s3://bucket/second.tif")) as file:
        file.read(1)
    output = open_storage("s3://bucket/out", options=storage_options("s3://bucket/out", environ))
    output.write("y.txt", b"y")
    output.read("y.txt")
    assert len(handler.payers) > 3
    assert set(handler.payers) == {"requester"}


def test_a_model_card_is_fetched_with_the_authorities_too(place: tuple[str, Path, type[Place]], tmp_path: Path) -> None:
    """The card that comes is none, which shows that it came."""
    address, authority, handler = place
    handler.files["/card.json"] = b"{}"
    trusted = certificates({"SSL_CERT_FILE": str(authority)})
    with pytest.raises(CardError, match="stac_version is None"):
        find_card(f"{address}/card.json", cache=tmp_path, certificates=trusted)
    with pytest.raises(CardError, match="cannot be read"):
        find_card(f"{address}/card.json", cache=tmp_path)
