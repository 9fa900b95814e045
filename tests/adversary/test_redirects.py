"""Servers of a foreign catalog that lead a request elsewhere, for each client: documents, looks and blocks."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import numpy as np
import pytest
import requests

from tests.support.file_server import serve_elsewhere
from tests.support.http_servers import QuietHandler, running
from tests.support.name_table import PUBLIC, internet
from tests.support.scenes import write_raster
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.gdal import read_overview
from tilewright.catalogs.network.check import check_href
from tilewright.catalogs.network.connect import HostRules
from tilewright.catalogs.network.rules import asset_rules
from tilewright.catalogs.scene import BandAsset
from tilewright.catalogs.sources.fetch import read_json, send
from tilewright.catalogs.sources.signing import SigningError, signed
from tilewright.tasks.read.gdal import read_header
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError, read_with_retries

ORIGIN = "https://stac.example.org/catalog.json"

NAMES = {
    "public.example.org": [[PUBLIC]],
    "other.example.net": [[PUBLIC]],
    "inside.example.org": [["127.0.0.1"]],
    "inside6.example.org": [["::1"]],
    "private.example.org": [["10.0.0.7"]],
    "metadata.example.org": [["169.254.169.254"]],
    "metadata6.example.org": [["fd00:ec2::254"]],
    "mapped.example.org": [["::ffff:127.0.0.1"]],
    "translated.example.org": [["64:ff9b::7f00:1"]],
    "group.example.org": [["224.0.0.1"]],
    "any.example.org": [["0.0.0.0"]],
    "rebound.example.org": [[PUBLIC], ["127.0.0.1"]],
    "both.example.org": [["127.0.0.1", PUBLIC]],
    "xn--bcher-kva.example.org": [["127.0.0.1"]],
    "bucket.s3.amazonaws.com": [["127.0.0.1"]],
}

INSIDE = [
    "http://127.0.0.1:{port}/x",
    "https://127.0.0.1:{port}/x",
    "http://127.8.8.8:{port}/x",
    "http://localhost:{port}/x",
    "http://LOCALHOST.:{port}/x",
    "http://[::1]:{port}/x",
    "http://0.0.0.0:{port}/x",
    "http://0:{port}/x",
    "http://127.1:{port}/x",
    "http://2130706433:{port}/x",
    "http://0x7f000001:{port}/x",
    "http://0177.0.0.1:{port}/x",
    "http://[::ffff:127.0.0.1]:{port}/x",
    "http://[::127.0.0.1]:{port}/x",
    "http://[64:ff9b::127.0.0.1]:{port}/x",
    "http://[2002:7f00:1::]:{port}/x",
    "http://10.0.0.1:{port}/x",
    "http://192.168.1.1:{port}/x",
    "http://100.64.0.1:{port}/x",
    "http://[fc00::1]:{port}/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://224.0.0.1:{port}/x",
    "http://[ff02::1]:{port}/x",
    "http://255.255.255.255:{port}/x",
    "http://user:password@127.0.0.1:{port}/x",
    "http://public.example.org@127.0.0.1:{port}/x",
    "http://public.example.org\\@127.0.0.1:{port}/x",
    "http:\\\\127.0.0.1:{port}\\x",
    "//127.0.0.1:{port}/x",
    "http://127%2e0.0.1:{port}/x",
    "http://inside.example.org:{port}/x",
    "http://INSIDE.example.org.:{port}/x",
    "http://inside6.example.org:{port}/x",
    "http://private.example.org:{port}/x",
    "http://metadata.example.org/x",
    "http://metadata6.example.org/x",
    "http://mapped.example.org:{port}/x",
    "http://translated.example.org:{port}/x",
    "http://group.example.org:{port}/x",
    "http://any.example.org:{port}/x",
    "http://xn--bcher-kva.example.org:{port}/x",
    "http://bucket.s3.amazonaws.com:{port}/x",
    "http://stac:{port}/x",
    "http://nowhere.example.org:{port}/x",
    "http://public.example.org:22/x",
    "http://public.example.org:25/x",
    "http://public.example.org:6379/x",
    "http://public.example.org:0/x",
    "file:///etc/hostname",
    "ftp://127.0.0.1:{port}/x",
    "ftp://public.example.org/x",
    "gopher://127.0.0.1:{port}/x",
    "dict://127.0.0.1:{port}/x",
    "/vsicurl/http://127.0.0.1:{port}/x",
    "/vsicurl?url=http://127.0.0.1:{port}/x",
    "/to?/to?/to?http://127.0.0.1:{port}/x",
    "/to?http://other.example.net:{public}/to?http://inside.example.org:{port}/x",
    "/loop",
]
"""Where a server of a public catalog tries to lead; {port} is that of a server inside, {public} its own."""


class Inside:
    """A server that nobody outside may reach: the connections it got."""

    def __init__(self) -> None:
        self.n_connections = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.n_connections += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            connection.close()


@pytest.fixture(scope="module")
def inside():
    server = Inside()
    yield server
    server.server.close()


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The port of a public server, and the requests it got; it answers with a document, a raster or a redirect."""
    folder = tmp_path_factory.mktemp("outside")
    content = write_raster(folder / "a.tif", np.ones((64, 64), np.uint16)).read_bytes()

    class Handler(QuietHandler):
        seen: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 -- shared by the handlers of the server

        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            self.seen.append((self.path, dict(self.headers)))
            self.close_connection = "once" in self.path
            path, _, target = self.path.partition("?")
            if path in {"/to", "/loop"}:
                return _redirect(self, unquote(target) or "/loop")
            if path.endswith(".tif"):
                return _send_range(self, content)
            return self.reply({"links": []}, 200 if path.endswith(".json") else 404)

        do_HEAD = do_GET  # noqa: N815 -- http.server's name

    with running(Handler) as url, internet(NAMES):
        yield int(url.rpartition(":")[2]), Handler.seen


