"""The engines of other libraries: each lays out the reads of a cube's scenes as Dask arrays of its own.

odc-stac's loader gets our reader as its `driver`, stackstac as its `reader`. Resampling and radiometry happen below
both, in `tasks/cube/scene_band.py`, so that the engine does not show in the pixels.
"""

from __future__ import annotations

import math
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

from tilewright.tasks.cube.scene_band import BandRequest, read_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rasterio.windows import Window

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.read.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneBand:
    """One band of one scene as an engine hands it to its reader."""

    scene: Scene
    request: BandRequest

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """The identity for Dask, which would otherwise hash the whole scene for each block."""
        return self.request.band, self.request.unit, self.request.resampling, self.scene.id, self.scene.href


_DUMMY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""odc-loader labels its dataset with times, which are not used: a cube's times come from its scenes."""


class CubeEngine(Protocol):
    """Lays out the bands of scenes as Dask arrays (scene, y, x) float32, NaN = missing, by band name."""

    def __call__(
        self,
        scenes: Sequence[Scene],
        requests: Sequence[BandRequest],
        geobox: GeoBox,
        *,
        chunks: int | None,
        access: Access,
    ) -> dict[str, Any]:
        """The arrays, chunked by scene and by `chunks` pixels a side (None: the whole geobox)."""


def odc_arrays(
    scenes: Sequence[Scene], requests: Sequence[BandRequest], geobox: GeoBox, *, chunks: int | None, access: Access
) -> dict[str, Any]:
    """The arrays as odc-stac's loader lays them out: one task per band, scene and chunk of pixels."""
    side = chunk_shape(geobox, chunks)
    found = [request for request in requests if any(scene.asset(request.band) for scene in scenes)]
    arrays = {request.band: _empty_band(len(scenes), geobox, side) for request in requests if request not in found}
    if not found:
        return arrays
    fuser = f"{fuse_pending_band.__module__}.{fuse_pending_band.__name__}"
    metadata = {request.band: RasterBandMetadata("float32", math.nan, request.unit) for request in found}
    tiles = GeoboxTiles(geobox, side)
    cube = chunked_load(
        {
            band: RasterLoadParams("float32", fill_value=math.nan, meta=each, fuser_fqn=fuser)
            for band, each in metadata.items()
        },
        RasterGroupMetadata({(band, 1): each for band, each in metadata.items()}),
        [_odc_sources(found, scene, metadata) for scene in scenes],
        {(number, *place): [number] for number in range(len(scenes)) for place in np.ndindex(tiles.shape.yx)},
        tiles,
        [_DUMMY_TIME] * len(scenes),
        {},
        SceneBandDriver(access),
        chunks={"time": 1, "y": side[0], "x": side[1]},
    )
    return arrays | {request.band: cube[request.band].data for request in found}


def fuse_pending_band(target: np.ndarray, pending: PendingBand) -> None:
    """The fuser of odc-loader: reads a scene's pixels straight into its output array, without a copy."""
    pending.read_into(target)


