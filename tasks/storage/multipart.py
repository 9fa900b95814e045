"""Multipart uploads that were begun in a bucket and never completed: paid for, and shown by no listing of objects.

Google and Azure drop what was not completed by themselves after a week; S3 keeps it for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.s3_request import bucket_url, send

if TYPE_CHECKING:
    from tilewright.tasks.storage.s3_request import S3Keys
    from tilewright.tasks.storage.storage import Storage


REGION = "us-east-1"
"""Where a bucket lies that nobody says the region of. Source: S3's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An upload under way or forgotten: its key below the product, the upload's id, seconds since the epoch."""

    key: str
    upload: str
    began: float

    @property
    def name(self) -> str:
        """The upload as S3's own addresses name it."""
        return f"{self.key}?uploadId={self.upload}"


def pending_uploads(storage: Storage, keys: S3Keys) -> list[Pending]:
    """Every upload below a product's prefix that was begun and neither completed nor aborted.

    Raises StorageError where the store refuses or answers with something else.
    """
    url, prefix, region = _place(storage)
    found: list[Pending] = []
    query = {"uploads": "", "prefix": f"{prefix}/"}
    while True:
        root = _listing(storage, url, query, keys=keys, region=region)
        space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        for entry in root.iter(f"{space}Upload"):
            key, upload, began = (entry.findtext(f"{space}{name}", "") for name in ("Key", "UploadId", "Initiated"))
            # What another server lists beyond the prefix is not ours.
            if key.startswith(f"{prefix}/") and upload and began:
                moment = datetime.fromisoformat(began).timestamp()
                found.append(Pending(key=key.removeprefix(f"{prefix}/"), upload=upload, began=moment))
        if root.findtext(f"{space}IsTruncated", "false") != "true":
            return found
        markers = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        query = {**query, **{name: root.findtext(f"{space}{tag}", "") for name, tag in markers.items()}}


def abort_uploads(storage: Storage, uploads: list[Pending], keys: S3Keys) -> None:
    """Abort uploads, so that the store forgets their parts; those already gone are fine.

    Raises StorageError where the store refuses.
    """
    url, prefix, region = _place(storage)
    for pending in uploads:
        place = f"{url}/{quote(f'{prefix}/{pending.key}', safe='/-_.~')}"
        status, body = _send(storage, "DELETE", place, {"uploadId": pending.upload}, keys=keys, region=region)
        if status not in {200, 204, 404}:
            raise _refused(storage, f"abort the upload of {pending.key} to", status, body)


def _place(storage: Storage) -> tuple[str, str, str]:
    """The bucket's address, the product's prefix, and the region."""
    parts = urlsplit(storage.uri)
    region = storage.options.get("region", REGION)
    url = bucket_url(parts.netloc, endpoint=storage.options.get("endpoint"), region=region)
    return url, parts.path.strip("/"), region


def _listing(storage: Storage, url: str, query: dict[str, str], *, keys: S3Keys, region: str) -> ET.Element:
    status, body = _send(storage, "GET", url, query, keys=keys, region=region)
    if status != 200:
        raise _refused(storage, "list the unfinished uploads to", status, body)
    try:
        return ET.fromstring(body)  # noqa: S314 -- of the user's own store; expat bounds what entities may grow to
    except ET.ParseError as error:
        raise StorageError(f"Cannot list the unfinished uploads to {storage.uri}: the answer is not XML.") from error


def _send(
    storage: Storage, method: str, url: str, query: dict[str, str], *, keys: S3Keys, region: str
) -> tuple[int, bytes]:
    return storage.insist("look for unfinished uploads in", lambda: send(method, url, query, keys=keys, region=region))


def _refused(storage: Storage, doing: str, status: int, body: bytes) -> StorageError:
    code = body.decode(errors="replace").partition("<Code>")[2].partition("</Code>")[0]
    return StorageError(f"Cannot {doing} {storage.uri}: the store answers HTTP {status} {code}.".replace(" .", "."))
