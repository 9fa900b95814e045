"""stac-fastapi on pgstac, in an environment of its own: it needs a fastapi that Prefect refuses."""

from __future__ import annotations

import hashlib
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.services.postgres import client_environment
from deploy.services.processes import run, start
from deploy.services.settings import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.services.settings import Settings

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "--timeout", "20", "--retries", "2")
ABOUT = {
    "STAC_FASTAPI_TITLE": "Tilewright's test services",
    "STAC_FASTAPI_DESCRIPTION": "The embedded sample of Tilewright, simulated.",
    "STAC_FASTAPI_LANDING_ID": "tilewright-services",
    "STAC_FASTAPI_VERSION": "1",
}


def install_stac_api(folder: Path, tell: Callable[[str], None]) -> Path:
    """The environment's Python, the environment made anew where its requirements or this Python have changed.

    Raises ServiceError: a package cannot be had.
    """
    home = folder / "stac-api"
    python, mark = home / "bin" / "python", home / "installed"
    wanted = _digest(REQUIREMENTS.read_text(), sys.version)
    if mark.exists() and mark.read_text() == wanted:
        return python
    tell(f"Installing a STAC API (pgstac, stac-fastapi) into {home} ...")
    venv.create(home, with_pip=False, clear=True, symlinks=True)
    failure = "the STAC API's packages cannot be installed: is the package index within reach?"
    install = [sys.executable, *PIP, "--python", str(python), "install", "--requirement", str(REQUIREMENTS)]
    run(install, timeout=600, failure=failure)
    mark.write_text(wanted)
    return python


def load_records(python: Path, records: Path, settings: Settings) -> None:
    """Fill the database: its schema brought up to date, collections.ndjson and items.ndjson of a folder upserted.

    What the database is known to hold already is not loaded again. Raises ServiceError.
    """
    files = {table: records / f"{table}.ndjson" for table in ("collections", "items")}
    # Beside the data, so that a new cluster is known to be empty.
    mark = Path(settings.cluster, "loaded")
    wanted = _digest(REQUIREMENTS.read_text(), *(file.read_text() for file in files.values()))
    if mark.exists() and mark.read_text() == wanted:
        return
    env, pypgstac = client_environment(settings, "stac"), str(python.with_name("pypgstac"))
    run([pypgstac, "migrate"], timeout=120, failure="pgstac could not be set up", env=env)
    for table, file in files.items():
        load = [pypgstac, "load", table, str(file), "--method", "upsert"]
        run(load, timeout=120, failure=f"the sample's {table} could not be loaded into pgstac", env=env)
    mark.write_text(wanted)


def start_stac_api(python: Path, folder: Path, settings: Settings) -> None:
    """Start the API, with transactions, so that a test can add items. Raises ServiceError."""
    server = ["-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory", "--log-level", "warning"]
    choices = {"ENABLE_TRANSACTIONS_EXTENSIONS": "true", "DB_MAX_CONN_SIZE": "5", **ABOUT}
    start(
        "stac",
        [str(python), *server, "--host", HOST, "--port", str(settings.ports["stac"])],
        folder=folder,
        health=f"{settings.url('stac')}/_mgmt/health",
        env={**client_environment(settings, "stac"), **choices},
    )


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
