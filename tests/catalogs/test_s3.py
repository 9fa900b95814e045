"""Environments and the settings that they mean, for GDAL and for obstore: one table."""

from __future__ import annotations

from typing import Any

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.gdal import LOOK_SETTINGS, NEIGHBOURS, look_settings
from tilewright.catalogs.s3 import S3Settings, s3_settings_of
from tilewright.catalogs.sources.fetch import bucket_options
from tilewright.catalogs.sources.signing import _bucket_options
from tilewright.flows.environment import reading_settings, s3_keys, storage_options
from tilewright.tasks.storage.errors import StoreError

KEYS = {"AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"}
PLAIN = {"AWS_S3_ENDPOINT": "127.0.0.1:9000", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
UNSIGNED = {"skip_signature": True}
HTTP = {"client_options": {"allow_http": True}}

# environment, what blocks are read with, what a look at a bucket adds, what a catalog and an output in a bucket need.
TABLE: list[tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, Any], dict[str, str]]] = [
    ({}, {}, {}, UNSIGNED, {}),
    ({"HOME": "/x", "AWS_PROFILE": "p"}, {}, {}, UNSIGNED, {}),
    ({"AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": "", "AWS_REGION": ""}, {}, {}, UNSIGNED, {}),
    (KEYS, KEYS, {}, {}, {}),
    (KEYS | {"AWS_SESSION_TOKEN": "T"}, KEYS | {"AWS_SESSION_TOKEN": "T"}, {}, {}, {}),
    ({"AWS_ACCESS_KEY_ID": "K"}, {"AWS_ACCESS_KEY_ID": "K"}, {}, {}, {}),
    ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, {}, {}, {}, {}),
    ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c"}, {}, {}, {}, {}),
    ({"AWS_REQUEST_PAYER": "requester"}, {"AWS_REQUEST_PAYER": "requester"}, {}, UNSIGNED, {}),
    ({"AWS_NO_SIGN_REQUEST": "YES"}, {"AWS_NO_SIGN_REQUEST": "YES"}, {}, UNSIGNED, {}),
    ({"AWS_REGION": "r1"}, {"AWS_REGION": "r1"}, {}, UNSIGNED, {"region": "r1"}),
    ({"AWS_DEFAULT_REGION": "r2"}, {"AWS_REGION": "r2"}, {}, UNSIGNED, {"region": "r2"}),
    ({"AWS_REGION": "r1", "AWS_DEFAULT_REGION": "r2"}, {"AWS_REGION": "r1"}, {}, UNSIGNED, {"region": "r1"}),
    (
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", **KEYS},
        {**KEYS, **PLAIN},
        PLAIN,
        HTTP,
        {"endpoint": "http://127.0.0.1:9000"},
    ),
    (
        {"AWS_ENDPOINT_URL": "https://s3.example.com/"},
        {"AWS_S3_ENDPOINT": "s3.example.com", "AWS_HTTPS": "YES", "AWS_VIRTUAL_HOSTING": "FALSE"},
        {"AWS_S3_ENDPOINT": "s3.example.com", "AWS_HTTPS": "YES", "AWS_VIRTUAL_HOSTING": "FALSE"},
        UNSIGNED,
        {"endpoint": "https://s3.example.com/"},
    ),
    (
        {"AWS_ENDPOINT_URL": "https://example.com/s3/"},
        {"AWS_S3_ENDPOINT": "example.com/s3", "AWS_HTTPS": "YES", "AWS_VIRTUAL_HOSTING": "FALSE"},
        {"AWS_S3_ENDPOINT": "example.com/s3", "AWS_HTTPS": "YES", "AWS_VIRTUAL_HOSTING": "FALSE"},
        UNSIGNED,
        {"endpoint": "https://example.com/s3/"},
    ),
    # The endpoint of the service is the stronger one, as in obstore itself.
    (
        {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000", "AWS_ENDPOINT_URL": "https://other.example.com"},
        PLAIN,
        PLAIN,
        HTTP | UNSIGNED,
        {"endpoint": "http://127.0.0.1:9000"},
    ),
]


