"""Signed requests to an S3-compatible store, for the few calls that the object store's client lacks."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


TIMEOUT_SECONDS = 60
"""The timeout of one request: these requests carry no pixels."""

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Keys:
    """The credentials that sign requests; the repr shows none of them."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def bucket_url(bucket: str, *, endpoint: str | None, region: str) -> str:
    """The URL of a bucket: below its endpoint, else at Amazon, as a host name unless the bucket's name holds a dot."""
    if endpoint:
        return f"{endpoint.rstrip('/')}/{bucket}"
    host = f"s3.{region}.amazonaws.com"
    return f"https://{host}/{bucket}" if "." in bucket else f"https://{bucket}.{host}"


def signed_headers(
    method: str, url: str, query: Mapping[str, str], *, keys: S3Keys, region: str, now: datetime
) -> dict[str, str]:
    """The headers of a request without a body to ``url`` (quoted) with ``query`` (not quoted).

    Source: AWS Signature Version 4 for S3, "Authenticating Requests: Using the Authorization Header".
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join([method, parts.path or "/", query_string(query), *lines, "", names, EMPTY_SHA256])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = f"AWS4{keys.secret}".encode()
    for word in scope.split("/"):
        secret = hmac.digest(secret, word.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    credential = f"Credential={keys.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}


def query_string(query: Mapping[str, str]) -> str:
    """The query as it is sent and signed: sorted, all but the unreserved characters quoted."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))


def send(method: str, url: str, query: Mapping[str, str], *, keys: S3Keys, region: str) -> tuple[int, bytes]:
    """(status, body) of the answer. Raises OSError if the store cannot be reached."""
    # The import takes a quarter second; only the cleaning of a bucket needs it.
    import requests  # noqa: PLC0415

    headers = signed_headers(method, url, query, keys=keys, region=region, now=datetime.now(UTC))
    answer = requests.request(
        method, f"{url}?{query_string(query)}", headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
    )
    return answer.status_code, answer.content
