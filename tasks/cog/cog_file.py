"""One COG of a product: made from the store unless it stands already, uploaded whole, and remembered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio

from tilewright.tasks.cog.statistics import Statistics
from tilewright.tasks.cog.write import ENCODINGS, CogFacts, multihash, write_cog
from tilewright.tasks.storage.ledger import digest
from tilewright.tasks.storage.storage import HOME, staging_folder
from tilewright.tasks.zarr.store import LayerRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.cog.spec import CogSpec
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


FORMAT = 1
"""Raised when files are made otherwise than before, so that none of an earlier run is kept."""

RECORDS = f"{HOME}/cogs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CogFile:
    """A file to be there: its name, the stored layer and absolute box it shows, what is said of it in the file.

    ``checksums`` are those of the blocks it touches, by name: with the rest they tell whether a standing file is it.
    """

    name: str
    spec: CogSpec
    grid: Grid
    box: PixelBox
    metadata: Mapping[str, str]
    checksums: Mapping[str, str]

    @property
    def key(self) -> str:
        """Digest of everything that makes the file's bytes."""
        return digest(
            {
                "format": FORMAT,
                "gdal": rasterio.__gdal_version__,
                "encoding": ENCODINGS[self.spec.kind],
                # NaN is no JSON.
                "spec": {**asdict(self.spec), "nodata": repr(self.spec.nodata)},
                "crs": self.grid.crs,
                "transform": list(self.grid.transform_of(self.box))[:6],
                "shape": list(self.box.shape),
                "metadata": dict(self.metadata),
                "blocks": dict(self.checksums),
            }
        )


def make_file(storage: Storage, store: ProductStore, wanted: CogFile, *, threads: int) -> CogFacts:
    """The facts of a COG that is in storage now.

    Raises CogError, ReadBackError or StorageError naming the layer.
    """
    key = wanted.key
    standing = read_record(storage, wanted.name, key=key)
    if standing is not None:
        return standing
    strips = LayerRows(store=store, name=wanted.spec.name, box=wanted.box)
    with staging_folder(storage) as folder:
        facts = write_cog(
            folder / wanted.name,
            rows=strips.rows,
            shape=wanted.box.shape,
            transform=wanted.grid.transform_of(wanted.box),
            crs=wanted.grid.crs,
            spec=wanted.spec,
            metadata=wanted.metadata,
            threads=threads,
        )
        storage.take(wanted.name, facts.path)
        if facts.sidecar is not None:
            storage.take(facts.sidecar.name, facts.sidecar)
    write_record(storage, facts, key=key)
    return facts


def write_record(storage: Storage, facts: CogFacts, *, key: str) -> None:
    """Remember an uploaded COG: what made it (``key``) and what it holds."""
    plain = {
        "key": key,
        "etag": storage.etag(facts.path.name),
        "size": facts.size,
        "checksum": facts.checksum,
        "statistics": None if facts.statistics is None else asdict(facts.statistics),
        # JSON knows no numbers as names.
        "counts": [[value, count] for value, count in facts.counts.items()],
        "pixels": facts.pixels,
        "valid_pixels": facts.valid_pixels,
        "overviews": list(facts.overviews),
        "sidecar": None if facts.sidecar is None else facts.sidecar.name,
    }
    storage.write_json(_place(facts.path.name), plain)


def read_record(storage: Storage, name: str, *, key: str) -> CogFacts | None:
    """The facts of a standing COG made of the same ``key`` and not touched since; None where there is none.

    A local file is held against its checksum, an object in a bucket against the tag it had when it was uploaded.
    """
    plain = storage.read_json(_place(name))
    if not isinstance(plain, dict) or plain.get("key") != key:
        return None
    try:
        facts = _facts(name, plain)
    except (KeyError, TypeError, ValueError):
        return None
    return facts if _stands(storage, facts, plain.get("etag")) else None


def record_names(storage: Storage) -> list[str]:
    """File names of all COGs that a ledger remembers, sorted."""
    names = (key.rsplit("/", 1)[-1] for key in storage.keys(RECORDS))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".tif.json"))


def forget_cogs(storage: Storage, names: list[str]) -> None:
    """Remove COGs with all that lies beside them, and what is known of them."""
    storage.delete([key for name in names for key in (_place(name), name, f"{name}.aux.xml")])


def _place(name: str) -> str:
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


def _stands(storage: Storage, facts: CogFacts, etag: object) -> bool:
    name = facts.path.name
    if facts.sidecar is not None and storage.etag(facts.sidecar.name) is None:
        return False
    if storage.folder is None:
        return etag is not None and storage.etag(name) == etag
    path = storage.folder / name
    return path.is_file() and path.stat().st_size == facts.size and multihash(path) == facts.checksum
