"""The engines behind `load_cube`: each lays out the same reads as Dask arrays.

odc-stac's loader gets our reader as its `driver`, stackstac as its `reader`. Joining the scenes of a day, resampling
and radiometry happen below both, in `tasks/cube/mosaic.py`, so that the engine does not show in the pixels.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import dask.array as da
import numpy as np
from odc.geo.geobox import GeoBox, GeoboxTiles
from odc.loader import chunked_load
from odc.loader.types import RasterBandMetadata, RasterGroupMetadata, RasterLoadParams, RasterSource

from tilewright.tasks.cube.mosaic import DayMosaic, read_mosaic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rasterio.windows import Window

    from tilewright.tasks.read.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class BandPlan:
    """A band of a cube: its unit, dtype and fill value, and the mosaic of each day (None: no scene)."""

    band: str
    unit: str
    dtype: np.dtype
    fill: float
    mosaics: tuple[DayMosaic | None, ...]


_DUMMY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""odc-loader labels its dataset with times, which are not used: a cube's times come from its scenes."""


class CubeEngine(Protocol):
    """Lays out the bands of a cube as Dask arrays (time, y, x), by band name."""

    def __call__(
        self, plans: Sequence[BandPlan], geobox: GeoBox, *, chunks: int | None, days: int, access: Access
    ) -> dict[str, Any]:
        """The arrays, chunked by `days` and by `chunks` pixels a side (None: the whole geobox)."""


def odc_arrays(
    plans: Sequence[BandPlan], geobox: GeoBox, *, chunks: int | None, days: int, access: Access
) -> dict[str, Any]:
    """The arrays as odc-stac's loader lays them out: one task per band, chunk of days and chunk of pixels."""
    side = _chunk_shape(geobox, chunks)
    arrays = {plan.band: _empty_band(plan, geobox, side) for plan in plans if not any(plan.mosaics)}
    found = [plan for plan in plans if plan.band not in arrays]
    if not found:
        return arrays
    fuser = f"{fuse_pending_day.__module__}.{fuse_pending_day.__name__}"
    metadata = {plan.band: RasterBandMetadata(plan.dtype.name, plan.fill, plan.unit) for plan in found}
    tiles = GeoboxTiles(geobox, side)
    n_days = len(found[0].mosaics)
    cube = chunked_load(
        {
            plan.band: RasterLoadParams(
                plan.dtype.name, fill_value=plan.fill, meta=metadata[plan.band], fuser_fqn=fuser
            )
            for plan in found
        },
        RasterGroupMetadata({(band, 1): each for band, each in metadata.items()}),
        [_odc_sources(found, day, metadata) for day in range(n_days)],
        {(day, *place): [day] for day in range(n_days) for place in np.ndindex(tiles.shape.yx)},
        tiles,
        [_DUMMY_TIME] * n_days,
        {},
        MosaicDriver(access),
        chunks={"time": min(days, n_days), "y": side[0], "x": side[1]},
    )
    return {plan.band: arrays[plan.band] if plan.band in arrays else cube[plan.band].data for plan in plans}


def fuse_pending_day(target: np.ndarray, pending: PendingDay) -> None:
    """The fuser of odc-loader: reads a day's pixels straight into its output array, without a copy."""
    pending.read_into(target)


def _odc_sources(
    plans: Sequence[BandPlan], day: int, metadata: Mapping[str, RasterBandMetadata]
) -> dict[str, RasterSource]:
    """The source of each band that has a scene on a day, by band name."""
    return {
        plan.band: RasterSource(mosaic.scenes[0].id, meta=metadata[plan.band], driver_data=mosaic)
        for plan in plans
        if (mosaic := plan.mosaics[day]) is not None
    }


class StatelessDriver:
    """The base of our odc-loader drivers: a driver holds its settings; each read enters its own GDAL environment."""

    md_parser = None
    dask_reader = None
    aux_reader = None

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> None:
        """No state is shared by the reads of a load."""

    def finalise_load(self, load_state: Any) -> Any:
        """Nothing to release."""
        return load_state

    def capture_env(self) -> dict[str, Any]:
        """Nothing is taken from the environment."""
        return {}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[None]:
        """Nothing is put back into the environment."""
        del env, load_state
        yield None


