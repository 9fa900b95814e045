"""The bytes of the objects of a Zarr store: of a folder, of a web server under the rules for requests, of a bucket."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError, RefusedRequestError
from tilewright.catalogs.hrefs import encoded, scheme_of
from tilewright.tasks.identity.identity import listed_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.catalogs.network.connect import HostRules


SCHEMES = frozenset({"file", "http", "https", "s3"})

LARGEST_DOCUMENT = 2**24
"""Bytes of a metadata document; those with the documents of a whole store in them have some million."""

SECONDS, SLOWEST = 120.0, 2**18
"""An object must be there in so many seconds, and one more for each so many bytes that it may have."""

PIECE = 2**20

PLAIN_NAME = re.compile(r"[^/\\?#%:*\x00-\x1f\x7f\ud800-\udfff]{1,200}")

OUR_HEADERS = frozenset({"accept-encoding", "range", "host", "content-length", "transfer-encoding", "connection"})
"""Headers that are not taken from a user's list: they belong to the request itself."""

NOT_THERE = frozenset({404, 410})

FORBIDDEN = frozenset({401, 403})
"""What a bucket on the web also answers for what is not there, where it may not be listed."""

CODINGS = frozenset({"gzip", "deflate"})
"""Compressions on the way of whole objects, whose unpacking is bounded."""


