"""One layer, read from the store row by row, as one Cloud-Optimized GeoTIFF that holds everything said about it."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from tilewright.tasks.cog.overviews import level_shapes
from tilewright.tasks.cog.sidecar import write_sidecar
from tilewright.tasks.cog.staging import BLOCK, RowSource, stage_rows
from tilewright.tasks.cog.statistics import Statistics, Tally, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affine import Affine
    from numpy.typing import NDArray

    from tilewright.tasks.cog.spec import CogSpec


# Measured on class layers of 4096 x 4096 px: level 5 costs twice level 1 and makes them 14-17 % smaller, level 6 costs
# twice level 5 for another 8-11 %. Percentages gain 4 % from level 6, floats nothing; the predictor saves percentages
# and floats 13 % and classes nothing. ZSTD at the same size is no faster, and readers in browsers fail on it.
ENCODINGS: dict[str, dict[str, str]] = {
    "class": {"COMPRESS": "DEFLATE", "LEVEL": "5", "PREDICTOR": "NO"},
    "percent": {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "YES"},
    "value": {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "YES"},
}


class CogError(RuntimeError):
    """A COG that could not be written, is not valid, or does not hold the pixels it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogFacts:
    """What came out of one layer.

    `checksum` is the SHA-256 as a multihash in hex; `counts` the pixels of each stored value, nodata included, for
    layers of 8 and 16 bit, else empty; `statistics` None where no pixel is valid; `overviews` the decimation factors.
    `sidecar` holds the class names where GDAL looks for them, beside the file; None for layers without classes.
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


def write_cog(
    path: Path,
    *,
    rows: Callable[[int, int], NDArray[Any]],
    shape: tuple[int, int],
    transform: Affine,
    crs: str,
    spec: CogSpec,
    metadata: Mapping[str, str] | None = None,
    read_rows: int = BLOCK,
    threads: int = 1,
    cache_mb: int = 32,
    progress: Callable[[float], None] = lambda _share: None,
) -> CogFacts:
    """The strict-valid COG at `path` (a local file, there whole or not at all) and what is in it.

    `rows(r0, r1)` gives rows (r1 - r0, W) of the layer in its dtype; it is asked once for each `read_rows` rows
    (a multiple of 512) from top to bottom. Memory is what `rows` gives, `cache_mb` and some 50 MB, however many rows
    there are. The same pixels give the same bytes whatever `threads` is. `metadata` becomes metadata items of the file.
    Every pixel of every level is read back and compared before the file gets its name. `progress` is told the share
    done, 0 to 1. While it is made, some 2.5 times its size lies beside it in a folder whose name starts with a dot.
    Files made side by side share `cache_mb`, since GDAL's cache is the process's.

    Raises CogError: disk full or not writable, COG not strict-valid, pixels read back are not those written.
    """
    source = RowSource(rows=rows, shape=shape, transform=transform, crs=crs, read_rows=read_rows)
    # Rasterio takes this one setting in bytes, whatever GDAL's own text form means.
    settings = {"GDAL_CACHEMAX": cache_mb * 2**20, "GDAL_PAM_ENABLED": "NO", "GDAL_NUM_THREADS": "1"}
    try:
        with (
            tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder,
            rasterio.Env(**settings),
        ):
            staged, finished = Path(folder) / "rows.tif", Path(folder) / path.name
            tally, prints = stage_rows(
                staged, source, spec=spec, metadata=metadata or {}, progress=lambda share: progress(0.3 * share)
            )
            _make_cog(staged, finished, spec=spec, shape=shape, threads=threads)
            progress(0.9)
            overviews = _check(finished, prints)
            facts = _facts(path, finished, spec, tally, overviews)
            finished.replace(path)
    except (RasterioError, OSError) as error:
        raise CogError(f"layer {spec.name}: {path.name} could not be written: {error}") from error
    progress(1.0)
    return facts


def _make_cog(staged: Path, finished: Path, *, spec: CogSpec, shape: tuple[int, int], threads: int) -> None:
    overviews = "AUTO" if level_shapes(shape) else "NONE"
    settings = {
        "BLOCKSIZE": tile_side(shape), "BIGTIFF": "IF_SAFER", "NUM_THREADS": threads, "OVERVIEWS": overviews,
    }  # fmt: skip
    try:
        rasterio.shutil.copy(staged, finished, driver="COG", **ENCODINGS[spec.kind], **settings)
    except SystemError as error:
        # rasterio says so where GDAL failed without a message of its own, as it does on a full disk.
        reason = "GDAL gave up without a reason; the disk may be full"
        raise CogError(f"layer {spec.name}: {finished.name} could not be written: {reason}") from error


def tile_side(shape: tuple[int, int]) -> int:
    """Side of the COG's tiles: 512, or another power of two where a level is exactly that wide and taller than 512.

    rio-cogeo 7.0.4 takes a tile as wide as the image for a strip and calls such a file not tiled; when it looks at the
    tile's height too, this can go. GDAL 3.10 gives overviews only tiles of a power of two between 64 and 4096.
    """
    taken = {width for height, width in (shape, *level_shapes(shape)) if height > BLOCK}
    return next((side for side in (BLOCK, 256, 128, 1024, 2048, 64, 4096) if side not in taken), BLOCK)


def _check(finished: Path, prints: list[list[int]]) -> tuple[int, ...]:
    """Overview factors of the COG, after it proved strict-valid and each level to hold the rows of its prints."""
    valid, errors, warnings = cog_validate(finished, strict=True, quiet=True)
    if not valid:
        raise CogError(f"{finished.name} is not a valid COG: {'; '.join([*errors, *warnings])}")
    with rasterio.open(finished, driver="GTiff") as source:
        _check_rows(source, prints[0], finished.name)
        overviews = tuple(source.overviews(1))
    if len(overviews) != len(prints) - 1:
        raise CogError(f"{finished.name} has {len(overviews)} overviews instead of {len(prints) - 1}")
    for number, expected in enumerate(prints[1:]):
        with rasterio.open(finished, driver="GTiff", overview_level=number) as source:
            _check_rows(source, expected, f"overview {number} of {finished.name}")
    return overviews


def _check_rows(source: Any, prints: list[int], name: str) -> None:
    for number, expected in enumerate(prints):
        window = Window(0, number * BLOCK, source.width, min(BLOCK, source.height - number * BLOCK))
        if fingerprint(source.read(1, window=window)) != expected:
            raise CogError(f"{name}: rows from {number * BLOCK} on do not read back as they were written")


def _facts(path: Path, finished: Path, spec: CogSpec, tally: Tally, overviews: tuple[int, ...]) -> CogFacts:
    return CogFacts(
        path=path,
        size=finished.stat().st_size,
        checksum=multihash(finished),
        statistics=tally.statistics(),
        counts=tally.counts,
        pixels=tally.pixels,
        valid_pixels=tally.n_valid,
        overviews=overviews,
        sidecar=write_sidecar(path, spec) if spec.classes else None,
    )


def multihash(path: Path) -> str:
    """SHA-256 of a file as a multihash in hex: 12 (the function), 20 (32 bytes long), then the digest.

    Source: STAC file extension 2.1.0, `file:checksum`; multiformats multihash table.
    """
    with path.open("rb") as stream:
        return "1220" + hashlib.file_digest(stream, "sha256").hexdigest()
