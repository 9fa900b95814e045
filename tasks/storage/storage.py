"""Where a product's bytes live: a folder or a bucket behind one small interface."""

from __future__ import annotations

import json
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url

from tilewright.tasks.storage.errors import StorageError, StoreError, insist, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from zarr.storage import ObjectStore as ZarrObjectStore


__all__ = ["Storage", "StorageError", "StoreError", "json_bytes", "open_storage"]

T = TypeVar("T")

REMOTE = re.compile(r"^(s3|gs|az|abfss?|https?)://")

RETRIES = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=120),
}
"""The client's own patience with 5xx, 429 and broken connections: a minute of throttling is sat out."""

REQUEST_SECONDS = 120
"""One request, body included: a shard of 16 MB over a line of 1 Mbit/s."""

HOME = ".tilewright"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One prefix of one object store. Keys are relative, ``/``-separated; ``uri`` is free of credentials."""

    uri: str
    root: Any
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a bucket."""
        return None if REMOTE.match(self.uri) else Path(self.uri)

    @property
    def remote(self) -> bool:
        """True for a bucket."""
        return REMOTE.match(self.uri) is not None

    def insist(self, doing: str, action: Callable[[], T]) -> T:
        """What ``action`` returns, tried again where storage is a bucket and the failure may pass.

        Raises StorageError saying what could not be done.
        """
        return insist(action, doing=doing, uri=self.uri, remote=self.remote)

    def read(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""
        try:
            return self.insist(f"read {key} in", lambda: bytes(obstore.get(self.root, key).bytes()))
        except FileNotFoundError:
            return None

    def read_json(self, key: str) -> Any:
        """The object parsed as JSON, or None if there is none.

        Raises StorageError where the object is not JSON.
        """
        content = self.read(key)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise StorageError(f"{key} in {self.uri} is not JSON: restore it or choose another output.") from error

    def etag(self, key: str) -> str | None:
        """What tells one state of an object from another without reading it; None if there is no such object."""
        try:
            found = self.insist(f"look at {key} in", lambda: obstore.head(self.root, key))
        except FileNotFoundError:
            return None
        return found.get("e_tag") or f"{found['last_modified'].isoformat()}-{found['size']}"

    def write(self, key: str, content: bytes) -> None:
        """Put the object whole, replacing what was there; a reader sees the old or the new one."""
        self._put(key, content)

    def write_json(self, key: str, plain: object) -> None:
        """Put a value as JSON, replacing what was there."""
        self.write(key, json_bytes(plain))

    def create_json(self, key: str, plain: object) -> bool:
        """Put a value as JSON only if there is no such object yet; False if there is one (conditional put)."""
        try:
            self._put(key, json_bytes(plain), mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def upload(self, key: str, path: Path) -> None:
        """Put a local file whole (multipart where it is large), replacing what was there."""
        self._put(key, path)

    def take(self, key: str, path: Path) -> None:
        """Put a local file whole as ``upload`` does; where it lies on a folder's own disk it is moved, not copied."""
        if self.folder is None or self.folder.stat().st_dev != path.stat().st_dev:
            self.upload(key, path)
            return
        target = self.folder / key
        self.insist(f"write {key} to", lambda: path.replace(target))

    def _put(self, key: str, content: bytes | Path, **how: Any) -> None:
        try:
            self.insist(f"write {key} to", lambda: obstore.put(self.root, key, content, **how))
        except FileNotFoundError as error:
            raise StorageError(f"Cannot write {key} to {self.uri}: the bucket or folder is not there.") from error

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys below a prefix, in no promised order."""

        def listed() -> list[str]:
            pages = obstore.list(self.root, prefix=prefix or None, chunk_size=1000)
            return [entry["path"] for page in pages for entry in page]

        try:
            yield from self.insist("list", listed)
        except FileNotFoundError:
            return

    def top(self) -> tuple[str, ...]:
        """Names directly under the prefix, sorted; empty where nothing is there."""
        if self.folder is not None:
            return tuple(sorted(entry.name for entry in self.folder.iterdir())) if self.folder.is_dir() else ()
        try:
            listing = self.insist("list", lambda: obstore.list_with_delimiter(self.root))
        except FileNotFoundError as error:
            raise StorageError(f"Cannot list {self.uri}: there is no such bucket.") from error
        paths = [*listing["common_prefixes"], *(entry["path"] for entry in listing["objects"])]
        return tuple(sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in paths}))

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those already gone are fine."""
        for key in keys:
            try:
                self.insist(f"remove {key} from", lambda key=key: obstore.delete(self.root, key))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def zarr(self, prefix: str, *, read_only: bool = False) -> ZarrObjectStore[Any]:
        """The Zarr store under a prefix."""
        # Half a second of import that a call on a finished product does not need.
        from zarr.storage import ObjectStore as ZarrObjectStore  # noqa: PLC0415

        if self.folder is not None:
            return ZarrObjectStore(LocalStore(self.folder / prefix, mkdir=not read_only), read_only=read_only)
        return ZarrObjectStore(_bucket(f"{self.uri}/{prefix}", self.options), read_only=read_only)


def open_storage(uri: str, *, options: Mapping[str, str] | None = None, create: bool = False) -> Storage:
    """The storage at a folder or URI; ``options`` are obstore's for the scheme (endpoint, allow_http...).

    Raises StoreError where the scheme is unknown or a folder cannot be made.
    """
    if REMOTE.match(uri):
        try:
            return Storage(uri=uri.rstrip("/"), root=_bucket(uri, options or {}), options=dict(options or {}))
        except (BaseError, ValueError) as error:
            raise StoreError(f"The output {uri} cannot be opened: {reason(error)}.") from error
    if "://" in uri:
        raise StoreError(f"The output {uri!r} has an unknown scheme: give a folder, s3://, gs:// or az://.")
    folder = Path(uri).expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"The output {uri} is a file: give a folder or an s3:// prefix.")
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        root = LocalStore(folder, mkdir=create) if folder.exists() else None
    except OSError as error:
        raise StoreError(f"The output {uri} cannot be written: {error.strerror or error}. Choose another.") from error
    return Storage(uri=str(folder), root=root)


def _bucket(uri: str, options: Mapping[str, str]) -> Any:
    """The object store at a URI; plain http is allowed only where the endpoint itself is plain http."""
    client: dict[str, Any] = {"timeout": timedelta(seconds=REQUEST_SECONDS)}
    if options.get("endpoint", "").startswith("http://"):
        client["allow_http"] = True
    settings: dict[str, Any] = {"client_options": client, "retry_config": RETRIES}
    if options:
        settings["config"] = dict(options)
    return from_url(uri, **settings)


def json_bytes(plain: object) -> bytes:
    """A value as UTF-8 JSON with sorted keys: the same value gives the same bytes."""
    return json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()


@contextmanager
def staging_folder(storage: Storage) -> Iterator[Path]:
    """An empty folder, gone afterwards: beside a local product, so that they share its disk; else the system's."""
    home = None
    if storage.folder is not None:
        home = storage.folder / HOME / "staging"
        home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        yield Path(folder)