class RefusedArrayError(ValueError):
    """What a store says that cannot be read however often it is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteSpan:
    """The bytes from ``start`` on, ``size`` of them; the last ``size`` ones where ``start`` is None."""

    start: int | None
    size: int

    @property
    def header(self) -> str:
        """The range as HTTP asks for it."""
        return f"bytes=-{self.size}" if self.start is None else f"bytes={self.start}-{self.start + self.size - 1}"

    def of(self, pieces: Iterable[bytes]) -> bytes:
        """The span of a whole object that comes in pieces, of which no more than the span is held."""
        held, before = bytearray(), 0
        for piece in pieces:
            held += piece
            if self.start is None:
                del held[: -self.size]
                continue
            skipped = min(self.start - before, len(held))
            del held[:skipped]
            before += skipped
            if len(held) >= self.size:
                break
        return bytes(held[: self.size])

    def answers(self, told: str) -> bool:
        """True if an answer that says to hold this range ("bytes 0-9/100") holds the span, or all there is of it."""
        found = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", told.strip())
        if found is None:
            return False
        first, last, whole = int(found[1]), int(found[2]), found[3]
        if self.start is not None:
            return first == self.start and last < self.start + self.size
        return whole == "*" or (last == int(whole) - 1 and first == max(0, int(whole) - self.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreObjects:
    """The objects of a store at ``root``: a folder, an http(s) URL or an s3 URI.

    ``settings`` are GDAL's, in which those of buckets stand; ``rules`` say where requests may go, None: anywhere.
    """

    root: str
    settings: Mapping[str, str]
    rules: HostRules | None

    @property
    def remote(self) -> bool:
        """True where each object is a request."""
        return scheme_of(self.root) != "file"

    def read(self, key: str, *, most: int, span: ByteSpan | None = None) -> bytes | None:
        """The bytes of an object or of a span of it; None where it is not there.

        Raises OSError where it cannot be had now or has more than ``most`` bytes, RefusedArrayError where no try helps.
        """
        scheme = scheme_of(self.root)
        if scheme == "file":
            content = _from_disk(Path(self.root.removeprefix("file://"), key), most=most, span=span)
        elif scheme == "s3":
            content = _from_bucket(f"{self.root}/{key}", self.settings, most=most, span=span)
        else:
            content = _from_web(encoded(f"{self.root}/{key}"), self.settings, self.rules, most=most, span=span)
        if content is not None and len(content) > most:
            raise OSError(f"{key} has more than {most:,} bytes")
        return content

    def document(self, folder: str) -> dict[str, Any] | None:
        """The zarr.json of a folder of the store, an empty name for its own; None where there is none.

        Raises RefusedArrayError for what is no document of Zarr v3, OSError as ``read``.
        """
        key = f"{folder}/zarr.json".lstrip("/")
        content = self.read(key, most=LARGEST_DOCUMENT)
        if content is None:
            return None
        try:
            plain = json.loads(content)
        except (ValueError, RecursionError) as error:
            # A server may send a page in its place, or half of it, in passing.
            refused = OSError if self.remote else RefusedArrayError
            raise refused(f"{key} is no JSON") from error
        if not isinstance(plain, dict) or plain.get("zarr_format") != 3:
            raise RefusedArrayError(f"{key} is no document of Zarr v3")
        return plain


def is_plain_name(name: Any) -> bool:
    """True for the name of a node directly in a group: no path, nothing that a URL or a disk would read another way."""
    return isinstance(name, str) and name not in ("", ".", "..") and PLAIN_NAME.fullmatch(name) is not None


def _from_disk(path: Path, *, most: int, span: ByteSpan | None) -> bytes | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if span is not None:
                file.seek(max(0, size - span.size) if span.start is None else span.start)
                return file.read(span.size)
            file.seek(0)
            return file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _from_web(
    url: str, settings: Mapping[str, str], rules: HostRules | None, *, most: int, span: ByteSpan | None
) -> bytes | None:
    from tilewright.catalogs.network.client import judged_session  # noqa: PLC0415  only remote stores pay for it

    # A connection that was kept may be closed by now: once more.
    session = judged_session(rules, retries=1)
    seconds = SECONDS + (most if span is None else span.size) / SLOWEST
    ours = {"accept-encoding": "identity", **({} if span is None else {"range": span.header})}
    given = listed_headers(settings.get("GDAL_HTTP_HEADERS", ""))
    if not all(value.isascii() and value.isprintable() for value in given.values()):
        raise RefusedArrayError("GDAL_HTTP_HEADERS has characters that are not sent in headers: write ASCII")
    headers = {name: value for name, value in given.items() if name.lower() not in OUR_HEADERS} | ours
    try:
        with (
            session.watch.within(seconds, href=url),
            session.get(url, headers=headers, timeout=seconds, stream=True) as answer,
        ):
            if answer.status_code in NOT_THERE:
                return None
            if answer.status_code not in {200, 206}:
                refused = PermissionError if answer.status_code in FORBIDDEN else OSError
                raise refused(f"HTTP error code : {answer.status_code}")
            ranged = answer.status_code == 206
            if ranged and (span is None or not span.answers(answer.headers.get("Content-Range", ""))):
                raise OSError("the server sends another range than it was asked for")
            coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
            if coding != "identity" and (span is not None or coding not in CODINGS):
                raise OSError(f"the server sends what it compressed itself ({coding[:20]})")
            pieces = answer.iter_content(PIECE)
            # A server that knows no ranges sends the whole object.
            return span.of(pieces) if span is not None and not ranged else _joined(pieces, most)
    except RefusedRequestError as error:
        raise RefusedArrayError(str(error)) from error
    except CatalogError as error:
        raise OSError(str(error)) from error


def _joined(pieces: Iterable[bytes], most: int) -> bytes:
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > most:
            raise OSError(f"more than the {most:,} bytes come that are expected")
    return bytes(content)


def _from_bucket(uri: str, settings: Mapping[str, str], *, most: int, span: ByteSpan | None) -> bytes | None:
    import obstore  # noqa: PLC0415

    bucket, _, key = uri[len("s3://") :].partition("/")
    told = ("AWS_NO_SIGN_REQUEST", "AWS_HTTPS", "CURL_CA_BUNDLE", "AWS_REQUEST_PAYER")
    try:
        store = _bucket(bucket, tuple((name, settings.get(name)) for name in told))
        if span is None:
            found = obstore.get(store, key)
            if found.meta["size"] > most:
                raise OSError(f"it has {found.meta['size']:,} bytes, and {most:,} are expected at most")
            return bytes(found.bytes())
        if span.start is None:
            return bytes(obstore.get(store, key, options={"range": {"suffix": span.size}}).bytes())
        return bytes(obstore.get_range(store, key, start=span.start, length=span.size))
    except FileNotFoundError:
        return None
    except (ValueError, obstore.exceptions.BaseError) as error:
        forbidden = obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError
        refused = PermissionError if isinstance(error, forbidden) else OSError
        raise refused(f"the bucket does not give it ({type(error).__name__})") from error


@lru_cache(maxsize=32)
def _bucket(bucket: str, settings: tuple[tuple[str, str | None], ...]) -> Any:
    """The bucket; its keys, region and endpoint are those of the AWS_* variables, which obstore reads itself."""
    import obstore  # noqa: PLC0415

    told = dict(settings)
    client: dict[str, Any] = {"allow_http": True} if told["AWS_HTTPS"] == "NO" else {}
    if told["CURL_CA_BUNDLE"]:
        client["root_certificate"] = Path(told["CURL_CA_BUNDLE"]).read_bytes()
    options: dict[str, Any] = {"retry_config": {"max_retries": 1}}
    options |= {"client_options": client} if client else {}
    options |= {"skip_signature": True} if told["AWS_NO_SIGN_REQUEST"] == "YES" else {}
    options |= {"request_payer": True} if told["AWS_REQUEST_PAYER"] else {}
    return obstore.store.S3Store(bucket, **options)
