"""From complete blocks to a product: COGs, pictures, the report, and last of all the Item."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.collection import update_collection
from catalogs.items_table import add_item
from catalogs.manifest import ManifestRow, write_manifest
from catalogs.publish import build_item, item_json
from flows.product import product_facts
from flows.summary import report_json
from tasks.background import background_picture
from tasks.cog import CogFacts, write_cog
from tasks.cogspec import CogClass, CogSpec
from tasks.grid import PixelBox
from tasks.ledger import PLAN
from tasks.overview import read_overview
from tasks.picture import legend, picture
from tasks.preview import Frame, write_preview
from tasks.progress import Advance
from tasks.report import render_report
from tasks.report_page import headline
from tasks.storage import json_bytes
from tasks.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import numpy as np

    from models.card import ModelCard
    from models.outputs import LayerSpec
    from tasks.ledger import BlockEntry
    from tasks.plan import Plan
    from tasks.progress import Listener
    from tasks.storage import Storage
    from tasks.work import Workshop

PICTURE_SIZE = 1400
"""Pixels of a picture's longer side: enough for a full screen, small enough to travel inside one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedLayer:
    """One published layer: what it is, what its file holds, and a small (y, x) array of it in its stored dtype."""

    spec: LayerSpec
    facts: CogFacts
    href: str
    small: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """All layers of a product as files, and the seconds that took."""

    layers: tuple[FinishedLayer, ...]
    seconds: float


def write_layers(storage: Storage, plan: Plan, card: ModelCard, *, listener: Listener) -> Finished:
    """Every layer as a strict-valid COG cut to the area, uploaded whole.

    Raises CogError or StorageError naming the layer.
    """
    began = time.perf_counter()
    known = {spec.name: spec for spec in card.layer_specs()}
    layers = []
    for name in plan.layers:
        layers.append(_write_layer(storage, plan, known[name]))
        listener(Advance())
    return Finished(layers=tuple(layers), seconds=time.perf_counter() - began)


def publish_product(
    shop: Workshop,
    entries: Mapping[str, BlockEntry],
    finished: Finished,
    *,
    began: datetime,
    now: datetime,
    seconds: float,
    n_workers: int,
) -> dict[str, Any]:
    """Write report, pictures, manifest and collection, then the Item; what comes back is the report.

    ``began`` and ``now`` in UTC; ``seconds`` is the whole run so far, start-up included.
    """
    storage, plan = shop.storage, shop.plan
    report = report_json(shop, entries, finished, began=began, finished_at=now, seconds=seconds, n_workers=n_workers)
    background = background_picture(plan, max_size=PICTURE_SIZE, sign=shop.sign, gdal=shop.gdal)
    maps = {layer.spec.name: picture(layer.small, layer.spec) for layer in finished.layers}
    with _staging(storage) as folder:
        page = folder / "report.html"
        page.write_text(render_report(report, true_colour=background, maps=maps), encoding="utf-8")
        _write_preview(folder / "preview.png", plan, finished.layers[0], background, report=report)
        write_manifest(folder / "manifest.parquet", _manifest_rows(plan, entries))
        storage.write("report.json", json_bytes(report))
        for name in ("report.html", "preview.png", "manifest.parquet"):
            storage.upload(name, folder / name)
        (folder / "plan.json").write_bytes(storage.read(PLAN) or b"")
        product = product_facts(shop, finished, report, folder=folder, created=now)
        item = build_item(product)
        _add_to_table(storage, folder / "items.parquet", item_json(item))
    collection = update_collection(storage.read_json("collection.json"), item)
    storage.write_json("collection.json", collection)
    storage.write_json("item.json", item_json(item))
    return report


def _add_to_table(storage: Storage, path: Path, item: Mapping[str, Any]) -> None:
    """The table of the collection's Items with this one in it."""
    known = storage.read(path.name)
    if known is not None:
        path.write_bytes(known)
    add_item(path, item)
    storage.upload(path.name, path)


def _write_layer(storage: Storage, plan: Plan, spec: LayerSpec) -> FinishedLayer:
    store = open_store(storage, box=plan.product_box, block=plan.product_block, read_only=True)
    area = plan.product_grid.area

    def rows(start: int, stop: int) -> np.ndarray:
        box = PixelBox(
            row_start=area.row_start + start,
            row_stop=area.row_start + stop,
            col_start=area.col_start,
            col_stop=area.col_stop,
        )
        return store.read_box(spec.name, box)

    href = f"{spec.name}.tif"
    with _staging(storage) as folder:
        facts = write_cog(
            folder / href,
            rows=rows,
            shape=area.shape,
            transform=plan.product_grid.transform_of(area),
            crs=plan.grid.crs,
            spec=cog_spec(spec),
            metadata={"TILEWRIGHT_PRODUCT": plan.name, "TILEWRIGHT_MODEL": plan.card["name"]},
            threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        )
        small = read_overview(folder / href, PICTURE_SIZE)
        storage.upload(href, folder / href)
        if facts.sidecar is not None:
            storage.upload(facts.sidecar.name, facts.sidecar)
    return FinishedLayer(spec=spec, facts=facts, href=href, small=small)


def cog_spec(spec: LayerSpec) -> CogSpec:
    """What is said of a card's layer in its file."""
    classes = tuple(
        CogClass(value=entry.value, name=entry.name, description=entry.description, color=entry.color)
        for entry in spec.classes
    )
    return CogSpec(
        name=spec.name,
        dtype=spec.dtype,
        nodata=spec.nodata,
        kind=spec.kind,
        classes=classes,
        unit=spec.unit,
        description=spec.description,
    )


@contextmanager
def _staging(storage: Storage) -> Iterator[Path]:
    """A folder for files on their way: beside a local product, so that they share its disk; else the system's."""
    home = None
    if storage.folder is not None:
        home = storage.folder / ".tilewright" / "staging"
        home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        yield Path(folder)


def _write_preview(
    path: Path, plan: Plan, layer: FinishedLayer, background: np.ndarray | None, *, report: Mapping[str, Any]
) -> None:
    grid = plan.product_grid
    write_preview(
        path,
        layer=picture(layer.small, layer.spec),
        key=legend(layer.small, layer.spec),
        frame=Frame(crs=grid.crs, bounds=grid.bounds_of(grid.area), resolution=grid.resolution),
        title=plan.name,
        subtitle=headline(report),
        attribution=str(report["attribution"]),
        background=background,
    )


def _manifest_rows(plan: Plan, entries: Mapping[str, BlockEntry]) -> list[ManifestRow]:
    used = [scene_id for entry in entries.values() for scene_id in entry.scenes]
    scenes = {(scene.collection, scene.id): scene for entry in plan.inputs for scene in entry.scenes}
    return [
        ManifestRow(scene=scene, href=scene.href, used_in_blocks=used.count(scene.id))
        for _, scene in sorted(scenes.items())
    ]
