"""A PostgreSQL cluster of our own with PostGIS: in a folder, on a port of 127.0.0.1, never the system's."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.services.errors import ServiceError
from deploy.services.packages import install_packages
from deploy.services.processes import run
from deploy.services.settings import HOST, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.services.settings import Settings

PACKAGE = "postgresql-postgis"
"""Debian's package of PostGIS for its own PostgreSQL, which comes along (15 in Debian 12)."""
OWNER = "tilewright"
SYSTEM_USER = "postgres"
"""PostgreSQL refuses to run as root; where we are, it runs as the user its package brings."""
DATABASES = ("stac", "prefect")
# The cluster is thrown away with its folder: it need not survive a power cut, and starts sooner.
OPTIONS = "fsync=off synchronous_commit=off full_page_writes=off unix_socket_directories='' max_connections=60"


def find_programs(root: Path = Path("/")) -> Path | None:
    """The folder of the newest PostgreSQL's programs that PostGIS is installed for, as Debian lays them out."""
    found = [
        folder
        for folder in (root / "usr/lib/postgresql").glob("*/bin")
        if (folder / "initdb").exists()
        and (root / "usr/share/postgresql" / folder.parent.name / "extension/postgis.control").exists()
    ]
    return max(found, key=lambda folder: float(folder.parent.name), default=None)


def install_postgres(tell: Callable[[str], None]) -> Path:
    """The folder of PostgreSQL's programs, installed by apt-get where PostgreSQL or PostGIS is missing.

    Raises ServiceError: they are missing and cannot be installed here.
    """
    programs = find_programs()
    if programs is not None:
        return programs
    install_packages((PACKAGE,), what="PostgreSQL with PostGIS", tell=tell)
    programs = find_programs()
    if programs is None:
        raise ServiceError(f"Debian's package {PACKAGE} is installed, but brought no PostGIS for any PostgreSQL.")
    return programs


def place_cluster(folder: Path) -> str:
    """Where a new cluster goes: under the folder; where PostgreSQL's user cannot get there, a temporary folder."""
    if os.geteuid() == 0:
        try:
            run([*_as_user(), "test", "-x", str(folder)], timeout=20, failure="out of reach")
        except ServiceError:
            return tempfile.mkdtemp(prefix="tilewright-postgres-", dir="/var/tmp")
    return str(folder / "postgres")


def postgres_running(programs: Path | None, cluster: str) -> bool:
    """True if the cluster's server runs."""
    if programs is None or not Path(cluster, "data").exists():
        return False
    try:
        _control(programs, cluster, "status")
    except ServiceError:
        return False
    return True


def start_postgres(programs: Path, settings: Settings) -> None:
    """Start the cluster's server, the cluster made first where there is none or it is of another version.

    Raises ServiceError: it does not start.
    """
    if postgres_running(programs, settings.cluster):
        return
    version = Path(settings.cluster, "data", "PG_VERSION")
    if not version.exists() or version.read_text().strip() != programs.parent.name:
        _make_cluster(programs, settings)
    listen = f"-p {settings.ports['postgres']} -c listen_addresses={HOST}"
    options = " ".join([listen, *(f"-c {option}" for option in OPTIONS.split())])
    _control(programs, settings.cluster, "start", "-w", "-l", f"{settings.cluster}/log", "-o", options)
    for name in DATABASES:
        _make_database(programs, settings, name)


def stop_postgres(programs: Path, cluster: str) -> None:
    """Stop the cluster's server, if it runs; its data stays."""
    if postgres_running(programs, cluster):
        _control(programs, cluster, "stop", "-w", "-m", "fast")


def database_url(settings: Settings, name: str, *, scheme: str = "postgresql") -> str:
    """The address of a database, its password included."""
    return f"{scheme}://{OWNER}:{settings.password}@{HOST}:{settings.ports['postgres']}/{name}"


def client_environment(settings: Settings, name: str) -> dict[str, str]:
    """The variables by which PostgreSQL's clients find a database."""
    port = str(settings.ports["postgres"])
    return {"PGHOST": HOST, "PGPORT": port, "PGUSER": OWNER, "PGPASSWORD": settings.password, "PGDATABASE": name}


def _make_cluster(programs: Path, settings: Settings) -> None:
    cluster, secret = Path(settings.cluster), Path(settings.cluster, "password")
    shutil.rmtree(cluster, ignore_errors=True)
    cluster.mkdir(mode=0o700, parents=True)
    write_private(secret, settings.password)
    if os.geteuid() == 0:
        shutil.chown(cluster, SYSTEM_USER)
        shutil.chown(secret, SYSTEM_USER)
    who = ["-U", OWNER, f"--pwfile={secret}", "--auth=scram-sha-256"]
    how = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D", str(cluster / "data")]
    run(
        [*_as_user(), str(programs / "initdb"), *who, *how],
        timeout=120,
        failure=f"no PostgreSQL cluster could be made in {cluster}",
    )
    secret.unlink()


def _make_database(programs: Path, settings: Settings, name: str) -> None:
    """Create a database unless it is there."""
    psql = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--tuples-only"]
    env, failure = client_environment(settings, "postgres"), f"the database {name} could not be made"
    there = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"  # noqa: S608  our own two names
    if not run([*psql, "-c", there], timeout=60, failure=failure, env=env).strip():
        run([*psql, "-c", f"CREATE DATABASE {name}"], timeout=60, failure=failure, env=env)


def _control(programs: Path, cluster: str, *arguments: str) -> str:
    command = [*_as_user(), str(programs / "pg_ctl"), "-D", f"{cluster}/data", *arguments]
    return run(command, timeout=120, failure=f"PostgreSQL: {arguments[0]} failed; its log is {cluster}/log")


def _as_user() -> Sequence[str]:
    return ("runuser", "-u", SYSTEM_USER, "--") if os.geteuid() == 0 else ()
