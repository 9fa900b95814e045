"""A folder over HTTP with ranges, which fails on purpose as a test says; or the same in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.http_servers import QuietHandler, running
from tests.support.paths import ROOT

Fault = Callable[[int], str | None]
"""The fault of the n-th request: "500", "429", "403", "404", "cut", "short", or None."""


class FileServer:
    """The folder that is served, and the paths and headers that were requested."""

    def __init__(self, folder: Path, fault: Fault) -> None:
        self.folder = folder
        self.fault = fault
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self.retry_after = "0.05"
        self.lock = threading.Lock()

    def href(self, name: str) -> str:
        return f"{self.url}/{name}"


@contextmanager
def serve(folder: Path, fault: Fault = lambda number: None) -> Iterator[FileServer]:
    """The folder on a free port of 127.0.0.1."""
    served = FileServer(folder, fault)

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            with served.lock:
                number = len(served.requests)
                served.requests.append(self.path)
                served.headers.append({name.lower(): value for name, value in self.headers.items()})
            _answer(self, served, served.fault(number))

        def do_HEAD(self) -> None:  # noqa: N802 -- http.server's name
            path = served.folder / self.path.split("?")[0].lstrip("/")
            self.send_response(200 if path.is_file() else 404)
            self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
            self.end_headers()

    with running(Handler) as served.url:
        yield served


@contextmanager
def serve_elsewhere(folder: Path) -> Iterator[str]:
    """The address of the folder, served by another process: GDAL holds this one's lock while it asks for some files."""
    command = [sys.executable, "-m", "tests.support.file_server", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _answer(request: BaseHTTPRequestHandler, served: FileServer, fault: str | None) -> None:
    """One response: the file's range, or the fault."""
    path = served.folder / request.path.split("?")[0].lstrip("/")
    if (fault is not None and fault.isdigit()) or not path.is_file():
        request.send_response(int(fault) if fault is not None else 404)
        if fault == "429":
            request.send_header("Retry-After", served.retry_after)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    body, status = path.read_bytes(), 200
    headers = {}
    requested = request.headers.get("Range")
    if requested:
        start, _, stop = requested.removeprefix("bytes=").partition("-")
        if not start:
            start, stop = str(max(0, len(body) - int(stop))), ""
        last = min(int(stop or len(body)), len(body) - 1)
        headers["Content-Range"] = f"bytes {start}-{last}/{len(body)}"
        body, status = body[int(start) : last + 1], 206
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    if fault in {"cut", "short"}:
        request.close_connection = True
        body = body[: len(body) // 2] if fault == "short" else b""
    request.wfile.write(body)


if __name__ == "__main__":
    with serve(Path(sys.argv[1])) as files:
        print(files.url, flush=True)
        sys.stdin.read()  # until the test that started this process ends or closes the pipe
