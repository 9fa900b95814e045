"""One layer, read from the store by rows, written as one Cloud-Optimized GeoTIFF with its full description."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from tilewright.tasks.cog.overviews import level_shapes
from tilewright.tasks.cog.sidecar import write_sidecar
from tilewright.tasks.cog.staging import COG_TILE, RowSource, stage_rows, statistics_of
from tilewright.tasks.cog.statistics import Statistics, Tally, rows_crc32
from tilewright.tasks.storage.errors import DISK_FULL_ERRNO, KEPT_NOTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from tilewright.tasks.cog.spec import CogSpec


# Measured on class layers of 4096 x 4096 px: level 5 takes twice the time of level 1 and makes them 14-17 % smaller;
# level 6 takes twice the time of level 5 for another 8-11 %. Level 6 saves 4 % of percentages, nothing of floats. The
# predictor saves 13 % of percentages and floats, nothing of classes. ZSTD is no faster at the same size, and readers in
# browsers cannot decode it.
ENCODINGS: dict[str, dict[str, str]] = {
    "class": {"COMPRESS": "DEFLATE", "LEVEL": "5", "PREDICTOR": "NO"},
    "percent": {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "YES"},
    "value": {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "YES"},
    "id": {"COMPRESS": "DEFLATE", "LEVEL": "5", "PREDICTOR": "NO"},
}


LEAST_ROOM = 2**20
"""Bytes. GDAL writes pieces of less than that; with more room another reason is to be looked for."""

PROBE_BYTES = 2**16
"""Bytes that a disk takes which is not full."""


class CogError(RuntimeError):
    """A COG that could not be written, is not valid, or does not hold the pixels of its layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogFacts:
    """The facts of one layer's file.

    `checksum` is the SHA-256 as a multihash in hex; `counts` the pixels of each stored value, nodata included, for
    layers of 8 and 16 bit, else empty; `statistics` None if no pixel is valid, and for ids; `overviews` the
    decimation factors. `sidecar` is the file with the class names for GDAL; None for layers without classes.
    `more`: the same of the further bands of an image, in the same file.
    """

    path: Path
    size: int
    checksum: str
    statistics: Statistics | None
    counts: Mapping[int, int] = field(hash=False)
    pixels: int
    valid_pixels: int
    overviews: tuple[int, ...]
    sidecar: Path | None
    more: tuple[CogFacts, ...] = ()

    def of_band(self, number: int) -> CogFacts:
        """The facts of one band, from 1."""
        return replace(self if number == 1 else self.more[number - 2], more=())


def write_cog(
    path: Path,
    *,
    rows: Callable[[int, int], NDArray[Any]],
    shape: tuple[int, int],
    transform: Affine,
    crs: str,
    spec: CogSpec,
    more: Sequence[CogSpec] = (),
    metadata: Mapping[str, str] | None = None,
    read_rows: int = COG_TILE,
    threads: int = 1,
    cache_mb: int | None = 32,
    progress: Callable[[float], None] = lambda _share: None,
) -> CogFacts:
    """The facts of the COG written to `path`, a local file; the COG passes rio-cogeo's strict validation.

    `path` appears only when the file is complete and every pixel of every level was read back and compared.
    `rows(r0, r1)` returns rows (r1 - r0, W) of the layer in its dtype; it is called once per `read_rows` rows (a
    multiple of 512), from top to bottom. `more` describe further bands of an image, of which `rows` returns
    (band, r1 - r0, W). Peak memory is one result of `rows`, plus `cache_mb`, plus some 50 MB,
    for any number of rows. The same pixels give the same bytes for any number of `threads`. `metadata` becomes metadata
    items of the file. `progress` receives the finished share, 0 to 1. Temporary files of some 2.5 times the COG's size
    are in a hidden folder next to `path`. Files written at the same time share `cache_mb`: GDAL has one cache per
    process, and None leaves it as it is.

    Raises CogError if the disk is full or not writable, the COG is not valid, or pixels read back differ.
    """
    source = RowSource(rows=rows, shape=shape, transform=transform, crs=crs, read_rows=read_rows)
    # Rasterio takes GDAL_CACHEMAX in bytes; GDAL itself takes small numbers as megabytes.
    cache = {} if cache_mb is None else {"GDAL_CACHEMAX": cache_mb * 2**20}
    settings = {**cache, "GDAL_PAM_ENABLED": "NO", "GDAL_NUM_THREADS": "1"}
    try:
        with (
            tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder,
            rasterio.Env(**settings),
            _room_is_named(Path(folder), spec.name),
        ):
            staged, finished = Path(folder) / "rows.tif", Path(folder) / path.name
            tallies, crcs = stage_rows(
                staged,
                source,
                specs=(spec, *more),
                metadata=metadata or {},
                progress=lambda share: progress(0.3 * share),
            )
            _make_cog(staged, finished, spec=spec, shape=shape, threads=threads)
            progress(0.9)
            overviews = _check_cog(finished, crcs)
            facts = _facts(path, finished, (spec, *more), tallies, overviews)
            finished.replace(path)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise CogError(f"layer {spec.name}: {path.name} could not be written: {error}") from error
    progress(1.0)
    return facts


