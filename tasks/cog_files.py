"""One COG of a product: made from the store unless it stands already, uploaded whole, and remembered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import rasterio

from tasks.cog import ENCODINGS, CogFacts, write_cog
from tasks.cog_record import read_record, write_record
from tasks.ledger import digest
from tasks.staging_folder import staging_folder
from tasks.strips import Strips

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks.cogspec import CogSpec
    from tasks.grid import Grid, PixelBox
    from tasks.storage import Storage
    from tasks.store import ProductStore

FORMAT = 1
"""Raised when files are made otherwise than before, so that none of an earlier run is kept."""


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
    strips = Strips(store=store, name=wanted.spec.name, box=wanted.box)
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
