"""The check of an href by its text: the form that every client reads alike, its host, its port and its scope."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, local_path, scheme_of
from tilewright.catalogs.network.addresses import OTHER_PORTS, allowed_scopes, host_scope

if TYPE_CHECKING:
    from collections.abc import Sequence


REMOTE_SCHEMES = ("http", "https", "s3")

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

_GDAL_NAME = re.compile(r"\s*(?:[A-Z0-9_]{2,}:|<)")
"""What begins like a name of GDAL's drivers (GTIFF_DIR:1:path, ZARR:"path") or a document in place of a path."""


def address_scope(href: str) -> str:
    """The network scope of an href: "file", "loopback", "private", "link-local" or "public".

    Only the text is examined, without a DNS query; the addresses of names are judged where they are connected to
    (catalogs/network).
    """
    scheme = scheme_of(href)
    if scheme == "file":
        return "file"
    return host_scope(urlsplit(href).hostname or "") if scheme in {"http", "https"} else "public"


def check_href(href: str, *, origin: str, hosts: Sequence[str] = ()) -> str:
    """The href, unchanged, if a source at `origin` may refer to it.

    A remote source may not refer to local files, nor to loopback or private addresses unless its own address has such
    a scope; it may never refer to link-local addresses. If `hosts` (patterns of host or bucket names) is not empty,
    remote hrefs must match one of them, and a host that `hosts` names literally may have any scope.

    Raises:
        CatalogError: the href is not allowed.
    """
    shown = display_href(href)
    if (unclear := _unclear(href)) is not None:
        raise CatalogError(f"{shown}: {unclear}; refused")
    scope, origin_scope = address_scope(href), address_scope(origin)
    if scope == "file":
        if origin_scope != "file":
            raise CatalogError(f"{shown}: a remote catalog must not name local files; refused")
        return href
    if scheme_of(href) not in REMOTE_SCHEMES:
        raise CatalogError(f"{shown}: the scheme is none of {', '.join(REMOTE_SCHEMES)} or a path; refused")
    host = urlsplit(href).hostname or ""
    if hosts and not any(fnmatchcase(host, pattern.lower()) for pattern in hosts):
        raise CatalogError(
            f"{shown}: the host is none of `hosts` of the source ({', '.join(hosts)}); refused: add it if it is meant"
        )
    port = urlsplit(href).port
    if port in OTHER_PORTS and (host, port) != (urlsplit(origin).hostname, urlsplit(origin).port):
        raise CatalogError(f"{shown}: port {port} is no web server's; refused")
    named = bool(hosts) and any(pattern.lower() == host for pattern in hosts)
    if not named and scope not in allowed_scopes(origin_scope):
        raise CatalogError(
            f"{shown}: leads to a {scope} address, which a {origin_scope} catalog must not name; refused"
        )
    return href


def _unclear(href: str) -> str | None:
    """The reason why two clients may not agree on the place an href leads to, None for a plain one."""
    if re.search(r"[\0\ud800-\udfff]", href):
        return "it holds characters that no name has"
    return _unclear_path(href) if scheme_of(href) == "file" else _unclear_url(href)


def _unclear_path(href: str) -> str | None:
    if str(local_path(href)).startswith("/vsi") or _GDAL_NAME.match(href):
        return "it is a path of GDAL's own"
    far = href.lower().startswith("file://") and urlsplit(href).netloc.lower() not in {"", "localhost"}
    return "it is a file of another machine" if far else None


def _unclear_url(href: str) -> str | None:
    authority = re.match(r"[A-Za-z][^:]*://([^/?#\\]*)(?=[/?#]|$)", href)
    if authority is None or re.search(r"[\x00-\x1f\x7f]", href):
        return "a URL is written scheme://host/path, without backslashes and control characters"
    if scheme_of(href) == "s3" and not _BUCKET.fullmatch(href.split("/", 3)[2]):
        # A client makes a host of it: s3://host#/ would go to that host, with a signature.
        return "its bucket is not written as one, in letters, digits, dots, hyphens and underscores"
    host = authority[1].rpartition("@")[2]
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]@:%\s]+)(:\d{0,5})?", host) or not _parses(href):
        return "its host is not written as a name or an address"
    return None


def _parses(href: str) -> bool:
    try:
        return urlsplit(href).hostname is not None and (urlsplit(href).port or 0) >= 0
    except ValueError:
        return False
