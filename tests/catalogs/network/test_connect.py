from __future__ import annotations

import socket
import time

import pytest

from tilewright.catalogs.network.addresses import OBJECT_STORES, host_scope, ip_address, ip_scope
from tilewright.catalogs.network.connect import HostRules, RefusedError, connect_first
from tilewright.catalogs.network.rules import asset_rules, document_rules, plain_words, refusal

PUBLIC = HostRules(scope="public", own="stac.example.org:443")
PRIVATE = HostRules(scope="private", own="stac:8000")
LOOPBACK = HostRules(scope="loopback", own="localhost:8000")
DISK = HostRules()


def answers(*addresses):
    return lambda host, port: [
        found for address in addresses for found in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    ]


@pytest.mark.parametrize(
    ("rules", "host", "port", "addresses", "used"),
    [
        (PUBLIC, "a.example.org", 443, ["8.8.8.8"], ["8.8.8.8"]),
        (PUBLIC, "a.example.org", 443, ["8.8.8.8", "2606:4700::1111"], ["8.8.8.8", "2606:4700::1111"]),
        (PUBLIC, "a.example.org", 443, ["10.0.0.1", "8.8.8.8", "::1"], ["8.8.8.8"]),
        (PUBLIC, "a.example.org", 443, ["64:ff9b::8.8.8.8"], ["64:ff9b::808:808"]),
        (PUBLIC, "a.example.org", 443, ["64:ff9b::10.0.0.1"], None),
        (PUBLIC, "a.example.org", 443, ["10.0.0.1"], None),
        (PUBLIC, "stac.example.org", 443, ["10.0.0.1"], None),
        (PUBLIC, "bucket.s3.eu-central-1.amazonaws.com", 443, ["10.0.0.1"], ["10.0.0.1"]),
        (PUBLIC, "bucket.s3.eu-central-1.amazonaws.com", 443, ["127.0.0.1"], None),
        (PUBLIC, "internal-x.eu-central-1.elb.amazonaws.com", 443, ["10.0.0.1"], None),
        (PUBLIC, "account.blob.core.windows.net", 443, ["10.0.0.1"], ["10.0.0.1"]),
        (PRIVATE, "stac", 8000, ["172.18.0.2"], ["172.18.0.2"]),
        (PRIVATE, "stac", 8000, ["127.0.1.1"], ["127.0.1.1"]),
        (PRIVATE, "stac", 8001, ["127.0.1.1"], None),
        (PRIVATE, "files", 8001, ["172.18.0.3"], ["172.18.0.3"]),
        (PRIVATE, "stac", 8000, ["169.254.169.254"], None),
        (LOOPBACK, "localhost", 8000, ["127.0.0.1"], ["127.0.0.1"]),
        (LOOPBACK, "files", 80, ["172.18.0.3"], ["172.18.0.3"]),
        (DISK, "localhost", 9000, ["127.0.0.1"], ["127.0.0.1"]),
        (DISK, "a.example.org", 80, ["10.0.0.1"], ["10.0.0.1"]),
        (DISK, "a.example.org", 80, ["169.254.169.254"], None),
        (DISK, "a.example.org", 22, ["8.8.8.8"], None),
        (HostRules(scope="public", own="stac.example.org:6000"), "stac.example.org", 6000, ["8.8.8.8"], ["8.8.8.8"]),
        (HostRules(scope="public", opened=("in.example.org",)), "in.example.org", 80, ["127.0.0.1"], ["127.0.0.1"]),
        (HostRules(scope="public", opened=("in.example.org",)), "n.in.example.org", 80, ["127.0.0.1"], None),
        (HostRules(scope="public", only=("*.example.org",)), "a.example.org.", 80, ["8.8.8.8"], ["8.8.8.8"]),
        (HostRules(scope="public", only=("*.example.org",)), "a.example.net", 80, ["8.8.8.8"], None),
    ],
)
def test_what_a_name_resolves_to_is_judged_by_where_the_source_is(rules, host, port, addresses, used):
    if used is None:
        with pytest.raises(RefusedError):
            rules.addresses(host, port, answers(*addresses))
    else:
        assert [answer[4][0] for answer in rules.addresses(host, port, answers(*addresses))] == used


def test_a_name_is_resolved_once_and_an_address_is_not_looked_up_as_a_name():
    asked = []

    def resolve(host, port):
        asked.append(host)
        return answers("127.0.0.1")(host, port)

    DISK.addresses("localhost", 80, resolve)
    DISK.addresses("0x7f.1", 80, resolve)
    assert asked == ["localhost", "127.0.0.1"]


def test_the_rules_of_a_source_hold_its_own_place_and_the_literal_hosts():
    hosts = ["*.example.org", "Files.example.net"]
    expected = HostRules(scope="public", own="stac.example.org:443", only=tuple(hosts), opened=("files.example.net",))
    assert asset_rules("https://user@STAC.example.org/v1?a=b", hosts) == expected
    assert document_rules("https://stac.example.org/v1", hosts).only == ()
    assert document_rules("/data/catalog.json") == HostRules()
    assert HostRules.from_json(expected.to_json()) == expected


def test_the_first_address_that_answers_is_used_though_another_is_silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # 192.0.2.0/24 is nobody's (RFC 5737); at port 1 of this machine nobody listens.
        tried = [*answers("192.0.2.1")("", port), *answers("127.0.0.1")("", 1), *answers("127.0.0.1")("", port)]
        began = time.monotonic()
        with connect_first(tried, 5.0) as connection:
            assert connection.getpeername()[1] == port
        assert time.monotonic() - began < 2.0


def test_no_address_in_time_is_told_as_such():
    with pytest.raises(OSError, match=r"refused|in time|unreachable"):
        connect_first(answers("127.0.0.1")("", 1), 1.0)
    with pytest.raises(OSError, match="no address"):
        connect_first([], 1.0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "a.example.org: refused"),
        (4, "a.example.org: its name cannot be resolved"),
        (5, "a.example.org: no connection"),
        (9, "a.example.org: no connection"),
    ],
)
def test_the_words_of_the_way_out_become_those_of_the_host_behind_it(code, words):
    said = f"CURL error: cannot complete SOCKS5 connection to a.example.org. ({code})"
    assert plain_words(said) == f"CURL error: cannot complete {words}"
    assert (refusal(OSError(said), LOOPBACK) is None) == (code != 2)
    assert refusal(OSError(said), None) is None


@pytest.mark.parametrize(
    "name",
    [
        "s3.amazonaws.com",
        "bucket.s3.amazonaws.com",
        "a.b.s3.us-west-2.amazonaws.com",
        "bucket.s3-us-west-2.amazonaws.com",
        "s3.dualstack.us-west-2.amazonaws.com",
        "account.blob.core.windows.net",
        "storage.googleapis.com",
    ],
)
def test_object_stores_are_known_by_name(name):
    assert OBJECT_STORES.fullmatch(name)
    assert not OBJECT_STORES.fullmatch(f"{name}.example.org")
    assert not OBJECT_STORES.fullmatch(f"x{name.removeprefix('bucket.').replace('.', '-')}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::1]", "\u2460\u2461\u2466.0.0.1"]
)
def test_an_address_has_one_scope_however_it_is_written(host):
    assert host_scope(host) == "loopback"


def test_an_address_with_a_zone_is_link_local():
    address = ip_address("fe80::1%eth0")
    assert address is not None
    assert ip_scope(address) == "link-local"