class MosaicDriver(StatelessDriver):
    """odc-loader's ReaderDriver whose sources are whole days: a source's `driver_data` is a DayMosaic."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def open(self, src: RasterSource, ctx: Any) -> MosaicReader:
        """A reader of the day; no file is opened yet."""
        del ctx
        return MosaicReader(src.driver_data, self._access)


class MosaicReader:
    """odc-loader's RasterReader of one day."""

    def __init__(self, mosaic: DayMosaic, access: Access) -> None:
        self._mosaic = mosaic
        self._access = access

    def read(
        self, cfg: RasterLoadParams, dst_geobox: GeoBox, *, dst: np.ndarray | None = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """(slices of the geobox, placeholder for the values there), always the whole geobox."""
        assert dst is None, "odc-loader 0.6 lets the reader allocate"
        assert selection is None, "a mosaic has one band"
        assert cfg.fill_value is not None, "the plan names the fill value"
        pending = PendingDay(self._mosaic, dst_geobox, fill=cfg.fill_value, access=self._access)
        return (slice(0, pending.shape[0]), slice(0, pending.shape[1])), cast("np.ndarray", pending)


class PendingDay:
    """Placeholder returned to odc-loader; its fuser (`fuse_pending_day`) reads the pixels into the output array.

    odc-loader 0.6 allocates the output itself and copies the reader's result into it; this saves the copy. If
    odc-loader drops `fuser_fqn`, return the pixels instead.
    """

    def __init__(self, mosaic: DayMosaic, geobox: GeoBox, *, fill: float, access: Access) -> None:
        self._mosaic, self._geobox, self._fill, self._access = mosaic, geobox, fill, access
        self.shape = geobox.shape.yx
        self.ndim = 2

    def read_into(self, target: np.ndarray) -> None:
        """Read the pixels into `target`, (y, x)."""
        read_mosaic(self._mosaic, self._geobox, out=target, fill=self._fill, access=self._access)


def stackstac_arrays(
    plans: Sequence[BandPlan], geobox: GeoBox, *, chunks: int | None, days: int, access: Access
) -> dict[str, Any]:
    """The arrays as stackstac lays them out. Raises ValueError without the extra or for a grid without an EPSG code."""
    try:
        from stackstac.prepare import ASSET_TABLE_DT  # noqa: PLC0415 - an extra
        from stackstac.raster_spec import RasterSpec  # noqa: PLC0415
        from stackstac.to_dask import items_to_dask  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            "engine 'stackstac' needs the extra of that name: pip install 'tilewright[stackstac]'"
        ) from error
    epsg = geobox.crs.to_epsg() if geobox.crs is not None else None
    if epsg is None:
        raise ValueError("engine 'stackstac' knows grids by EPSG code alone: use engine 'odc' for a grid given as WKT")
    side = _chunk_shape(geobox, chunks)
    left, bottom, right, top = geobox.boundingbox.bbox
    bounds = left, bottom, right, top
    spec = RasterSpec(epsg, bounds, (geobox.affine.a, -geobox.affine.e))
    assert spec.shape == geobox.shape.yx, f"stackstac counts {spec.shape} pixels where the grid has {geobox.shape.yx}"
    arrays = {}
    for plan in plans:
        table = np.zeros((len(plan.mosaics), 1), dtype=ASSET_TABLE_DT)
        for row, mosaic in zip(table[:, 0], plan.mosaics, strict=True):
            row["url"], row["bounds"], row["scale_offset"] = mosaic, bounds, (1, 0)
        if not any(plan.mosaics):
            arrays[plan.band] = _empty_band(plan, geobox, side)
            continue
        stack = items_to_dask(
            table,
            spec,
            chunksize=(min(days, len(plan.mosaics)), 1, *side),
            dtype=plan.dtype,
            fill_value=plan.dtype.type(plan.fill),
            rescale=False,
            reader=cast("Any", partial(StackReader, geobox=geobox, access=access)),
        )
        arrays[plan.band] = stack[:, 0]
    return arrays


class StackReader:
    """stackstac's Reader of one day; its URL is a DayMosaic."""

    def __init__(
        self,
        *,
        url: DayMosaic,
        geobox: GeoBox,
        access: Access,
        dtype: np.dtype,
        fill_value: float,
        **stackstac_only: Any,
    ) -> None:
        del stackstac_only
        self._mosaic, self._geobox, self._access = url, geobox, access
        self._dtype, self._fill = np.dtype(dtype), fill_value

    def read(self, window: Window, **kwargs: Any) -> np.ndarray:
        """Values of a window of the grid, (y, x)."""
        del kwargs
        part = self._geobox[window.toslices()]
        values = np.empty(part.shape.yx, dtype=self._dtype)
        read_mosaic(self._mosaic, part, out=values, fill=self._fill, access=self._access)
        return values

    def close(self) -> None:
        """Nothing is held open."""


def _chunk_shape(geobox: GeoBox, chunks: int | None) -> tuple[int, int]:
    height, width = geobox.shape.yx
    return (height, width) if chunks is None else (min(chunks, height), min(chunks, width))


def _empty_band(plan: BandPlan, geobox: GeoBox, side: tuple[int, int]) -> Any:
    """The array of a band that no scene has, filled with its fill value."""
    shape = (len(plan.mosaics), *geobox.shape.yx)
    return da.full(shape, plan.fill, dtype=plan.dtype, chunks=(1, *side) if plan.mosaics else shape)


ENGINES: dict[str, CubeEngine] = {"odc": odc_arrays, "stackstac": stackstac_arrays}
"""The engines by their names in a job."""
