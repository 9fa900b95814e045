"""Hrefs: resolving them, checking that a source may name them, and displaying them without credentials."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import unicodedata
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence


URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=-._~"
"""The characters besides letters and digits that may stand in a URL. Source: RFC 3986, sections 2.1 to 2.3."""

_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

REMOTE_SCHEMES = ("http", "https", "s3")

TRANSLATED = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96"))
"""Networks whose last 32 bits are an IPv4 address. Source: RFC 6052, section 2.1; RFC 8215; RFC 2765."""

METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"))
"""Addresses beside the link-local ones at which clouds hand out the keys of a machine."""

PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".intranet", ".lan", ".home", ".svc", ".arpa")


def scheme_of(href: str) -> str:
    """The href's scheme in lower case; "file" for a plain path."""
    match = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]+):[/\\]", href)
    return match[1].lower() if match else "file"


def local_path(href: str) -> Path:
    """The path of a local href, which is a plain path or a file: URL.

    A document may write a path as it is or percent-encoded, and a name may hold a percent sign itself: of the two the
    one that exists is meant. A URL means the encoded one first, a path the one as it is.
    """
    if not href.lower().startswith("file:"):
        path = Path(href)
        return _existing(path, Path(unquote(href))) if "%" in href else path
    parts = urlsplit(href)
    tail = f"?{parts.query}" if parts.query else ""
    plain = parts.path + tail + (f"#{parts.fragment}" if parts.fragment else "")
    return _existing(Path(unquote(parts.path)), Path(unquote(plain)), Path(plain))


def _existing(*paths: Path) -> Path:
    """The first path that exists, else the first."""
    return next((path for path in paths[1:] if not paths[0].exists() and path.exists()), paths[0])


_ZARR_PATH = re.compile(r"^(.*?\.zarr)(?:/+(.*?))?/*$", re.IGNORECASE)


def split_store(path: str) -> tuple[str, str] | None:
    """(store, array) of a path into a Zarr store, None for other paths; the array is empty for the store itself.

    Raises:
        ValueError: a signed URL, which opens a single object while a store consists of many; a path with quotes.
    """
    match = _ZARR_PATH.match(path)
    if match is None and not re.search(r"\.zarr[/?]", path, re.IGNORECASE):
        return None
    if match is None or "?" in path or '"' in path:
        shown = path.partition("?")[0]
        raise ValueError(
            f"the Zarr store {shown} is many objects, and a signed URL opens one: give it as s3 or unsigned"
        )
    return match[1], match[2] or ""


def resolve_href(href: str, base: str) -> str:
    """The absolute href, resolved against `base`, the location it was read from; a plain path for local hrefs.

    An http(s) href comes percent-encoded; a key in a bucket stays as it is written, since there "%20" may be a name.
    """
    if scheme_of(href) != "file":
        return encoded(href)
    if href.lower().startswith("file:") and local_path(href).is_absolute():
        return str(local_path(href))
    if scheme_of(base) == "file":
        href = href.removeprefix("file:")
        joined = href if Path(href).is_absolute() else posixpath.normpath(str(local_path(base).parent / href))
        return str(local_path(joined))
    if scheme_of(base) in {"http", "https"}:
        return encoded(urljoin(base, href))
    # A key may hold any character, "?" and "#" too: only its slashes mean something.
    scheme, _, rest = base.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}{posixpath.normpath(posixpath.join('/', posixpath.dirname(key), href))}"


def encoded(href: str) -> str:
    """An http(s) href with all that may not stand in a URL percent-encoded; others unchanged.

    What is encoded already stays so, in the path and in a query with its signature; a percent sign that encodes
    nothing is encoded itself.
    """
    if scheme_of(href) not in {"http", "https"}:
        return href
    return quote(_STRAY_PERCENT.sub("%25", href), safe=URL_CHARACTERS)