def _redirect(request: BaseHTTPRequestHandler, target: str) -> None:
    request.send_response(302)
    request.send_header("Location", target)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _send_range(request: BaseHTTPRequestHandler, content: bytes) -> None:
    wanted = request.headers.get("Range")
    first, last = 0, len(content) - 1
    if wanted:
        first, end = (int(edge) for edge in wanted.removeprefix("bytes=").split("-"))
        last = min(end, last)
    request.send_response(206 if wanted else 200)
    request.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
    request.send_header("Content-Length", str(last - first + 1))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content[first : last + 1])


def document(href, hosts=()):
    return read_json(href, origin=ORIGIN, hosts=hosts)


def look(href, hosts=()):
    facts = {"scale": 1.0, "offset": 0.0, "nodata": None, "crs": "", "shape": None, "transform": None, "checksum": None}
    asset = BandAsset(band="red", key="red", href=href, index=1, dtype="uint16", unit="1", **facts)
    return read_overview(asset, lambda unsigned: unsigned, rules=asset_rules(ORIGIN, hosts))


def block(href, hosts=()):
    rules = asset_rules(ORIGIN, hosts)
    return read_with_retries(
        lambda signed, attempt: read_header(href, signed=signed, extra={}, rules=rules),
        href=href,
        sign=lambda: href,
        policy=RetryPolicy(attempts=2, sleep=lambda seconds: None),
        rules=rules,
    )


REFUSALS = (CatalogError, OSError, UnreadableError)

CLIENTS = {"document": document, "look": look, "block": block}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("target", INSIDE)
def test_no_redirect_of_a_public_server_leads_inside(target, client, inside, outside):
    port, _ = outside
    before = inside.n_connections
    target = target.replace("{port}", str(inside.port)).replace("{public}", str(port))
    with pytest.raises(REFUSALS):
        CLIENTS[client](f"http://public.example.org:{port}/to?{target}")
    assert inside.n_connections == before


def until_refused(client, href):
    for number in range(9):
        CLIENTS[client](f"{href}{number}.{'json' if client == 'document' else 'tif'}")


LOOKS_PUBLIC = sorted(
    set(NAMES) - {"public.example.org", "other.example.net", "both.example.org", "rebound.example.org"}
)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("host", LOOKS_PUBLIC)
def test_a_name_that_looks_public_is_judged_by_its_addresses(host, client, inside, outside):
    before = inside.n_connections
    with pytest.raises(REFUSALS, match=f"{host} has the .* must not lead to: name {host}"):
        CLIENTS[client](f"http://{host}:{inside.port}/x.tif")
    assert inside.n_connections == before


