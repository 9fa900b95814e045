"""A local GeoTIFF with a layer's rows, description and statistics, from which the COG is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from tilewright.tasks.cog.overviews import open_levels
from tilewright.tasks.cog.statistics import Statistics, Tally, rows_crc32
from tilewright.tasks.colours import rgb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray

    from tilewright.tasks.cog.spec import CogSpec


COG_TILE = 512
"""Side of a COG's tiles in pixels; also the number of rows that are staged, and checked by a CRC, at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """A layer of `shape` (H, W) by rows: `rows(r0, r1)` returns (r1 - r0, W); `read_rows` are read at a time.

    Of an image, whose layers are bands of one file, `rows` returns (band, r1 - r0, W).
    """

    rows: Callable[[int, int], NDArray[Any]]
    shape: tuple[int, int]
    transform: Affine
    crs: str
    read_rows: int = COG_TILE

    def __post_init__(self) -> None:
        assert self.read_rows % COG_TILE == 0, f"read_rows is {self.read_rows}, not a multiple of {COG_TILE}"
        assert min(self.shape) > 0, f"a layer of {self.shape} pixels"

    def read_strips(self, specs: Sequence[CogSpec]) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, rows (band, h, W)) of every strip from top to bottom; shape and dtype are checked.

        Raises ReadBackError if the store cannot be read.
        """
        height, width = self.shape
        spec = specs[0]
        for start in range(0, height, self.read_rows):
            stop = min(start + self.read_rows, height)
            try:
                rows = self.rows(start, stop)
                strip = rows[np.newaxis] if rows.ndim == 2 else rows
            except OSError as error:
                raise ReadBackError(f"layer {spec.name}: rows {start} to {stop} could not be read: {error}") from error
            assert strip.shape == (len(specs), stop - start, width), (
                f"{spec.name}: rows {start} to {stop} came as {strip.shape}"
            )
            assert strip.dtype == spec.dtype, f"{spec.name}: rows came as {strip.dtype}, declared is {spec.dtype}"
            yield start, strip


class ReadBackError(RuntimeError):
    """Finished pixels that could not be read back from the store."""


def stage_rows(
    staged: Path,
    source: RowSource,
    *,
    specs: Sequence[CogSpec],
    metadata: Mapping[str, str],
    progress: Callable[[float], None],
) -> tuple[list[Tally], list[list[int]]]:
    """The tallies of the bands written to a tiled GeoTIFF at `staged`, and the CRC-32 of every 512 rows per level.

    `specs` describe the bands, which are of one kind, type and nodata. The full level comes first.
    The smaller levels are written to files next to `staged` (`cog/overviews.py`).
    """
    tallies, crcs = [Tally(np.dtype(spec.dtype), spec.nodata) for spec in specs], []
    height, width = source.shape
    profile = _profile(source, specs)
    with rasterio.open(staged, "w", **profile) as target, open_levels(staged, profile, kind=specs[0].kind) as levels:
        for start, strip in source.read_strips(specs):
            n_rows = strip.shape[1]
            for first in range(0, n_rows, COG_TILE):
                rows = strip[:, first : first + COG_TILE]
                target.write(rows, window=Window(0, start + first, width, rows.shape[1]))
                crcs.append(rows_crc32(rows))
                if levels:
                    levels[0].add_rows(rows)
            for tally, band in zip(tallies, strip, strict=True):
                tally.add(band)
            progress((start + n_rows) / height)
        if levels:
            levels[0].close()
        _describe(target, specs, metadata, tallies)
    return tallies, [crcs, *(level.crcs for level in levels)]


def statistics_of(tally: Tally, spec: CogSpec) -> Statistics | None:
    """The statistics of a layer's pixels; None if no pixel is valid, and for ids, of which there is no mean."""
    return None if spec.kind == "id" else tally.statistics()


def _profile(source: RowSource, specs: Sequence[CogSpec]) -> dict[str, Any]:
    spec = specs[0]
    alike = {(each.dtype, repr(each.nodata), each.kind) for each in specs}
    assert len(alike) == 1, f"bands of {', '.join(each.name for each in specs)} are of different types"
    height, width = source.shape
    grid = {"width": width, "height": height, "transform": source.transform, "crs": source.crs}
    tiles = {"tiled": True, "blockxsize": COG_TILE, "blockysize": COG_TILE, "BIGTIFF": "IF_SAFER"}
    # Level 1 takes some 5 % of the whole time and keeps the staged file about as small as the COG made from it.
    compression = {"compress": "ZSTD", "zstd_level": 1, "SPARSE_OK": "TRUE"}
    return {
        "driver": "GTiff",
        "count": len(specs),
        "dtype": spec.dtype,
        "nodata": spec.nodata,
        **grid,
        **tiles,
        **compression,
    }


def _describe(target: Any, specs: Sequence[CogSpec], metadata: Mapping[str, str], tallies: Sequence[Tally]) -> None:
    target.update_tags(**metadata)
    target.scales, target.offsets = [spec.scale for spec in specs], [spec.offset for spec in specs]
    target.units = [spec.unit for spec in specs]
    if len(specs) > 1:
        # None of them is transparency, which GDAL takes the last of two or four bands for.
        target.colorinterp = [ColorInterp.gray, *(ColorInterp.undefined for _ in specs[1:])]
    for number, (spec, tally) in enumerate(zip(specs, tallies, strict=True), start=1):
        _describe_band(target, number, spec, statistics_of(tally, spec))


def _describe_band(target: Any, number: int, spec: CogSpec, statistics: Statistics | None) -> None:
    target.set_band_description(number, spec.name)
    tags = {f"CLASS_{entry.value}": entry.name for entry in spec.classes}
    if spec.description:
        tags["DESCRIPTION"] = spec.description
    if statistics is not None:
        tags |= {f"STATISTICS_{name}": f"{number:.17g}" for name, number in _gdal_statistics(statistics)}
    target.update_tags(number, **tags)
    if spec.classes:
        colours = {entry.value: (*rgb(colour), 255) for entry, colour in zip(spec.classes, spec.colours, strict=True)}
        target.write_colormap(number, colours)


def _gdal_statistics(statistics: Statistics) -> tuple[tuple[str, float], ...]:
    # Source: GDAL raster data model, "STATISTICS_*" items of the default metadata domain of a band.
    return (
        ("MINIMUM", statistics.minimum),
        ("MAXIMUM", statistics.maximum),
        ("MEAN", statistics.mean),
        ("STDDEV", statistics.stddev),
        ("VALID_PERCENT", statistics.valid_percent),
    )