def display_href(href: str) -> str:
    """The href without query, fragment, user and password, so that it can be logged, stored and shown."""
    if scheme_of(href) == "file":
        return href.split("?", 1)[0] if href.lower().startswith("file:") else href
    return re.split(r"[?#]", _USER.sub(r"\1", href), maxsplit=1)[0]


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\\/]{2}[^\s'\"<>]+")

_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:[\\/]{2})(?:[^/?#@]*@|[^/?#@:]*:(?!\d*(?:[/?#]|$))[^?#]*@)+")
"""User and password before a host; a password may hold "/" or "@", which no port does."""

_PARAMETER = re.compile(
    r"(?i)(?:\b|(?<=%3F)|(?<=%26))(sig(?:nature)?|[\w-]*(?:token|password|passwd|secret|credential|api[_-]?key|access[_-]?key(?:id)?"
    r"|(?:-|_)signature)|pwd|authorization|skoid|key)(%3D|=)[^\s&;'\"<>,)]+"
)
"""A parameter of a signature or key that stands outside of a URL, as in the messages of http libraries."""

_SCHEMES = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")

_MAY_HOLD = re.compile(r"(?i):[\\/]{2}|=|%3d|bearer|basic")

CUT = "..."
"""Stands for a value that was cut."""


def without_secrets(text: str) -> str:
    """The text with its URLs as `display_href` writes them, and without the values of parameters that hold keys.

    All of a URL's user, query and fragment go, whatever their names. A key in a bucket, which may hold "?" and "#",
    loses a part after them only if that has the form name=value.
    """
    if not _MAY_HOLD.search(text):
        return text
    text = _URL.sub(_shown_url, text)
    if "=" in text or "%3" in text:
        text = _PARAMETER.sub(rf"\1\2{CUT}", text)
    return _SCHEMES.sub(rf"\1 {CUT}", text)


def _shown_url(match: re.Match[str]) -> str:
    url = _USER.sub(r"\1", match[0])
    place, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]
    if not mark or (mark == "#" and "=" not in rest):
        return url
    if "=" not in rest and not place.lower().startswith("http"):
        return url
    # The sentence around a URL goes on after it.
    return place + (re.search(r"[):;,.!?\]}]*$", rest) or [""])[0]


def json_without_secrets(plain: Any) -> Any:
    """JSON values with every text, keys of mappings too, as `without_secrets` gives it."""
    if isinstance(plain, str):
        return without_secrets(plain)
    if isinstance(plain, dict):
        return {json_without_secrets(key): json_without_secrets(value) for key, value in plain.items()}
    return [json_without_secrets(value) for value in plain] if isinstance(plain, (list, tuple)) else plain


def address_scope(href: str) -> str:
    """The network scope of an href: "file", "loopback", "private", "link-local" or "public".

    Only the text is examined, without a DNS query. A host name without a dot, or with a suffix that is used only
    inside networks, is private. An IP address has the scope of its range, also when it is written as one number.
    """
    scheme = scheme_of(href)
    if scheme == "file":
        return "file"
    if scheme not in {"http", "https"}:
        return "public"
    # As a client's IDNA does it: digits in circles and the dots of other scripts become plain ones.
    host = unicodedata.normalize("NFKC", urlsplit(href).hostname or "").replace("\u3002", ".").rstrip(".").lower()
    address = _ip_address(host)
    if address is not None:
        return _ip_scope(address)
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    return "private" if "." not in host or host.endswith(PRIVATE_SUFFIXES) else "public"


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
        raise CatalogError(f"{shown}: the host is none this source reads from ({', '.join(hosts)}); refused")
    named = bool(hosts) and any(pattern.lower() == host for pattern in hosts)
    if not named and scope not in _allowed_scopes(origin_scope):
        raise CatalogError(
            f"{shown}: leads to a {scope} address, which a {origin_scope} catalog must not name; refused"
        )
    return href


def _unclear(href: str) -> str | None:
    """The reason why two clients may not agree on the place an href leads to, None for a plain one."""
    if re.search(r"[\0\ud800-\udfff]", href):
        return "it holds characters that no name has"
    if scheme_of(href) == "file":
        if str(local_path(href)).startswith("/vsi"):
            return "it is a path of GDAL's own"
        far = href.lower().startswith("file://") and urlsplit(href).netloc.lower() not in {"", "localhost"}
        return "it is a file of another machine" if far else None
    authority = re.match(r"[A-Za-z][^:]*://([^/?#\\]*)(?=[/?#]|$)", href)
    if authority is None or re.search(r"[\x00-\x1f\x7f]", href):
        return "a URL is written scheme://host/path, without backslashes and control characters"
    host = authority[1].rpartition("@")[2]
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]@:%\s]+)(:\d{0,5})?", host) or not _parses(href):
        return "its host is not written as a name or an address"
    return None


def _parses(href: str) -> bool:
    try:
        return urlsplit(href).hostname is not None
    except ValueError:
        return False


def _allowed_scopes(origin_scope: str) -> tuple[str, ...]:
    if origin_scope in {"file", "loopback"}:
        return ("public", "private", "loopback")
    return ("public", "private") if origin_scope == "private" else ("public",)


@lru_cache(1024)
def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
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


def _ip_scope(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv6Address) and (inner := _embedded(address)) is not None:
        address = inner
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local or address in METADATA:
        return "link-local"
    return "public" if address.is_global and not address.is_multicast else "private"


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
