"""Publishes a product whose layers are written: report, pictures, manifest, Items, and last its own Item."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.catalogs.publish.item import build_item, item_json, shown_bands
from tilewright.catalogs.publish.manifest import ManifestRow, write_manifest
from tilewright.models.spec.outputs import LayerSpec
from tilewright.tasks.boxes.box_file import boxes_name
from tilewright.tasks.boxes.box_table import box_map
from tilewright.tasks.captions.caption_map import caption_map
from tilewright.tasks.compare.section import tell_change
from tilewright.tasks.embeddings.described import array_files, embedding_facts, told_embedding
from tilewright.tasks.embeddings.overview import vector_map
from tilewright.tasks.inventory.record import COLLECTION, TABLE, with_table, write_product_record
from tilewright.tasks.inventory.table import table_with
from tilewright.tasks.publish.item_facts import part_facts, product_facts
from tilewright.tasks.publish.names import style_facts, wanted_record
from tilewright.tasks.publish.report_json import RunFacts, report_json
from tilewright.tasks.publish.unlist import collection_with, other_rows
from tilewright.tasks.publish.verify import check_published, check_written
from tilewright.tasks.publish.written import cog_spec
from tilewright.tasks.report.outlines.paths import PictureFrame
from tilewright.tasks.report.outlines.table import product_outlines
from tilewright.tasks.report.picture import Legend, image_picture, legend, picture, value_ends
from tilewright.tasks.report.preview import Frame, write_preview
from tilewright.tasks.report.render import render_report
from tilewright.tasks.report.sections import headline
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import PLAN
from tilewright.tasks.storage.secrets import drop_published, kept_of
from tilewright.tasks.storage.storage import json_bytes, staging_folder
from tilewright.tasks.styles.styles import ImageStyle, LayerStyle, write_styles
from tilewright.tasks.vector.layer_polygons import polygon_layers, polygons_name, table_names
from tilewright.tasks.zarr.store import ChangedStoreError, open_store, remove_waiting
from tilewright.tasks.zarr.thumbnail import read_thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.compare.section import ChangeView
    from tilewright.tasks.inventory.record import ProductRecord
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.written import WrittenLayers
    from tilewright.tasks.report.outlines.table import TableOutlines
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage

    Map = tuple[LayerSpec, np.ndarray]


PICTURE_SIZE = 1400
"""Pixels of a picture's longer side: enough for a full screen, small enough to be embedded in the report's page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductPictures:
    """The pictures of preview and report.

    ``maps``: every layer by name as RGBA (y, x, 4) uint8. ``shown``: the name of the preview's layer, with its
    ``legend``. ``background``: the scenes in true colour, (y, x, 3) uint8, None if there are none; ``scene_image``: the
    same for the page, empty if that is to be made. ``tables`` are those whose shapes the page draws.
    """

    maps: Mapping[str, np.ndarray]
    shown: str
    legend: Legend
    background: np.ndarray | None
    scene_image: str
    tables: tuple[TableOutlines, ...]


def publish_product(
    worker: Worker, entries: Mapping[str, BlockEntry], written: WrittenLayers, run: RunFacts
) -> dict[str, Any]:
    """The report of a product, published with its pictures, manifest, Items and Collection.

    The product's own Item is written after all that it lists was found as it was written, and the table and the
    Collection after the Item that they list: nothing ever leads to what is not there. Raises ChangedStoreError where
    something is not as it was written: another try writes it again.
    """
    storage, plan = worker.storage, worker.plan
    record = wanted_record(storage, plan)
    small = _small_layers(storage, plan, written)
    kept = kept_of(plan.source)
    plain_report = report_json(worker, entries, written, small, run)
    specs = [layer.spec for layer in written.layers]
    change = tell_change(storage, plan, specs, plain_report, worker.access)
    embedding = embedding_facts(plan, worker.model.card.layer_specs())
    told = {} if embedding is None else told_embedding(plan, embedding, written.tables, plain_report, entries.values())
    report: dict[str, Any] = json_without_secrets({**plain_report, **change.keys, **told}, kept)
    with staging_folder(storage) as folder:
        maps = _layer_maps(written, small) or _box_maps(worker) or _vector_maps(worker)
        tables = _outlines(storage, plan, written, maps, folder)
        pictures = _draw_layers(maps, run, tables, _image_pictures(plan, written, small))
        _stage_files(folder, plan, entries, pictures, report, change=change.view)
        styles = write_styles(folder, _styles(worker, written, small), record.files)
        for name in ("report.json", "report.html", "preview.png", "manifest.parquet", *styles):
            storage.upload(name, folder / name)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        (folder / "plan.json").write_bytes(storage.read(PLAN) or b"")
        product = product_facts(worker, written, report, folder=folder, created=run.finished)
        files = (*product.files, *style_facts((*plan.files, *table_names(plan)), styles), *array_files(plan, embedding))
        product = replace(product, files=files, embedding=embedding)
    parts = part_facts(product, plan, entries, written)
    items = {name: build_item(facts) for name, facts in {ITEM: product, **parts}.items()}
    plain = {name: item_json(item, kept) for name, item in items.items()}
    table = table_with([*plain.values()], _other_rows(storage, record))
    collection = collection_with(storage, record, items)
    for name in parts:
        storage.write_json(name, plain[name], kept)
    check_published(storage, written, sizes=sizes, documents={name: json_bytes(plain[name], kept) for name in parts})
    write_product_record(storage, with_table(record, hashlib.sha256(table).hexdigest()))
    # All that the blocks hold is in the layers by now; a run that ends here verifies it there.
    remove_waiting(storage)
    storage.write_json(ITEM, plain[ITEM], kept)
    check_written(storage, ITEM, json_bytes(plain[ITEM], kept))
    storage.write(TABLE, table)
    storage.write_json(COLLECTION, collection)
    drop_published(storage)
    return report


