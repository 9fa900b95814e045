"""What is published of a finished run, in the catalog's words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

from tilewright.catalogs.footprint import bounds_of
from tilewright.catalogs.publish.facts import (
    COG,
    VRT,
    ClassFacts,
    FileFacts,
    LayerFacts,
    ModelFacts,
    ProductFacts,
    RelatedFacts,
    SceneFacts,
    StatisticsFacts,
)
from tilewright.models.spec.outputs import layer_word
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.grid.areas import pixel_metres

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.cog.write import CogFacts
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.layers import WrittenLayers


DATA_KINDS = {"class", "value"}

UCUM = {"1": "", "percent": "%"}
"""Units by the code that STAC asks for (common metadata, `unit`), where ours is another word for it."""

LONGEST_NAME = 100
"""Letters of a model's name in the collection's, which may have 128: a card may be called anything."""


def product_facts(
    worker: Worker, finished: WrittenLayers, report: Mapping[str, Any], *, folder: Path, created: datetime
) -> ProductFacts:
    """All that the Item says. ``folder`` holds the files beside the layers as they are published."""
    plan, card = worker.plan, worker.model.card
    grid = plan.raster.product_grid
    area = shape(plan.request["area"])
    start, end = _span(plan)
    return ProductFacts(
        id=plan.name,
        collection=f"tilewright-{layer_word(card.name)[:LONGEST_NAME]}",
        title=plan.name,
        description=f"{', '.join(plan.raster.layers)} of {report['area_km2']:.1f} km2 by the model {card.name}",
        geometry=shapely.geometry.mapping(area),
        bbox=bounds_of(area),
        start=start,
        end=end,
        created=created,
        crs=grid.crs,
        shape=grid.extent.shape,
        transform=tuple(grid.transform_of(grid.extent))[:6],
        layers=tuple(
            layer_facts(layer.spec, layer.facts, media_type=VRT if layer.parts else COG) for layer in finished.layers
        ),
        files=_files(folder, finished, zarr_format=plan.request["zarr_format"]),
        related=related_parts(finished),
        model=ModelFacts(
            id=card.id,
            name=card.name,
            href=_card_href(plan),
            sha256=card.sha256,
            tasks=card.tasks,
            architecture=card.architecture,
            framework="ONNX",
        ),
        scenes=_scenes(plan, report),
        software=plan.versions,
        gsd=math.sqrt(math.prod(pixel_metres(grid))),
        expression={
            "key": plan.settings_key(),
            "job": plan.request,
            "exact": plan.model.exact,
            "provider": report["provider"],
        },
    )


def _span(plan: Plan) -> tuple[datetime, datetime]:
    moments = [scene.datetime for entry in plan.inputs for scene in entry.scenes]
    return min(moments), max(moments)


def _card_href(plan: Plan) -> str:
    reference = plan.model.card["reference"]
    return reference if "://" in reference or "/" in reference else f"urn:tilewright:model:{reference}"


def related_parts(finished: WrittenLayers) -> tuple[RelatedFacts, ...]:
    """The Items of a product's parts, as its own Item names them."""
    return tuple(
        RelatedFacts(href=f"./item_{part.suffix}.json", title=f"part {part.suffix}")
        for part, _ in finished.layers[0].parts
    )


def layer_facts(spec: LayerSpec, facts: CogFacts, *, media_type: str = COG) -> LayerFacts:
    """What the Item says of a layer's file."""
    moments = facts.statistics
    return LayerFacts(
        name=spec.name,
        href=f"./{facts.path.name}",
        size=facts.size,
        checksum=facts.checksum,
        dtype=spec.dtype,
        nodata=spec.nodata,
        unit=UCUM.get(spec.unit, spec.unit),
        description=spec.description,
        classes=tuple(
            ClassFacts(
                value=entry.value,
                name=entry.name,
                description=entry.description,
                color=entry.color,
                pixels=facts.counts.get(entry.value, 0),
            )
            for entry in spec.classes
        ),
        statistics=None
        if moments is None
        else StatisticsFacts(
            minimum=moments.minimum,
            maximum=moments.maximum,
            mean=moments.mean,
            stddev=moments.stddev,
            valid_percent=moments.valid_percent,
        ),
        media_type=media_type,
        role="data" if spec.kind in DATA_KINDS else "metadata",
    )


def names_facts(spec: LayerSpec, facts: CogFacts) -> tuple[FileFacts, ...]:
    """What the Item says of the class names beside a layer's file, where there are any."""
    if facts.sidecar is None:
        return ()
    return (
        FileFacts(
            key=f"{spec.name}_names",
            href=f"./{facts.sidecar.name}",
            media_type="application/xml",
            roles=("metadata",),
            title="Class names for GDAL",
        ),
    )


def _files(folder: Path, finished: WrittenLayers, *, zarr_format: int) -> tuple[FileFacts, ...]:
    facts = [
        FileFacts(
            key="data",
            href="./data.zarr",
            media_type=f"application/vnd.zarr; version={zarr_format}",
            roles=("data",),
            title="All layers and observation counts",
        ),
        FileFacts(key="report_json", href="./report.json", media_type="application/json", roles=("metadata",)),
    ]
    known = {
        "preview.png": ("thumbnail", "image/png", ("thumbnail",), "The map over the scenes"),
        "report.html": ("report", "text/html", ("metadata",), "The report for people"),
        "manifest.parquet": ("manifest", "application/vnd.apache.parquet", ("metadata",), "Every scene read"),
    }
    for name, (key, media_type, roles, title) in known.items():
        facts.append(
            FileFacts(
                key=key,
                href=f"./{name}",
                media_type=media_type,
                roles=roles,
                title=title,
                size=(folder / name).stat().st_size,
                checksum=file_multihash(folder / name),
            )
        )
    facts.append(
        FileFacts(
            key="plan",
            href="./.tilewright/plan.json",
            media_type="application/json",
            roles=("metadata",),
            title="The frozen plan, from which the product can be rebuilt",
            size=(folder / "plan.json").stat().st_size,
            checksum=file_multihash(folder / "plan.json"),
        )
    )
    facts.extend(entry for layer in finished.layers for entry in names_facts(layer.spec, layer.facts))
    return tuple(facts)


def _scenes(plan: Plan, report: Mapping[str, Any]) -> tuple[SceneFacts, ...]:
    used = {row["id"] for row in report["scenes"] if row["used_in_blocks"]}
    scenes = {scene.id: scene for entry in plan.inputs for scene in entry.scenes if scene.id in used}
    return tuple(
        SceneFacts(
            id=scene.id,
            collection=scene.collection,
            href=scene.href,
            datetime=scene.datetime,
            platform=scene.platform,
        )
        for scene in scenes.values()
    )
