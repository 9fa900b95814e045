"""Sources: known, by path, by URL, by description; and how their hrefs are signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.network.connect import RefusedError
from tilewright.catalogs.s3 import AMAZON, s3_settings_of
from tilewright.catalogs.sources.registry import describe_source, known_sources, resolve_source, sign_href
from tilewright.catalogs.sources.source import Source


def test_the_known_sources_are_complete() -> None:
    assert list(known_sources()) == ["earth-search", "planetary-computer", "cdse"]
    assert known_sources()["earth-search"].href == "https://earth-search.aws.element84.com/v1"
    assert known_sources()["planetary-computer"].signing == "planetary-computer"
    assert known_sources()["cdse"].s3_endpoint == "https://eodata.dataspace.copernicus.eu"
    for source in known_sources().values():
        assert {"sentinel-2-l2a", "dem"} <= set(source.collections)


def test_a_known_source_is_found_by_name_and_by_url() -> None:
    cdse = known_sources()["cdse"]
    assert resolve_source("cdse") is cdse
    assert resolve_source("https://stac.dataspace.copernicus.eu/v1/") is cdse
    assert resolve_source(cdse) is cdse


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://stac.example.org/v1", "api"),
        ("https://example.org/catalog.json?sig=SECRET", "static"),
        ("https://example.org/items.parquet", "geoparquet"),
        ("s3://bucket/catalog.json", "static"),
        ("s3://bucket/items.parquet", "geoparquet"),
        ("http://127.0.0.1:8080", "api"),
    ],
)
def test_the_kind_of_a_url_is_seen_from_its_end(url: str, kind: str) -> None:
    source = resolve_source(url)
    assert (source.kind, source.href) == (kind, url)
    assert "SECRET" not in json.dumps(describe_source(source)) + source.name


def test_a_path_is_relative_to_the_job(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/catalog.json").write_text("{}")
    (tmp_path / "items.parquet").write_bytes(b"")
    for text in ("cat/catalog.json", "cat", "./cat/../cat/catalog.json", str(tmp_path / "cat")):
        source = resolve_source(text, base=tmp_path)
        assert (source.kind, source.href, source.name) == ("static", str(tmp_path / "cat/catalog.json"), "cat")
        assert source.local
    assert resolve_source("items.parquet", base=tmp_path).kind == "geoparquet"


def test_what_is_neither_a_name_nor_a_file_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"'erth-search' is neither .*earth-search, planetary-computer, cdse"):
        resolve_source("erth-search", base=tmp_path)
    with pytest.raises(CatalogError, match="only paths, http, https and s3"):
        resolve_source("ftp://example.org/catalog.json")
    with pytest.raises(CatalogError, match="expected a name"):
        resolve_source("")


def test_a_description_borrows_what_it_does_not_say() -> None:
    text = {
        "like": "planetary-computer",
        "name": "mine",
        "collections": {"sentinel-2-l2a": "my-s2"},
        "hosts": ["*.me.org"],
    }
    source = resolve_source(text)
    assert (source.name, source.href) == ("mine", known_sources()["planetary-computer"].href)
    assert source.collections == {"sentinel-2-l2a": ("my-s2",)}
    assert (source.signing, source.dn_as_esa, source.hosts) == ("planetary-computer", True, ("*.me.org",))


def test_a_description_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "href: https://stac.me.org\nunits: {sentinel-1-grd: linear}\n"
        "bands: {own: {red: B3, nir: {asset: B4, scale: 0.1}}}\n"
    )
    source = resolve_source("mine.yaml", base=tmp_path)
    assert (source.name, source.kind, source.units) == ("mine", "api", {"sentinel-1-grd": "linear"})
    assert source.bands["own"] == {"red": {"asset": "B3"}, "nir": {"asset": "B4", "scale": 0.1}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"name": "x"}, "needs 'href', 'files' or 'like'"),
        ({"href": "https://x.org", "keys": "x"}, "unknown keys keys"),
        ({"like": "cdse", "rewrite": {"s3://": "http://evil.org/"}}, "unknown keys rewrite"),
        ({"href": "https://x.org", "kind": "ftp"}, "kind is 'ftp'; expected one of api"),
        ({"href": "https://x.org", "signing": "magic"}, "signing is 'magic'"),
        ({"href": "https://x.org", "bands": {"c": {"red": {"key": "x"}}}}, "a band is an asset's key"),
        ({"href": "https://x.org", "host": "x.org"}, r"unknown keys host \(did you mean 'hosts'"),
        ({"files": ["a.tif"]}, "'files' is a list of entries"),
        ({"href": "https://x.org", "files": [{"href": "a"}]}, "belongs to the kind files"),
    ],
)
def test_a_description_that_does_not_hold_together_is_refused(text: dict[str, object], sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        resolve_source(text)


def test_python_tags_in_a_description_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("href: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(CatalogError, match="not readable YAML"):
        resolve_source("evil.yaml", base=tmp_path)


def test_a_source_comes_back_from_json_exactly(tmp_path: Path) -> None:
    text = {"files": [{"href": "a.tif", "datetime": "2021-01-01", "band": "red"}], "collection": "own", "name": "f"}
    for source in (*known_sources().values(), resolve_source(text, base=tmp_path)):
        assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source


def test_the_keys_of_a_source_are_no_part_of_what_it_is() -> None:
    names = (*CDSE_KEYS, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    s3 = s3_settings_of(dict.fromkeys(names, "hidden-value"))
    source = resolve_source("cdse", s3=s3)
    assert source == known_sources()["cdse"]
    assert known_sources()["cdse"].s3 is AMAZON, "the table is not changed"
    assert source.to_json() == known_sources()["cdse"].to_json()
    for text in (repr(source), str(source.to_json()), str(describe_source(source)), repr(s3)):
        assert "hidden-value" not in text
    assert Source.from_json(source.to_json(), s3=s3).s3 is s3
    assert resolve_source(source) is source
    assert resolve_source({"like": "cdse", "name": "mine"}, s3=s3).s3 is s3
    with pytest.raises(CatalogError, match="source has unknown keys s3"):
        resolve_source({"like": "cdse", "s3": {"key": "AKIA"}})


# --- signing


def test_sources_without_signing_leave_hrefs_as_they_are() -> None:
    for source in (known_sources()["earth-search"], Source(name="x", kind="api", href="https://x.org")):
        assert sign_href(source, "https://x.org/a.tif") == "https://x.org/a.tif"


CDSE_KEYS = {"CDSE_S3_ACCESS_KEY": "KEY", "CDSE_S3_SECRET_KEY": "SECRET"}


def cdse(environ: dict[str, str]) -> Source:
    """The source CDSE, read by somebody with this environment."""
    return resolve_source("cdse", s3=s3_settings_of(environ))


def test_cdse_hrefs_are_signed_with_its_own_keys_and_nothing_else_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = {
        "AWS_ACCESS_KEY_ID": "OTHER",
        "AWS_SECRET_ACCESS_KEY": "OTHERSECRET",
        "AWS_SESSION_TOKEN": "TOKEN",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_REGION": "eu-north-1",
    }
    for name, value in others.items():
        # The library that signs reads the environment too.
        monkeypatch.setenv(name, value)
    source = cdse(CDSE_KEYS | others)
    signed = sign_href(source, "s3://eodata/Sentinel-2/MSI/a.SAFE/B04_10m.jp2")
    parts = urlsplit(signed)
    query = {key: value[0] for key, value in parse_qs(parts.query).items()}
    assert (parts.netloc, parts.path) == ("eodata.dataspace.copernicus.eu", "/eodata/Sentinel-2/MSI/a.SAFE/B04_10m.jp2")
    assert query["X-Amz-Credential"].startswith("KEY/")
    assert "X-Amz-Security-Token" not in query
    assert not any(secret in signed for secret in ("SECRET", "OTHER", "TOKEN="))
    assert sign_href(source, "https://datahub.example.org/x.jp2") == "https://datahub.example.org/x.jp2"


def test_the_signature_is_the_one_botocore_makes() -> None:
    """An independent implementation of AWS Signature 4 signs the same request to the same value."""
    auth = pytest.importorskip("botocore.auth", reason="the extra `dev` is not installed")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signed = sign_href(cdse(CDSE_KEYS), "s3://eodata/a/b.jp2")
    query = {key: value[0] for key, value in parse_qs(urlsplit(signed).query).items()}
    theirs = query.pop("X-Amz-Signature")
    signer = auth.S3SigV4QueryAuth(Credentials("KEY", "SECRET"), "s3", "default", expires=3600)
    request = AWSRequest("GET", signed.split("?")[0], params=dict(sorted(query.items())))
    request.context["timestamp"] = query["X-Amz-Date"]
    string = signer.string_to_sign(request, signer.canonical_request(request))
    assert signer.signature(string, request) == theirs


def test_keys_come_from_the_argument_and_missing_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CDSE_KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CatalogError, match="set CDSE_S3_ACCESS_KEY and CDSE_S3_SECRET_KEY"):
        sign_href(known_sources()["cdse"], "s3://eodata/a.jp2")


PLANETARY_COMPUTER = known_sources()["planetary-computer"]
BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/B04.tif"


@pytest.fixture
def token_server(monkeypatch: pytest.MonkeyPatch) -> object:
    """A local server of Planetary Computer's tokens that counts its answers; a test sets the tokens' lifetime."""
    import threading
    from datetime import UTC, datetime, timedelta
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from planetary_computer import sas

    class Handler(BaseHTTPRequestHandler):
        n_tokens = 0
        life = timedelta(minutes=30)

        def do_GET(self) -> None:
            Handler.n_tokens += 1
            expiry = (datetime.now(UTC) + Handler.life).isoformat()
            body = json.dumps({"msft:expiry": expiry, "token": f"st=0&se=0&sp=r&sig=T{Handler.n_tokens}"}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    sas.Settings.get.cache_clear()
    monkeypatch.setenv("PC_SDK_SAS_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(sas, "TOKEN_CACHE", {})
    yield Handler
    server.shutdown()
    sas.Settings.get.cache_clear()


def test_a_planetary_computer_token_is_kept_until_its_last_minute_and_renewed_on_demand(token_server: object) -> None:
    from datetime import timedelta

    assert sign_href(PLANETARY_COMPUTER, BLOB).endswith("sig=T1")
    assert sign_href(PLANETARY_COMPUTER, BLOB).endswith("sig=T1")
    assert sign_href(PLANETARY_COMPUTER, BLOB, renew=True).endswith("sig=T2")
    token_server.life = timedelta(seconds=30)  # type: ignore[attr-defined]
    assert sign_href(PLANETARY_COMPUTER, BLOB, renew=True).endswith("sig=T3")
    assert sign_href(PLANETARY_COMPUTER, BLOB).endswith("sig=T4")
    assert sign_href(PLANETARY_COMPUTER, "https://example.org/x.tif") == "https://example.org/x.tif"


@pytest.mark.parametrize("written", ["earthsearch", "Earth_Search", "earth-serch"])
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(written: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"did you mean 'earth-search'\?"):
        resolve_source(written, base=tmp_path)


def test_many_threads_ask_for_one_token(token_server: object) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        signed = set(pool.map(lambda _: sign_href(PLANETARY_COMPUTER, BLOB), range(32)))
    assert len(signed) == 1
    assert token_server.n_tokens == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("index", value) for value in (0, -1, 1.5, "two", True, [1], "nan")],
        *[("scale", value) for value in (0, "0,0001", "1/10000", "nan", [0.1], True)],
        *[("offset", value) for value in ("-0,1", "inf", {}, "none")],
        *[("nodata", value) for value in ("none", [0, 65535], "0,5", True, "")],
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_before_it_is_taken_for_none(field: str, value: Any) -> None:
    described = {"href": "https://h.org/c.json", "bands": {"mine": {"v": {"asset": "a", field: value}}}}
    with pytest.raises(CatalogError, match=f"a band has {field} .*; expected "):
        resolve_source(described)


@pytest.mark.parametrize(
    "fields", [{"index": 2}, {"index": "3"}, {"scale": "1e-4"}, {"scale": -1}, {"offset": 0}, {"nodata": "nan"}]
)
def test_a_number_may_be_written_as_text(fields: dict[str, Any]) -> None:
    source = resolve_source({"href": "https://h.org/c.json", "bands": {"mine": {"v": {"asset": "a", **fields}}}})
    assert source.bands["mine"]["v"] == {"asset": "a", **fields}


BENT: dict[str, tuple[Any, ...]] = {
    "name": (5, ["a"], "", {}),
    "kind": (5, ["api"], {}),
    "title": (5, ["a"], {}),
    "hosts": (
        5,
        True,
        {"*": 1},
        [5],
        [None],
        [""],
        [["x.org"]],
        "a.org, b.org",
        ["https://x.org"],
        "x.org/",
        "x.org:80",
    ),
    "collections": ("sentinel-2-l2a", ["a"], 5, True, {"a": 5}, {"a": []}, {"a": [5]}, {"a": {"b": "c"}}, {5: "a"}),
    "bands": ("red", ["red"], 5, {"own": "red"}, {"own": ["red"]}, {5: {}}, {"own": {"red": 5}}, {"own": {"red": []}}),
    "units": ("linear", ["linear"], 5, {"sentinel-1-grd": 5}, {"sentinel-1-grd": "decibels"}, {5: "db"}),
    "dn_as_esa": ("no", "yes", "false", 0, 1, [], {}),
    "signing": (5, True, ["s3"], {"s3": 1}, "magic"),
    "prefer": (5, ["https"], {}, "ftp"),
    "s3_endpoint": (5, ["https://x.org"], {}, "x.org", "s3://x", "https://", "https://[x", True),
    "keep_query": (5, True, {"item": 1}, [5], [""]),
    "files": (5, "a.tif", {"href": "a.tif"}, ["a.tif"], [5]),
}
"""Fields of a source with values of other types, of which several look as if they were meant."""


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BENT.items() for value in values])
def test_a_field_of_another_type_is_refused_by_its_name_in_a_description_and_in_a_plan(field: str, value: Any) -> None:
    with pytest.raises(CatalogError, match=rf"^source.*\b{field}\b|^source: a band|^source is "):
        resolve_source({"href": "https://h.org/c.json", field: value})
    plain = resolve_source({"href": "https://h.org/c.json", "name": "own"}).to_json()
    with pytest.raises(CatalogError, match=rf"^source.*\b{field}\b|^source: a band"):
        Source.from_json({**plain, field: value})


@pytest.mark.parametrize("value", [5, True, ["https://x.org"], {"a": "b"}, ""])
@pytest.mark.parametrize("field", ["href", "like"])
def test_an_address_that_is_no_text_is_refused(field: str, value: Any) -> None:
    with pytest.raises(CatalogError, match="^source"):
        resolve_source({field: value})


@pytest.mark.parametrize(
    "field", ["like", "href", "name", "kind", "collection", "collections", "bands", "units", "hosts", "dn_as_esa",
              "signing", "keep_query", "files", "defaults"]
)  # fmt: skip
def test_a_key_without_a_value_is_refused_where_it_could_mean_two_things(field: str) -> None:
    with pytest.raises(CatalogError, match=f"source: {field} has no value; give it one, or leave {field} out"):
        resolve_source({"like": "earth-search", field: None})
    assert resolve_source({"like": "earth-search", "prefer": None}).prefer is None


@pytest.mark.parametrize("value", [5, "scale", ["scale"]])
def test_defaults_of_files_are_a_mapping(value: Any) -> None:
    with pytest.raises(CatalogError, match="source: defaults is .*expected a mapping"):
        resolve_source({"files": [{"href": "a.tif"}], "defaults": value})


def test_a_host_written_alone_is_one_name_and_none_at_all_is_refused() -> None:
    for hosts in ("*.example.org", ["*.example.org"], ("*.example.org",)):
        source = resolve_source({"href": "https://h.org/c.json", "hosts": hosts})
        assert source.hosts == ("*.example.org",)
        assert source.rules is not None
        with pytest.raises(RefusedError):
            source.rules.check("elsewhere.org", 443)
        source.rules.check("a.example.org", 443)
    for hosts in ([], ()):
        with pytest.raises(CatalogError, match=r'hosts is empty; .*write "\*" for any public one'):
            resolve_source({"href": "https://h.org/c.json", "hosts": hosts})
    for hosts in ("::1", "2001:db8::1", "127.0.0.1", "bucket", "[e]xample.org"):
        assert resolve_source({"href": "https://h.org/c.json", "hosts": hosts}).hosts == (hosts,)


@pytest.mark.parametrize("change", [{"hosts": "x.org"}, {"href": None}, {"other": 1}])
def test_a_plan_whose_source_lacks_or_has_other_fields_is_refused(change: dict[str, Any]) -> None:
    plain = {**known_sources()["earth-search"].to_json(), **change}
    if change == {"hosts": "x.org"}:
        assert Source.from_json(plain).hosts == ("x.org",), "a name alone is a name, never its letters"
        return
    with pytest.raises(CatalogError, match="source 'earth-search' is not described as expected"):
        Source.from_json(plain)
