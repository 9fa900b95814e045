"""The storage of a product: one small interface to a folder or a bucket."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.tasks.storage.bucket import CA_BUNDLE, many_at_once, open_bucket, put_by_copy, unchanged, upload_file
from tilewright.tasks.storage.errors import StorageError, StoreError, call_with_retries, reason
from tilewright.tasks.storage.fence import DRAFTS, ITEM, STATE_FOLDER, RecentCheck, check_bucket, check_folder
from tilewright.tasks.storage.guard import STAGING, copy_file, guarded, place_file, put_file, remove_file, remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from zarr.abc.store import Store as ZarrStore

    from tilewright.tasks.storage.fence import Fence


__all__ = ["CA_BUNDLE", "STATE_FOLDER", "Storage", "StorageError", "StoreError", "json_bytes", "open_storage"]

T = TypeVar("T")

REMOTE = re.compile(r"^(s3|gs|az|abfss?|https?)://")

CONDITION_TRIES = 4
"""Tries of a conditional put that another writer of the same run came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One prefix of one object store. Keys are relative, ``/``-separated; ``uri`` holds no credentials.

    With a ``fence`` every write and removal raises FencedError once the output does not belong to that run any more.
    """

    uri: str
    root: Any
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    fence: Fence | None = None

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
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{key} in {self.uri} is not JSON: restore it or choose another output.") from error

    def etag(self, key: str) -> str | None:
        """A tag that changes with the object's content, from its metadata alone; None if there is no such object."""
        found = self._head(key)
        return found and (found.get("e_tag") or f"{found['last_modified'].isoformat()}-{found['size']}")

    def check_fence(self) -> None:
        """Check that the output still belongs to the run of the fence. Raises FencedError; nothing without a fence."""
        if self.fence is not None and self.folder is not None:
            with guarded(self.folder):
                check_folder(self.fence, self.folder)
        elif self.fence is not None:
            self.call_with_retries("look at the lock of", partial(check_bucket, self.fence, self.root, self.uri))

    def write(self, key: str, content: bytes) -> None:
        """Put a whole object in place of any existing one; a reader gets the old or the new one."""
        if self.fence is None:
            self._put(key, content)
        elif self.folder is not None:
            self.call_with_retries(f"write {key} to", partial(put_file, self.folder, key, content, self.fence))
        elif key == ITEM:
            self._put_item(key, content, self.fence)
        else:
            self._put_unchanged(key, content)

    def write_private(self, key: str, content: bytes) -> None:
        """Put an object as ``write`` does; in a folder it is readable for its owner alone from its first byte on."""
        if self.folder is None:
            self.write(key, content)
            return
        put = partial(put_file, self.folder, key, content, self.fence, private=True)
        self.call_with_retries(f"write {key} to", put)

    def write_json(self, key: str, plain: object, keep_query: Sequence[str] = ()) -> None:
        """Put a value as JSON in place of any existing object, as ``json_bytes`` writes it."""
        self.write(key, json_bytes(plain, keep_query))

    def create_json(self, key: str, plain: object, keep_query: Sequence[str] = ()) -> bool:
        """True if the value was put as JSON; False, and nothing written, if the object exists (conditional put)."""
        content = json_bytes(plain, keep_query)
        if self.fence is not None and self.folder is not None:
            put = partial(put_file, self.folder, key, content, self.fence, create=True)
            return self.call_with_retries(f"write {key} to", put)
        if self.fence is not None and not self.fence.conditional:
            if absent := self._head(key) is None:
                self._put_unchanged(key, content)
            return absent
        self.check_fence()
        try:
            self._put(key, content, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def upload(self, key: str, path: Path) -> None:
        """Put a whole local file (multipart if it is large) in place of any existing object."""
        if self.fence is None:
            self._put(key, path)
        elif self.folder is not None:
            self.call_with_retries(f"write {key} to", partial(copy_file, self.folder, key, path, self.fence))
        else:
            self.call_with_retries(f"write {key} to", lambda: upload_file(self.root, key, path, check=self.check_fence))

    def move_file(self, key: str, path: Path) -> None:
        """Put a whole local file as ``upload`` does, but move it if it is on the disk of a storage folder."""
        if self.folder is None or self.folder.stat().st_dev != path.stat().st_dev:
            self.upload(key, path)
            return
        # Without a fence a file is moved all the same, under the guard alone.
        self.call_with_retries(f"write {key} to", partial(place_file, self.folder, key, path, self.fence))

    def _put_item(self, key: str, content: bytes, fence: Fence) -> None:
        """Put the Item in a bucket, unless another run acquired the lock by then."""
        draft = f"{DRAFTS}/{fence.run}.json"
        put = partial(put_by_copy, self.root, key, content, draft=draft, check=self.check_fence)
        try:
            self.call_with_retries(f"write {key} to", put)
        except FileNotFoundError as error:
            self.check_fence()
            raise StorageError(f"Cannot write {key} to {self.uri}: {draft} was removed from outside.") from error

    def _put_unchanged(self, key: str, content: bytes) -> None:
        """Put an object in a bucket, unless somebody changed it after the fence was checked.

        The version is read first and the lock afterwards: a version read while the lock was ours is no later owner's.
        """
        if self.fence is not None and not self.fence.conditional:
            self.check_fence()
            self._put(key, content)
            return
        for _ in range(CONDITION_TRIES):
            found = self._head(key)
            self.check_fence()
            try:
                self._put(key, content, mode=unchanged(found))
            except (AlreadyExistsError, PreconditionError):
                continue
            return
        self.check_fence()
        raise StorageError(f"Cannot write {key} to {self.uri}: it is changed all the time by others.")

    def _head(self, key: str) -> Any | None:
        try:
            return self.call_with_retries(f"look at {key} in", lambda: obstore.head(self.root, key))
        except FileNotFoundError:
            return None

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
        for _ in many_at_once(self._delete, keys) if self.remote else map(self._delete, keys):
            pass

    def _delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self.call_with_retries(f"remove {key} from", partial(self._delete_once, key))

    def _delete_once(self, key: str) -> None:
        if self.fence is not None and self.folder is not None:
            remove_file(self.folder, key, self.fence)
            return
        self.check_fence()
        obstore.delete(self.root, key)

    def delete_below(self, prefix: str) -> None:
        """Remove every object below a prefix; on a bucket in as few requests as it allows."""
        if self.folder is not None and self.fence is not None:
            self.call_with_retries(f"remove {prefix} from", partial(remove_folder, self.folder, prefix, self.fence))
        elif self.folder is not None:
            shutil.rmtree(self.folder / prefix, ignore_errors=True)
        else:
            keys = list(self.keys(prefix))
            self.check_fence()
            try:
                self.call_with_retries(f"remove {prefix} from", lambda: obstore.delete(self.root, keys))
            except FileNotFoundError:
                # Some were removed by a request whose answer was lost.
                self.delete(list(self.keys(prefix)))

    def zarr(self, prefix: str, *, read_only: bool = False) -> ZarrStore:
        """The Zarr store under a prefix."""
        # The import takes half a second, and a call on a finished product does not need it.
        from zarr.storage import ObjectStore as ZarrObjectStore  # noqa: PLC0415

        if self.folder is not None:
            store = ZarrObjectStore(LocalStore(self.folder / prefix, mkdir=not read_only), read_only=read_only)
        else:
            store = ZarrObjectStore(open_bucket(f"{self.uri}/{prefix}", self.options), read_only=read_only)
        if self.fence is None or read_only:
            return store
        from tilewright.tasks.storage.fenced_zarr import FencedPlace, FencedStore  # noqa: PLC0415

        place = FencedPlace(folder=self.folder, prefix=prefix, fence=self.fence, check=RecentCheck(self.check_fence))
        return FencedStore(store, place)


def open_storage(uri: str, *, options: Mapping[str, str] | None = None, create: bool = False) -> Storage:
    """The storage at a folder or URI; ``options`` are obstore's for the scheme (endpoint, allow_http...).

    Raises StoreError if the scheme is unknown or the folder cannot be made.
    """
    if REMOTE.match(uri):
        try:
            return Storage(uri=uri.rstrip("/"), root=open_bucket(uri, options or {}), options=dict(options or {}))
        except (BaseError, ValueError) as error:
            raise StoreError(f"The output {uri} cannot be opened: {reason(error)}.") from error
    if "://" in uri:
        raise StoreError(f"The output {uri!r} has an unknown scheme: give a folder, s3://, gs:// or az://.")
    folder = Path(uri).expanduser().resolve()
    try:
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"The output {uri} is a file: give a folder or an s3:// prefix.")
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        root = LocalStore(folder, mkdir=create) if folder.exists() else None
    except OSError as error:
        raise StoreError(f"The output {uri} cannot be written: {error.strerror or error}. Choose another.") from error
    return Storage(uri=str(folder), root=root)


def json_bytes(plain: object, keep_query: Sequence[str] = ()) -> bytes:
    """A value as UTF-8 JSON with sorted keys: the same value gives the same bytes.

    No URL in it keeps its user, password or query, but the parameters of a query that ``keep_query`` names.
    """
    public = json_without_secrets(plain, keep_query)
    return json.dumps(public, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()


@contextmanager
def staging_folder(storage: Storage) -> Iterator[Path]:
    """An empty temporary folder: inside a local product, so that both are on one disk, else the system's."""
    parent = None
    if storage.folder is not None:
        parent = storage.folder / STAGING
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)