def _small_layers(storage: Storage, plan: Plan, written: WrittenLayers) -> dict[str, np.ndarray]:
    """Every layer by name, (y, x) in its stored dtype, reduced to the size of a picture."""
    return {
        layer.spec.name: read_thumbnail(
            storage,
            layer.spec.name,
            shape=plan.raster.product_grid.extent.shape,
            max_size=PICTURE_SIZE,
            kind=layer.spec.kind,
        )
        for layer in written.layers
    }


def _layer_maps(written: WrittenLayers, small: Mapping[str, np.ndarray]) -> dict[str, Map]:
    """The layers as maps by name: what they hold, and their pixels in the size of a picture."""
    return {layer.spec.name: (layer.spec, small[layer.spec.name]) for layer in written.layers}


def _box_maps(worker: Worker) -> dict[str, Map]:
    """The same of the tables of a product without layers."""
    grid = worker.plan.raster.product_grid
    seen = read_thumbnail(worker.storage, "observations", shape=grid.extent.shape, max_size=PICTURE_SIZE, kind="class")
    maps = {}
    for table in worker.model.card.boxes:
        content = worker.storage.read(boxes_name(table.name)) or b""
        pixels, spec = box_map(content, table, grid=grid, observed=seen > 0)
        maps[table.name] = spec, pixels
    for name in worker.model.card.answers:
        content = worker.storage.read(boxes_name(name)) or b""
        pixels, spec = caption_map(content, name, grid=grid, observed=seen > 0)
        maps[name] = spec, pixels
    return maps


def _vector_maps(worker: Worker) -> dict[str, Map]:
    """The same of the vectors of a product without maps and boxes."""
    store = open_store(worker.storage, **worker.plan.raster.store_boxes, read_only=True)
    specs = [spec for spec in worker.model.card.layer_specs() if spec.kind == "vector"]
    return {spec.name: vector_map(store, spec, max_size=PICTURE_SIZE) for spec in specs}


