"""Hosts and addresses of the network: the scope of each, and the ports that no web server has."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TRANSLATED = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96"))
"""Networks whose last 32 bits are an IPv4 address. Source: RFC 6052, section 2.1; RFC 8215; RFC 2765."""

METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"))
"""Addresses beside the link-local ones at which clouds hand out the keys of a machine."""

PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".intranet", ".lan", ".home", ".svc", ".arpa")

# fmt: off
OTHER_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211,
})
# fmt: on
"""Ports of mail, shells, databases and others, at which a request over HTTP does harm.

Source: WHATWG Fetch, section 2.9 "Port blocking"; 6379 (Redis) and 11211 (memcached) are ours.
"""

OBJECT_STORES = re.compile(
    r"([a-z0-9][a-z0-9._-]*\.)?s3([.-](dualstack\.|fips\.|fips-)?[a-z0-9-]+)?\.amazonaws\.com(\.cn)?"
    r"|[a-z0-9]+\.(blob|dfs)\.core\.windows\.net"
    r"|([a-z0-9][a-z0-9._-]*\.)?storage\.googleapis\.com"
)
"""Names of object stores, whose addresses their owners alone give: private ones in networks with private endpoints."""


def plain_host(host: str) -> str:
    """The host as a client's IDNA writes it: digits in circles and the dots of other scripts become plain ones."""
    return unicodedata.normalize("NFKC", host).replace("\u3002", ".").strip("[]").rstrip(".").lower()


def host_scope(host: str) -> str:
    """The scope of a host by its text alone: "loopback", "private", "link-local" or "public".

    A name without a dot, or with a suffix that is used only inside networks, is private. An IP address has the scope of
    its range, also when it is written as one number.
    """
    host = plain_host(host)
    address = ip_address(host)
    if address is not None:
        return ip_scope(address)
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    return "private" if "." not in host or host.endswith(PRIVATE_SUFFIXES) else "public"


def allowed_scopes(origin_scope: str) -> tuple[str, ...]:
    """The scopes that a source of a scope may lead to; link-local ones never."""
    if origin_scope in {"file", "loopback"}:
        return ("public", "private", "loopback")
    return ("public", "private") if origin_scope == "private" else ("public",)


def ip_scope(address: Address) -> str:
    """The scope of an address, or of the IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv6Address) and (inner := _embedded(address)) is not None:
        address = inner
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local or address in METADATA:
        return "link-local"
    return "public" if address.is_global and not address.is_multicast else "private"


@lru_cache(1024)
def ip_address(host: str) -> Address | None:
    """The address that a host is written as, None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _shorthand_address(host)


def _shorthand_address(host: str) -> ipaddress.IPv4Address | None:
    """The IPv4 address of a shorthand that resolvers accept: 127.1, 0x7f000001, 2130706433, 0177.0.0.1; else None."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(re.fullmatch(r"0x[0-9a-f]*|\d+", part) for part in parts):
        return None
    numbers = [_shorthand_number(part) for part in parts]
    value = sum(part << 8 * (3 - position) for position, part in enumerate(numbers[:-1])) + numbers[-1]
    return ipaddress.IPv4Address(value) if 0 <= value < 2**32 else ipaddress.IPv4Address(0)


def _shorthand_number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if re.fullmatch(r"0[0-7]+", part) else int(part)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped, compatible, 6to4, Teredo or translated (RFC 6052)."""
    number = int(address)
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    translated = any(address in network for network in TRANSLATED)
    compatible = number >> 32 == 0 and number > 1
    return ipaddress.IPv4Address(number & 0xFFFFFFFF) if translated or compatible else None
