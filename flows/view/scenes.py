"""The scenes behind a product, for the time line and the map: when, how cloudy, where."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import shapely
from shapely.lib import ShapelyError

from tilewright.catalogs.fields import mapping, number
from tilewright.catalogs.parquet import pyarrow
from tilewright.flows.view.files import MERCATOR_LATITUDE
from tilewright.flows.view.products import MANIFEST, size_of
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.report.format import moment
from tilewright.tasks.report.outlines.columns import cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.flows.view.products import ViewedProduct

MOST_SCENES = 1500

LARGEST_MANIFEST = 256 * 2**20

MOST_CORNERS = 200
"""Corners of a footprint; one of more is drawn as its box."""

ROWS_AT_ONCE = 500


def scenes_of(product: ViewedProduct) -> dict[str, Any]:
    """The first scenes of a product by time, each with its moment, cloud share in percent (null: not known), steps
    and footprint (GeoJSON in degrees, null: not known); ``n_all`` of them there are.
    """
    told = rows(product.report, "scenes")
    shapes = _footprints(product)
    listed = []
    for row in told:
        when = moment(row.get("datetime"))
        if when is None:
            continue
        cloud = number(row.get("cloud_cover"))
        listed.append(
            {
                "id": cell(text(row, "id")),
                "collection": cell(text(row, "collection")),
                "time": when.isoformat(),
                "cloud": min(max(cloud, 0.0), 100.0) if cloud is not None and math.isfinite(cloud) else None,
                "used": number(row.get("used_in_blocks")) != 0,
                "footprint": shapes.get(text(row, "id")),
            }
        )
    listed.sort(key=lambda scene: (scene["time"], scene["id"]))
    return {"scenes": listed[:MOST_SCENES], "n_all": len(listed)}


def _footprints(product: ViewedProduct) -> dict[str, Any]:
    """Footprints by the ids of scenes; those that cannot be read are left out, since the page is whole without them."""
    size = size_of(product.storage, MANIFEST)
    if size is None or size > LARGEST_MANIFEST:
        return {}
    content = product.storage.read(MANIFEST)
    try:
        return dict(_shapes(content))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _shapes(content: bytes | None) -> Iterator[tuple[str, Any]]:
    pa = pyarrow()
    left = MOST_SCENES
    with pa.parquet.ParquetFile(pa.BufferReader(content)) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["id", "scene"]):
            for row in batch.to_pylist():
                if left and (shape := _footprint(row["scene"])) is not None:
                    yield str(row["id"]), shape
                    left -= 1


def _footprint(scene: str) -> dict[str, Any] | None:
    geometry = mapping(mapping(json.loads(scene)).get("geometry"))
    try:
        shape = shapely.force_2d(shapely.from_geojson(json.dumps(geometry, allow_nan=False)))
    except (ValueError, ShapelyError):
        return None
    if shapely.get_num_coordinates(shape) > MOST_CORNERS:
        shape = shapely.envelope(shape)
    if shape.is_empty or shape.geom_type not in {"Polygon", "MultiPolygon"}:
        return None
    shape = shapely.intersection(shape, shapely.box(-360, -MERCATOR_LATITUDE, 540, MERCATOR_LATITUDE))
    plain: dict[str, Any] = json.loads(shapely.to_geojson(shape))
    return plain if plain.get("type") in {"Polygon", "MultiPolygon"} else None
