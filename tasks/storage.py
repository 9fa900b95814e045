"""Where a product's bytes live: a folder or a bucket behind one small interface."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url
from zarr.storage import ObjectStore as ZarrObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REMOTE = re.compile(r"^(s3|gs|az|abfss?|https?)://")


class StoreError(ValueError):
    """An output that cannot be used: what was given, why not, what to do."""


class StorageError(RuntimeError):
    """A write or read that storage refused while the run was under way."""


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

    def read(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""
        try:
            return bytes(obstore.get(self.root, key).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot read {key} in {self.uri}: {_reason(error)}.") from error

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

    def write(self, key: str, content: bytes) -> None:
        """Put the object whole, replacing what was there; a reader sees the old or the new one."""
        try:
            obstore.put(self.root, key, content)
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot write {key} to {self.uri}: {_reason(error)}.") from error

    def write_json(self, key: str, plain: object) -> None:
        """Put a value as JSON, replacing what was there."""
        self.write(key, json_bytes(plain))

    def create_json(self, key: str, plain: object) -> bool:
        """Put a value as JSON only if there is no such object yet; False if there is one (conditional put)."""
        try:
            obstore.put(self.root, key, json_bytes(plain), mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot write {key} to {self.uri}: {_reason(error)}.") from error
        return True

    def upload(self, key: str, path: Path) -> None:
        """Put a local file whole (multipart where it is large), replacing what was there."""
        try:
            obstore.put(self.root, key, path)
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot write {key} to {self.uri}: {_reason(error)}.") from error

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys below a prefix, in no promised order."""
        try:
            for page in obstore.list(self.root, prefix=prefix or None):
                yield from (entry["path"] for entry in page)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot list {self.uri}: {_reason(error)}.") from error

    def top(self) -> tuple[str, ...]:
        """Names directly under the prefix, sorted; empty where nothing is there."""
        if self.folder is not None:
            return tuple(sorted(entry.name for entry in self.folder.iterdir())) if self.folder.is_dir() else ()
        listing = obstore.list_with_delimiter(self.root)
        paths = [*listing["common_prefixes"], *(entry["path"] for entry in listing["objects"])]
        return tuple(sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in paths}))

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those already gone are fine."""
        for key in keys:
            try:
                obstore.delete(self.root, key)
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise StorageError(f"Cannot remove {key} from {self.uri}: {_reason(error)}.") from error

    def zarr(self, prefix: str, *, read_only: bool = False) -> ZarrObjectStore[Any]:
        """The Zarr store under a prefix."""
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
            raise StoreError(f"The output {uri} cannot be opened: {_reason(error)}.") from error
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
    settings: dict[str, Any] = {"config": dict(options)}
    if options.get("endpoint", "").startswith("http://"):
        settings["client_options"] = {"allow_http": True}
    return from_url(uri, **settings)


def json_bytes(plain: object) -> bytes:
    """A value as UTF-8 JSON with sorted keys: the same value gives the same bytes."""
    return json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _reason(error: BaseException) -> str:
    """The first line of what storage said, without the library's debug dump."""
    said = str(error).strip().splitlines()
    return re.sub(r"(\?|&)[A-Za-z0-9_\-.%=&/]*", "", said[0]).rstrip(".") if said else type(error).__name__
