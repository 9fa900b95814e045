"""The way a careful person does it: odc-stac's Dask cube, `map_overlap`, rioxarray's GeoTIFF with overviews.

`python -m tests.benchmarks.rivals.cube FOLDER SIDE KIND`.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import odc.stac
import onnxruntime
import pystac
import rasterio
import rioxarray  # noqa: F401  gives arrays their `rio`
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from tests.benchmarks.field import stopwatch
from tests.benchmarks.rivals.kinds import (
    COARSE,
    CRS,
    DROPPED,
    KINDS,
    LEFT,
    NODATA,
    PIXEL,
    RADAR,
    TOP,
    Ground,
    Kind,
    Sensor,
)

CHUNK = 1024


def items_of(ground: Ground, sensor: Sensor) -> list[pystac.Item]:
    """A STAC Item per date, as a search would give it."""
    corners = [[12.5, 47.0], [15.5, 47.0], [15.5, 49.2], [12.5, 49.2], [12.5, 47.0]]
    items = []
    for date in sensor.dates:
        moment = datetime.fromisoformat(f"{date}T10:00:00").replace(tzinfo=UTC)
        item = pystac.Item(
            f"{sensor.name}-{date}", {"type": "Polygon", "coordinates": [corners]}, [12.5, 47.0, 15.5, 49.2], moment,
            {"proj:code": CRS}, stac_extensions=[
                "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ], collection=sensor.collection,
        )  # fmt: skip
        for band in sensor.read:
            size = 2 * PIXEL if band in COARSE else PIXEL
            dtype = "uint8" if band == "scl" else "float32" if sensor.collection == RADAR else "uint16"
            item.add_asset(
                band,
                pystac.Asset(
                    str(ground.raster(date, band)), media_type=pystac.MediaType.COG, roles=["data"],
                    extra_fields={
                        "proj:shape": [ground.side * PIXEL // size] * 2,
                        "proj:transform": [size, 0, LEFT, 0, -size, TOP],
                        "raster:bands": [{"data_type": dtype, "nodata": None if dtype == "float32" else 0}],
                    },
                ),
            )  # fmt: skip
        items.append(item)
    return items


def composites(ground: Ground, sensor: Sensor) -> tuple[xr.DataArray, xr.DataArray]:
    """(step, band, y, x) float32 as the model takes it, missing as 0, and (step, y, x) where it was seen; both lazy."""
    cube = odc.stac.load(
        items_of(ground, sensor),
        bands=list(sensor.read),
        geobox=GeoBox((ground.side, ground.side), Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), CRS),
        chunks={"x": CHUNK, "y": CHUNK},
        resampling={"scl": "nearest", "*": "bilinear"},
        groupby="time",
    )
    pixels = cube[list(sensor.bands)].to_dataarray("band").transpose("time", "band", "y", "x")
    if sensor.collection == RADAR:
        values, reduce = pixels, xr.DataArray.mean
    else:
        seen = (pixels != 0).all("band")
        if sensor.masked:
            seen &= ~cube["scl"].isin(DROPPED)
        values, reduce = pixels.where(seen).astype("float32") * np.float32(1e-4), xr.DataArray.median
    steps, first = [], 0
    for dates in sensor.steps:
        step = values.isel(time=slice(first, first + len(dates))).chunk({"time": -1})
        steps.append(reduce(step, "time", skipna=True))
        first += len(dates)
    composite = xr.concat(steps, "step")
    if sensor.collection == RADAR:
        composite = 10 * np.log10(composite)
    scaled = ((composite - np.float32(sensor.mean)) / np.float32(sensor.stddev)).astype("float32")
    return scaled.fillna(0), composite.notnull().all("band")


def predict(block: np.ndarray, kind: Kind, session: onnxruntime.InferenceSession) -> np.ndarray:
    """Classes (1, y, x) of the channels (channel, y, x) of all sensors."""
    if min(block.shape) == 0:
        return np.zeros((1, *block.shape[1:]), np.uint8)
    if not kind.halo:
        rows = np.ascontiguousarray(block.reshape(len(block), -1).T)
        (scores,) = session.run(None, {"x": rows})
        return scores.argmax(axis=1).astype(np.uint8).reshape(1, *block.shape[1:])
    ends = np.cumsum([sensor.n_channels for sensor in kind.sensors])
    parts = np.split(block, ends[:-1])
    (scores,) = session.run(None, {sensor.name: part[None] for sensor, part in zip(kind.sensors, parts, strict=True)})
    return scores.argmax(axis=1).astype(np.uint8)


def run(ground: Ground, kind: Kind, output: Path) -> None:
    """Composites, model over overlapping chunks, one GeoTIFF with overviews."""
    session = onnxruntime.InferenceSession(ground.card(kind) / "model.onnx")
    pairs = [composites(ground, sensor) for sensor in kind.sensors]
    channels = da.concatenate([given.data.reshape(-1, ground.side, ground.side) for given, _ in pairs])
    channels = channels.rechunk({0: -1})
    if kind.halo:
        # What `predict` gives still has its rims: map_overlap cuts them afterwards.
        grown = [tuple(size + 2 * kind.halo for size in sizes) for sizes in channels.chunks[1:]]
        classes = da.map_overlap(
            predict, channels, depth={0: 0, 1: kind.halo, 2: kind.halo}, boundary=0, kind=kind, session=session,
            dtype=np.uint8, chunks=((1,), *grown), meta=np.empty((0, 0, 0), np.uint8),
        )  # fmt: skip
    else:
        classes = da.map_blocks(
            predict, channels, kind=kind, session=session, dtype=np.uint8, chunks=((1,), *channels.chunks[1:]),
            meta=np.empty((0, 0, 0), np.uint8),
        )  # fmt: skip
    mapped = [seen.all("step") if isinstance(kind.period, dict) else seen.any("step") for _, seen in pairs]
    everywhere = mapped[0].data
    for each in mapped[1:]:
        everywhere = everywhere & each.data
    first = pairs[0][0]
    result = xr.DataArray(
        da.where(everywhere, classes[0], np.uint8(NODATA)), dims=("y", "x"), coords={"y": first.y, "x": first.x}
    )
    result.rio.write_crs(CRS).rio.write_nodata(NODATA).rio.to_raster(
        output, driver="GTiff", tiled=True, blockxsize=512, blockysize=512, compress="DEFLATE"
    )
    with rasterio.open(output, "r+") as dataset:
        factors = [2**level for level in range(1, 8) if ground.side >> level >= 512]
        dataset.build_overviews(factors, rasterio.enums.Resampling.mode)


def main() -> None:
    """Run it once and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", type=int)
    parser.add_argument("kind", choices=KINDS)
    asked = parser.parse_args()
    ground, kind = Ground(folder=asked.folder, side=asked.side), KINDS[asked.kind]
    clock = stopwatch()
    with dask.config.set(scheduler="threads"):
        run(ground, kind, ground.map(kind, "cube"))
    print(json.dumps({"benchmark": "cube", "kind": kind.name, "seconds": round(clock(), 3)}))


if __name__ == "__main__":
    main()
