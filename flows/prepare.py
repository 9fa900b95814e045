"""The output before the first pixel: is it ours to write, does it hold the same request, is the store declared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from catalogs.sources import resolve_source
from flows.places import cache_folder
from models.registry import find_card
from tasks.ledger import LOCK, PLAN
from tasks.storage import StoreError, open_storage
from tasks.store import StoredLayer, declare_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flows.job import Job
    from models.card import ModelCard
    from tasks.plan import Plan
    from tasks.storage import Storage

PRODUCT_FILES = ("item.json", "collection.json", "items.parquet", "report.json", "report.html", "preview.png")
PRODUCT_SUFFIXES = (".tif", ".tif.aux.xml", ".vrt", ".parquet")


def check_output(output: str, options: Mapping[str, str]) -> Storage:
    """The storage of an output that may be written: empty, or begun by Tilewright. Nothing is made yet.

    Raises StoreError where it holds anything else, or cannot be written.
    """
    storage = open_storage(output, options=options)
    if storage.folder is not None:
        _check_writable(storage.folder, output)
    names = storage.top() if storage.root is not None else ()
    if names and ".tilewright" not in names:
        raise StoreError(
            f"The output {output} holds {len(names)} other things ({', '.join(names[:3])}): give an empty or new place."
        )
    return storage


def keep_standing(standing: Plan, job: Job, storage: Storage) -> None:
    """Do nothing where a job asks for what the standing plan makes.

    Raises StoreError naming the keys that differ.
    """
    source = resolve_source(job.source, base=job.base).to_json()
    model = find_card(job.model, base=job.base, cache=cache_folder() / "models").digest
    asked: dict[str, Any] = {**job.request(), "source": source, "model": model}
    differing = sorted(key for key in {*asked, *standing.request} if asked.get(key) != standing.request.get(key))
    if differing:
        raise StoreError(
            f"{storage.uri} was begun with another request: {', '.join(differing)} differ. Use --update to redo what "
            "changed, --replace to start over, or another output."
        )


def declare_product(storage: Storage, plan: Plan, card: ModelCard, *, zarr_format: Literal[2, 3]) -> None:
    """Declare the plan's whole store: its layers and the observation counts."""
    known = {spec.name: spec for spec in card.layer_specs()}
    layers = [_stored(known[name]) for name in plan.layers]
    counts = StoredLayer(
        name="observations", dtype="uint16", nodata=0, description="valid scenes behind each pixel", unit="1"
    )
    declare_store(
        storage,
        grid=plan.product_grid,
        box=plan.product_box,
        block=plan.product_block,
        layers=[*layers, counts],
        attributes={"title": plan.name, "source": f"{card.name} by tilewright {plan.versions['tilewright']}"},
        zarr_format=zarr_format,
    )


def remove_product(storage: Storage) -> None:
    """Remove a standing product and its ledger, the Item first, so that no reader takes the rest for a product."""
    keys = list(storage.keys())
    storage.delete(["item.json"])
    ours = [key for key in keys if _is_ours(key) and key not in {"item.json", PLAN, LOCK}]
    storage.delete([*ours, PLAN])


def _stored(spec: Any) -> StoredLayer:
    attributes: tuple[tuple[str, Any], ...] = ()
    if spec.classes:
        # CF 1.11, section 3.5: flag values and their meanings, one word each.
        meanings = " ".join(entry.name.replace(" ", "_") for entry in spec.classes)
        attributes = (("flag_values", [entry.value for entry in spec.classes]), ("flag_meanings", meanings))
    return StoredLayer(
        name=spec.name,
        dtype=spec.dtype,
        nodata=spec.nodata,
        unit=spec.unit,
        description=spec.description,
        attributes=attributes,
    )


def _is_ours(key: str) -> bool:
    top = key.partition("/")[0]
    return top in {".tilewright", "data.zarr", *PRODUCT_FILES} or top.endswith(PRODUCT_SUFFIXES)


def _check_writable(folder: Path, output: str) -> None:
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"The output {output} cannot be written: {place} does not allow it. Choose another output.")