@pytest.mark.parametrize("client", CLIENTS)
def test_a_name_is_judged_again_whenever_it_is_connected_to(client, outside):
    port, seen = outside
    with internet(NAMES):
        before = len(seen)
        with pytest.raises(
            REFUSALS, match="has the loopback address|an address or a port of rebound|red cannot be read"
        ):
            until_refused(client, f"http://rebound.example.org:{port}/once")
        # GDAL asks twice for what it may not remember.
    assert len(seen) <= before + 2


@pytest.mark.parametrize("client", CLIENTS)
def test_of_the_addresses_of_a_name_only_allowed_ones_are_used(client, inside, outside):
    port, _ = outside
    name = "catalog.json" if client == "document" else "a.tif"
    CLIENTS[client](f"http://both.example.org:{port}/{name}")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_redirect_among_public_hosts_is_followed(client, outside):
    port, _ = outside
    name = "catalog.json" if client == "document" else "a.tif"
    CLIENTS[client](f"http://public.example.org:{port}/to?http://other.example.net:{port}/{name}")


@pytest.mark.parametrize("client", ["look", "block"])
def test_a_redirect_of_a_file_to_another_host_than_those_of_the_source_is_refused(client, outside):
    port, seen = outside
    with pytest.raises((OSError, UnreadableError), match=r"host other.example.net is none of `hosts` of the source"):
        CLIENTS[client](
            f"http://public.example.org:{port}/to?http://other.example.net:{port}/never.tif", hosts=["*.example.org"]
        )
    assert not any("never" in path.partition("?")[0] for path, _ in seen)


@pytest.mark.parametrize("client", CLIENTS)
def test_hosts_open_the_names_they_say_literally(client, inside, outside):
    port, _ = outside
    name = "catalog.json" if client == "document" else "a.tif"
    CLIENTS[client](f"http://inside.example.org:{port}/{name}", hosts=["inside.example.org"])
    with pytest.raises(REFUSALS, match="must not lead to"):
        CLIENTS[client](f"http://inside.example.org:{port}/other-{name}", hosts=["*.example.org"])


def test_a_refused_redirect_of_a_file_is_final_and_one_sentence(inside, outside):
    port, seen = outside
    before = len(seen)
    with pytest.raises(UnreadableError) as error:
        block(f"http://public.example.org:{port}/to?http://localhost:{inside.port}/x")
    assert str(error.value) == "localhost is a loopback address, which a public catalog must not lead to; refused"
    assert error.value.final
    # GDAL asks twice for what it may not remember.
    assert len(seen) <= before + 2


@pytest.mark.parametrize(
    "href",
    [
        "s3://bucket@host/key",
        "s3://user:password@bucket/key",
        "s3://169.254.169.254:80/latest",
        "s3://localhost#/key",
        "s3://localhost?/key",
        "s3://evil.example.com\\/key",
        "s3://a%2fb/key",
        "s3:///key",
        "s3://../key",
        "s3://b\u00fccket/key",
        "s3://[::1]/key",
        "GTIFF_DIR:1:/vsicurl/http://127.0.0.1/x",
        'ZARR:"/vsicurl/http://127.0.0.1/x"',
        "<VRTDataset/>",
        "/vsizip//vsicurl/http://127.0.0.1/x",
        "/vsicurl_streaming/http://127.0.0.1/x",
        "https://public.example.org:22/x",
        "https://public.example.org:0/x",
        "https://public.example.org:99999/x",
    ],
)
@pytest.mark.parametrize("origin", [ORIGIN, "/data/catalog.json"])
def test_what_a_client_would_read_as_another_place_is_refused(href, origin):
    with pytest.raises(CatalogError, match="refused"):
        check_href(href, origin=origin)


def test_a_redirect_takes_no_key_to_another_server(outside):
    port, seen = outside
    headers = {"Authorization": "Bearer KEY", "X-Api-Key": "KEY", "Ocp-Apim-Subscription-Key": "KEY", "Cookie": "KEY"}
    request = requests.Request(
        "GET", f"http://public.example.org:{port}/to?http://other.example.net:{port}/key.json", headers=headers
    )
    assert send(request, origin=ORIGIN)[0] == 200
    asked, landed = seen[-2:]
    assert sum("KEY" in value for value in asked[1].values()) == 4
    assert landed[0] == "/key.json"
    assert "KEY" not in str(landed[1])


