"""Complete documents of a catalog from disk, http(s) or s3, read within limits of size and time."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.hrefs import check_href, display_href, local_path, scheme_of
from tilewright.catalogs.s3 import AMAZON, CA_BUNDLES

if TYPE_CHECKING:
    import requests

    from tilewright.catalogs.s3 import S3Settings


DOCUMENT_BYTES = 64 * 2**20

TABLE_BYTES = 1024 * 2**20

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0

RETRIES = 3

DOCUMENT_SECONDS = 180.0

REDIRECTS = 5

OBJECT_RETRIES: Any = {
    "max_retries": RETRIES,
    "retry_timeout": timedelta(seconds=20),
}
"""The client's own default goes on for three minutes, also for a host that is not there."""

REASONS = {
    "SSLError": f"its certificate is not trusted: name the PEM file of its authority in {CA_BUNDLES[0]}",
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
    return _read_object(href, limit, s3) if scheme == "s3" else _read_url(href, origin, limit, s3)


def too_large(href: str, limit: int) -> CatalogError:
    """The error for a document over the limit."""
    return CatalogError(f"{display_href(href)} is larger than {limit / 2**20:.0f} MB, the limit for a document")


def http_session() -> requests.Session:
    """This thread's session, which retries with back-off on throttling and server errors and honours Retry-After."""
    import requests  # noqa: PLC0415  a quarter second of import that local catalogs do not pay
    from requests.adapters import HTTPAdapter  # noqa: PLC0415
    from urllib3.exceptions import MaxRetryError, NameResolutionError, ReadTimeoutError, SSLError  # noqa: PLC0415
    from urllib3.util import Retry  # noqa: PLC0415

    class HealingRetry(Retry):
        """Retries of failures that may heal: not of a certificate or a host name, and of silence once."""

        def increment(
            self, method: Any = None, url: Any = None, response: Any = None, error: Any = None, *rest: Any, **more: Any
        ) -> Any:
            silent = isinstance(error, ReadTimeoutError) and any(
                isinstance(past.error, ReadTimeoutError) for past in self.history
            )
            if silent or isinstance(error, SSLError | NameResolutionError):
                raise MaxRetryError(more.get("_pool") or rest[0], url, error)
            return super().increment(method, url, response, error, *rest, **more)

    if not hasattr(_sessions, "session"):
        retry = HealingRetry(
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


def tls_options(s3: S3Settings) -> dict[str, Any]:
    """The keyword arguments of `send` for the authorities that are trusted; empty for those that requests knows."""
    path = s3.checked_ca_bundle()
    return {} if path is None else {"ca_bundle": path}


def send(
    request: requests.Request, *, origin: str, limit: int = DOCUMENT_BYTES, ca_bundle: str | None = None
) -> tuple[int, bytes]:
    """(status, body) of the response; redirects are followed if `origin` may refer to their targets.

    `ca_bundle` is the PEM file of the authorities that are trusted; None for those that requests finds itself.

    Raises:
        CatalogError: no connection, a redirect that is not allowed, too many redirects, or a body over the limit.
    """
    import requests as http  # noqa: PLC0415

    session = http_session()
    href = str(request.url)
    try:
        prepared = session.prepare_request(request)
        for _ in range(REDIRECTS):
            verify = ca_bundle or True
            settings = session.merge_environment_settings(str(prepared.url), {}, None, verify, None)
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


def _read_url(href: str, origin: str, limit: int, s3: S3Settings) -> bytes:
    import requests as http  # noqa: PLC0415

    status, body = send(http.Request("GET", href), origin=origin, limit=limit, **tls_options(s3))
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
