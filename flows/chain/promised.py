"""The Item of a product that is not there yet, as far as its plan and card foretell it: layers, grid and dates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
from shapely.geometry import shape

from tilewright.catalogs.footprint import bounds_of
from tilewright.catalogs.publish.facts import GridFacts
from tilewright.catalogs.publish.item import grid_fields, layer_asset
from tilewright.tasks.cog.write import CogFacts
from tilewright.tasks.grid.areas import mean_pixel_metres
from tilewright.tasks.publish.written import layer_facts
from tilewright.tasks.tables.table_file import MEDIA_TYPE
from tilewright.tasks.vector.layer_polygons import table_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.plan.plan import Plan


def promised_item(plan: Plan, card: ModelCard) -> dict[str, Any]:
    """The Item by which what reads the product is planned: as the published one, without sizes and checksums."""
    start, end = plan.period
    grid = plan.raster.product_grid
    facts = GridFacts(
        crs=grid.crs,
        shape=grid.extent.shape,
        transform=tuple(grid.transform_of(grid.extent))[:6],
        gsd=mean_pixel_metres(grid),
    )
    by_name = {spec.name: spec for spec in card.layer_specs()}
    tables = {name: {"href": f"./{name}.parquet", "type": MEDIA_TYPE, "roles": ["data"]} for name in table_names(plan)}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": plan.name,
        "geometry": plan.request["area"],
        "bbox": list(bounds_of(shape(plan.request["area"]))),
        "properties": {
            "datetime": pystac.utils.datetime_to_str(start),
            "start_datetime": pystac.utils.datetime_to_str(start),
            "end_datetime": pystac.utils.datetime_to_str(end),
            "processing:software": plan.versions,
            "processing:expression": {"format": "stac-mlm", "expression": {}},
            "gsd": facts.gsd,
            **grid_fields(facts),
            **({"tw:simulated": True} if plan.simulated else {}),
        },
        "links": [],
        "assets": {
            "data": {"href": "./data.zarr", "roles": ["data"]},
            "plan": {"href": "./.tilewright/plan.json", "roles": ["metadata"]},
            **tables,
            **{
                name: _layer([by_name[layer] for layer in layers], gsd=facts.gsd) for name, layers in plan.files.items()
            },
        },
    }


def _layer(specs: Sequence[LayerSpec], *, gsd: float) -> dict[str, Any]:
    """The asset of a layer, or of an image, that is to be written, without what only its file can say."""
    unwritten = CogFacts(
        path=Path(f"{specs[0].file}.tif"),
        size=0,
        checksum="",
        statistics=None,
        counts={},
        pixels=0,
        valid_pixels=0,
        overviews=(),
        sidecar=None,
    )
    plain = layer_asset(layer_facts([(spec, unwritten) for spec in specs]), gsd=gsd).to_dict()
    return {key: value for key, value in plain.items() if not key.startswith("file:")}
