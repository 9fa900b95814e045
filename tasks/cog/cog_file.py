"""One COG of a product: written from the store unless a valid one exists, uploaded whole, and recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from tilewright.tasks.cog.sidecar import sidecar_bytes
from tilewright.tasks.cog.statistics import Statistics
from tilewright.tasks.cog.write import ENCODINGS, CogFacts, file_multihash, write_cog
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import STATE_FOLDER, staging_folder
from tilewright.tasks.zarr.store import LayerRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

    ``more``: the further layers of an image, which are its next bands.
    ``checksums`` are those of the blocks that the box touches, by block name, once these are there.
    """

    name: str
    spec: CogSpec
    grid: Grid
    box: PixelBox
    metadata: Mapping[str, str]
    checksums: Callable[[], Mapping[str, str]]
    more: tuple[CogSpec, ...] = ()

    @property
    def key(self) -> str:
        """The digest of everything that determines the file's bytes."""
        return json_digest(
            {
                "format": FORMAT,
                "gdal": rasterio.__gdal_version__,
                "encoding": ENCODINGS[self.spec.kind],
                # JSON has no NaN.
                "spec": _spec_json(self.spec),
                **({"more": [_spec_json(spec) for spec in self.more]} if self.more else {}),
                "crs": self.grid.crs,
                "transform": list(self.grid.transform_of(self.box))[:6],
                "shape": list(self.box.shape),
                "metadata": dict(self.metadata),
                "blocks": dict(self.checksums()),
            }
        )


def _spec_json(spec: CogSpec) -> dict[str, Any]:
    return {**asdict(spec), "nodata": repr(spec.nodata)}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedCog:
    """A COG as it was uploaded: its facts, the ``key`` of all that determines its bytes, and its tag there.

    ``recorded``: a later run may keep it.
    """

    facts: CogFacts
    key: str
    etag: str | None
    recorded: bool


def ensure_cog(
    storage: Storage,
    store: ProductStore,
    wanted: CogFile,
    *,
    threads: int,
    ready: Callable[[PixelBox], None],
    cache_mb: int | None,
) -> UploadedCog:
    """The COG in storage, which is written and uploaded unless a valid one is recorded.

    It is recorded by `write_record`, once the blocks that it was made of are known to be those of the ledger. ``ready``
    is called with each box of absolute pixels before it is read; ``cache_mb`` as for `write_cog`.

    Raises CogError, ReadBackError or StorageError, which name the layer.
    """
    existing = read_record(storage, wanted)
    if existing is not None:
        return existing
    layers = [
        LayerRows(store=store, name=spec.name, box=wanted.box, ready=ready) for spec in (wanted.spec, *wanted.more)
    ]

    def rows(start: int, stop: int) -> np.ndarray:
        return np.stack([layer.rows(start, stop) for layer in layers])

    with staging_folder(storage) as folder:
        facts = write_cog(
            folder / wanted.name,
            rows=rows if wanted.more else layers[0].rows,
            shape=wanted.box.shape,
            transform=wanted.grid.transform_of(wanted.box),
            crs=wanted.grid.crs,
            spec=wanted.spec,
            more=wanted.more,
            metadata=wanted.metadata,
            threads=threads,
            cache_mb=cache_mb,
        )
        storage.move_file(wanted.name, facts.path)
        if facts.sidecar is not None:
            storage.move_file(facts.sidecar.name, facts.sidecar)
    return UploadedCog(facts=facts, key=wanted.key, etag=storage.etag(wanted.name), recorded=False)


def write_record(storage: Storage, uploaded: UploadedCog) -> None:
    """Record an uploaded COG, so that later runs keep it."""
    facts = uploaded.facts
    plain = {
        "key": uploaded.key,
        "etag": uploaded.etag,
        "size": facts.size,
        "checksum": facts.checksum,
        **_band_json(facts),
        "overviews": list(facts.overviews),
        "sidecar": None if facts.sidecar is None else facts.sidecar.name,
        **({"more": [_band_json(band) for band in facts.more]} if facts.more else {}),
    }
    storage.write_json(_record_key(facts.path.name), plain)


def _band_json(facts: CogFacts) -> dict[str, Any]:
    return {
        "statistics": None if facts.statistics is None else asdict(facts.statistics),
        # JSON has no numbers as keys.
        "counts": [[value, count] for value, count in facts.counts.items()],
        "pixels": facts.pixels,
        "valid_pixels": facts.valid_pixels,
    }


def read_record(storage: Storage, wanted: CogFile) -> UploadedCog | None:
    """The recorded COG with the wanted key; None if there is none, or it or its sidecar has changed since its upload.

    A local file is compared by its checksum, an object in a bucket by the tag that it had after its upload.
    """
    plain = read_object(storage, _record_key(wanted.name))
    if plain is None or plain.get("key") != wanted.key:
        return None
    try:
        facts = _facts(wanted.name, plain)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if (facts.sidecar is not None) != bool(wanted.spec.classes) or len(facts.more) != len(wanted.more):
        return None
    etag = plain.get("etag")
    known = UploadedCog(facts=facts, key=wanted.key, etag=etag if isinstance(etag, str) else None, recorded=True)
    return known if is_unchanged(storage, known, wanted.spec) else None


def is_unchanged(storage: Storage, uploaded: UploadedCog, spec: CogSpec, *, tag: str | None = None) -> bool:
    """True if a COG and its sidecar are in storage as they were uploaded.

    ``tag`` is that of an object in a bucket, if a listing showed it.
    """
    facts = uploaded.facts
    if facts.sidecar is not None and storage.read(facts.sidecar.name) != sidecar_bytes(spec):
        return False
    name = facts.path.name
    if storage.folder is None:
        return uploaded.etag is not None and (tag or storage.etag(name)) == uploaded.etag
    path = storage.folder / name
    return path.is_file() and path.stat().st_size == facts.size and file_multihash(path) == facts.checksum


def _record_key(name: str) -> str:
    return f"{RECORDS}/{name}.json"


def _facts(name: str, plain: Mapping[str, Any]) -> CogFacts:
    """The facts of a record. Raises TypeError, ValueError and the like for one that `write_record` did not write."""
    statistics = None if plain["statistics"] is None else Statistics(**plain["statistics"])
    wrong = [value for value in asdict(statistics).values() if not _is_number(value)] if statistics else []
    if wrong or not isinstance(plain["checksum"], str):
        raise TypeError("a record of a COG has other types")
    return CogFacts(
        path=Path(name),
        size=_count(plain["size"]),
        checksum=plain["checksum"],
        statistics=statistics,
        counts={_count(value): _count(count) for value, count in plain["counts"]},
        pixels=_count(plain["pixels"]),
        valid_pixels=_count(plain["valid_pixels"]),
        overviews=tuple(_count(factor) for factor in plain["overviews"]),
        sidecar=None if plain["sidecar"] is None else Path(f"{name}.aux.xml"),
        more=tuple(_facts(name, {**plain, **band, "more": []}) for band in plain.get("more", ())),
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("a count is no whole number")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
