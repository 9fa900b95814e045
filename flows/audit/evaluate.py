"""A finished product held against labels: its layers scored, and the files of the evaluation written."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.flows.ask.added_files import AddedFile, recorded
from tilewright.flows.ask.sample_page import scene_pictures
from tilewright.flows.audit.dates import period_notes
from tilewright.flows.audit.files import DOCUMENT, PAGE, Wanted, added, places_of, put
from tilewright.flows.environment import storage_options
from tilewright.flows.job.areas.outline import cut_at_180
from tilewright.tasks.audit.design.evaluated import design_entry
from tilewright.tasks.audit.evaluate.classes import given_maps
from tilewright.tasks.audit.evaluate.evaluate import evaluate_layers, evaluation_json, open_labels
from tilewright.tasks.audit.evaluate.groups import groups_of
from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.audit.evaluate.targets import choose_targets
from tilewright.tasks.audit.objects.objects import evaluate_objects, object_table_name, read_objects
from tilewright.tasks.audit.shown.objects_page import render_objects
from tilewright.tasks.audit.shown.page import render_evaluation
from tilewright.tasks.audit.shown.pairs_file import PAIRS, PairsFile
from tilewright.tasks.audit.shown.words import evaluation_sentences, object_sentences
from tilewright.tasks.audit.trust.entries import check_trust, temperature_entry, trust_of
from tilewright.tasks.audit.trust.layer import FILES, write_trusted
from tilewright.tasks.inventory.finished import read_item
from tilewright.tasks.inventory.report_grid import report_grid
from tilewright.tasks.progress import silent
from tilewright.tasks.report.fields import mapping, text
from tilewright.tasks.report.format import ABSENT, count, figure
from tilewright.tasks.report.sections import period_text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.errors import StoreError, storage_error
from tilewright.tasks.storage.storage import json_bytes, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from tilewright.tasks.audit.evaluate.evaluate import Labels, LayerEvaluation
    from tilewright.tasks.audit.evaluate.pairs import Pairs
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


def evaluate_output(
    output: str,
    labels: Path,
    wanted: Wanted,
    *,
    to: str | None = None,
    write: bool = True,
    rows: np.ndarray | None = None,
    listener: Listener = silent,
) -> dict[str, Any]:
    """A finished product held against the labels of a file, as ``evaluation.json`` holds it.

    Its files are written ``to`` a place, None: into the product; nowhere unless ``write``. Labels that are a
    sample drawn from the product also give ``design``, estimates for the whole map. ``rows`` (row,): only these rows of
    the labels count, numbers from 0.

    Raises a ValueError that names what cannot be, before pixels are read; StorageError if storage refuses, and
    ChangedStoreError for layers that are damaged.
    """
    maps = given_maps(wanted.maps)
    storage = open_storage(output, options=storage_options(output))
    if read_item(storage) is None:
        raise StoreError(f"{output} holds no finished product: run its job to the end, then evaluate it.")
    report = read_object(storage, "report.json") or {}
    if report.get("places"):
        raise StoreError(f"{output} is a table of places, not a map: join its columns to the labels by their key.")
    place, inside = places_of(storage, labels, wanted, to=to) if write else (None, None)
    grid = report_grid(storage, report)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tilewright-evaluate-")))
        opened = open_labels(labels, grid, stack, cut=cut_at_180)
        if rows is not None and opened.table is not None:
            opened = replace(opened, table=opened.table.taken(rows))
        asked = _Asked(
            storage=storage,
            report=report,
            grid=grid,
            labels=opened,
            wanted=wanted,
            maps=maps,
            folder=folder if write else None,
        )
        try:
            with (folder / PAIRS).open("w", encoding="utf-8", newline="") as file:
                pairs = PairsFile(file, grid, opened)
                if (table := object_table_name(report, wanted.layer)) is not None:
                    told, render = _of_objects(asked, table, pairs)
                else:
                    told, render = _of_layers(asked, pairs.add if write else None, listener)
        except OSError as error:
            raise storage_error(error, operation="write pairs to", uri=tempfile.gettempdir()) from error
        document = _document(storage, report, opened, told, maps=maps, by=wanted.by)
        document["summary"] += _notes(opened, pairs, report)
        if inside is not None and wanted.trust is None and FILES[0] in recorded(storage).files:
            document["summary"].append(EARLIER)
        if not write:
            return document
        page = render(document, files=tuple(name for name in wanted.files if name != PAGE))
        (folder / PAGE).write_text(page, encoding="utf-8")
        (folder / DOCUMENT).write_bytes(json_bytes(document))
        files = [*asked.files, *(added(folder, name) for name in (PAIRS, PAGE, DOCUMENT))]
        put(files, document, beside=place, inside=inside)
    return document


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A product and the labels that it is held against; ``folder`` is where files are made, None if none is wanted,
    and ``files`` those of the layer `trusted` there.
    """

    storage: Storage
    report: Mapping[str, Any]
    grid: Grid
    labels: Labels
    wanted: Wanted
    maps: Mapping[str, Sequence[str]]
    folder: Path | None
    files: list[AddedFile] = field(default_factory=list)


