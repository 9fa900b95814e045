"""The text of an identity: how it is written, how far it can be trusted, and the condition that holds a server to it.

disk:SIZE:MTIME:CTIME[:BESIDE]  a local file, times in ns, and the files that GDAL reads beside it
etag:TAG, etag-hex:TAG          a strong ETag of a server or a bucket; a change without a new tag is not seen
seen:SIZE:SECONDS[:TAG]         size, Last-Modified, and a weak ETag; one within a second, of the same size, is not seen
size:SIZE                       the length alone; one of the same size is not seen
store:DIGEST                    all objects of an array in a Zarr store, by name, size and time or ETag
documents:DIGEST                the metadata documents of a store that cannot be listed; its chunks are not seen
sum:MULTIHASH                   the whole content, where the source states it and it was verified

Source: RFC 9110, sections 8.8 (validators) and 13.1 (preconditions).
"""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

from tilewright.catalogs.hrefs import scheme_of, split_store

if TYPE_CHECKING:
    from collections.abc import Mapping

Strength = Literal["exact", "weak", "untold"]

PLAIN_TAG = re.compile(r"[A-Za-z0-9._:+/-]{1,128}")
"""Tags that are kept as they are: no character of them makes a secret of a parameter (catalogs/hrefs)."""

LONGEST_TAG = 512

ENTRY = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""An entry of GDAL's list of headers, what stands in quotes in it, and the name of one. Source: RFC 9110, 5.6.2."""

_STRENGTHS: dict[str, Strength] = {
    "disk": "exact",
    "etag": "exact",
    "etag-hex": "exact",
    "store": "exact",
    "sum": "exact",
    "seen": "weak",
    "documents": "weak",
    "size": "untold",
}


def strength(identity: str) -> Strength:
    """How far an identity tells a changed file: exact, weak (not every change), or untold (its size alone)."""
    return _STRENGTHS.get(identity.partition(":")[0], "untold")


def tag_identity(tag: str) -> str:
    """The identity by a strong ETag, which comes without its quotes."""
    if PLAIN_TAG.fullmatch(tag):
        return f"etag:{tag}"
    return f"etag-hex:{tag.encode('utf-8', 'surrogateescape').hex()}"


def headers_identity(headers: Mapping[str, str], *, size: int | None) -> str | None:
    """The identity by the headers of an answer, names in any case as the mapping allows; None if they tell nothing.

    `size` is the length of the whole file, None if the answer does not say it.
    """
    tag = (headers.get("ETag") or "").strip()
    strong = re.fullmatch(r'"([^"]+)"', tag)
    if strong and len(tag) <= LONGEST_TAG:
        return tag_identity(strong[1])
    changed = _seconds(headers.get("Last-Modified"))
    length = "" if size is None else str(size)
    weak = f":{hashlib.sha256(tag.encode('utf-8', 'replace')).hexdigest()[:16]}" if tag else ""
    if changed is not None or weak:
        return f"seen:{length}:{'' if changed is None else changed}{weak}"
    return None if size is None else f"size:{size}"


def precondition(identity: str | None) -> tuple[str, str] | None:
    """The header (name, value) by which a server refuses, with 412, to send another file; None without one."""
    kind, _, rest = (identity or "").partition(":")
    if kind == "etag":
        return "If-Match", f'"{rest}"'
    if kind == "etag-hex":
        tag = bytes.fromhex(rest).decode("utf-8", "surrogateescape")
        return ("If-Match", f'"{tag}"') if tag.isascii() and tag.isprintable() else None
    if kind == "seen":
        seconds = rest.split(":")[1]
        return ("If-Unmodified-Since", formatdate(int(seconds), usegmt=True)) if seconds else None
    return None


def with_header(headers: str, name: str, value: str) -> str:
    """GDAL's list of headers with one more, quoted since a date holds a comma."""
    quoted = f"{name}: {value}".replace("\\", "\\\\").replace('"', '\\"')
    return f'{headers},"{quoted}"'.removeprefix(",")


def listed_headers(headers: str) -> dict[str, str]:
    """The headers of GDAL's list: one a line, or parted by commas outside quotes. What is no header is left out."""
    found = {}
    for entry in headers.splitlines() if re.search(r"[\r\n]", headers) else ENTRY.findall(headers):
        plain = QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1]), entry)
        name, colon, value = plain.partition(":")
        if colon and HEADER_NAME.fullmatch(name.strip()):
            found[name.strip()] = value.strip()
    return found


def named_url(signed: str, identity: str | None) -> str:
    """The URL with a fragment for the identity, which is not sent: GDAL finds what it remembers of a file by its URL.

    It ends as the URL does, since a user may have told GDAL the endings that it opens.
    """
    if identity is None or scheme_of(signed) not in {"http", "https"} or "#" in signed or split_store(signed):
        return signed
    ending = re.search(r"\.[A-Za-z0-9]{1,8}$", signed)
    return f"{signed}#{digest(identity)[:12]}{ending[0] if ending else ''}"


def digest(text: str) -> str:
    """32 hex digits of the SHA-256 of a text: enough of it for a name."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _seconds(date: str | None) -> int | None:
    """Seconds since 1970 of an HTTP date; None without a valid one."""
    try:
        return int(parsedate_to_datetime(date or "").timestamp())
    except (TypeError, ValueError, OverflowError):
        return None
