"""The storage of a product: one small interface to a folder or a bucket."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.tasks.storage.errors import StorageError, StoreError, call_with_retries, reason

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
"""The client's own retries after 5xx, 429 and broken connections: they outlast a minute of throttling."""

REQUEST_SECONDS = 120
"""The timeout of one request with its body: a shard of 16 MB over a line of 1 Mbit/s."""

CA_BUNDLE = "ca_bundle"
"""The option that is ours, not obstore's: the PEM file of the authorities whose certificates are trusted."""

STATE_FOLDER = ".tilewright"
"""The prefix of a product's plan, ledger and other state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One prefix of one object store. Keys are relative, ``/``-separated; ``uri`` holds no credentials."""

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

    def call_with_retries(self, operation: str, action: Callable[[], T]) -> T:
        """The result of ``action``; on a bucket it is retried after failures that may be temporary.

        Raises StorageError, which names ``operation`` ("write class.tif to").
        """
        return call_with_retries(action, operation=operation, uri=self.uri, remote=self.remote)

    def read(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""
        try:
            return self.call_with_retries(f"read {key} in", lambda: bytes(obstore.get(self.root, key).bytes()))
        except FileNotFoundError:
            return None

    def read_json(self, key: str) -> Any:
        """The object parsed as JSON, or None if there is none.

        Raises StorageError if the object is not JSON.
        """
        content = self.read(key)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise StorageError(f"{key} in {self.uri} is not JSON: restore it or choose another output.") from error

    def etag(self, key: str) -> str | None:
        """A tag that changes with the object's content, from its metadata alone; None if there is no such object."""
        try:
            found = self.call_with_retries(f"look at {key} in", lambda: obstore.head(self.root, key))
        except FileNotFoundError:
            return None
        return found.get("e_tag") or f"{found['last_modified'].isoformat()}-{found['size']}"

    def write(self, key: str, content: bytes) -> None:
        """Put a whole object in place of any existing one; a reader gets the old or the new one."""
        self._put(key, content)

    def write_json(self, key: str, plain: object) -> None:
        """Put a value as JSON in place of any existing object."""
        self.write(key, json_bytes(plain))

    def create_json(self, key: str, plain: object) -> bool:
        """True if the value was put as JSON; False, and nothing written, if the object exists (conditional put)."""
        try:
            self._put(key, json_bytes(plain), mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def upload(self, key: str, path: Path) -> None:
        """Put a whole local file (multipart if it is large) in place of any existing object."""
        self._put(key, path)

    def move_file(self, key: str, path: Path) -> None:
        """Put a whole local file as ``upload`` does, but move it if it is on the disk of a storage folder."""
        if self.folder is None or self.folder.stat().st_dev != path.stat().st_dev:
            self.upload(key, path)
            return
        target = self.folder / key
        self.call_with_retries(f"write {key} to", lambda: path.replace(target))

    def _put(self, key: str, content: bytes | Path, **options: Any) -> None:
        try:
            self.call_with_retries(f"write {key} to", lambda: obstore.put(self.root, key, content, **options))
        except FileNotFoundError as error:
            raise StorageError(f"Cannot write {key} to {self.uri}: the bucket or folder is not there.") from error

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys below a prefix, in any order."""

        def listed() -> list[str]:
            pages = obstore.list(self.root, prefix=prefix or None, chunk_size=1000)
            return [entry["path"] for page in pages for entry in page]

        try:
            yield from self.call_with_retries("list", listed)
        except FileNotFoundError:
            return

    def top_names(self) -> tuple[str, ...]:
        """The names directly under the prefix, sorted; empty for an empty prefix.

        Raises StorageError if there is no such bucket.
        """
        if self.folder is not None:
            return tuple(sorted(entry.name for entry in self.folder.iterdir())) if self.folder.is_dir() else ()
        try:
            listing = self.call_with_retries("list", lambda: obstore.list_with_delimiter(self.root))
        except FileNotFoundError as error:
            raise StorageError(f"Cannot list {self.uri}: there is no such bucket.") from error
        paths = [*listing["common_prefixes"], *(entry["path"] for entry in listing["objects"])]
        return tuple(sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in paths}))

    def delete(self, keys: list[str]) -> None:
        """Remove objects; missing ones are ignored."""
        for key in keys:
            try:
                self.call_with_retries(f"remove {key} from", lambda key=key: obstore.delete(self.root, key))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def delete_below(self, prefix: str) -> None:
        """Remove every object below a prefix; on a bucket in as few requests as it allows."""
        if self.folder is not None:
            shutil.rmtree(self.folder / prefix, ignore_errors=True)
            return
        keys = list(self.keys(prefix))
        try:
            self.call_with_retries(f"remove {prefix} from", lambda: obstore.delete(self.root, keys))
        except FileNotFoundError:
            # Some were removed by a request whose answer was lost.
            self.delete(list(self.keys(prefix)))

    def zarr(self, prefix: str, *, read_only: bool = False) -> ZarrObjectStore[Any]:
        """The Zarr store under a prefix."""
        # The import takes half a second, and a call on a finished product does not need it.
        from zarr.storage import ObjectStore as ZarrObjectStore  # noqa: PLC0415

        if self.folder is not None:
            return ZarrObjectStore(LocalStore(self.folder / prefix, mkdir=not read_only), read_only=read_only)
        return ZarrObjectStore(_bucket(f"{self.uri}/{prefix}", self.options), read_only=read_only)


def open_storage(uri: str, *, options: Mapping[str, str] | None = None, create: bool = False) -> Storage:
    """The storage at a folder or URI; ``options`` are obstore's for the scheme (endpoint, allow_http...).

    Raises StoreError if the scheme is unknown or the folder cannot be made.
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
    """The object store at a URI; plain http is allowed only if the endpoint is plain http."""
    client: dict[str, Any] = {"timeout": timedelta(seconds=REQUEST_SECONDS)}
    if options.get("endpoint", "").startswith("http://"):
        client["allow_http"] = True
    if ca_bundle := options.get(CA_BUNDLE):
        client["root_certificate"] = Path(ca_bundle).read_bytes()
    settings: dict[str, Any] = {"client_options": client, "retry_config": RETRIES}
    if config := {name: value for name, value in options.items() if name != CA_BUNDLE}:
        settings["config"] = config
    return from_url(uri, **settings)


def json_bytes(plain: object) -> bytes:
    """A value as UTF-8 JSON with sorted keys: the same value gives the same bytes.

    No URL in it keeps its user, password or query.
    """
    return json.dumps(
        json_without_secrets(plain), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False
    ).encode()


@contextmanager
def staging_folder(storage: Storage) -> Iterator[Path]:
    """An empty temporary folder: inside a local product, so that both are on one disk, else the system's."""
    parent = None
    if storage.folder is not None:
        parent = storage.folder / STATE_FOLDER / "staging"
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)
