"""Hrefs: made absolute, allowed or refused, and shown without their signatures."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence


REMOTE_SCHEMES = ("http", "https", "s3")

PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".intranet", ".lan", ".home", ".svc", ".arpa")


def scheme_of(href: str) -> str:
    """The href's scheme in lower case; "file" for a plain path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://?", href)
    return found[1].lower() if found else "file"


def local_path(href: str) -> Path:
    """The path of a local href, given plainly or as file://."""
    return Path(unquote(urlsplit(href).path)) if href.lower().startswith("file:") else Path(href)


_STORE = re.compile(r"^(.*?\.zarr)(?:/+(.*?))?/*$", re.IGNORECASE)


def split_store(path: str) -> tuple[str, str] | None:
    """(store, array in it) of a path into a Zarr store, the array empty for the store itself; None for other paths.

    Raises ValueError for a signed URL, which opens one object where a store is many, and for quotes.
    """
    found = _STORE.match(path)
    if found is None and not re.search(r"\.zarr[/?]", path, re.IGNORECASE):
        return None
    if found is None or "?" in path or '"' in path:
        shown = path.partition("?")[0]
        raise ValueError(
            f"the Zarr store {shown} is many objects, and a signed URL opens one: give it as s3 or unsigned"
        )
    return found[1], found[2] or ""


def resolve_href(href: str, base: str) -> str:
    """The href made absolute against the location it was found in; local hrefs come out as plain paths."""
    if scheme_of(href) != "file":
        return href
    if scheme_of(base) == "file" or href.lower().startswith("file:"):
        path = local_path(href)
        return str(path) if path.is_absolute() else posixpath.normpath(str(local_path(base).parent / path))
    if scheme_of(base) in {"http", "https"}:
        return urljoin(base, href)
    parts = urlsplit(base)
    joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(parts.path), href))
    return urlunsplit((parts.scheme, parts.netloc, joined, "", ""))


def display_href(href: str) -> str:
    """The href without query, fragment, user and password: what a log, a plan or a message may hold."""
    if scheme_of(href) == "file":
        return href.split("?", 1)[0] if href.lower().startswith("file:") else href
    parts = urlsplit(href)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def reach_of(href: str) -> str:
    """Where an href leads: "file", "loopback", "private", "link-local" or "public".

    Judged from the text alone, no name is looked up: a name without a dot, or in a suffix used inside networks only,
    is private; an address is what its range says, also when written as one number.
    """
    scheme = scheme_of(href)
    if scheme == "file":
        return "file"
    if scheme not in {"http", "https"}:
        return "public"
    host = (urlsplit(href).hostname or "").rstrip(".").lower()
    address = _address(host)
    if address is not None:
        return _reach_of_address(address)
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    return "private" if "." not in host or host.endswith(PRIVATE_SUFFIXES) else "public"


def check_href(href: str, *, origin: str, hosts: Sequence[str] = ()) -> str:
    """The href itself when a source at `origin` may send us there.

    A remote source names no local files and no loopback, private or link-local address, unless it lies in such a
    place itself; link-local addresses are never allowed. With `hosts` (patterns of host or bucket names) given, remote
    hrefs lead there or nowhere.

    Raises:
        CatalogError: the href is not allowed.
    """
    shown = display_href(href)
    reach, home = reach_of(href), reach_of(origin)
    if reach == "file":
        if home != "file":
            raise CatalogError(f"{shown}: a remote catalog must not name local files; refused")
        return href
    if scheme_of(href) not in REMOTE_SCHEMES:
        raise CatalogError(f"{shown}: the scheme is none of {', '.join(REMOTE_SCHEMES)} or a path; refused")
    host = urlsplit(href).hostname or ""
    if hosts and not any(fnmatchcase(host, pattern.lower()) for pattern in hosts):
        raise CatalogError(f"{shown}: the host is none this source reads from ({', '.join(hosts)}); refused")
    named = bool(hosts) and any(pattern.lower() == host for pattern in hosts)
    if not named and reach not in _allowed(home):
        raise CatalogError(f"{shown}: leads to a {reach} address, which a {home} catalog must not name; refused")
    return href


def _allowed(home: str) -> tuple[str, ...]:
    if home in {"file", "loopback"}:
        return ("public", "private", "loopback")
    return ("public", "private") if home == "private" else ("public",)


@lru_cache(1024)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return _loose_address(host)


def _loose_address(host: str) -> ipaddress.IPv4Address | None:
    """The address of the shorthands resolvers take: 127.1, 0x7f000001, 2130706433, 0177.0.0.1."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(re.fullmatch(r"0x[0-9a-f]*|\d+", part) for part in parts):
        return None
    numbers = [_loose_number(part) for part in parts]
    value = sum(part << 8 * (3 - place) for place, part in enumerate(numbers[:-1])) + numbers[-1]
    return ipaddress.IPv4Address(value) if 0 <= value < 2**32 else ipaddress.IPv4Address(0)


def _loose_number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if re.fullmatch(r"0[0-7]+", part) else int(part)


def _reach_of_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "public" if address.is_global else "private"
