"""A Prefect server on our PostgreSQL."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from deploy.services.postgres import database_url
from deploy.services.processes import start
from deploy.services.settings import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.services.settings import Settings


def prefect_installed() -> bool:
    """True if this environment has Prefect (the extra `flows`)."""
    return importlib.util.find_spec("prefect") is not None


def start_prefect(folder: Path, settings: Settings) -> None:
    """Start the server, without its page and without telling anybody of it. Raises ServiceError."""
    env = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url(settings, "prefect", scheme="postgresql+asyncpg"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    where = ["--host", HOST, "--port", str(settings.ports["prefect"])]
    start(
        "prefect",
        [sys.executable, "-m", "prefect", "server", "start", "--no-ui", *where],
        folder=folder,
        health=f"{settings.url('prefect')}/api/health",
        env=env,
        timeout=180,
    )
