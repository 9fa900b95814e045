"""Complete documents of a catalog from disk, http(s) or s3, read within limits of size and time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import display_href, local_path, scheme_of, without_secrets, without_words
from tilewright.catalogs.network.check import check_href
from tilewright.catalogs.network.rules import document_rules
from tilewright.catalogs.s3 import AMAZON, CA_BUNDLES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import requests

    from tilewright.catalogs.network.client import JudgedSession
    from tilewright.catalogs.s3 import S3Settings


DOCUMENT_BYTES = 64 * 2**20

TABLE_BYTES = 1024 * 2**20

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0

OBJECT_TRIES = 3

DOCUMENT_SECONDS = 180.0

REDIRECTS = 5

OBJECT_RETRIES: Any = {
    "max_retries": OBJECT_TRIES,
    "retry_timeout": timedelta(seconds=20),
}
"""The client's own default goes on for three minutes, also for a host that is not there."""

NEXT_STEP = "check the address and the network, or try again later"

REASONS = {
    "SSLError": f"its certificate is not trusted: name the PEM file of its authority in {CA_BUNDLES[0]}",
    "ConnectionError": f"no connection: {NEXT_STEP}",
    "ConnectTimeout": f"no connection in time: {NEXT_STEP}",
    "ReadTimeout": "no answer in time: try again later",
    "RetryError": "it kept failing: try again later",
}

PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "content-length", "content-type", "user-agent"})
"""The headers that a redirect to another server keeps: any other may hold a key."""

PLAIN_WORDS = frozenset({"Bearer", "Basic", "Token", "next", "prev", "page", "token", "true", "false", "True", "False"})
"""Words of values that were sent which say nothing of the rest."""

MOST_VALUES = 5_000_000
"""The most values of a JSON document, by its commas and brackets; small ones take a hundred bytes of memory each."""


def read_json(
    href: str,
    *,
    origin: str,
    hosts: Sequence[str] = (),
    s3: S3Settings = AMAZON,
    limit: int = DOCUMENT_BYTES,
    seconds: float | None = None,
) -> dict[str, Any]:
    """The JSON object at an href.

    Raises:
        CatalogError: it cannot be reached, is too large, takes too long, or is no JSON object.
    """
    return parse_json(read_bytes(href, origin=origin, hosts=hosts, s3=s3, limit=limit, seconds=seconds), href)


