"""The command behind `make services`: `python -m deploy.services start|stop|remove`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from filelock import FileLock

from deploy.services.errors import ServiceError
from deploy.services.prefect_server import prefect_installed
from deploy.services.services import remove_services, start_services, stop_services
from tilewright.catalogs.errors import CatalogError

FOLDER = Path(__file__).parents[2] / ".services"


def main(arguments: list[str]) -> int:
    """The exit status: 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(prog="deploy.services", description=__doc__)
    parser.add_argument("what", choices=("start", "stop", "remove"))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything lies (default: .services)")
    parser.add_argument("--no-prefect", action="store_true", help="leave the Prefect server out")
    asked = parser.parse_args(arguments)
    folder = asked.folder.resolve()
    if asked.what != "start" and not folder.exists():
        return 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            _do(asked.what, folder, prefect=not asked.no_prefect and prefect_installed())
    except (ServiceError, CatalogError) as error:
        sys.stderr.write(f"services: {error}\n")
        return 1
    return 0


def _do(what: str, folder: Path, *, prefect: bool) -> None:
    began = time.monotonic()
    if what == "start":
        addresses = start_services(folder, prefect=prefect, tell=_tell)
        _tell(f"The services run ({time.monotonic() - began:.0f} s); their addresses are in {addresses}")
    elif what == "stop":
        stop_services(folder)
    else:
        remove_services(folder)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
