"""The identity of objects in S3 buckets: the version's ETag; of a Zarr store the ETags of all its objects."""

from __future__ import annotations

from datetime import UTC
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.fetch import bucket_options
from tilewright.tasks.identity.disk import DOCUMENTS
from tilewright.tasks.identity.identity import digest, headers_identity
from tilewright.tasks.identity.web import NoIdentityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.catalogs.s3 import S3Settings


MOST_LISTED = 50_000
"""Objects of a store that are listed, a thousand in each request; of a larger one the documents alone count."""


def object_identity(href: str, *, s3: S3Settings) -> str | None:
    """The identity of an s3 object. Raises NoIdentityError where it cannot be asked for."""
    bucket, _, key = href[len("s3://") :].partition("/")
    import obstore  # noqa: PLC0415

    try:
        found = obstore.head(open_bucket(bucket, s3), key)
    except (OSError, ValueError, CatalogError, obstore.exceptions.BaseError) as error:
        raise NoIdentityError(f"the bucket does not tell ({type(error).__name__})") from error
    return _of_meta(found)


def objects_identity(store: str, array: str, *, s3: S3Settings) -> str | None:
    """The identity of an array in a Zarr store of a bucket. Raises NoIdentityError where it cannot be listed."""
    bucket, _, prefix = store[len("s3://") :].partition("/")
    import obstore  # noqa: PLC0415

    try:
        rows, complete = _rows(obstore.list(open_bucket(bucket, s3), f"{prefix}/{array}".rstrip("/")))
        documents = {
            name: _of_meta(meta)
            for name in (f"{prefix}/{each}" for each in DOCUMENTS[:2])
            if (meta := _head_or_none(open_bucket(bucket, s3), name)) is not None
        }
    except (OSError, ValueError, CatalogError, obstore.exceptions.BaseError) as error:
        raise NoIdentityError(f"the bucket does not tell ({type(error).__name__})") from error
    if not rows and not documents:
        raise NoIdentityError("there is no such store")
    if not complete:
        rows = {name: identity for name, identity in rows.items() if name.rpartition("/")[2] in DOCUMENTS}
    return f"{'store' if complete else 'documents'}:{digest(repr(sorted({**documents, **rows}.items())))}"


def _rows(pages: Iterator[Any]) -> tuple[dict[str, str | None], bool]:
    """(identity by key) of the objects of a listing, and False if there are too many."""
    rows: dict[str, str | None] = {}
    for page in pages:
        rows |= {str(meta["path"]): _of_meta(meta) for meta in page}
        if len(rows) > MOST_LISTED:
            return rows, False
    return rows, True


def _head_or_none(store: Any, name: str) -> Mapping[str, Any] | None:
    import obstore  # noqa: PLC0415

    try:
        return dict(obstore.head(store, name))
    except FileNotFoundError:
        return None


def _of_meta(meta: Mapping[str, Any]) -> str | None:
    moment = meta.get("last_modified")
    headers = {
        "ETag": str(meta.get("e_tag") or ""),
        "Last-Modified": "" if moment is None else format_datetime(moment.astimezone(UTC), usegmt=True),
    }
    return headers_identity(headers, size=int(meta["size"]))


@lru_cache(maxsize=32)
def open_bucket(bucket: str, s3: S3Settings) -> Any:
    """The bucket, to be asked twice at most. Raises what obstore raises for settings that it does not take."""
    import obstore  # noqa: PLC0415

    settings: dict[str, Any] = {**bucket_options(s3), "retry_config": {"max_retries": 1}}
    if s3.request_payer:
        settings["request_payer"] = True
    return obstore.store.S3Store(bucket, **settings)