def parse_json(content: bytes, href: str) -> dict[str, Any]:
    """The JSON object that the content of an href is.

    Raises:
        CatalogError: it is none, or has more values than a document may have.
    """
    if len(content) > MOST_VALUES and sum(content.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES:
        raise CatalogError(f"{display_href(href)} holds more than {MOST_VALUES} values, the limit for a document")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{display_href(href)} is not JSON; expected a STAC document") from error
    if not isinstance(document, dict):
        raise CatalogError(f"{display_href(href)} holds no JSON object; expected a STAC document")
    return document


def read_bytes(
    href: str,
    *,
    origin: str,
    hosts: Sequence[str] = (),
    s3: S3Settings = AMAZON,
    limit: int = DOCUMENT_BYTES,
    seconds: float | None = None,
) -> bytes:
    """The complete document of at most `limit` bytes; `origin` is the source that refers to it.

    Those of `hosts` that are no patterns may have any address. `s3` is needed for a bucket that is not public, or not
    at Amazon. It takes at most `seconds` (None: DOCUMENT_SECONDS).

    Raises:
        CatalogError: the source may not refer to it, it cannot be reached, is too large or takes too long.
    """
    check_document(href, origin=origin, hosts=hosts)
    scheme = scheme_of(href)
    if scheme == "file":
        return _read_file(local_path(href), limit)
    if scheme == "s3":
        return _read_object(href, limit, s3)
    import requests as http  # noqa: PLC0415

    more: dict[str, Any] = {"hosts": hosts, "limit": limit, "seconds": seconds, **tls_options(s3)}
    status, body = send(http.Request("GET", href), origin=origin, **more)
    if status != 200:
        raise CatalogError(f"{display_href(href)} cannot be read (HTTP {status})")
    return body


def check_document(href: str, *, origin: str, hosts: Sequence[str] = ()) -> str:
    """The href of a document, unchanged, if a source at `origin` may refer to it; `hosts` open literal names.

    Raises:
        CatalogError: it may not.
    """
    try:
        host = urlsplit(href).hostname if scheme_of(href) in {"http", "https"} else None
    except ValueError:
        host = None
    opened = host in document_rules(origin, hosts).opened
    return check_href(href, origin=origin, hosts=(str(host),) if opened else ())


def too_large(href: str, limit: int) -> CatalogError:
    """The error for a document over the limit."""
    return CatalogError(f"{display_href(href)} is larger than {limit / 2**20:.0f} MB, the limit for a document")


def tls_options(s3: S3Settings) -> dict[str, Any]:
    """The keyword arguments of `send` for the authorities that are trusted; empty for those that requests knows."""
    path = s3.checked_ca_bundle()
    return {} if path is None else {"ca_bundle": path}


def send(
    request: requests.Request,
    *,
    origin: str,
    hosts: Sequence[str] = (),
    limit: int = DOCUMENT_BYTES,
    ca_bundle: str | None = None,
    seconds: float | None = None,
) -> tuple[int, bytes]:
    """(status, body) of the response; redirects are followed if `origin` may refer to their targets.

    The addresses of every host are judged and connected to as judged; `hosts` may have any. All of it, waits that the
    server asks for included, takes at most `seconds` (None: DOCUMENT_SECONDS). `ca_bundle` is the PEM file of the
    authorities that are trusted; None for those that requests finds itself.

    Raises:
        CatalogError: no connection, an address or a redirect that is not allowed, too many redirects, a body over the
            limit, no end in time.
    """
    import requests as http  # noqa: PLC0415

    from tilewright.catalogs.network.client import judged_session  # noqa: PLC0415  it imports requests

    session = judged_session(document_rules(origin, hosts))
    href = str(request.url)
    try:
        with session.watch.within(DOCUMENT_SECONDS if seconds is None else seconds, href=href):
            prepared = session.prepare_request(request)
            for _ in range(REDIRECTS):
                with _answer(session, prepared, ca_bundle) as answer:
                    if not answer.is_redirect:
                        return answer.status_code, _read_body(answer, href, limit)
                    location = _location(str(prepared.url), answer.headers["location"])
                prepared = _redirected(prepared, check_document(location, origin=origin, hosts=hosts))
    except http.RequestException as error:
        # The library's message would hold the URL with its query.
        kind = type(error).__name__
        raise CatalogError(f"{display_href(href)} cannot be reached ({REASONS.get(kind, kind)})") from error
    raise CatalogError(f"{display_href(href)} redirects more than {REDIRECTS} times")


def _location(url: str, target: str) -> str:
    """Where a redirect leads. Raises CatalogError, without the library's words on the target, if that is no address."""
    try:
        return urljoin(url, target)
    except ValueError:
        raise CatalogError(f"{display_href(url)} redirects to what is no address; refused") from None


MOST_QUOTED, MOST_WORDS = 2**14, 1000
"""Bytes of an answer that are looked at to quote its start, and values of a request that are looked for there."""


def quoted(answer: bytes, request: requests.Request, *, most: int = 300, known: Collection[str] = ()) -> str:
    """The start of a server's answer in one line, without what it was sent: some send keys and tokens back.

    Values of the query, of headers and of the body are cut, but those in `known`. Of too many, nothing is quoted.
    """
    query = urlsplit(str(request.url)).query
    values = [value or name for name, value in parse_qsl(query, keep_blank_values=True)]
    values += [text for sent in (request.headers, request.json, request.params) for text in texts_of(sent)]
    # A word of a value may come back alone: the token after its scheme, the key after its colon.
    words = {word for value in values if value not in known for word in (value, *re.split(r"[\s:=,;]+", value))}
    plain = " ".join(answer[:MOST_QUOTED].decode(errors="replace").split()) if len(words) <= MOST_WORDS else ""
    return without_secrets(without_words(plain, words - set(known) - PLAIN_WORDS))[:most]


def texts_of(plain: Any) -> list[str]:
    """The texts and numbers of a JSON value, as texts; of headers without those that say the format."""
    if isinstance(plain, Mapping):
        entries = [value for name, value in plain.items() if str(name).lower() not in PLAIN_HEADERS]
    elif isinstance(plain, (list, tuple)):
        entries = list(plain)
    else:
        return [] if plain is None else [str(plain)]
    return [text for value in entries for text in texts_of(value)]


def _answer(session: JudgedSession, prepared: requests.PreparedRequest, ca_bundle: str | None) -> requests.Response:
    settings = session.merge_environment_settings(str(prepared.url), {}, True, ca_bundle or True, None)
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    try:
        return session.send(prepared, timeout=timeout, allow_redirects=False, **settings)
    except CatalogError as error:
        raise type(error)(f"{display_href(str(prepared.url))}: {error}") from error
    except ValueError as error:
        if isinstance(error, OSError):
            raise
        # The library looks at a redirect's target before we do, and its words hold it.
        raise CatalogError(f"{display_href(str(prepared.url))} redirects to what is no address; refused") from None


def _redirected(prepared: requests.PreparedRequest, target: str) -> requests.PreparedRequest:
    """The same request of the target, to which nothing that was meant for another server goes along."""
    if scheme_of(target) not in {"http", "https"}:
        raise CatalogError(f"{display_href(target)}: a redirect to a {scheme_of(target)} address; refused")
    if _origin_of(target) != _origin_of(str(prepared.url)):
        kept = {name for name in prepared.headers if name.lower() in PLAIN_HEADERS}
        prepared.headers = type(prepared.headers)({name: prepared.headers[name] for name in kept})
    prepared.url = target
    return prepared


def _origin_of(url: str) -> tuple[str, str | None, int | None]:
    """(scheme, host, port) of a URL: another port or scheme is another server, which gets no token of the first one."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _read_file(path: Path, limit: int) -> bytes:
    try:
        if not path.is_file():
            raise CatalogError(f"{path} is no file that can be read")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, CatalogError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise CatalogError(f"{path} cannot be read ({reason})") from error
    if len(content) > limit:
        raise too_large(str(path), limit)
    return content


def _read_body(answer: requests.Response, href: str, limit: int) -> bytes:
    """The body, read in pieces so that the limit holds despite a wrong Content-Length or compression."""
    pieces, size = [], 0
    for piece in answer.iter_content(2**16):
        size += len(piece)
        if size > limit:
            raise too_large(href, limit)
        pieces.append(piece)
    return b"".join(pieces)


def _read_object(href: str, limit: int, s3: S3Settings) -> bytes:
    import obstore  # noqa: PLC0415

    bucket, _, key = href[len("s3://") :].partition("/")
    try:
        store = obstore.store.S3Store(bucket, **bucket_options(s3), retry_config=OBJECT_RETRIES)
        answer = obstore.get(store, key)
        if answer.meta["size"] > limit:
            raise too_large(href, limit)
        return bytes(answer.bytes())
    except (OSError, obstore.exceptions.BaseError) as error:
        raise CatalogError(f"{display_href(href)} cannot be read ({type(error).__name__})") from error


def bucket_options(s3: S3Settings) -> dict[str, Any]:
    """Options of obstore's S3Store beyond the AWS_* variables that obstore reads itself."""
    options: dict[str, Any] = {}
    client = {**({"allow_http": True} if s3.plain_http else {}), **client_certificates(s3.checked_ca_bundle())}
    if client:
        options["client_options"] = client
    if s3.anonymous:
        options["skip_signature"] = True
    return options


def client_certificates(ca_bundle: str | None) -> dict[str, Any]:
    """Obstore's client options for the authorities of a PEM file; empty without one."""
    return {} if ca_bundle is None else {"root_certificate": Path(ca_bundle).read_bytes()}
