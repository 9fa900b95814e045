"""The files of a comparison: comparison.json, comparison.html and the tables of changed places."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.compare.compare import compare_layers, layer_figures, layer_json
from tilewright.tasks.compare.finished import open_finished
from tilewright.tasks.compare.lattice import CompareError, common_grid, listed_names
from tilewright.tasks.compare.page import render_comparison
from tilewright.tasks.compare.words import better_sentence, comparison_sentences, short
from tilewright.tasks.storage.errors import storage_error
from tilewright.tasks.storage.storage import STATE_FOLDER, json_bytes, open_storage
from tilewright.tasks.styles.document import OURS
from tilewright.tasks.styles.shapes import shapes_style
from tilewright.tasks.styles.styles import ENDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.compare.compare import LayerComparison
    from tilewright.tasks.compare.finished import FinishedProduct
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage

DOCUMENT, PAGE = "comparison.json", "comparison.html"


def compare_products(
    a: Storage,
    b: Storage,
    given: tuple[str, str],
    to: Storage | None = None,
    *,
    tests: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The comparison of two finished products, ``given`` under these names, written ``to`` a storage if there is one.

    ``tests`` are McNemar's of both on labels, by layer.

    Nothing is written into a product. The same products give the same files.

    Raises StoreError where one is not finished, CompareError where they cannot be compared or ``to`` is of a product,
    StorageError or ChangedStoreError where something cannot be read or written.
    """
    first, second = open_finished(a, given[0]), open_finished(b, given[1])
    grid = common_grid(first.grid, second.grid)
    if to is not None:
        check_outside(to, (a, b))
    with tempfile.TemporaryDirectory(prefix="tilewright-compare-") as name:
        folder = Path(name)
        try:
            layers = compare_layers(first, second, grid, folder)
        except OSError as error:
            raise storage_error(error, operation="write tables to", uri=tempfile.gettempdir()) from error
        document = comparison_json(first, second, grid, layers, tests or {})
        if to is not None:
            page = render_comparison(document, first, second, grid, layers)
            place = open_storage(to.uri, options=to.options, create=True)
            for each in layers:
                place.upload(each.table.name, each.table)
                _write_style(place, each)
            place.write(PAGE, page.encode())
            place.write(DOCUMENT, json_bytes(document))
    return document


def _write_style(place: Storage, comparison: LayerComparison) -> None:
    """Write the style of a table of changed places, by what they became; one that somebody keeps there stays."""
    name = f"{comparison.table.stem}{ENDING}"
    there = place.read(name)
    if there is not None and not there.startswith(OURS):
        return
    classes = tuple(CogClass(value=each.value, name=each.name, color=each.colour) for each in comparison.classes)
    spec = CogSpec(name=comparison.layer, dtype="uint8", nodata=None, kind="class", classes=classes)
    place.write(name, shapes_style(spec, attribute="to_value"))


def check_outside(to: Storage, products: Sequence[Storage]) -> None:
    """Check that a place lies in no product. Raises CompareError."""
    inside = any(f"{to.uri}/".startswith(f"{product.uri.rstrip('/')}/") for product in products)
    above = [to.folder, *to.folder.parents] if to.folder is not None else []
    if inside or any((folder / STATE_FOLDER).is_dir() for folder in above) or STATE_FOLDER in to.top_names():
        raise CompareError(f"--to {to.uri} is of a product, into which nothing is written: give another folder.")


def comparison_json(
    a: FinishedProduct,
    b: FinishedProduct,
    grid: Grid,
    layers: list[LayerComparison],
    tests: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The comparison as JSON values: the keys of its first layer, those of more layers in ``others``."""
    first, *others = ({**layer_json(each, grid), "mcnemar": tests.get(each.layer)} for each in layers)
    return {
        **first,
        "a": _product_json(a),
        "b": _product_json(b),
        "grid": {
            "crs": grid.crs,
            "resolution": grid.resolution,
            "shape": list(grid.extent.shape),
            "bounds": list(grid.bounds_of(grid.extent)),
        },
        "others": others,
        "summary": [*_summary(a, b, grid, layers), *map(better_sentence, tests.values())],
    }


def _product_json(product: FinishedProduct) -> dict[str, Any]:
    return {
        "output": product.uri,
        "name": product.name,
        "model": product.model,
        "period": " ".join(product.period.split()),
        "shape": list(product.grid.extent.shape),
    }


def _summary(a: FinishedProduct, b: FinishedProduct, grid: Grid, layers: list[LayerComparison]) -> list[str]:
    sentences = []
    if a.grid.extent != b.grid.extent:
        height, width = grid.extent.shape
        sentences.append(
            f"A and B do not cover the same rectangle; compared are the {width} x {height} pixels that both have."
        )
    if a.span and b.span and b.span[1] <= a.span[0]:
        sentences.append("B is the earlier of the two.")
    if a.model != b.model:
        sentences.append(
            f"A was made by {short(a.model)} and B by {short(b.model)}: what differs may be the models, not the ground."
        )
    for each in layers:
        sentences += _one_sided(a, b, each.layer)
    for each in layers:
        first, *more = comparison_sentences(layer_figures(each, grid))
        sentences += [f"Layer {each.layer}: {first}" if len(layers) > 1 else first, *more]
    left_out = [name for name in a.skipped if name in b.skipped]
    if left_out:
        sentences.append(f"Only layers of classes are compared, not {listed_names(left_out)}.")
    return sentences


def _one_sided(a: FinishedProduct, b: FinishedProduct, layer: str) -> list[str]:
    """A sentence on classes that only one of two products can have; none if both have the same."""
    names = [[short(known.name) for known in product.layers[layer].classes] for product in (a, b)]
    own = [[name for name in names[i] if name not in names[1 - i]] for i in (0, 1)]
    told = [f"only {word} has {listed_names(each)}" for each, word in zip(own, ("A", "B"), strict=True) if each]
    return [f"In {short(layer)} {', and '.join(told)}: pixels of these classes always differ."] if told else []
