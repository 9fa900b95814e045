"""Hrefs: where they lead, whether they may, and how they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, encoded, local_path, resolve_href
from tilewright.catalogs.network.check import address_scope, check_href


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        (
            "https://a.blob.core.windows.net/x/B04.tif?st=2026&sig=SECRET%3D",
            "https://a.blob.core.windows.net/x/B04.tif",
        ),
        ("https://user:SECRET@h.org:8443/x?y#SECRET", "https://h.org:8443/x"),
        ("s3://bucket/key?token=SECRET", "s3://bucket/key"),
        ("/data/a?b.tif", "/data/a?b.tif"),
        ("file:///data/a.tif?SECRET", "file:///data/a.tif"),
    ],
)
def test_signatures_and_passwords_are_never_shown(href: str, shown: str) -> None:
    assert display_href(href) == shown
    assert "SECRET" not in display_href(href)


@pytest.mark.parametrize(
    ("href", "scope"),
    [
        ("https://example.org/x", "public"),
        ("https://8.8.8.8/x", "public"),
        ("s3://bucket/x", "public"),
        ("/data/x", "file"),
        ("data/x", "file"),
        ("FILE:///data/x", "file"),
        ("http://127.0.0.1:8000/x", "loopback"),
        ("http://127.1/x", "loopback"),
        ("http://0x7f000001/x", "loopback"),
        ("http://2130706433/x", "loopback"),
        ("http://0177.0.0.1/x", "loopback"),
        ("http://0.0.0.0/x", "loopback"),
        ("http://localhost./x", "loopback"),
        ("http://[::1]/x", "loopback"),
        ("http://[::ffff:127.0.0.1]/x", "loopback"),
        ("http://169.254.169.254/x", "link-local"),
        ("http://[fe80::1%25eth0]/x", "link-local"),
        ("http://user@169.254.169.254/x", "link-local"),
        ("http://10.1.2.3/x", "private"),
        ("http://192.168.0.1/x", "private"),
        ("http://100.64.0.1/x", "private"),
        ("http://[fd00::1]/x", "private"),
        ("http://minio:9000/x", "private"),
        ("http://stac.default.svc/x", "private"),
        ("http://metadata.google.internal/x", "private"),
    ],
)
def test_an_href_leads_where_its_address_lies(href: str, scope: str) -> None:
    assert address_scope(href) == scope


SCOPES = {
    "file": "/data/x",
    "loopback": "http://127.0.0.1/x",
    "private": "http://10.0.0.1/x",
    "link-local": "http://169.254.1.1/x",
    "public": "https://example.org/x",
}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("/data/catalog.json", {"file", "loopback", "private", "public"}),
        ("http://127.0.0.1:8080/", {"loopback", "private", "public"}),
        ("http://stac:8080/", {"private", "public"}),
        ("https://example.org/v1", {"public"}),
        ("s3://bucket/catalog.json", {"public"}),
    ],
)
def test_a_source_leads_only_as_near_as_it_lies_itself(origin: str, allowed: set[str]) -> None:
    for scope, href in SCOPES.items():
        if scope in allowed:
            assert check_href(href, origin=origin) == href
        else:
            with pytest.raises(CatalogError, match="refused"):
                check_href(href, origin=origin)


def test_named_hosts_are_the_only_ones_and_patterns_do_not_open_private_places() -> None:
    origin = "https://example.org/v1"
    assert check_href("https://a.blob.net/x", origin=origin, hosts=["*.blob.net"])
    assert check_href("s3://eodata/x", origin=origin, hosts=["eodata"])
    assert check_href("http://minio:9000/x", origin=origin, hosts=["minio"])
    with pytest.raises(CatalogError, match="none of `hosts` of the source"):
        check_href("https://evil.org/blob.net", origin=origin, hosts=["*.blob.net"])
    with pytest.raises(CatalogError, match="leads to a link-local address"):
        check_href("http://169.254.169.254/x", origin=origin, hosts=["*"])


def test_other_schemes_are_refused() -> None:
    with pytest.raises(CatalogError, match="none of http, https, s3"):
        check_href("ftp://example.org/x", origin="/data/catalog.json")


@pytest.mark.parametrize(
    ("href", "base", "resolved"),
    [
        ("./red.tif", "/c/i/item.json", "/c/i/red.tif"),
        ("../red.tif", "c/i/item.json", "c/red.tif"),
        ("file:///c/a%20b.tif", "/x.json", "/c/a b.tif"),
        ("red.tif?x=1", "https://h.org/a/item.json?sig=S", "https://h.org/a/red.tif?x=1"),
        ("/red.tif", "https://h.org/a/item.json", "https://h.org/red.tif"),
        ("../red.tif", "s3://b/a/i/item.json", "s3://b/a/red.tif"),
        ("../../../red.tif", "s3://b/a/item.json", "s3://b/red.tif"),
        ("s3://other/red.tif", "/x.json", "s3://other/red.tif"),
        ("red.tif", "file:///c/item.json", "/c/red.tif"),
    ],
)
def test_relative_hrefs_refer_to_their_document(href: str, base: str, resolved: str) -> None:
    assert resolve_href(href, base) == resolved


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("https://h.org/a b.tif", "https://h.org/a%20b.tif"),
        ("https://h.org/a%20b.tif", "https://h.org/a%20b.tif"),
        ("https://h.org/a%2Fb%2fc.tif", "https://h.org/a%2Fb%2fc.tif"),
        ("https://h.org/50%.tif", "https://h.org/50%25.tif"),
        ("https://h.org/50%zz.tif", "https://h.org/50%25zz.tif"),
        ("https://h.org/50%25.tif", "https://h.org/50%25.tif"),
        ("https://h.org/Fläche.tif", "https://h.org/Fl%C3%A4che.tif"),
        ("https://h.org/a+b=c,(d);e@f.tif", "https://h.org/a+b=c,(d);e@f.tif"),
        ("https://h.org/{a}|b.tif", "https://h.org/%7Ba%7D%7Cb.tif"),
        ("https://h.org/x.tif?sig=a%2Bb%3D&sp=r", "https://h.org/x.tif?sig=a%2Bb%3D&sp=r"),
        ("https://h.org/x y.tif?url=https%3A%2F%2Fo.org%2Fz", "https://h.org/x%20y.tif?url=https%3A%2F%2Fo.org%2Fz"),
        ("http://[fd00::1]:80/x", "http://[fd00::1]:80/x"),
        ("s3://bucket/a b%20c+d.tif", "s3://bucket/a b%20c+d.tif"),
        ("/data/a b%.tif", "/data/a b%.tif"),
    ],
)
def test_a_url_is_encoded_once_and_only_where_it_must_be(href: str, url: str) -> None:
    assert encoded(href) == url
    assert encoded(encoded(href)) == url


@pytest.mark.parametrize(
    ("there", "href", "found"),
    [
        ("a b.tif", "./a b.tif", "a b.tif"),
        ("a b.tif", "./a%20b.tif", "a b.tif"),
        ("a%20b.tif", "./a%20b.tif", "a%20b.tif"),
        ("a%20b.tif", "./a%2520b.tif", "a%20b.tif"),
        ("a b.tif", "file://{folder}/a%20b.tif", "a b.tif"),
        ("a%20b.tif", "file://{folder}/a%20b.tif", "a%20b.tif"),
        ("a b.tif", "file://{folder}/a b.tif", "a b.tif"),
        ("a b.tif", "{folder}/a%20b.tif", "a b.tif"),
        ("50%.tif", "./50%.tif", "50%.tif"),
        ("50%.tif", "50%25.tif", "50%.tif"),
        ("x#1.tif", "./x%231.tif", "x#1.tif"),
        ("x#1.tif", "./x#1.tif", "x#1.tif"),
        ("x#1.tif", "file://{folder}/x#1.tif", "x#1.tif"),
        ("x?1.tif", "file://{folder}/x%3F1.tif", "x?1.tif"),
        ("a+b.tif", "./a+b.tif", "a+b.tif"),
        ("sub dir/ä.tif", "./sub%20dir/%C3%A4.tif", "sub dir/ä.tif"),
        ("nothing", "./gone%20b.tif", "gone%20b.tif"),
    ],
)
def test_a_local_href_means_the_file_that_is_there(there: str, href: str, found: str, tmp_path: Path) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    assert resolve_href(href.format(folder=tmp_path), str(tmp_path / "item.json")) == str(tmp_path / found)


def test_of_two_files_a_path_means_the_one_as_written_and_a_url_the_encoded_one(tmp_path: Path) -> None:
    for name in ("a b.tif", "a%20b.tif"):
        (tmp_path / name).touch()
    assert resolve_href("a%20b.tif", str(tmp_path / "i.json")) == str(tmp_path / "a%20b.tif")
    assert local_path(f"file://{tmp_path}/a%20b.tif") == tmp_path / "a b.tif"


@pytest.mark.parametrize(
    ("href", "base", "absolute"),
    [
        ("../a b.tif", "https://h.org/x/y/item.json", "https://h.org/x/a%20b.tif"),
        ("./a%20b.tif", "https://h.org/x/item.json?token=1", "https://h.org/x/a%20b.tif"),
        ("./a%20b+c.tif", "s3://bucket/x/item.json", "s3://bucket/x/a%20b+c.tif"),
        ("../a b.tif", "s3://bucket/50%/y/item.json", "s3://bucket/50%/a b.tif"),
        ("a.tif", "s3://bucket/x#1/item?.json", "s3://bucket/x#1/a.tif"),
        ("https://o.org/a b.tif", "s3://bucket/item.json", "https://o.org/a%20b.tif"),
    ],
)
def test_a_relative_href_is_resolved_as_its_place_writes_names(href: str, base: str, absolute: str) -> None:
    assert resolve_href(href, base) == absolute
