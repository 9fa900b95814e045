"""The places of disturbed products: a folder, or a bucket behind a proxy that fails on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import obstore
import requests
from obstore.store import S3Store

from tests.support.fault_proxy import FAULTS, FaultProxy, serving
from tests.support.http_servers import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}

ALL_FAULTS = (*FAULTS, "lost")
"""The faults of these runs; ``lost``: the server does what it is asked, and its answer never comes."""

BUCKET = "chaos"


class Place(Protocol):
    """The output of a product, seen from outside: nothing that it reads passes a fault."""

    uri: str
    env: Mapping[str, str]

    def objects(self) -> dict[str, bytes]:
        """Every object by its key."""

    def written(self, keys: Sequence[str]) -> dict[str, object]:
        """A mark per key that changes whenever the object is written again; keys without an object have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlace:
    """A folder."""

    uri: str
    env: Mapping[str, str] = field(default_factory=dict)

    def objects(self) -> dict[str, bytes]:
        """Every file by its path in the folder."""
        found = {}
        for folder, _folders, names in os.walk(self.uri):
            for path in (Path(folder) / name for name in names):
                with suppress(FileNotFoundError):
                    found[path.relative_to(self.uri).as_posix()] = path.read_bytes()
        return found

    def written(self, keys: Sequence[str]) -> dict[str, object]:
        """The time and the inode of each file."""
        found: dict[str, object] = {}
        for key in keys:
            with suppress(FileNotFoundError):
                state = (Path(self.uri) / key).stat()
                found[key] = (state.st_mtime_ns, state.st_ino)
        return found


class ChaosProxy(FaultProxy):
    """Passes requests on and notes every object that the server put; kills a process at one of its requests.

    ``victim``: the process, the number of the change (PUT, POST, DELETE) at which it is killed, and whether the server
    gets that change first.
    """

    def __init__(self, upstream: str, *, seed: int) -> None:
        super().__init__(upstream, seed=seed, kinds=ALL_FAULTS)
        self.puts: dict[str, int] = {}
        self.changes = 0
        self.victim: tuple[int, int, bool] | None = None
        self.before, self.after = self._before, self._after

    def arm(self, pid: int, number: int, *, after: bool) -> None:
        """Kill the process at that change of its, counted from now."""
        self.changes, self.victim = 0, (pid, number, after)

    def _before(self, method: str, path: str) -> None:
        """Called before a request is passed on."""
        if method not in {"GET", "HEAD"}:
            with self.lock:
                self.changes += 1
                number = self.changes
            self._kill(number, after=False)

    def _after(self, method: str, path: str, status: int) -> None:
        """Called when the server has answered and the client has not heard of it."""
        if method == "PUT" and status < 300:
            key = unquote(path.partition("?")[0])
            with self.lock:
                self.puts[key] = self.puts.get(key, 0) + 1
        if method not in {"GET", "HEAD"}:
            self._kill(self.changes, after=True)

    def _kill(self, number: int, *, after: bool) -> None:
        victim = self.victim
        if victim is not None and victim[1:] == (number, after):
            self.victim = None
            with suppress(ProcessLookupError):
                os.kill(victim[0], signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """A prefix of the bucket, which runs see through the proxy."""

    uri: str
    env: Mapping[str, str]
    proxy: ChaosProxy
    store: Any

    def objects(self) -> dict[str, bytes]:
        """Every object, read past the proxy."""
        entries = [entry["path"] for page in obstore.list(self.store) for entry in page]
        return {key: bytes(obstore.get(self.store, key).bytes()) for key in entries}

    def written(self, keys: Sequence[str]) -> dict[str, object]:
        """The number of times that the server was asked to put each object and did."""
        prefix = f"/{BUCKET}/{self.uri.rsplit('/', 1)[-1]}"
        with self.proxy.lock:
            return {key: found for key in keys if (found := self.proxy.puts.get(f"{prefix}/{key}"))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A server's bucket, and the proxy before it."""

    server: str
    proxy: ChaosProxy

    def place(self, name: str) -> BucketPlace:
        """A prefix of that name."""
        store = S3Store.from_url(
            f"s3://{BUCKET}/{name}",
            config={
                "endpoint": self.server,
                "access_key_id": "any",
                "secret_access_key": "any",
                "region": KEYS["AWS_REGION"],
            },
            client_options={"allow_http": True},
        )
        env = {**KEYS, "AWS_ENDPOINT_URL": self.proxy.url}
        return BucketPlace(uri=f"s3://{BUCKET}/{name}", env=env, proxy=self.proxy, store=store)


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """The address of an S3 server in a process of its own, with the bucket in it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            _wait_for(address, server)
            requests.put(f"{address}/{BUCKET}", timeout=10).raise_for_status()
            yield address
        finally:
            server.kill()
            server.wait(10)


@contextmanager
def bucket_behind_faults(server: str, *, seed: int) -> Iterator[Bucket]:
    """The bucket of a server, seen through a proxy of its own."""
    with serving(ChaosProxy(server, seed=seed)) as proxy:
        yield Bucket(server=server, proxy=proxy)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert server.poll() is None, "the S3 server ended"
        with suppress(requests.ConnectionError):
            requests.get(address, timeout=5)
            return
        time.sleep(0.05)
    raise AssertionError("the S3 server did not answer")
