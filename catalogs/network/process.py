"""GDAL's settings for requests that are judged: the process they leave through is started when it is first needed."""

from __future__ import annotations

import atexit
import json
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilewright.catalogs.network.connect import HostRules

ROOT = Path(__file__).parents[3]
"""The folder from which `tilewright` is imported."""

PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from tilewright.catalogs.network.egress import main; main()"

COMMAND = (sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT))

END_SECONDS = 5.0

_running: dict[HostRules, Egress] = {}

_lock = threading.Lock()


class Egress:
    """A running process for some rules: its port on this machine, and the password that this process alone knows."""

    def __init__(self, rules: HostRules, command: tuple[str, ...]) -> None:
        self.password = secrets.token_hex(16)
        # A session of its own: Ctrl-C in a terminal is for the reader, which may have reads to finish.
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = {"rules": rules.to_json(), "password": self.password}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process that judges where requests go did not start: see its message above.")
        self.port = int(line)

    @property
    def alive(self) -> bool:
        """False if the process has ended."""
        return self._process.poll() is None

    def settings(self) -> dict[str, str]:
        """GDAL's settings for requests through the process."""
        return {
            "GDAL_HTTP_PROXY": f"socks5h://127.0.0.1:{self.port}",
            "GDAL_HTTP_PROXYUSERPWD": f"tilewright:{self.password}",
        }

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def egress_settings(rules: HostRules) -> dict[str, str]:
    """GDAL's settings for requests under the rules, through a process of their own that lives as long as this one.

    Raises RuntimeError if it cannot be started.
    """
    with _lock:
        if rules not in _running or not _running[rules].alive:
            _running[rules] = Egress(rules, COMMAND)
        return _running[rules].settings()


@atexit.register
def close_all() -> None:
    """End all processes that were started here."""
    with _lock:
        while _running:
            _running.popitem()[1].close()
