"""A table of boxes as GeoParquet, one row a thing, in an order that no cut of the work changes; and as a small map."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import shapely
from PIL import Image, ImageDraw

from tilewright.catalogs.parquet import pyarrow
from tilewright.models.spec.outputs import NODATA_BYTE, ClassSpec, LayerSpec
from tilewright.tasks.boxes.overlap import corners
from tilewright.tasks.colours import GROUND
from tilewright.tasks.grid.crs import metres_per_unit
from tilewright.tasks.tables.geoparquet import GEOMETRY, ROWS_PER_GROUP, Rows, hilbert_places, write_geoparquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tilewright.models.spec.boxes import BoxesSpec
    from tilewright.tasks.grid.grid import Grid

COLUMNS = {"id": "int64", "value": "int64", "name": "string", "score": "double", "area_m2": "double"}
"""Columns of the table beside the geometry; areas are planar in the grid's CRS."""


def in_order(boxes: np.ndarray) -> np.ndarray:
    """The boxes (BOX) along a Hilbert curve over the pixels of their centres, those of one pixel best first."""
    cols, rows = (np.floor(boxes[name]).astype(np.int64) for name in ("x", "y"))
    rest = [boxes[name] for name in ("value", "angle", "h", "w", "x", "y")]
    return boxes[np.lexsort([*rest, -boxes["score"], hilbert_places(cols, rows)])]


def write_boxes(path: Path, boxes: np.ndarray, *, grid: Grid, names: Mapping[int, str]) -> None:
    """Write boxes (BOX, absolute pixels of `grid`) to a file. `names` of the classes by value."""
    boxes = in_order(boxes)
    places = corners(boxes) * np.array([grid.resolution, -grid.resolution])
    # Downwards and to the right are the pixels, upwards the coordinates: the order of corners turns round.
    shapes = shapely.polygons(places[:, ::-1])
    write_geoparquet(
        path,
        _rows(boxes, shapes, grid, names),
        columns=COLUMNS,
        crs=grid.crs,
        kinds=("Polygon",) if len(boxes) else (),
        bounds=shapely.total_bounds(shapes) if len(boxes) else np.full(4, np.nan),
    )


def _rows(boxes: np.ndarray, shapes: np.ndarray, grid: Grid, names: Mapping[int, str]) -> Iterator[Rows]:
    metres = grid.resolution * metres_per_unit(grid.crs)
    for start in range(0, len(boxes), ROWS_PER_GROUP):
        part, drawn = (each[start : start + ROWS_PER_GROUP] for each in (boxes, shapes))
        yield Rows(
            geometry=shapely.to_wkb(drawn, byte_order=1),
            bounds=shapely.bounds(drawn),
            columns={
                "id": np.arange(start + 1, start + len(part) + 1),
                "value": part["value"].astype(np.int64),
                "name": [names[int(value)] for value in part["value"]],
                "score": part["score"],
                "area_m2": part["w"] * part["h"] * metres**2,
            },
        )


def box_map(content: bytes, spec: BoxesSpec, *, grid: Grid, observed: np.ndarray) -> tuple[np.ndarray, LayerSpec]:
    """The boxes of a table, the bytes of its file, filled with their class's value, and the map as a layer.

    `observed` (y, x) is True where something was seen, over the extent of `grid`, in the size of the map. Each box has
    a pixel at least, the better ones above the others.
    """
    table = pyarrow().parquet.read_table(io.BytesIO(content), columns=["value", "score", GEOMETRY])
    value, score = (table.column(name).to_numpy() for name in ("value", "score"))
    shapes = shapely.from_wkb(table.column(GEOMETRY).to_numpy(zero_copy_only=False))
    taken = {each.value for each in spec.classes}
    # Where classes have all values, ground without boxes is left empty.
    nothing = next((number for number in range(NODATA_BYTE) if number not in taken), NODATA_BYTE)
    canvas = Image.fromarray(np.where(observed, np.uint8(nothing), np.uint8(NODATA_BYTE)))
    draw = ImageDraw.Draw(canvas)
    left, _, right, top = grid.bounds_of(grid.extent)
    scale = observed.shape[1] / (right - left)
    for number in np.argsort(score, kind="stable"):
        places = (shapely.get_coordinates(shapes[number]) - [left, top]) * [scale, -scale]
        draw.polygon([(float(x), float(y)) for x, y in places], fill=int(value[number]))
    ground = (ClassSpec(value=nothing, name="nothing found", color=GROUND[1:]),) if nothing != NODATA_BYTE else ()
    classes = (*spec.classes, *ground)
    return np.asarray(canvas), LayerSpec(name=spec.name, kind="class", source="class", classes=classes)
