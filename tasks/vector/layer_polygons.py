"""The polygons of one class layer: made from the store, row by row, unless a valid file is recorded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import staging_folder
from tilewright.tasks.tables.fiboa import table_writer
from tilewright.tasks.tables.table_file import UploadedTable, read_table_record, table_asset, uploaded_table
from tilewright.tasks.vector.polygon_table import NOTHING, PolygonTable
from tilewright.tasks.vector.shapes import ShapeStream
from tilewright.tasks.vector.vertices import Vertices
from tilewright.tasks.zarr.store import LayerRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Any, Literal

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.inventory.arrivals import Arrivals
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.vector.shapes import Shapes
    from tilewright.tasks.zarr.store import ProductStore

FORMAT = 1
"""Raised when the way tables are made changes, so that no file of an earlier version is kept."""

STRIP_PIXELS = 1 << 20
"""Pixels of the rows that are taken at a time, about; some 40 bytes of memory each. Shapes do not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygonsFile:
    """The request for the polygons of a layer over the extent of its grid.

    ``names`` of the classes that get polygons, by stored value; all other values have none. ``least_area`` in square
    metres, ``simplify`` in units of the CRS. ``inside``: the mask of the area asked for, (y, x) of a box of absolute
    pixels; ``area``: what that depends on. ``columns``: "tilewright", or "fiboa",
    which tell the time of the ``last`` image. ``checksums`` of the layer's blocks by name, once they are there.
    """

    name: str
    layer: str
    grid: Grid
    names: Mapping[int, str]
    least_area: float
    connectivity: Literal[4, 8]
    simplify: float
    inside: Callable[[PixelBox], np.ndarray]
    area: str
    columns: str
    last: datetime | None
    checksums: Callable[[], Mapping[str, str]]

    @property
    def key(self) -> str:
        """The digest of everything that determines the file's rows."""
        return json_digest(
            {
                "format": FORMAT,
                "layer": self.layer,
                "crs": self.grid.crs,
                "resolution": self.grid.resolution,
                "extent": [self.grid.extent.row_start, self.grid.extent.col_start, *self.grid.extent.shape],
                "names": [[value, name] for value, name in self.names.items()],
                "least_area": self.least_area,
                "connectivity": self.connectivity,
                "simplify": self.simplify,
                "area": self.area,
                # Only where it is asked for: so tables of products that stand keep their keys.
                **({"columns": [self.columns, str(self.last)]} if self.columns == "fiboa" else {}),
                "blocks": dict(self.checksums()),
            }
        )


def polygons_files(
    plan: Plan, specs: Iterable[LayerSpec], arrivals: Arrivals, inside: Callable[[PixelBox], np.ndarray]
) -> list[PolygonsFile]:
    """The tables of polygons that a plan asks for, of layers whose blocks come; ``inside`` as in `PolygonsFile`."""
    asked = plan.request.get("polygons") or {}
    classes = [spec for spec in specs if spec.name in asked and spec.name not in plan.model.tables]
    return [_file(plan, spec, asked[spec.name], arrivals, inside) for spec in classes]


def _file(
    plan: Plan,
    spec: LayerSpec,
    asked: Mapping[str, Any],
    arrivals: Arrivals,
    inside: Callable[[PixelBox], np.ndarray],
) -> PolygonsFile:
    chosen = asked["classes"]

    def checksums() -> dict[str, str]:
        return {entry.name: entry.checksums[spec.name] for entry in list(arrivals.entries.values())}

    return PolygonsFile(
        name=polygons_name(spec.name),
        layer=spec.name,
        grid=plan.raster.product_grid,
        names={each.value: each.name for each in spec.classes if not chosen or each.name in chosen},
        least_area=asked["least_area"],
        connectivity=asked["connectivity"],
        simplify=asked["simplify"],
        inside=inside,
        area=json_digest({"area": plan.raster.aoi}),
        columns=asked.get("columns", "tilewright"),
        last=plan.last_image,
        checksums=checksums,
    )


def table_names(plan: Plan) -> list[str]:
    """The tables of a plan's product, by their files' names: of its model's boxes and objects, and of polygons."""
    return [*plan.model.tables, *(polygons_name(layer).removesuffix(".parquet") for layer in polygon_layers(plan))]


