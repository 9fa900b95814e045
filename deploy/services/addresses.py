"""The file that tells tests where the services answer: one NAME=value per line, as a shell reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.services.objects import PRODUCT_BUCKET, SAMPLE_BUCKET
from deploy.services.postgres import database_url
from deploy.services.settings import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.services.settings import Settings

PREFIX = "TILEWRIGHT_TEST_"


def write_addresses(path: Path, settings: Settings, *, sample: Path, browser: str, prefect: bool) -> None:
    """Write the file, readable for its owner alone: the database's password is in it."""
    values = {
        "STAC_API": settings.url("stac"),
        "S3_ENDPOINT": settings.url("s3"),
        "S3_BUCKET": SAMPLE_BUCKET,
        "S3_PRODUCTS": PRODUCT_BUCKET,
        "WEB": settings.url("web"),
        "SAMPLE": str(sample),
        "BROWSER": browser,
        "POSTGRES": database_url(settings, "stac"),
    }
    if prefect:
        values["PREFECT_API"] = f"{settings.url('prefect')}/api"
    write_private(path, "".join(f"{PREFIX}{name}='{value}'\n" for name, value in values.items()))


def read_addresses(path: Path) -> dict[str, str]:
    """The addresses by name, without the prefix; empty where there is no such file."""
    if not path.exists():
        return {}
    pairs = (line.partition("=")[::2] for line in path.read_text().splitlines())
    return {name.removeprefix(PREFIX): value.strip("'") for name, value in pairs if name.startswith(PREFIX)}
