"""A layer's rows laid down in a local GeoTIFF, described and accounted for, from which the COG is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.windows import Window

from tilewright.tasks.cog.overviews import open_levels
from tilewright.tasks.cog.statistics import Statistics, Tally, fingerprint
from tilewright.tasks.colours import rgb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray

    from tilewright.tasks.cog.spec import CogSpec


BLOCK = 512
"""Side of a COG's tiles in pixels, and the rows that are staged and fingerprinted at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """A layer as rows: `rows(r0, r1)` gives (r1 - r0, W) of `shape` (H, W), top to bottom, `read_rows` at a time."""

    rows: Callable[[int, int], NDArray[Any]]
    shape: tuple[int, int]
    transform: Affine
    crs: str
    read_rows: int = BLOCK

    def __post_init__(self) -> None:
        assert self.read_rows % BLOCK == 0, f"read_rows is {self.read_rows}, not a multiple of {BLOCK}"
        assert min(self.shape) > 0, f"a layer of {self.shape} pixels"

    def pieces(self, spec: CogSpec) -> Iterator[tuple[int, NDArray[Any]]]:
        """Row number and array (h, W) of every read, checked against what was declared.

        Raises ReadBackError: the store could not be read.
        """
        height, width = self.shape
        for start in range(0, height, self.read_rows):
            stop = min(start + self.read_rows, height)
            try:
                read = self.rows(start, stop)
            except OSError as error:
                raise ReadBackError(f"layer {spec.name}: rows {start} to {stop} could not be read: {error}") from error
            assert read.shape == (stop - start, width), f"{spec.name}: rows {start} to {stop} came as {read.shape}"
            assert read.dtype == spec.dtype, f"{spec.name}: rows came as {read.dtype}, declared is {spec.dtype}"
            yield start, read


class ReadBackError(RuntimeError):
    """Finished pixels that could not be read from the store again."""


def stage_rows(
    staged: Path, source: RowSource, *, spec: CogSpec, metadata: Mapping[str, str], progress: Callable[[float], None]
) -> tuple[Tally, list[list[int]]]:
    """A tiled GeoTIFF at `staged` with its smaller levels beside it.

    What comes back are its pixels' account, and per level, the full one first, the fingerprint of every 512 rows.
    """
    tally, prints = Tally(np.dtype(spec.dtype), spec.nodata), []
    height, width = source.shape
    profile = _profile(source, spec)
    with rasterio.open(staged, "w", **profile) as target, open_levels(staged, profile, kind=spec.kind) as levels:
        for start, read in source.pieces(spec):
            for first in range(0, read.shape[0], BLOCK):
                piece = read[first : first + BLOCK]
                target.write(piece, 1, window=Window(0, start + first, width, piece.shape[0]))
                prints.append(fingerprint(piece))
                if levels:
                    levels[0].take(piece)
            tally.add(read)
            progress((start + read.shape[0]) / height)
        if levels:
            levels[0].close()
        _describe(target, spec, metadata, tally.statistics())
    return tally, [prints, *(level.prints for level in levels)]


def _profile(source: RowSource, spec: CogSpec) -> dict[str, Any]:
    height, width = source.shape
    grid = {"width": width, "height": height, "transform": source.transform, "crs": source.crs}
    tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "BIGTIFF": "IF_SAFER"}
    # Level 1 costs some 5 % of the whole and keeps the staged rows about as small as the COG that is made from them.
    squeezed = {"compress": "ZSTD", "zstd_level": 1, "SPARSE_OK": "TRUE"}
    return {"driver": "GTiff", "count": 1, "dtype": spec.dtype, "nodata": spec.nodata, **grid, **tiles, **squeezed}


def _describe(target: Any, spec: CogSpec, metadata: Mapping[str, str], statistics: Statistics | None) -> None:
    target.update_tags(**metadata)
    target.set_band_description(1, spec.name)
    target.scales, target.offsets, target.units = (spec.scale,), (spec.offset,), (spec.unit,)
    tags = {f"CLASS_{entry.value}": entry.name for entry in spec.classes}
    if spec.description:
        tags["DESCRIPTION"] = spec.description
    if statistics is not None:
        tags |= {f"STATISTICS_{name}": f"{number:.17g}" for name, number in _gdal_statistics(statistics)}
    target.update_tags(1, **tags)
    if spec.classes:
        colours = {entry.value: (*rgb(colour), 255) for entry, colour in zip(spec.classes, spec.colours, strict=True)}
        target.write_colormap(1, colours)


def _gdal_statistics(statistics: Statistics) -> tuple[tuple[str, float], ...]:
    # Source: GDAL raster data model, "STATISTICS_*" items of the default metadata domain of a band.
    return (
        ("MINIMUM", statistics.minimum),
        ("MAXIMUM", statistics.maximum),
        ("MEAN", statistics.mean),
        ("STDDEV", statistics.stddev),
        ("VALID_PERCENT", statistics.valid_percent),
    )
