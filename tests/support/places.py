"""Places where the files of a world lie: a disk, web servers of several habits, a bucket. Files can be replaced."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any

from tests.support.http_servers import QuietHandler, running

HABITS = ("etag", "date", "weak", "plain", "deaf", "sizeless")
"""Web servers: strong ETags; Last-Modified alone; weak ETags; no validator; ETags without preconditions; no length."""


class Place:
    """A folder, and the hrefs under which its files are found; `asked` are the requests for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def href(self, name: str) -> str:
        return str(self.folder / name)

    def put(self, name: str, source: Path) -> None:
        """Put another file under the name, at once."""
        draft = self.folder / f".{name}.draft"
        shutil.copyfile(source, draft)
        draft.replace(self.folder / name)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class WebPlace(Place):
    """The folder over HTTP with ranges. Dates are those of the files, tags their sizes and changes."""

    def __init__(self, folder: Path, habit: str) -> None:
        super().__init__(folder)
        self.habit, self.url, self.down = habit, "", False
        self.lock = threading.Lock()
        self.latest: dict[str, float] = {}

    def href(self, name: str) -> str:
        return f"{self.url}/{name}"

    def put(self, name: str, source: Path) -> None:
        super().put(name, source)
        # A second later than the one before: dates of HTTP have no more digits.
        self.latest[name] = self.latest.get(name, 1_600_000_000.0) + 1
        os.utime(self.folder / name, (self.latest[name], self.latest[name]))

    def headers(self, path: Path) -> dict[str, str]:
        status = path.stat()
        tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        date = formatdate(status.st_mtime, usegmt=True)
        return {
            "etag": {"ETag": tag, "Last-Modified": date},
            "deaf": {"ETag": tag},
            "date": {"Last-Modified": date},
            "weak": {"ETag": f"W/{tag}"},
        }.get(self.habit, {})

    def refuses(self, path: Path, asked: Any) -> bool:
        """True if a precondition does not hold, for a server that looks at them."""
        if self.habit == "deaf":
            return False
        said = self.headers(path)
        if asked.get("If-Match"):
            return bool(asked["If-Match"] != said.get("ETag"))
        since = asked.get("If-Unmodified-Since")
        if not since or "Last-Modified" not in said:
            return False
        return parsedate_to_datetime(said["Last-Modified"]) > parsedate_to_datetime(since)


@contextmanager
def web_place(folder: Path, habit: str) -> Iterator[WebPlace]:
    """A server of that habit on a free port of 127.0.0.1."""
    place = WebPlace(folder, habit)

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 -- http.server's name
            path = folder / self.path.split("?")[0].lstrip("/")
            with place.lock:
                place.asked.append(self.path)
            if place.down or not path.is_file():
                self.reply({}, 503 if place.down else 404)
            elif place.refuses(path, self.headers):
                self.reply({}, 412)
            else:
                _send(self, path, place)

        do_HEAD = do_GET  # noqa: N815 -- http.server's name

    with running(Handler) as place.url:
        yield place


class BucketPlace(Place):
    """The folder's files as objects of a bucket of an S3 server."""

    def __init__(self, folder: Path, client: Any, bucket: str) -> None:
        super().__init__(folder)
        self.client, self.bucket = client, bucket
        for path in sorted(folder.iterdir()):
            client.upload_file(str(path), bucket, path.name)

    def href(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def put(self, name: str, source: Path) -> None:
        self.client.upload_file(str(source), self.bucket, name)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=name)


def _send(request: QuietHandler, path: Path, place: WebPlace) -> None:
    with place.lock:
        body, said = path.read_bytes(), place.headers(path)
    asked, status, total = request.headers.get("Range"), 200, len(body)
    if asked:
        start, _, stop = asked.removeprefix("bytes=").partition("-")
        last = min(int(stop or total), total - 1)
        shown = "*" if place.habit == "sizeless" else str(total)
        said["Content-Range"] = f"bytes {start}-{last}/{shown}"
        body, status = body[int(start) : last + 1], 206
    request.send_response(status)
    for name, value in {**said, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