def _odc_sources(
    requests: Sequence[BandRequest], scene: Scene, metadata: Mapping[str, RasterBandMetadata]
) -> dict[str, RasterSource]:
    """The source of each band that a scene has, by band name."""
    return {
        request.band: RasterSource(
            scene.id, meta=metadata[request.band], driver_data=SceneBand(scene=scene, request=request)
        )
        for request in requests
        if scene.asset(request.band) is not None
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


class SceneBandDriver(StatelessDriver):
    """odc-loader's ReaderDriver whose sources are bands of scenes: a source's `driver_data` is a SceneBand."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def open(self, src: RasterSource, ctx: Any) -> SceneBandReader:
        """A reader of the band; no file is opened yet."""
        del ctx
        return SceneBandReader(src.driver_data, self._access)


class SceneBandReader:
    """odc-loader's RasterReader of one band of one scene."""

    def __init__(self, wanted: SceneBand, access: Access) -> None:
        self._wanted = wanted
        self._access = access

    def read(
        self, cfg: RasterLoadParams, dst_geobox: GeoBox, *, dst: np.ndarray | None = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """(slices of the geobox, placeholder for the values there), always the whole geobox."""
        del cfg
        assert dst is None, "odc-loader 0.6 lets the reader allocate"
        assert selection is None, "a scene's band is one raster"
        pending = PendingBand(self._wanted, dst_geobox, access=self._access)
        return (slice(0, pending.shape[0]), slice(0, pending.shape[1])), cast("np.ndarray", pending)


class PendingBand:
    """Placeholder returned to odc-loader; its fuser (`fuse_pending_band`) reads the pixels into the output array.

    odc-loader 0.6 allocates the output itself and copies the reader's result into it; this saves the copy. If
    odc-loader drops `fuser_fqn`, return the pixels instead.
    """

    def __init__(self, wanted: SceneBand, geobox: GeoBox, *, access: Access) -> None:
        self._wanted, self._geobox, self._access = wanted, geobox, access
        self.shape = geobox.shape.yx
        self.ndim = 2

    def read_into(self, target: np.ndarray) -> None:
        """Read the pixels into `target`, (y, x)."""
        read_values(self._wanted.scene, self._wanted.request, self._geobox, self._access, out=target)


def stackstac_arrays(
    scenes: Sequence[Scene], requests: Sequence[BandRequest], geobox: GeoBox, *, chunks: int | None, access: Access
) -> dict[str, Any]:
    """The arrays as stackstac lays them out. Raises ValueError without the extra or for a grid without an EPSG code."""
    try:
        from stackstac.prepare import ASSET_TABLE_DT  # noqa: PLC0415 - an extra
        from stackstac.raster_spec import RasterSpec  # noqa: PLC0415
        from stackstac.to_dask import items_to_dask  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            "engine 'stackstac' needs the extra of that name: pip install -c constraints.txt -e '.[stackstac]' in "
            "Tilewright's folder"
        ) from error
    epsg = geobox.crs.to_epsg() if geobox.crs is not None else None
    if epsg is None:
        raise ValueError("engine 'stackstac' knows grids by EPSG code alone: use engine 'odc' for a grid given as WKT")
    side = chunk_shape(geobox, chunks)
    left, bottom, right, top = geobox.boundingbox.bbox
    bounds = left, bottom, right, top
    spec = RasterSpec(epsg, bounds, (geobox.affine.a, -geobox.affine.e))
    assert spec.shape == geobox.shape.yx, f"stackstac counts {spec.shape} pixels where the grid has {geobox.shape.yx}"
    arrays = {}
    for request in requests:
        table = np.zeros((len(scenes), 1), dtype=ASSET_TABLE_DT)
        for row, scene in zip(table[:, 0], scenes, strict=True):
            wanted = SceneBand(scene=scene, request=request) if scene.asset(request.band) is not None else None
            row["url"], row["bounds"], row["scale_offset"] = wanted, bounds, (1, 0)
        if not any(scene.asset(request.band) for scene in scenes):
            arrays[request.band] = _empty_band(len(scenes), geobox, side)
            continue
        stack = items_to_dask(
            table,
            spec,
            chunksize=(1, 1, *side),
            dtype=np.dtype("float32"),
            fill_value=cast("Any", np.float32(np.nan)),
            rescale=False,
            reader=cast("Any", partial(StackReader, geobox=geobox, access=access)),
        )
        arrays[request.band] = stack[:, 0]
    return arrays


class StackReader:
    """stackstac's Reader of one band of one scene; its URL is a SceneBand."""

    def __init__(self, *, url: SceneBand, geobox: GeoBox, access: Access, **stackstac_only: Any) -> None:
        del stackstac_only
        self._wanted, self._geobox, self._access = url, geobox, access

    def read(self, window: Window, **kwargs: Any) -> np.ndarray:
        """Values of a window of the grid, (y, x)."""
        del kwargs
        part = self._geobox[window.toslices()]
        values = np.empty(part.shape.yx, dtype=np.float32)
        read_values(self._wanted.scene, self._wanted.request, part, self._access, out=values)
        return values

    def close(self) -> None:
        """Nothing is held open."""


def chunk_shape(geobox: GeoBox, chunks: int | None) -> tuple[int, int]:
    """(height, width) of the chunks of a geobox: `chunks` a side, None: the whole."""
    height, width = geobox.shape.yx
    return (height, width) if chunks is None else (min(chunks, height), min(chunks, width))


def _empty_band(n_scenes: int, geobox: GeoBox, side: tuple[int, int]) -> Any:
    """The array of a band that no scene has: NaN."""
    shape = (n_scenes, *geobox.shape.yx)
    return da.full(shape, np.float32(np.nan), dtype=np.float32, chunks=(1, *side) if n_scenes else shape)


ENGINES: dict[str, CubeEngine] = {"odc": odc_arrays, "stackstac": stackstac_arrays}
"""The engines of other libraries by their names in a job."""