@contextmanager
def _room_is_named(folder: Path, layer: str) -> Iterator[None]:
    """Raise CogError that says the disk is full, for an error that comes while it is.

    GDAL says "Read failed" of a file that it could not write whole, and the room is free again once it is removed.
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError, CogError) as error:
        if not _is_full(folder):
            raise
        raise CogError(f"layer {layer}: the disk is full. Make room and run the same job again. {KEPT_NOTE}") from error


def _is_full(folder: Path) -> bool:
    """True if hardly any room is free, or a file cannot grow: GDAL says many things where a disk is full."""
    if shutil.disk_usage(folder).free <= LEAST_ROOM:
        return True
    for path in (*folder.iterdir(), folder / "probe"):
        try:
            with path.open("ab") as file:
                file.write(bytes(PROBE_BYTES))
        except OSError as error:
            if error.errno in DISK_FULL_ERRNO:
                return True
    return False


def _make_cog(staged: Path, finished: Path, *, spec: CogSpec, shape: tuple[int, int], threads: int) -> None:
    overviews = "AUTO" if level_shapes(shape) else "NONE"
    settings = {
        "BLOCKSIZE": tile_side(shape), "BIGTIFF": "IF_SAFER", "NUM_THREADS": threads, "OVERVIEWS": overviews,
    }  # fmt: skip
    try:
        rasterio.shutil.copy(staged, finished, driver="COG", **ENCODINGS[spec.kind], **settings)
    except (SystemError, CPLE_BaseError) as error:
        # Rasterio raises these from its copies: one if GDAL fails without a message, one with GDAL's own.
        reason = "GDAL gave up without a reason; the disk may be full"
        raise CogError(f"layer {spec.name}: {finished.name} could not be written: {reason}") from error


def tile_side(shape: tuple[int, int]) -> int:
    """The side of the COG's tiles: 512, or another power of two if a level is exactly 512 wide and taller than that.

    rio-cogeo 7.0.4 takes a tile as wide as the image for a strip and reports such a file as not tiled. Remove this
    function when rio-cogeo also compares the tile's height. GDAL 3.10 makes tiles of overviews only with sides that are
    powers of two from 64 to 4096.
    """
    unusable = {width for height, width in (shape, *level_shapes(shape)) if height > COG_TILE}
    return next((side for side in (COG_TILE, 256, 128, 1024, 2048, 64, 4096) if side not in unusable), COG_TILE)


def _check_cog(finished: Path, crcs: list[list[int]]) -> tuple[int, ...]:
    """The overview factors of a COG that passed strict validation and whose levels have the expected CRCs."""
    # A plan asks this file for sizes only.
    from rio_cogeo.cogeo import cog_validate  # noqa: PLC0415

    valid, errors, warnings = cog_validate(finished, strict=True, quiet=True)
    if not valid:
        raise CogError(f"{finished.name} is not a valid COG: {'; '.join([*errors, *warnings])}")
    with rasterio.open(finished, driver="GTiff") as source:
        _check_rows(source, crcs[0], finished.name)
        overviews = tuple(source.overviews(1))
    if len(overviews) != len(crcs) - 1:
        raise CogError(f"{finished.name} has {len(overviews)} overviews instead of {len(crcs) - 1}")
    for number, expected in enumerate(crcs[1:]):
        with rasterio.open(finished, driver="GTiff", overview_level=number) as source:
            _check_rows(source, expected, f"overview {number} of {finished.name}")
    return overviews


def _check_rows(source: Any, crcs: list[int], name: str) -> None:
    for number, expected in enumerate(crcs):
        window = Window(0, number * COG_TILE, source.width, min(COG_TILE, source.height - number * COG_TILE))
        if rows_crc32(source.read(window=window)) != expected:
            raise CogError(f"{name}: rows from {number * COG_TILE} on do not read back as they were written")


def _facts(
    path: Path, finished: Path, specs: Sequence[CogSpec], tallies: Sequence[Tally], overviews: tuple[int, ...]
) -> CogFacts:
    size, checksum = finished.stat().st_size, file_multihash(finished)
    sidecar = write_sidecar(path, specs[0]) if specs[0].classes else None
    first, *others = (
        CogFacts(
            path=path,
            size=size,
            checksum=checksum,
            statistics=statistics_of(tally, spec),
            counts=tally.counts,
            pixels=tally.pixels,
            valid_pixels=tally.n_valid,
            overviews=overviews,
            sidecar=sidecar,
        )
        for spec, tally in zip(specs, tallies, strict=True)
    )
    return replace(first, more=tuple(others))


def file_multihash(path: Path) -> str:
    """The SHA-256 of a file as a multihash in hex: 12 (the function), 20 (32 bytes long), then the digest.

    Source: STAC file extension 2.1.0, `file:checksum`; multiformats multihash table.
    """
    with path.open("rb") as stream:
        return "1220" + hashlib.file_digest(stream, "sha256").hexdigest()