def test_the_key_of_the_token_service_stays_with_it(outside, monkeypatch):
    port, seen = outside
    monkeypatch.setenv("PC_SDK_SAS_URL", f"http://public.example.org:{port}/to?http://other.example.net:{port}/token")
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "SUBSCRIPTION")
    monkeypatch.setattr("planetary_computer.sas.TOKEN_CACHE", {})
    monkeypatch.setattr("planetary_computer.settings.SETTINGS_ENV_FILE", "none")
    from planetary_computer.settings import Settings

    Settings.get.cache_clear()
    with pytest.raises(SigningError, match="gave no token"):
        signed("https://a.blob.core.windows.net/c/x.tif", signing="planetary-computer")
    Settings.get.cache_clear()
    asked, landed = seen[-2:]
    assert "SUBSCRIPTION" in str(asked[1])
    assert landed[0].startswith("/token/a/c")
    assert "SUBSCRIPTION" not in str(landed[1])


VRT = """<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/vsicurl/INSIDE/x.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""

WMS = '<GDAL_WMS><Service name="TMS"><ServerUrl>INSIDE/x/${z}/${x}/${y}</ServerUrl></Service></GDAL_WMS>'

STACIT = '{"type": "FeatureCollection", "stac_version": "1.0.0", "features": [], "links": [{"href": "INSIDE"}]}'

ARRAY = """{"zarr_format": 2, "shape": [4, 4], "chunks": [2, 2], "dtype": "<u2", "compressor": null, "fill_value": 0,
"order": "C", "filters": null, "chunk_store": "INSIDE"}"""

CRS = '{"_ARRAY_DIMENSIONS": ["y", "x"], "_CRS": {"url": "INSIDE/crs"}}'

REFS = """{"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}},
"refs": {"0.0": ["INSIDE/x", 0, 8]}}"""

TRANSFORMER = """{"zarr_format": 3, "node_type": "array", "shape": [4, 4], "data_type": "uint16", "fill_value": 0,
"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}}, "codecs": [{"name": "bytes"}],
"chunk_key_encoding": {"name": "default"},
"storage_transformers": [{"name": "x", "configuration": {"to": "INSIDE"}}]}"""

CONTENTS = {
    "a VRT": {"a.tif": VRT},
    "a URL": {"a.tif": "INSIDE/x.tif"},
    "a description of a WMS": {"a.tif": WMS},
    "a STAC search": {"a.tif": STACIT},
    "an array with another store": {"a.zarr/.zarray": ARRAY},
    "an array whose CRS is a URL": {"a.zarr/.zarray": ARRAY, "a.zarr/.zattrs": CRS},
    "references": {"a.zarr/.zmetadata": REFS, "a.zarr/.zgroup": '{"zarr_format": 2}'},
    "a storage transformer": {"a.zarr/zarr.json": TRANSFORMER},
}


@pytest.mark.parametrize("files", CONTENTS.values(), ids=CONTENTS)
def test_no_content_of_a_file_leads_elsewhere(files, inside, tmp_path):
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content.replace("INSIDE", f"http://127.0.0.1:{inside.port}"))
    before, opened = inside.n_connections, next(iter(files)).partition("/")[0]
    with serve_elsewhere(tmp_path) as url, suppress(UnreadableError):
        # A catalog of this machine may name places of this machine: its files may not.
        read_with_retries(
            lambda signed, attempt: read_header(signed, signed=signed, extra={}, rules=HostRules()),
            href=f"{url}/{opened}",
            sign=lambda: f"{url}/{opened}",
            policy=RetryPolicy(attempts=1),
            rules=HostRules(),
        )
    assert inside.n_connections == before


def test_neighbours_of_a_remote_file_are_not_asked_for(outside):
    port, seen = outside
    before = len(seen)
    block(f"http://public.example.org:{port}/neighbours.tif")
    assert {path for path, _ in seen[before:]} == {"/neighbours.tif"}


def test_the_way_out_is_for_this_process_alone(outside):
    """Another user of the machine has no password, and finds a port that answers nothing."""
    from tilewright.catalogs.network.process import egress_settings

    settings = egress_settings(HostRules())
    port = int(settings["GDAL_HTTP_PROXY"].rpartition(":")[2])
    for hello, reply in (
        (b"\x05\x01\x00", b"\x05\xff"),
        (b"\x05\x01\x02\x01\x0atilewright\x20" + b"0" * 32, b"\x05\x02\x01\x01"),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", b""),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(hello)
            answer = b""
            with suppress(ConnectionError):
                while piece := stranger.recv(100):
                    answer += piece
            assert answer == reply
