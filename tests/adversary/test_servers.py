"""Hrefs of a foreign catalog that lead elsewhere than they seem to."""

from __future__ import annotations

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import resolve_href
from tilewright.catalogs.network.check import check_href

PUBLIC, LOCAL = "https://stac.example.org/catalog.json", "/data/catalog.json"

ELSEWHERE = [
    "http://127.0.0.1:1\\@example.com/x",
    "http:\\\\127.0.0.1\\x",
    "http:/\\127.0.0.1/x",
    "http://example.com\\.127.0.0.1/x",
    "http://example.com@127.0.0.1/x",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "http://127%2e0.0.1/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://[::127.0.0.1]/x",
    "http://[64:ff9b::127.0.0.1]/x",
    "http://[64:ff9b::a9fe:a9fe]/x",
    "http://[64:ff9b:1::10.0.0.1]/x",
    "http://[2002:7f00:1::]/x",
    "http://[2002:a00:1::1]/x",
    "http://[ff02::1]/x",
    "http://[fd00:ec2::254]/x",
    "http://224.0.0.1/x",
    "http://239.255.255.250/x",
    "http://255.255.255.255/x",
    "http://100.64.0.1/x",
    "http://100.100.100.200/x",
    "http://0/x",
    "http://0x7f.1/x",
    "http://017700000001/x",
    "http://\u2460\u2461\u2466.0.0.1/x",
    "http://127\u30020\u30020\u30021/x",
    "http://\uff11\uff12\uff17.0.0.1/x",
    "http://localhost./x",
    "http://a.example.com:80:90/x",
    "http://exa\nmple.com/x",
    "http://example.com/\r\nHost: 127.0.0.1",
    "http:///127.0.0.1/x",
    "http:127.0.0.1/../../../x://y",
    "gopher://example.com/x",
    "/vsicurl/http://example.com/x",
    "/vsicurl?url=http://127.0.0.1/x",
    "file:///vsicurl?url=http%3A%2F%2F127.0.0.1%2Fx",
    "file:///vsis3/bucket/x",
    "file://server/share/x",
    "../../../vsizip//data/a.zip/x",
]


@pytest.mark.parametrize("href", ELSEWHERE)
def test_a_public_catalog_leads_to_no_place_inside(href):
    with pytest.raises(CatalogError, match="refused"):
        check_href(href, origin=PUBLIC)


@pytest.mark.parametrize("href", [href for href in ELSEWHERE if "vsi" in href or "server" in href])
def test_a_local_catalog_names_no_path_of_gdal_and_no_other_machine(href):
    with pytest.raises(CatalogError, match="refused"):
        check_href(resolve_href(href, LOCAL) if "server" not in href else href, origin=LOCAL)


@pytest.mark.parametrize(
    "href",
    [
        "https://example.com/a%5Cb.tif",
        "https://user:pass@example.com:8443/a@2x.tif?url=http://127.0.0.1/",
        "https://m\u00fcnchen.example.org/x",
        "https://[2606:4700::1111]/x",
        "https://[64:ff9b::8.8.8.8]/x",
        "https://8.8.8.8:443",
        "s3://bucket/a\\b#1?2.tif",
    ],
)
def test_plain_places_stay_allowed(href):
    assert check_href(href, origin=PUBLIC) == href