def _of_layers(
    asked: _Asked,
    take: Callable[[Target, Pairs], None] | None,
    listener: Listener,
) -> tuple[list[dict[str, Any]], Callable[..., str]]:
    """What is told of layers, and what renders their page."""
    wanted, grid = asked.wanted, asked.grid
    if wanted.ious:
        raise LabelError("--iou is about tables of objects: leave it out, or name one with --layer.")
    if wanted.trust is not None:
        names = None if asked.labels.table is None else asked.labels.table.columns.column_names
        targets = choose_targets(
            asked.storage, names, column=wanted.column, layer=wanted.layer, maps=asked.maps, name=asked.labels.name
        )
        check_trust(asked.storage, asked.labels.table, targets, wanted.trust)
    found = evaluate_layers(
        asked.storage,
        asked.labels,
        grid,
        column=wanted.column,
        layer=wanted.layer,
        maps=asked.maps,
        groups=lambda labels: groups_of(labels.table, labels.name, by=wanted.by, grid=grid, cut=cut_at_180),
        take=take or (lambda *_: None),
        listener=listener,
    )
    imagery = (
        partial(scene_pictures, asked.storage, trusted=wanted.trusted, listener=listener) if wanted.imagery else None
    )
    told = [{**evaluation_json(each), **design_entry(each, listener), **temperature_entry(each)} for each in found]
    for each in told:
        _put_map_areas(each, asked.report)
    if wanted.trust is not None:
        told[0]["trust"] = _trust(asked, found[0], wanted.trust, listener)
    return told, partial(render_evaluation, layers=found, imagery=imagery)


EARLIER = f"{FILES[0]} beside it is of an earlier evaluation, by its labels: give --trust again for one by these."