@pytest.mark.parametrize(("environ", "blocks", "look", "catalog", "output"), TABLE)
def test_an_environment_means_the_same_everywhere(
    environ: dict[str, str],
    blocks: dict[str, str],
    look: dict[str, str],
    catalog: dict[str, Any],
    output: dict[str, str],
) -> None:
    s3 = s3_settings_of(environ)
    assert reading_settings(environ) == blocks
    assert look_settings("s3://b/x.tif", s3) == LOOK_SETTINGS | look
    assert look_settings("https://b/x.tif", s3) == LOOK_SETTINGS
    assert bucket_options(s3) == catalog
    assert storage_options("s3://b/x", environ) == output
    assert storage_options("gs://b/x", environ) == storage_options("/b/x", environ) == {}


@pytest.mark.parametrize("endpoint", ["minio:9000", "localhost", "ftp://x.org", "http://"])
def test_an_endpoint_that_is_no_url_is_refused_where_a_bucket_is_read_or_written(endpoint: str) -> None:
    environ, words = {"AWS_ENDPOINT_URL": endpoint}, r"AWS_ENDPOINT_URL is .*: give an http\(s\) URL"
    with pytest.raises(StoreError, match=words):
        storage_options("s3://b/x", environ)
    with pytest.raises(StoreError, match=words):
        reading_settings(environ)
    with pytest.raises(CatalogError, match=words):
        look_settings("s3://b/x.tif", s3_settings_of(environ))
    assert look_settings("/b/x.tif", s3_settings_of(environ)) == LOOK_SETTINGS | NEIGHBOURS


CDSE = "https://eodata.dataspace.copernicus.eu"
ALL = {**KEYS, "AWS_SESSION_TOKEN": "T", "CDSE_S3_ACCESS_KEY": "C", "CDSE_S3_SECRET_KEY": "CS"}


@pytest.mark.parametrize(
    ("endpoint", "environ", "keys", "options"),
    [
        (None, ALL | {"AWS_REGION": "r"}, ("K", "S", "T"), {}),
        ("https://x.org", ALL, ("K", "S", "T"), {"endpoint": "https://x.org", "region": "us-east-1"}),
        ("https://x.org", KEYS | {"AWS_REGION": "r"}, ("K", "S", None), {"endpoint": "https://x.org", "region": "r"}),
        (
            "https://x.org",
            KEYS | {"AWS_DEFAULT_REGION": "r", "AWS_ENDPOINT_URL": "https://y.org"},
            ("K", "S", None),
            {"endpoint": "https://x.org", "region": "us-east-1"},
        ),
        ("http://x.org", KEYS, ("K", "S", None), {"endpoint": "http://x.org", "region": "us-east-1", **HTTP}),
        (CDSE, ALL | {"AWS_REGION": "r"}, ("C", "CS", None), {"endpoint": CDSE, "region": "default"}),
    ],
)
def test_a_bucket_is_signed_for_with_its_own_keys(
    endpoint: str | None, environ: dict[str, str], keys: tuple[str | None, ...], options: dict[str, Any]
) -> None:
    made = _bucket_options(endpoint, s3_settings_of(environ))
    credential = made.pop("credential_provider")()
    assert tuple(credential[name] for name in ("access_key_id", "secret_access_key", "token")) == keys
    assert made == (options | {"virtual_hosted_style_request": False} if endpoint else {})


@pytest.mark.parametrize(("endpoint", "names"), [(None, "AWS_ACCESS_KEY_ID"), (CDSE, "CDSE_S3_ACCESS_KEY")])
def test_keys_that_signing_needs_are_named(endpoint: str | None, names: str) -> None:
    with pytest.raises(CatalogError, match=f"set {names} and "):
        _bucket_options(endpoint, S3Settings(key="K", cdse_secret="CS"))  # noqa: S106


def test_no_credential_is_in_the_repr() -> None:
    shown = repr(s3_settings_of({name: f"hidden-{value}" for name, value in ALL.items()}))
    assert "hidden" not in shown
    assert "hidden" not in repr(s3_keys({name: f"hidden-{value}" for name, value in ALL.items()}))
