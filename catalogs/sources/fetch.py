"""Complete documents of a catalog from disk, http(s) or s3, read within limits of size and time."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import check_href, display_href, local_path, scheme_of
from tilewright.catalogs.s3 import AMAZON

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from tilewright.catalogs.s3 import S3Settings


DOCUMENT_BYTES = 64 * 2**20

TABLE_BYTES = 1024 * 2**20

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0

RETRIES = 3

DOCUMENT_SECONDS = 180.0

REDIRECTS = 5

REASONS = {
    "ConnectionError": "no connection",
    "ConnectTimeout": "no connection in time",
    "ReadTimeout": "no answer in time",
    "RetryError": "it kept failing",
}

_sessions = threading.local()


def read_json(href: str, *, origin: str, s3: S3Settings = AMAZON, limit: int = DOCUMENT_BYTES) -> dict[str, Any]:
    """The JSON object at an href.

    Raises:
        CatalogError: it cannot be reached, is too large, or is no JSON object.
    """
    try:
        document = json.loads(read_bytes(href, origin=origin, s3=s3, limit=limit))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CatalogError(f"{display_href(href)} is not JSON; expected a STAC document") from error
    if not isinstance(document, dict):
        raise CatalogError(f"{display_href(href)} holds no JSON object; expected a STAC document")
    return document


def read_bytes(href: str, *, origin: str, s3: S3Settings = AMAZON, limit: int = DOCUMENT_BYTES) -> bytes:
    """The complete document of at most `limit` bytes; `origin` is the source that refers to it.

    `s3` is needed for a bucket that is not public, or not at Amazon.

    Raises:
        CatalogError: the source may not refer to it, it cannot be reached, or it is too large.
    """
    check_href(href, origin=origin)
    scheme = scheme_of(href)
    if scheme == "file":
        return _read_file(local_path(href), limit)
    return _read_object(href, limit, s3) if scheme == "s3" else _read_url(href, origin, limit)


def too_large(href: str, limit: int) -> CatalogError:
    """The error for a document over the limit."""
    return CatalogError(f"{display_href(href)} is larger than {limit / 2**20:.0f} MB, the limit for a document")


def http_session() -> requests.Session:
    """This thread's session, which retries with back-off on throttling and server errors and honours Retry-After."""
    import requests  # noqa: PLC0415  a quarter second of import that local catalogs do not pay
    from requests.adapters import HTTPAdapter  # noqa: PLC0415
    from urllib3.util import Retry  # noqa: PLC0415

    if not hasattr(_sessions, "session"):
        retry = Retry(
            total=RETRIES,
            backoff_factor=0.3,
            backoff_jitter=0.2,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        session = requests.Session()
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        _sessions.session = session
    return _sessions.session


def send(request: requests.Request, *, origin: str, limit: int = DOCUMENT_BYTES) -> tuple[int, bytes]:
    """(status, body) of the response; redirects are followed if `origin` may refer to their targets.

    Raises:
        CatalogError: no connection, a redirect that is not allowed, too many redirects, or a body over the limit.
    """
    import requests as http  # noqa: PLC0415

    session = http_session()
    href = str(request.url)
    try:
        prepared = session.prepare_request(request)
        for _ in range(REDIRECTS):
            settings = session.merge_environment_settings(str(prepared.url), {}, True, None, None)
            timeout = (CONNECT_SECONDS, READ_SECONDS)
            with session.send(prepared, timeout=timeout, allow_redirects=False, **settings) as answer:
                if not answer.is_redirect:
                    return answer.status_code, _read_body(answer, href, limit)
                target = check_href(urljoin(str(prepared.url), answer.headers["location"]), origin=origin)
                if _origin_of(target) != _origin_of(str(prepared.url)):
                    prepared.headers.pop("Authorization", None)
                prepared.url = target
    except http.RequestException as error:
        # The library's message would hold the URL with its query.
        kind = type(error).__name__
        raise CatalogError(f"{display_href(href)} cannot be reached ({REASONS.get(kind, kind)})") from error
    raise CatalogError(f"{display_href(href)} redirects more than {REDIRECTS} times")


def _origin_of(url: str) -> tuple[str, str | None, int | None]:
    """(scheme, host, port) of a URL: another port or scheme is another server, which gets no token of the first one."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _read_file(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise too_large(str(path), limit)
        return path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror})") from error


def _read_url(href: str, origin: str, limit: int) -> bytes:
    import requests as http  # noqa: PLC0415

    status, body = send(http.Request("GET", href), origin=origin, limit=limit)
    if status != 200:
        raise CatalogError(f"{display_href(href)} cannot be read (HTTP {status})")
    return body


def _read_body(answer: requests.Response, href: str, limit: int) -> bytes:
    """The body, read in pieces so that the limit holds despite a wrong Content-Length or compression."""
    pieces, size = [], 0
    deadline = time.monotonic() + DOCUMENT_SECONDS
    for piece in answer.iter_content(2**16):
        size += len(piece)
        if time.monotonic() > deadline:
            raise CatalogError(f"{display_href(href)} takes longer than {DOCUMENT_SECONDS:.0f} s to read")
        if size > limit:
            raise too_large(href, limit)
        pieces.append(piece)
    return b"".join(pieces)


def _read_object(href: str, limit: int, s3: S3Settings) -> bytes:
    import obstore  # noqa: PLC0415

    bucket, _, key = href[len("s3://") :].partition("/")
    try:
        answer = obstore.get(obstore.store.S3Store(bucket, **bucket_options(s3)), key)
        if answer.meta["size"] > limit:
            raise too_large(href, limit)
        return bytes(answer.bytes())
    except (OSError, obstore.exceptions.BaseError) as error:
        raise CatalogError(f"{display_href(href)} cannot be read ({type(error).__name__})") from error


def bucket_options(s3: S3Settings) -> dict[str, Any]:
    """Options of obstore's S3Store beyond the AWS_* variables that obstore reads itself."""
    options: dict[str, Any] = {}
    if s3.plain_http:
        options["client_options"] = {"allow_http": True}
    if s3.anonymous:
        options["skip_signature"] = True
    return options
