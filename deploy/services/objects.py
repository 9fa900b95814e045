"""An S3 server (moto's) that holds the sample, and a plain web server in front of the same files."""

from __future__ import annotations

import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import obstore

from deploy.services.processes import start
from deploy.services.settings import HOST

if TYPE_CHECKING:
    from deploy.services.settings import Settings

SAMPLE_BUCKET = "tilewright-sample"
PRODUCT_BUCKET = "tilewright-products"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
"""moto lets everybody in who shows any keys."""
WEB_SERVER = Path(__file__).with_name("web_server.py")


def start_s3(folder: Path, sample: Path, settings: Settings) -> None:
    """Start the S3 server, and put the sample into it: it forgets everything when it stops. Raises ServiceError."""
    url = settings.url("s3")
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(settings.ports["s3"])]
    fresh = start("s3", command, folder=folder, health=f"{url}/moto-api/", env={})
    mark, wanted = folder / "uploaded.json", (sample / "sample.json").read_text()
    if fresh or not mark.exists() or mark.read_text() != wanted:
        for bucket in (SAMPLE_BUCKET, PRODUCT_BUCKET):
            request = urllib.request.Request(f"{url}/{bucket}", method="PUT")  # noqa: S310  our own server
            urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
        _upload(sample, url)
        mark.write_text(wanted)


def start_web(folder: Path, sample: Path, settings: Settings) -> None:
    """Start the web server over the sample's folder. Raises ServiceError."""
    command = [sys.executable, str(WEB_SERVER), str(sample), str(settings.ports["web"])]
    start("web", command, folder=folder, health=f"{settings.url('web')}/catalog.json", env={})


def _upload(sample: Path, endpoint: str) -> None:
    store = obstore.store.S3Store(
        SAMPLE_BUCKET,
        endpoint=endpoint,
        access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region=KEYS["AWS_REGION"],
        client_options={"allow_http": True},
    )
    files = sorted(path for path in sample.rglob("*") if path.is_file() and path.parent.name != "truth")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: obstore.put(store, path.relative_to(sample).as_posix(), path), files))
