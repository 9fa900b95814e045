"""The floors of the house, for the tests that hold them; ARCHITECTURE.md shows the same table in words."""

from __future__ import annotations

FLOORS = {
    "catalogs": [
        {"errors", "parquet", "schemas", "hrefs"},
        {"fields", "footprint", "s3", "scene", "sensors"},
        {"passes", "network"},
        {"gdal"},
        {"sources"},
        {"items", "publish"},
        {"search"},
        {"sample.landscape"},
        {"sample"},
    ],
    "models": [
        {"errors"},
        {"fields", "cache"},
        {"spec"},
        {"card", "transforms"},
        {"run", "imports"},
        {"optimise", "measure.reach"},
        {"measure.operators"},
        {"measure"},
        {"export"},
        {"builtin"},
        {"builtin.train"},
    ],
    "tasks": [
        {"progress", "colours"},
        {"storage", "grid", "identity"},
        {"inventory", "read.resample"},
        {"read", "zarr"},
        {"cube", "compose", "cog"},
        {"plan", "tables", "report.outlines", "styles"},
        {"boxes", "embeddings", "vector", "lossy"},
        {"instances", "captions"},
        {"block", "report", "zones"},
        {"compare", "serving"},
        {"audit.evaluate"},
        {"audit.shown"},
        {"publish"},
        {"places"},
    ],
    "flows": [
        {"ending", "environment", "lifeline", "machine", "versions"},
        {"errors", "shown"},
        {"job.places"},
        {"job"},
        {"access", "policies", "prefect_server"},
        {"precision", "served"},
        {"prefect_steps", "plan", "monitor"},
        {"estimate"},
        {"runners"},
        {"run"},
        {"maintain", "ask"},
        {"chain"},
        {"python_api"},
        {"prefect_flows"},
        {"cli"},
    ],
}
"""Wings and single files of each package from the ground up: each may import what is below it, not its neighbours."""

BETWEEN = {
    "catalogs": set(),
    "models": set(),
    # A card is a STAC Item: its schemas are those of the catalogs, and there is one validator, and one reader of JSON.
    "models.card": {"catalogs.fields", "catalogs.schemas"},
    "models.imports": {"catalogs.sources"},
    "tasks.grid": {"models.measure", "models.transforms"},
    "tasks.storage": {"catalogs.hrefs"},
    "tasks.identity": {
        *("catalogs.errors", "catalogs.hrefs", "catalogs.network"),
        *("catalogs.s3", "catalogs.scene", "catalogs.sources"),
    },
    "tasks.read": {
        *("catalogs.errors", "catalogs.gdal", "catalogs.hrefs"),
        *("catalogs.network", "catalogs.s3", "catalogs.scene"),
    },
    "tasks.inventory": {"catalogs.publish"},
    "tasks.cube": {"catalogs.passes", "catalogs.scene"},
    "tasks.compose": {"catalogs.passes", "catalogs.scene", "models.spec"},
    "tasks.plan": {"catalogs.hrefs", "catalogs.scene"},
    "tasks.tables": {"catalogs.parquet"},
    "tasks.boxes": {"catalogs.parquet", "models.spec"},
    "tasks.captions": {"catalogs.parquet", "models.spec"},
    "tasks.embeddings": {"catalogs.parquet", "catalogs.publish", "models.spec"},
    "tasks.styles": {"catalogs.fields"},
    "tasks.vector": {"models.spec"},
    "tasks.instances": {"models.spec", "models.transforms"},
    "tasks.lossy": {"models.spec"},
    "tasks.serving": {
        "catalogs.scene",
        "models.cache",
        "models.card",
        "models.run",
        "models.spec",
        "models.transforms",
    },
    "tasks.block": {
        *("models.card", "models.measure", "models.run", "models.spec", "models.transforms"),
        *("catalogs.passes", "catalogs.scene"),
    },
    "tasks.compare": {"catalogs.parquet", "models.spec"},
    "tasks.audit.evaluate": {"catalogs.parquet", "models.fields"},
    "tasks.places": {
        *("catalogs.hrefs", "catalogs.parquet", "catalogs.publish"),
        *("models.card", "models.measure", "models.spec", "models.transforms"),
    },
    "tasks.report.outlines": {"catalogs.parquet"},
    "tasks.report": {"catalogs.fields", "catalogs.scene", "models.spec"},
    "tasks.publish": {
        "catalogs.errors",
        "catalogs.footprint",
        "catalogs.hrefs",
        "catalogs.publish",
        "catalogs.sources",
        "models.card",
        "models.spec",
    },
}
"""What a wing may import of other packages; a wing of tasks that is not named: nothing. Flows may import them all."""

PUBLISH_ONLY = {
    "catalogs.errors",
    "catalogs.hrefs",
    "catalogs.parquet",
    "catalogs.scene",
    "catalogs.schemas",
    "catalogs.sources.fetch",
}
"""Files of its own package that catalogs.publish may import: it knows nothing of foreign items."""
