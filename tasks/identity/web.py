"""The identity of files on web servers, asked with a GET of the first byte: many signatures allow no HEAD."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit

from tilewright.catalogs.network.check import check_href
from tilewright.tasks.identity.identity import digest, headers_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests

    from tilewright.catalogs.sources.source import Source


ASK = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
"""The first byte, and as GDAL asks for it: a server gives a compressed answer another ETag."""

TIMEOUT_S = (5.0, 10.0)
"""Seconds to connect and to wait for an answer."""

LONGEST_S = 3600.0
"""Seconds that a whole file may take, however slowly it comes."""

ANSWER_S = 20.0
"""Seconds in which an answer must be complete, redirects and another try included."""

DRAINED = 1 << 14
"""Bytes of an answer up to which it is read, so that its connection can be kept."""

REDIRECTS = 5

_sessions = threading.local()


class NoIdentityError(RuntimeError):
    """A file whose identity could not be taken; the message is the reason, without any signature."""


def web_identity(url: str, *, source: Source) -> str | None:
    """The identity of the file at a URL as it can be opened now; None if the server's answer tells nothing.

    Raises NoIdentityError where no file is sent.
    """
    with answer_to(url, ASK, source=source) as answer:
        _drain(answer)
        if answer.status_code not in {200, 206}:
            raise NoIdentityError(f"the server answers {answer.status_code}")
        if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
            # A page to log in, which is sent with 200.
            raise NoIdentityError("the server sends a page of HTML")
        return headers_identity(answer.headers, size=_size(answer.status_code, answer.headers))


def documents_identity(store: str, array: str, *, source: Source) -> str | None:
    """The identity of a Zarr store on a web server, which cannot be listed: by its metadata documents alone."""
    prefixes = [f"{store}/", *([f"{store}/{array}/"] if array else [])]
    found = {}
    for url in [f"{prefix}{name}" for prefix in prefixes for name in ("zarr.json", ".zmetadata", ".zarray")]:
        try:
            found[url[len(store) :]] = web_identity(url, source=source)
        except NoIdentityError:
            continue
    return f"documents:{digest(repr(sorted(found.items())))}" if any(found.values()) else None


def body_of(url: str, condition: Mapping[str, str], *, piece: int, source: Source) -> Iterator[bytes]:
    """The whole file at a URL in pieces, under a precondition. Raises NoIdentityError, also for one that ends early."""
    import requests  # noqa: PLC0415

    headers = {"Accept-Encoding": "identity", **condition}
    with answer_to(url, headers, source=source, seconds=LONGEST_S) as answer:
        if answer.status_code != 200:
            raise NoIdentityError(f"the server answers {answer.status_code}")
        try:
            yield from answer.iter_content(piece)
        except requests.RequestException as error:
            raise NoIdentityError(f"it ends early ({type(error).__name__})") from error


@contextmanager
def answer_to(
    url: str, headers: Mapping[str, str], *, source: Source, seconds: float = ANSWER_S
) -> Iterator[requests.Response]:
    """The answer to a GET of a URL, its body unread; redirects are followed where the source's rules let them lead.

    The one place where this wing asks web servers. Raises NoIdentityError without an answer, and where answer and body
    are not complete in ``seconds``.
    """
    import requests  # noqa: PLC0415  a quarter second of import that local inputs do not pay

    from tilewright.catalogs.network.client import judged_session  # noqa: PLC0415

    session = judged_session(source.rules, retries=1)
    # Each request would look through all variables and the file of users again.
    session.trust_env = False
    try:
        with session.watch.within(seconds, href=url), _answered(session, url, headers, source) as answer:
            yield answer
    except (requests.RequestException, OSError, ValueError, UnicodeError) as error:
        raise NoIdentityError(f"no answer ({type(error).__name__})") from error


def _answered(session: requests.Session, url: str, headers: Mapping[str, str], source: Source) -> requests.Response:
    target, verify = url, source.s3.checked_ca_bundle() or True
    for _ in range(REDIRECTS):
        said = _environment(target, verify)
        answer = session.get(target, headers=dict(headers), timeout=TIMEOUT_S, allow_redirects=False, **said)
        if not answer.is_redirect:
            return answer
        answer.close()
        target = check_href(urljoin(target, answer.headers["location"]), origin=url, hosts=source.hosts)
    raise NoIdentityError(f"it redirects more than {REDIRECTS} times")


def _drain(answer: requests.Response) -> None:
    """Read a short answer to its end: its connection then serves the next request."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) <= DRAINED:
        # The headers are all that is asked for.
        with suppress(HTTPError, OSError):
            answer.raw.read(int(length), decode_content=False)


def _environment(url: str, verify: str | bool) -> dict[str, Any]:
    """What the environment says of a host, its proxy and its user, looked up once in this thread."""
    import requests  # noqa: PLC0415

    host = urlsplit(url).netloc
    known = _sessions.__dict__.setdefault("hosts", {})
    if host not in known:
        settings = requests.Session().merge_environment_settings(url, {}, True, verify, None)
        known[host] = {**settings, "auth": None if "@" in host else requests.utils.get_netrc_auth(url)}
    return cast("dict[str, Any]", known[host])


def _size(status: int, headers: Mapping[str, str]) -> int | None:
    """The length of the whole file: behind the slash of a range, else that of the answer."""
    if status == 206:
        total = re.search(r"/(\d+)\s*$", headers.get("Content-Range", ""))
        return int(total[1]) if total else None
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