def _image_pictures(plan: Plan, written: WrittenLayers, small: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The images that have red, green and blue in these colours, by what they are called."""
    shown = [style for style in _image_styles(plan, written, small) if len(style.bands) > 1 and style.ends is not None]
    return {
        f"{style.name}: true colour": image_picture(
            [small[plan.files[style.name][band - 1]] for band in style.bands], style.ends or (0.0, 1.0)
        )
        for style in shown
    }


def _draw_layers(
    maps: Mapping[str, Map], run: RunFacts, tables: tuple[TableOutlines, ...], images: Mapping[str, np.ndarray]
) -> ProductPictures:
    drawn = {**images, **{name: picture(pixels, spec) for name, (spec, pixels) in maps.items()}}
    shown, (spec, pixels) = next(iter(drawn)), next(iter(maps.values()))
    return ProductPictures(
        maps=drawn,
        shown=shown,
        legend=Legend(title=shown) if images else legend(pixels, spec),
        background=run.background,
        scene_image=run.scene_image,
        tables=tables,
    )


def _styles(worker: Worker, written: WrittenLayers, small: Mapping[str, np.ndarray]) -> list[LayerStyle | ImageStyle]:
    asked = polygon_layers(worker.plan)
    polygons = {name: (polygons_name(name).removesuffix(".parquet"),) for name in asked}
    layers = [
        LayerStyle(
            spec=cog_spec(layer.spec),
            ends=value_ends(small[layer.spec.name], layer.spec) if layer.spec.ranked else None,
            tables=polygons.get(layer.spec.name, ()),
        )
        for layer in written.layers
        if layer.spec.kind != "id" and not layer.spec.image
    ]
    # A table of things has the classes of a layer that is not there; beside a layer of ids it is the one with a style.
    given = worker.model.card.table_classes
    tables = [
        LayerSpec(name=name, kind="class", source="class", classes=given[name])
        for name in worker.plan.model.tables
        if given[name]
    ]
    given_tables = [LayerStyle(spec=cog_spec(spec), ends=None, tables=(spec.name,)) for spec in tables]
    return [*layers, *_image_styles(worker.plan, written, small), *given_tables]


def _image_styles(plan: Plan, written: WrittenLayers, small: Mapping[str, np.ndarray]) -> list[ImageStyle]:
    known = {layer.spec.name: layer.spec for layer in written.layers}
    styles = []
    for image in plan.model.images:
        if names := plan.files.get(image, ()):
            shown = shown_bands(names)
            ends = [found for band in shown if (found := value_ends(small[names[band - 1]], known[names[band - 1]]))]
            joint = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
            styles.append(ImageStyle(name=image, bands=tuple(shown), ends=joint))
    return styles


def _outlines(
    storage: Storage, plan: Plan, written: WrittenLayers, maps: Mapping[str, Map], folder: Path
) -> tuple[TableOutlines, ...]:
    """The tables of a product as its page shows them. Raises ChangedStoreError for one that is none any more."""
    grid, (_, pixels) = plan.raster.product_grid, next(iter(maps.values()))
    (height, width), shape = grid.extent.shape, pixels.shape
    frame = PictureFrame(
        bounds=grid.bounds_of(grid.extent), shape=(shape[0], shape[1]), shrunk=max(height / shape[0], width / shape[1])
    )
    try:
        # The squares of windows are no shapes that anybody looks at.
        whole = {f"{name}.parquet" for name in plan.vector_tables}
        files = [table.name for table in written.tables if table.name not in whole]
        return product_outlines(storage, files, frame, folder=folder)
    except (OSError, ValueError, KeyError) as error:
        raise ChangedStoreError(f"A table of {storage.uri} is not as it was written: {error}") from error


def _stage_files(
    folder: Path,
    plan: Plan,
    entries: Mapping[str, BlockEntry],
    pictures: ProductPictures,
    report: Mapping[str, Any],
    *,
    change: ChangeView | None,
) -> None:
    """Write report.json, preview.png, report.html and manifest.parquet into a local folder."""
    (folder / "report.json").write_bytes(json_bytes(report, kept_of(plan.source)))
    with ThreadPoolExecutor(1) as pool:
        # Both spend most of their time on compressing pictures, during which the other thread can run.
        preview = pool.submit(_write_preview, folder / "preview.png", plan, pictures, report)
        page = render_report(
            report,
            true_colour=pictures.background,
            scene_image=pictures.scene_image,
            maps=pictures.maps,
            change=change,
            tables=pictures.tables,
        )
        (folder / "report.html").write_text(page, encoding="utf-8")
        write_manifest(folder / "manifest.parquet", _manifest_rows(plan, entries), kept_of(plan.source))
        preview.result()


def _write_preview(path: Path, plan: Plan, pictures: ProductPictures, report: Mapping[str, Any]) -> None:
    grid = plan.raster.product_grid
    write_preview(
        path,
        layer=pictures.maps[pictures.shown],
        legend=pictures.legend,
        frame=Frame(crs=grid.crs, bounds=grid.bounds_of(grid.extent), resolution=grid.resolution),
        title=plan.name,
        subtitle=headline(report),
        attribution=str(report["attribution"]),
        background=pictures.background,
    )


def _manifest_rows(plan: Plan, entries: Mapping[str, BlockEntry]) -> list[ManifestRow]:
    n_blocks = Counter(scene_id for entry in entries.values() for scene_id in entry.scenes)
    scenes = {(scene.collection, scene.id): scene for entry in plan.inputs for scene in entry.scenes}
    return [
        ManifestRow(scene=scene, href=scene.href, used_in_blocks=n_blocks[scene.id])
        for _, scene in sorted(scenes.items())
    ]


def _other_rows(storage: Storage, record: ProductRecord) -> list[dict[str, Any]]:
    """The Items of other products in the table; without a table, those whose files are in the output."""
    return other_rows(storage, record, storage.read(TABLE) or b"")
