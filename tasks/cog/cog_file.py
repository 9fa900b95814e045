"""One COG of a product: written from the store unless a valid one exists, uploaded whole, and recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio

from tilewright.tasks.cog.statistics import Statistics
from tilewright.tasks.cog.write import ENCODINGS, CogFacts, file_multihash, write_cog
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import STATE_FOLDER, staging_folder
from tilewright.tasks.zarr.store import LayerRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.cog.spec import CogSpec
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


FORMAT = 1
"""Raised when the way files are made changes, so that no file of an earlier version is kept."""

RECORDS = f"{STATE_FOLDER}/cogs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CogFile:
    """The request for a COG: its name, its layer (``spec``), its box in absolute pixels, its metadata items.

    ``checksums`` are those of the blocks that the box touches, by block name.
    """

    name: str
    spec: CogSpec
    grid: Grid
    box: PixelBox
    metadata: Mapping[str, str]
    checksums: Mapping[str, str]

    @property
    def key(self) -> str:
        """The digest of everything that determines the file's bytes."""
        return json_digest(
            {
                "format": FORMAT,
                "gdal": rasterio.__gdal_version__,
                "encoding": ENCODINGS[self.spec.kind],
                # JSON has no NaN.
                "spec": {**asdict(self.spec), "nodata": repr(self.spec.nodata)},
                "crs": self.grid.crs,
                "transform": list(self.grid.transform_of(self.box))[:6],
                "shape": list(self.box.shape),
                "metadata": dict(self.metadata),
                "blocks": dict(self.checksums),
            }
        )


def ensure_cog(storage: Storage, store: ProductStore, wanted: CogFile, *, threads: int) -> CogFacts:
    """The facts of the COG in storage, which is written and uploaded unless a valid one exists.

    Raises CogError, ReadBackError or StorageError, which name the layer.
    """
    key = wanted.key
    existing = read_record(storage, wanted.name, key=key)
    if existing is not None:
        return existing
    layer = LayerRows(store=store, name=wanted.spec.name, box=wanted.box)
    with staging_folder(storage) as folder:
        facts = write_cog(
            folder / wanted.name,
            rows=layer.rows,
            shape=wanted.box.shape,
            transform=wanted.grid.transform_of(wanted.box),
            crs=wanted.grid.crs,
            spec=wanted.spec,
            metadata=wanted.metadata,
            threads=threads,
        )
        storage.move_file(wanted.name, facts.path)
        if facts.sidecar is not None:
            storage.move_file(facts.sidecar.name, facts.sidecar)
    write_record(storage, facts, key=key)
    return facts


def write_record(storage: Storage, facts: CogFacts, *, key: str) -> None:
    """Record the facts of an uploaded COG under ``key``, the digest of everything that determines its bytes."""
    plain = {
        "key": key,
        "etag": storage.etag(facts.path.name),
        "size": facts.size,
        "checksum": facts.checksum,
        "statistics": None if facts.statistics is None else asdict(facts.statistics),
        # JSON has no numbers as keys.
        "counts": [[value, count] for value, count in facts.counts.items()],
        "pixels": facts.pixels,
        "valid_pixels": facts.valid_pixels,
        "overviews": list(facts.overviews),
        "sidecar": None if facts.sidecar is None else facts.sidecar.name,
    }
    storage.write_json(_record_key(facts.path.name), plain)


def read_record(storage: Storage, name: str, *, key: str) -> CogFacts | None:
    """The facts of the existing COG with the same ``key``; None if there is none, or it has changed since its upload.

    A local file is compared by its checksum, an object in a bucket by the tag that it had after its upload.
    """
    plain = storage.read_json(_record_key(name))
    if not isinstance(plain, dict) or plain.get("key") != key:
        return None
    try:
        facts = _facts(name, plain)
    except (KeyError, TypeError, ValueError):
        return None
    return facts if _is_unchanged(storage, facts, plain.get("etag")) else None


def remove_cogs(storage: Storage, names: list[str]) -> None:
    """Remove COGs with their sidecars and records."""
    storage.delete([key for name in names for key in (_record_key(name), name, f"{name}.aux.xml")])


def _record_key(name: str) -> str:
    return f"{RECORDS}/{name}.json"


def _facts(name: str, plain: Mapping[str, Any]) -> CogFacts:
    return CogFacts(
        path=Path(name),
        size=plain["size"],
        checksum=plain["checksum"],
        statistics=None if plain["statistics"] is None else Statistics(**plain["statistics"]),
        counts={int(value): int(count) for value, count in plain["counts"]},
        pixels=plain["pixels"],
        valid_pixels=plain["valid_pixels"],
        overviews=tuple(plain["overviews"]),
        sidecar=None if plain["sidecar"] is None else Path(plain["sidecar"]),
    )


def _is_unchanged(storage: Storage, facts: CogFacts, etag: object) -> bool:
    name = facts.path.name
    if facts.sidecar is not None and storage.etag(facts.sidecar.name) is None:
        return False
    if storage.folder is None:
        return etag is not None and storage.etag(name) == etag
    path = storage.folder / name
    return path.is_file() and path.stat().st_size == facts.size and file_multihash(path) == facts.checksum
