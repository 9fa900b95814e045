"""Hrefs: resolving them, and displaying them without credentials."""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=-._~"
"""The characters besides letters and digits that may stand in a URL. Source: RFC 3986, sections 2.1 to 2.3."""

_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


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


def display_href(href: str, keep: Collection[str] = ()) -> str:
    """The href without query, fragment, user and password, so that it can be logged, stored and shown.

    Parameters of an http(s) query stay whose names are in `keep`.
    """
    if scheme_of(href) == "file":
        return href.split("?", 1)[0] if href.lower().startswith("file:") else href
    shown = _BROKEN_USER.sub(rf"\1{CUT}", _USER.sub(r"\1", href))
    return re.split(r"[?#]", shown, maxsplit=1)[0] + _kept_query(href, keep)


_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[\\/]{2}[^\s'\"<>]+"
    r"|(?i:url\\{0,3}[\"']?:\s{0,9}\\{0,3}[\"']?|\b(?:get|head|post|put)\s)/[^\s?'\"<>:]*\?[^\s'\"<>\\]+"
    r"|/[^\s?'\"<>:=]{1,999}\?[^\s'\"<>=]{0,99}=[^\s'\"<>\\]*"
)
"""A URL, or a path with a query, as servers and http libraries write what they were asked for."""

_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:[\\/]{2})(?:[^/?#@]*@|[^/?#@:]*:(?!\d*(?:[/?#]|$))[^?#]*@)+")
"""User and password before a host; a password may hold "/" or "@", which no port does."""

_BROKEN_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:[\\/]{2})[^/?#\[\]@:]*:(?=\w)(?!\d*(?:\W|$))[^/?#]*")
"""What begins as a user and a password, and was cut off before its host."""

_BARE_USER = re.compile(r"(?:(?<![\w/.+%~-])|(?<=//)|(?<=:/)|(?<=[A-Za-z]:))[\w.+%~-]*:[^\s/:@'\"<>()]+@(?=[\w\[])")
"""User and password before a host, in what lacks a scheme or one of its slashes."""

_NAME = (
    r"[\w-]{0,99}(?:token|password|passwd|secret|credential|api[_-]?key|access[_-]?key(?:id)?|subscription[_-]?key"
    r"|[_-]signature)"
)
"""The names of headers, parameters and entries that hold keys."""

_PARAMETER = re.compile(
    rf"(?i)(?:\b|(?<=%3F)|(?<=%26))(sig(?:nature)?|{_NAME}|pwd|authorization|skoid|key)(%3D|=)[^\s&;'\"<>,)]+"
)
"""A parameter of a signature or key that stands outside of a URL, as in the messages of http libraries."""

_ENTRY = re.compile(
    rf"(?i)((?<!\w)(?:sig|pwd|{_NAME}|signature|authorization|cookie))(\\{{0,3}}[\"']\s{{0,9}}:\s{{0,9}}\[?\s{{0,9}}\\{{0,3}})"
    r"([\"'])(?:(?!\\{0,3}\3).)+"
)
"""An entry of JSON or of a Python mapping; servers answer with the headers and the body that they were sent."""

_HEADER = re.compile(
    r"(?i)(?<![\w-])((?:\w[\w-]{0,99}-(?:key|token|secret|signature|credential)|(?:proxy-)?authorization|(?:set-)?cookie)"
    r"\s{0,9}:\s{0,9})(?:[A-Za-z]\w{0,20}\s+)?[^\s,;'\"<>]+"
)
"""A header as it is sent, with the scheme of its value."""

_ELEMENT = re.compile(
    r"(?i)(<(\w{0,99}(?:accesskey|secret|token|signature|stringtosign|canonicalrequest|credential|password)\w{0,99})>)"
    r"[^<]+"
)
"""An element of XML: S3 servers answer a wrong signature with the key, and with all that was signed."""

_SCHEMES = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")

_MAY_HOLD = re.compile(r"(?i):[\\/]|[=@]|%3d|bearer|basic|[\"']\s*:|url: /| http/|-\w+\s{0,9}:|ation:|cookie:|</")

_WHOLE_HREF = re.compile(r"(?i)https?://[^\s<>\"]*'[^\s<>\"]*")
"""A href with a quote in it, which may stand in a URL."""

_PLAIN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[\w./~+-]*", re.ASCII)
"""A URL of host and path alone: most texts with a colon in large plans are such."""

CUT = "..."
"""Stands for a value that was cut."""


def without_secrets(text: str, keep: Collection[str] = ()) -> str:
    """The text with its URLs as `display_href` writes them, and without the values of parameters that hold keys.

    All of a URL's user, query and fragment go, whatever their names, but what `keep` names. A key in a bucket, which
    may hold "?" and "#", loses a part after them only if that has the form name=value. Of headers, entries of JSON and
    elements of XML that are named like keys the values go.
    """
    if _PLAIN_URL.fullmatch(text) or not _MAY_HOLD.search(text):
        return text
    text = _URL.sub(lambda match: _shown_url(match[0], keep), text)
    if "@" in text:
        text = _BARE_USER.sub("", text)
    if "=" in text or "%3" in text:
        text = _PARAMETER.sub(rf"\1\2{CUT}", text)
    text = _SCHEMES.sub(rf"\1 {CUT}", text)
    if ":" in text:
        text = _HEADER.sub(rf"\1{CUT}", _ENTRY.sub(rf"\1\2\3{CUT}", text))
    return _ELEMENT.sub(rf"\1{CUT}", text) if "</" in text else text


SHORTEST_WORD = 4
"""Characters from which on a value is looked for in what a server answers: a shorter one stands in any text."""


def without_words(text: str, words: Iterable[str]) -> str:
    """The text without these words, as they are, percent-encoded or escaped as in JSON."""
    forms = {form for word in words for form in (word, quote(word), quote(word, safe=""), json.dumps(word)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= SHORTEST_WORD:
            text = text.replace(form, CUT)
    return text


def _shown_url(whole: str, keep: Collection[str]) -> str:
    url = _BROKEN_USER.sub(rf"\1{CUT}", _USER.sub(r"\1", whole))
    if "://" not in whole and ":\\" not in whole:
        return url.partition("?")[0]
    place, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]
    if not mark or (mark == "#" and "=" not in rest):
        return url
    if "=" not in rest and not place.lower().startswith("http"):
        return url
    # The sentence around a URL goes on after it.
    end = len(url) - len(rest) + len(rest.rstrip("):;,.!?]}"))
    return place + _kept_query(url[:end], keep) + url[end:]


_PLAIN_PARAMETER = re.compile(r"(?ai)([\w.-]+)=((?:[\w.~,:+/*-]|%(?!3[DF]|2[356]|3B|40)[0-9A-F]{2})*)")
"""A parameter whose value holds no user, query or parameter of another URL, encoded or not."""


def _kept_query(url: str, keep: Collection[str]) -> str:
    """The parameters of an http(s) URL's query that `keep` names, with their mark; empty where there are none."""
    if not keep or scheme_of(url) not in {"http", "https"}:
        return ""
    query = url.partition("#")[0].partition("?")[2]
    found = [_PLAIN_PARAMETER.fullmatch(part) for part in query.split("&")]
    kept = [match[0] for match in found if match and match[1] in keep]
    return f"?{'&'.join(kept)}" if kept else ""


def holds_key(name: str) -> bool:
    """True for a parameter's name whose values are cut as a key or signature wherever they stand."""
    return bool(_PARAMETER.fullmatch(f"{name}=x")) or name.lower() in _SIGNED


_SIGNED = frozenset({"se", "sp", "sv", "st", "spr", "sr", "ske", "sks", "skt", "skv", "sktid", "policy", "expires"})
"""Other parameters of signed URLs: they say for how long and for whom a signature holds."""


def json_without_secrets(plain: Any, keep: Collection[str] = ()) -> Any:
    """JSON values with every text, keys of mappings too, as `without_secrets` gives it."""
    # Thousands of scenes have the same keys, bands and hrefs; what is known is forgotten with the call.
    known: dict[str, str] = {}

    def public(value: Any) -> Any:
        if isinstance(value, str):
            if value not in known:
                # A whole href is cut to its end: in a sentence a quote ends it.
                whole = _WHOLE_HREF.fullmatch(value)
                known[value] = display_href(value, keep) if whole else without_secrets(value, keep)
            return known[value]
        if isinstance(value, dict):
            return {public(key): public(each) for key, each in value.items()}
        return [public(each) for each in value] if isinstance(value, (list, tuple)) else value

    return public(plain)
