"""What is chosen once and remembered between starts: ports, the database's password, where its cluster lies."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HOST = "127.0.0.1"
PORTS = ("postgres", "stac", "s3", "web", "prefect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Ports by service, all on 127.0.0.1; the password of the database's owner; the folder of its cluster."""

    ports: Mapping[str, int]
    password: str
    cluster: str

    def url(self, service: str) -> str:
        """Where a service that speaks http answers."""
        return f"http://{HOST}:{self.ports[service]}"


def load_settings(folder: Path, *, running: frozenset[str], place_cluster: Callable[[], str]) -> Settings:
    """The settings remembered in the folder, or new ones, written before they come back.

    A service that is not running and whose port somebody else has taken meanwhile gets another one.
    """
    path = folder / "settings.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    ports = {name: _port(known.get("ports", {}).get(name), running=name in running) for name in PORTS}
    settings = Settings(
        ports=ports,
        password=known.get("password") or secrets.token_urlsafe(18),
        cluster=known.get("cluster") or place_cluster(),
    )
    write_private(path, json.dumps(asdict(settings), indent=2) + "\n")
    return settings


def read_settings(folder: Path) -> Settings | None:
    """The settings remembered in the folder; None where there are none."""
    path = folder / "settings.json"
    return Settings(**json.loads(path.read_text())) if path.exists() else None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads: it holds a password."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _port(known: int | None, *, running: bool) -> int:
    if known is not None and (running or _is_free(known)):
        return known
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
