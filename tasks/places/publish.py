"""Publishes the table of a job over places: report, pictures, manifest, and last its own Item."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.catalogs.publish.facts import GridFacts, ProductFacts, TimeFacts
from tilewright.catalogs.publish.item import build_item, item_json
from tilewright.catalogs.publish.manifest import ManifestRow, write_manifest
from tilewright.tasks.grid.areas import mean_pixel_metres
from tilewright.tasks.inventory.listing import list_top
from tilewright.tasks.inventory.record import COLLECTION, TABLE, with_table, write_product_record
from tilewright.tasks.inventory.table import table_with
from tilewright.tasks.places.pictures import PlacesMap, places_maps
from tilewright.tasks.places.report import page_report, report_of_places, value_range
from tilewright.tasks.places.table import joined_records, places_table, upload_places
from tilewright.tasks.places.texts import TEXT, with_answers
from tilewright.tasks.plan.places import PLACES, PLACES_FILE
from tilewright.tasks.publish.item_facts import (
    collection_id,
    footprint_facts,
    page_files,
    provenance_facts,
    table_facts,
)
from tilewright.tasks.publish.names import style_facts, wanted_record
from tilewright.tasks.publish.unlist import collection_with, other_rows
from tilewright.tasks.publish.verify import check_written
from tilewright.tasks.publish.written import cog_spec
from tilewright.tasks.report.outlines.columns import OF_OTHERS, ClassColumn
from tilewright.tasks.report.outlines.paths import PictureFrame
from tilewright.tasks.report.outlines.table import product_outlines
from tilewright.tasks.report.preview import Frame, write_preview
from tilewright.tasks.report.render import render_report
from tilewright.tasks.report.sections import headline
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import PLAN
from tilewright.tasks.storage.secrets import drop_published, kept_of
from tilewright.tasks.storage.storage import json_bytes, staging_folder
from tilewright.tasks.styles.shapes import graduated_style, shapes_style
from tilewright.tasks.styles.styles import ENDING as STYLE
from tilewright.tasks.tables.table_file import is_table_unchanged
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from pathlib import Path

    import numpy as np

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.publish.report_json import RunFacts
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.tables.table_file import UploadedTable


PAGES = ("report.json", "report.html", "preview.png", "manifest.parquet")


def publish_places(
    worker: PlacesWorker, entries: Mapping[str, BlockEntry], given: Any, run: RunFacts, *, key: str | None, path: str
) -> dict[str, Any]:
    """The report of a table of places, published with its pictures, manifest, Item and Collection.

    ``given`` is a pyarrow table of the file's own columns, of which ``key`` is the user's key, None for none;
    ``path`` is that of the file, for the job that the report shows. The Item is written after all that
    it lists. Raises ChangedStoreError where something is not as it was written.
    """
    storage, plan = worker.storage, worker.plan
    record, kept = wanted_record(storage, plan), kept_of(plan.source)
    known = {spec.name: spec for spec in worker.model.card.layer_specs()}
    specs = {name: known[name] for name in plan.raster.layers}
    records, texts = joined_records(worker, entries)
    shown, told = with_answers(records, specs, texts)
    with staging_folder(storage) as folder:
        columns = places_table(given, records, specs, key=key, texts=texts)
        crs = plan.raster.grid.crs
        table = upload_places(storage, columns, worker.rows.places, crs=crs, folder=folder, entries=entries)
        plain_report = report_of_places(worker, entries, table, shown, specs=told, run=run)
        plain_report["job"]["places"]["file"] = path
        report = json_without_secrets(plain_report, kept)
        _stage_pages(folder, worker, entries, shown, specs=told, report=report, ground=run.background)
        styles = _stage_style(folder, worker, records, specs=specs, wanted=record.files)
        for name in (*PAGES, *styles):
            storage.upload(name, folder / name)
        (folder / "plan.json").write_bytes(storage.read(PLAN) or b"")
        product = _facts(worker, table, report, folder=folder, created=run.finished)
        product = replace(product, files=(*product.files, *style_facts((PLACES,), styles)))
        sizes = {name: (folder / name).stat().st_size for name in (*PAGES, *styles) if (folder / name).exists()}
    item = build_item(product)
    plain = item_json(item, kept)
    items = table_with([plain], other_rows(storage, record, storage.read(TABLE) or b""))
    collection = collection_with(storage, record, {ITEM: item})
    _check_published(worker, table, sizes)
    write_product_record(storage, with_table(record, hashlib.sha256(items).hexdigest()))
    storage.write_json(ITEM, plain, kept)
    check_written(storage, ITEM, json_bytes(plain, kept))
    storage.write(TABLE, items)
    storage.write_json(COLLECTION, collection)
    drop_published(storage)
    return report


def _check_published(worker: PlacesWorker, table: UploadedTable, sizes: Mapping[str, int]) -> None:
    """Check that what the Item will list is there as it was written. Raises ChangedStoreError."""
    there = list_top(worker.storage)
    wrong = [name for name, size in sizes.items() if name not in there or there[name].size != size]
    if not is_table_unchanged(worker.storage, table):
        wrong.append(PLACES_FILE)
    if wrong:
        raise ChangedStoreError(f"{', '.join(wrong[:3])} of {worker.storage.uri} changed after it was written")


def _stage_pages(
    folder: Path,
    worker: PlacesWorker,
    entries: Mapping[str, BlockEntry],
    records: np.ndarray,
    *,
    specs: Mapping[str, LayerSpec],
    report: Mapping[str, Any],
    ground: np.ndarray | None,
) -> None:
    """Write report.json, preview.png, report.html and manifest.parquet into a local folder; ``ground`` is the picture
    beneath the map.
    """
    plan, storage = worker.plan, worker.storage
    grid, kept = plan.raster.grid, kept_of(plan.source)
    (folder / "report.json").write_bytes(json_bytes(report, kept))
    frame = PlacesMap.of(plan, worker.rows)
    maps, legend = places_maps(frame, records[worker.rows.order], specs, shown=ground)
    outlines = PictureFrame(
        bounds=frame.bounds,
        shape=frame.shape,
        shrunk=(frame.bounds[2] - frame.bounds[0]) / grid.resolution / frame.shape[1],
    )
    try:
        tables = product_outlines(
            storage, [PLACES_FILE], outlines, folder=folder, classes={PLACES_FILE: _class_column(specs)}
        )
    except (OSError, ValueError, KeyError) as error:
        raise ChangedStoreError(f"The table of {storage.uri} is not as it was written: {error}") from error
    page = page_report(report, bounds=frame.bounds)
    write_preview(
        folder / "preview.png",
        layer=next(iter(maps.values())),
        legend=legend,
        frame=Frame(crs=grid.crs, bounds=frame.bounds, resolution=grid.resolution),
        title=plan.name,
        subtitle=headline(report),
        attribution=str(report["attribution"]),
    )
    (folder / "report.html").write_text(render_report(page, maps=maps, tables=tables), encoding="utf-8")
    n_units = Counter(scene_id for entry in entries.values() for scene_id in entry.scenes)
    scenes = {(scene.collection, scene.id): scene for entry in plan.inputs for scene in entry.scenes}
    rows = [
        ManifestRow(scene=scene, href=scene.href, used_in_blocks=n_units[scene.id])
        for _, scene in sorted(scenes.items())
    ]
    write_manifest(folder / "manifest.parquet", rows, kept)


def _stage_style(
    folder: Path,
    worker: PlacesWorker,
    records: np.ndarray,
    *,
    specs: Mapping[str, LayerSpec],
    wanted: Collection[str],
) -> tuple[str, ...]:
    """Write the style of the table into a local folder, by the first class layer or else the first layer.

    Returns its name; none where somebody keeps a style of their own.
    """
    name = f"{PLACES}{STYLE}"
    # What is said in words has no colours of its own in QGIS.
    if name not in wanted or not specs:
        return ()
    kinds = {*shapely.get_type_id(worker.rows.places[worker.rows.order]).tolist()}
    points = kinds <= {shapely.GeometryType.POINT, shapely.GeometryType.MULTIPOINT}
    spec = next((spec for spec in specs.values() if spec.kind == "class"), next(iter(specs.values())))
    if spec.kind == "class":
        content = shapes_style(cog_spec(spec), attribute=spec.name, points=points)
    else:
        content = graduated_style(spec.name, value_range(records, spec), points=points)
    (folder / name).write_bytes(content)
    return (name,)


def _class_column(specs: Mapping[str, LayerSpec]) -> ClassColumn:
    """The column of the first class layer, with the names of its classes."""
    layer = next((spec for spec in specs.values() if spec.kind == "class" and spec.source != TEXT), None)
    if layer is None:
        return OF_OTHERS
    return ClassColumn(
        value=layer.name, name="", names={each.value: each.name for each in layer.classes}, layer=layer.name
    )


def _facts(
    worker: PlacesWorker, table: UploadedTable, report: Mapping[str, Any], *, folder: Path, created: datetime
) -> ProductFacts:
    plan, card = worker.plan, worker.model.card
    start, end = plan.period
    grid, layers = plan.raster.grid, ", ".join((*plan.raster.layers, *card.answers))
    return ProductFacts(
        id=plan.name,
        collection=collection_id(card),
        title=plan.name,
        description=f"{layers} of {table.n_rows:,} places by the model {card.name}",
        footprint=footprint_facts(shape(plan.request["area"])),
        time=TimeFacts(start=start, end=end, created=created),
        grid=GridFacts(crs=grid.crs, shape=None, transform=(), gsd=mean_pixel_metres(grid)),
        layers=(),
        files=(table_facts(table), *page_files(folder)),
        provenance=provenance_facts(plan, card, report),
        related=(),
    )