def polygon_layers(plan: Plan) -> list[str]:
    """The layers of classes whose polygons a plan asks for; a layer of objects has a table of its own."""
    return [layer for layer in plan.request.get("polygons") or {} if layer not in plan.model.tables]


def asset_names(plan: Plan) -> list[str]:
    """The keys of the files of layers and of the tables of a plan's product among the assets of its Item."""
    layers, tables = plan.maps, (*table_names(plan), *plan.vector_tables)
    return [*plan.files, *(table_asset(table, layers) for table in tables)]


def polygons_name(layer: str) -> str:
    """The name of the file of a layer's polygons."""
    return f"{layer}_polygons.parquet"


def ensure_polygons(
    storage: Storage, store: ProductStore, wanted: PolygonsFile, *, ready: Callable[[PixelBox], None]
) -> UploadedTable:
    """The table in storage, which is made and uploaded unless a valid one is recorded.

    ``ready`` is called with each box of absolute pixels before it is read. Raises StorageError if storage refuses,
    ChangedStoreError for a layer that is not as it was written.
    """
    existing = read_table_record(storage, wanted.name, wanted.key)
    if existing is not None:
        return existing
    with staging_folder(storage) as folder:
        path = folder / wanted.name
        try:
            n_rows = _write(path, store, wanted, ready)
        except OSError as error:
            raise storage_error(error, operation=f"write {wanted.name} to", uri=storage.uri) from error
        return uploaded_table(storage, path, key=wanted.key, n_rows=n_rows)


def _write(path: Path, store: ProductStore, wanted: PolygonsFile, ready: Callable[[PixelBox], None]) -> int:
    """Make the table as a file; returns the number of its rows."""
    extent = wanted.grid.extent
    with ExitStack() as stack:
        vertices = None
        if wanted.simplify:
            vertices = Vertices(path.parent, row=extent.row_start, col=extent.col_start, width=extent.shape[1] + 1)
            stack.callback(vertices.close)
        table = stack.enter_context(
            PolygonTable(path.parent, grid=wanted.grid, names=wanted.names, least=wanted.least_area,
                         simplify=wanted.simplify, vertices=vertices,
                         write=table_writer(wanted.columns, wanted.last))
        )  # fmt: skip
        for shapes in _shapes(store, wanted, ready, vertices):
            table.add(shapes)
            # Not held while further ones are made.
            del shapes
        return table.write(path)


def _shapes(
    store: ProductStore, wanted: PolygonsFile, ready: Callable[[PixelBox], None], vertices: Vertices | None
) -> Iterator[Shapes]:
    """The shapes of a layer, some at a time; to be simplified also those of NOTHING between them."""
    extent = wanted.grid.extent
    layer = LayerRows(store=store, name=wanted.layer, box=extent, ready=ready)
    height, width = extent.shape
    stream = ShapeStream(
        row=extent.row_start, col=extent.col_start, width=width, connectivity=wanted.connectivity, vertices=vertices
    )
    kept = np.array(sorted(wanted.names))
    step = max(1, STRIP_PIXELS // width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        values = layer.rows(start, stop)
        valid = np.isin(values, kept)
        if vertices is not None:
            values, valid = np.where(valid, values.astype(np.int32), NOTHING), np.ones_like(valid)
        box = PixelBox.at(extent.row_start + start, extent.col_start, shape=(stop - start, width))
        yield from stream.take(values, valid, edge=edge_pixels(box, extent, wanted.inside))
    yield from stream.end()


def edge_pixels(box: PixelBox, extent: PixelBox, inside_of: Callable[[PixelBox], np.ndarray]) -> np.ndarray:
    """The pixels (y, x) of whole rows of an extent in its outermost row or column, or beside one outside the area.

    `inside_of` gives the mask of the area in a box of absolute pixels.
    """
    # Beyond the extent nothing is inside.
    inside = np.zeros((box.shape[0] + 2, box.shape[1] + 2), dtype=bool)
    around = box.pad(1).intersect(extent)
    inside[around.slices_in(box.pad(1))] = inside_of(around)
    surrounded = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return ~surrounded
