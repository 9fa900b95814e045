"""Unfinished multipart uploads in a bucket: they cost storage, and listings of objects do not show them.

Google and Azure remove them after a week; S3 keeps them until they are aborted.
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
"""The region of a bucket whose options name none. Source: S3's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A multipart upload, running or abandoned: key below the product, id, start in seconds since the epoch."""

    key: str
    upload: str
    began: float

    @property
    def name(self) -> str:
        """The key and the upload id, as in S3's URLs."""
        return f"{self.key} (upload {self.upload})"


def unfinished_uploads(storage: Storage, keys: S3Keys) -> list[UnfinishedUpload]:
    """Every upload below a product's prefix that was neither completed nor aborted.

    Raises StorageError if the store refuses or its answer is not XML.
    """
    url, prefix, region = _bucket_location(storage)
    found: list[UnfinishedUpload] = []
    query = {"uploads": "", "prefix": f"{prefix}/"}
    while True:
        root = _listing(storage, url, query, keys=keys, region=region)
        namespace = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        for entry in root.iter(f"{namespace}Upload"):
            key, upload, began = (entry.findtext(f"{namespace}{name}", "") for name in ("Key", "UploadId", "Initiated"))
            # Some servers ignore the prefix: uploads outside of it are not ours.
            if key.startswith(f"{prefix}/") and upload and began:
                moment = datetime.fromisoformat(began).timestamp()
                found.append(UnfinishedUpload(key=key.removeprefix(f"{prefix}/"), upload=upload, began=moment))
        if root.findtext(f"{namespace}IsTruncated", "false") != "true":
            return found
        markers = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        query = {**query, **{name: root.findtext(f"{namespace}{tag}", "") for name, tag in markers.items()}}


def abort_uploads(storage: Storage, uploads: list[UnfinishedUpload], keys: S3Keys) -> None:
    """Abort uploads, so that the store deletes their parts; uploads that no longer exist are ignored.

    Raises StorageError if the store refuses.
    """
    url, prefix, region = _bucket_location(storage)
    for upload in uploads:
        target = f"{url}/{quote(f'{prefix}/{upload.key}', safe='/-_.~')}"
        status, body = _send(storage, "DELETE", target, {"uploadId": upload.upload}, keys=keys, region=region)
        if status not in {200, 204, 404}:
            raise _refused(storage, f"abort the upload of {upload.key} to", status, body)


def _bucket_location(storage: Storage) -> tuple[str, str, str]:
    """(URL of the bucket, prefix of the product, region)."""
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
    return storage.call_with_retries(
        "look for unfinished uploads in", lambda: send(method, url, query, keys=keys, region=region)
    )


def _refused(storage: Storage, operation: str, status: int, body: bytes) -> StorageError:
    code = body.decode(errors="replace").partition("<Code>")[2].partition("</Code>")[0]
    return StorageError(f"Cannot {operation} {storage.uri}: the store answers HTTP {status} {code}.".replace(" .", "."))
