"""From complete blocks to a product: COGs, pictures, the report, and last of all the Item."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.publish.collection import update_collection
from tilewright.catalogs.publish.geoparquet import add_items
from tilewright.catalogs.publish.item import build_item, item_json
from tilewright.catalogs.publish.manifest import ManifestRow, write_manifest
from tilewright.tasks.publish.item_facts import product_facts
from tilewright.tasks.publish.layers import PART_ITEM
from tilewright.tasks.publish.part_items import part_facts, part_id
from tilewright.tasks.publish.report_json import RunFacts, report_json
from tilewright.tasks.report.picture import legend, picture
from tilewright.tasks.report.preview import Frame, write_preview
from tilewright.tasks.report.render import render_report
from tilewright.tasks.report.sections import headline
from tilewright.tasks.storage.ledger import PLAN
from tilewright.tasks.storage.storage import json_bytes, staging_folder
from tilewright.tasks.zarr.thumbnail import read_thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pystac

    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.publish.layers import WrittenLayers
    from tilewright.tasks.report.picture import Legend
    from tilewright.tasks.storage.ledger import BlockEntry
    from tilewright.tasks.storage.storage import Storage


PICTURE_SIZE = 1400
"""Pixels of a picture's longer side: enough for a full screen, small enough to travel inside one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewContent:
    """What the preview shows: a layer as RGBA (y, x, 4), its legend, the scenes behind it as (y, x, 3) or None."""

    layer: np.ndarray
    key: Legend
    background: np.ndarray | None


def publish_product(
    worker: Worker,
    entries: Mapping[str, BlockEntry],
    finished: WrittenLayers,
    run: RunFacts,
) -> dict[str, Any]:
    """The report of a product, once report, pictures, manifest and collection are written, and last of all the Item."""
    storage, plan = worker.storage, worker.plan
    small = _small_layers(storage, plan, finished)
    report = report_json(worker, entries, finished, small, run)
    maps = {layer.spec.name: picture(small[layer.spec.name], layer.spec) for layer in finished.layers}
    with staging_folder(storage) as folder:
        first = finished.layers[0].spec
        shown = PreviewContent(layer=maps[first.name], key=legend(small[first.name], first), background=run.background)
        with ThreadPoolExecutor(1) as pool:
            # Both spend their time on packing pictures, which other threads may do meanwhile.
            preview = pool.submit(_write_preview, folder / "preview.png", plan, shown, report=report)
            page = folder / "report.html"
            page.write_text(render_report(report, true_colour=run.background, maps=maps), encoding="utf-8")
            write_manifest(folder / "manifest.parquet", _manifest_rows(plan, entries))
            preview.result()
        storage.write("report.json", json_bytes(report))
        for name in ("report.html", "preview.png", "manifest.parquet"):
            storage.upload(name, folder / name)
        (folder / "plan.json").write_bytes(storage.read(PLAN) or b"")
        product = product_facts(worker, finished, report, folder=folder, created=run.finished)
        parts = part_facts(product, plan, entries, finished)
        items = {name: build_item(facts) for name, facts in {"item.json": product, **parts}.items()}
        plain = {name: item_json(item) for name, item in items.items()}
        _add_to_table(storage, folder / "items.parquet", list(plain.values()))
    for name in parts:
        storage.write_json(name, plain[name])
    storage.write_json("collection.json", _collection(storage.read_json("collection.json"), items))
    storage.write_json("item.json", plain["item.json"])
    return report


def _small_layers(storage: Storage, plan: Plan, finished: WrittenLayers) -> dict[str, np.ndarray]:
    """Every layer by name as (y, x) in its stored dtype, small enough for a picture."""
    return {
        layer.spec.name: read_thumbnail(
            storage,
            layer.spec.name,
            box=plan.raster.product_box,
            area=plan.raster.product_grid.extent,
            max_size=PICTURE_SIZE,
            kind=layer.spec.kind,
        )
        for layer in finished.layers
    }


def _add_to_table(storage: Storage, path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    """The table of the collection's Items with these in it, and without parts that this product had before."""
    known = storage.read(path.name)
    if known is not None:
        path.write_bytes(known)
    add_items(path, items, without=re.compile(re.escape(part_id(items[0]["id"], "")) + r"r\d+c\d+"))
    storage.upload(path.name, path)


def _collection(standing: Mapping[str, Any] | None, items: Mapping[str, pystac.Item]) -> dict[str, Any]:
    """The Collection with these Items, by file name, in it."""
    if standing is not None:
        links = [link for link in standing.get("links", ()) if not PART_ITEM.fullmatch(link["href"][2:])]
        standing = {**standing, "links": links}
    for name, item in items.items():
        standing = update_collection(standing, item, item_href=f"./{name}")
    assert standing is not None, "a product has an Item"
    return dict(standing)


def _write_preview(path: Path, plan: Plan, shown: PreviewContent, *, report: Mapping[str, Any]) -> None:
    grid = plan.raster.product_grid
    write_preview(
        path,
        layer=shown.layer,
        legend=shown.key,
        frame=Frame(crs=grid.crs, bounds=grid.bounds_of(grid.extent), resolution=grid.resolution),
        title=plan.name,
        subtitle=headline(report),
        attribution=str(report["attribution"]),
        background=shown.background,
    )


def _manifest_rows(plan: Plan, entries: Mapping[str, BlockEntry]) -> list[ManifestRow]:
    used = [scene_id for entry in entries.values() for scene_id in entry.scenes]
    scenes = {(scene.collection, scene.id): scene for entry in plan.inputs for scene in entry.scenes}
    return [
        ManifestRow(scene=scene, href=scene.href, used_in_blocks=used.count(scene.id))
        for _, scene in sorted(scenes.items())
    ]