def _put_map_areas(told: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Put beside what a design estimates what the map itself shows: ``mapped_km2`` of each class, and of the area asked
    for the share ``without_value``, which no estimate covers.
    """
    layer: Mapping[str, Any] = next(
        (each for each in report.get("layers") or () if each.get("name") == told["layer"]), {}
    )
    if "design" not in told or not layer:
        return
    mapped = {each.get("name"): each.get("area_km2") for each in layer.get("classes") or ()}
    for name, row in told["design"]["classes"].items():
        row["mapped_km2"] = mapped.get(name, 0.0 if name not in told["classes"] else None)
    percent = layer.get("nodata_percent")
    told["design"]["without_value"] = percent / 100 if isinstance(percent, (int, float)) else None


def _trust(asked: _Asked, found: LayerEvaluation, coverage: float, listener: Listener) -> dict[str, Any]:
    """What is told of trust, and the files of the layer made where files are wanted."""
    trust = trust_of(found, coverage, listener)
    if asked.folder is None:
        return trust.told
    metadata = {"TILEWRIGHT_PRODUCT": text(asked.report, "name") or "unnamed"}
    made = write_trusted(trust.map, asked.folder, coverage=coverage, metadata=metadata)
    asked.files.extend(AddedFile(path=asked.folder / each.name, **asdict(each)) for each in made)
    return {**trust.told, "layer": FILES[0]}


def _of_objects(asked: _Asked, name: str, pairs: PairsFile) -> tuple[list[dict[str, Any]], Callable[..., str]]:
    """What is told of a table of objects, and what renders its page."""
    labels, wanted = asked.labels, asked.wanted
    if labels.table is None:
        raise LabelError(f"{labels.name} is a raster: objects are held against polygons, give their outlines.")
    if wanted.trust is not None:
        raise LabelError("--trust is about layers of classes, not objects: leave it out, or name a layer with --layer.")
    if wanted.imagery:
        raise LabelError("--imagery is about the worst places of layers, not objects: leave it out.")
    if wanted.by is not None:
        raise LabelError("--by groups pairs of layers, not objects: leave it out.")
    table = read_objects(asked.storage, asked.report, name, asked.grid, asked.maps)
    found = evaluate_objects(table, labels.table, asked.grid, column=wanted.column, ious=wanted.ious)
    pairs.add_objects(found)
    return [dict(found.told)], partial(render_objects, evaluation=found, grid=asked.grid)


def _document(
    storage: Storage,
    report: Mapping[str, Any],
    labels: Labels,
    documents: Sequence[dict[str, Any]],
    *,
    maps: Mapping[str, Sequence[str]],
    by: str | None,
) -> dict[str, Any]:
    """The evaluation as JSON values: the keys of its first layer, those of more layers in ``others``."""
    several = len(documents) > 1
    first, *others = documents
    kind = "raster" if labels.table is None else "points" if labels.table.shapes is None else "polygons"
    sentences = [
        object_sentences(told, name=labels.name)
        if told["kind"] == "objects"
        else evaluation_sentences(told, name=labels.name, several=several)
        for told in documents
    ]
    return {
        **first,
        "others": others,
        "labels": {"name": labels.name, "kind": kind, "rows": None if labels.table is None else labels.table.n},
        "product": {
            "output": storage.uri,
            "name": text(report, "name") or "unnamed",
            "model": text(mapping(report, "model"), "name"),
            "period": " ".join(period_text(report).split()),
            "attribution": text(report, "attribution"),
            "shape": list(report["grid"]["shape"]),
        },
        "maps": {name: list(words) for name, words in maps.items()},
        "by": by,
        "summary": [sentence for each in sentences for sentence in each],
    }


def _notes(labels: Labels, pairs: PairsFile, report: Mapping[str, Any]) -> list[str]:
    notes = [] if labels.table is None else [*labels.table.notes, *period_notes(report, labels.table)]
    if pairs.n_written < pairs.n_pairs:
        notes.append(f"{PAIRS} holds the first {count(pairs.n_written)} of {count(pairs.n_pairs)} pairs.")
    return [" ".join(note.split()) for note in notes]


def evaluation_lines(document: Mapping[str, Any], to: str) -> Iterator[str]:
    """The lines for a person: the sentences, and where the files are."""
    yield from document["summary"]
    yield from _area_lines((document.get("design") or {}).get("classes") or {})
    place = to.rstrip("/")
    yield f"  page     {place}/{PAGE}"
    yield f"  figures  {place}/{DOCUMENT}"
    yield f"  pairs    {place}/{PAIRS}"
    if (document.get("trust") or {}).get("layer"):
        yield f"  trusted  {place}/{FILES[0]}"


def _area_lines(classes: Mapping[str, Any]) -> Iterator[str]:
    """The area of each class on the map, and as the design of the sample estimates it, in km2."""
    shown = {name: row for name, row in classes.items() if row["area_km2"]["estimate"] or row.get("mapped_km2")}
    if not shown:
        return
    width = min(max(map(len, (*shown, "class"))), 40)
    yield f"  {'class':<{width}}  {'km² on the map':>14}  {'estimated':>10}  95 % interval"
    for name, row in shown.items():
        area, mapped = row["area_km2"], row.get("mapped_km2")
        between = "not known" if area["low"] is None else f"{figure(area['low'])} to {figure(area['high'])}"
        on_map = ABSENT if mapped is None else figure(mapped)
        yield f"  {name[:40]:<{width}}  {on_map:>14}  {figure(area['estimate']):>10}  {between}"
