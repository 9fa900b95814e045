"""A folder or a bucket for a product: what holds for one must hold for the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3

from tilewright.flows.environment import storage_options
from tilewright.tasks.storage.lock import Owner, look_at_lock, take_lock
from tilewright.tasks.storage.storage import Storage, open_storage

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
BUCKET = "owners"


def open_place(kind: str, folder: Path, environment: Any, endpoint: str) -> Storage:
    """An empty storage of that kind, "folder" or "bucket" of the S3 server at ``endpoint``, set in the environment."""
    if kind == "folder":
        return open_storage(str(folder / "out"), create=True)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        environment.setenv(name, value)
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=BUCKET)
    uri = f"s3://{BUCKET}/{folder.name}"
    return open_storage(uri, options=storage_options(uri))


def owner_of(run: str, *, host: str = "elsewhere", pid: int = 1, **said: Any) -> Owner:
    """A run, as it stands in a lock."""
    return Owner(run=run, host=host, pid=pid, beat=1000.0, **said)


def owned(storage: Storage, run: str = "one", **said: Any) -> Storage:
    """The storage of a run that took the lock as it is now, whoever holds it."""
    fence = take_lock(storage, look_at_lock(storage), owner_of(run, **said))
    assert fence is not None, "nobody else is at work"
    return replace(storage, fence=fence)
