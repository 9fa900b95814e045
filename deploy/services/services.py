"""All services together: what is started in which order, what may go on at the same time, what is left behind."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from deploy.services.addresses import write_addresses
from deploy.services.browser import install_browser
from deploy.services.objects import SAMPLE_BUCKET, start_s3, start_web
from deploy.services.postgres import (
    find_programs,
    install_postgres,
    place_cluster,
    postgres_running,
    start_postgres,
    stop_postgres,
)
from deploy.services.prefect_server import start_prefect
from deploy.services.processes import is_running, stop
from deploy.services.records import WEB_SUFFIX, write_records
from deploy.services.settings import load_settings, read_settings
from deploy.services.stac_api import install_stac_api, load_records, start_stac_api
from tilewright.catalogs.sample.build import build_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.services.settings import Settings

PROCESSES = ("prefect", "stac", "web", "s3")
"""Ours beside PostgreSQL."""


def start_services(folder: Path, *, prefect: bool, tell: Callable[[str], None]) -> Path:
    """The file of addresses, all services running and holding the sample, a browser installed; what runs already stays.

    Raises ServiceError: one cannot be had; those that were started go on running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    addresses = folder / "env"
    with ThreadPoolExecutor() as pool:
        catalog = pool.submit(build_sample, folder / "sample")
        api_python = pool.submit(install_stac_api, folder, tell)
        programs = install_postgres(tell)
        # Only then: packages are installed one after another.
        browser = pool.submit(install_browser, tell)
        settings = _settle(folder, programs)
        start_postgres(programs, settings)
        server = pool.submit(start_prefect, folder, settings) if prefect else None
        sample = catalog.result().parent
        files = [pool.submit(start, folder, sample, settings) for start in (start_s3, start_web)]
        homes = {"": f"s3://{SAMPLE_BUCKET}", WEB_SUFFIX: settings.url("web")}
        load_records(api_python.result(), write_records(sample, folder / "records", homes=homes), settings)
        start_stac_api(api_python.result(), folder, settings)
        for started in (*files, *([server] if server else [])):
            started.result()
        program = browser.result()
    prefect_runs = is_running("prefect", folder=folder)
    write_addresses(addresses, settings, sample=sample, browser=program, prefect=prefect_runs)
    return addresses


def stop_services(folder: Path) -> None:
    """Stop what runs, by its recorded process number; the database, the sample and the environment stay for next time.

    Raises ServiceError: PostgreSQL does not stop.
    """
    (folder / "env").unlink(missing_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(stop, folder=folder), PROCESSES))
    settings, programs = read_settings(folder), find_programs()
    if settings is not None and programs is not None:
        stop_postgres(programs, settings.cluster)


def remove_services(folder: Path) -> None:
    """Stop what runs and delete everything the services left on this machine, Debian's packages apart.

    Raises ServiceError: PostgreSQL does not stop.
    """
    stop_services(folder)
    settings = read_settings(folder)
    if settings is not None:
        shutil.rmtree(settings.cluster, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _settle(folder: Path, programs: Path) -> Settings:
    """The settings for this start; what hangs on a database that is gone is stopped, to be started with the new one."""
    before = read_settings(folder)
    database = before is not None and postgres_running(programs, before.cluster)
    if not database:
        for name in ("prefect", "stac"):
            stop(name, folder=folder)
    running = {name for name in PROCESSES if is_running(name, folder=folder)} | ({"postgres"} if database else set())
    return load_settings(folder, running=frozenset(running), place_cluster=partial(place_cluster, folder))
