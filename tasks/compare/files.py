"""The documents of a comparison: what comparison.json holds of classes, its sentences, and the styles of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.compare.compare import layer_figures, layer_json
from tilewright.tasks.compare.lattice import CompareError, listed_names
from tilewright.tasks.compare.words import better_sentence, comparison_sentences, short
from tilewright.tasks.storage.storage import STATE_FOLDER
from tilewright.tasks.styles.document import OURS
from tilewright.tasks.styles.shapes import shapes_style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.compare.compare import LayerComparison
    from tilewright.tasks.compare.finished import FinishedProduct
    from tilewright.tasks.grid.grid import Grid
    from tilewright.tasks.storage.storage import Storage

DOCUMENT, PAGE = "comparison.json", "comparison.html"


def write_style(place: Storage, name: str, content: bytes) -> None:
    """Write a style; one that somebody keeps there stays."""
    there = place.read(name)
    if there is None or there.startswith(OURS):
        place.write(name, content)


def places_style(comparison: LayerComparison) -> bytes:
    """The style of a table of changed places, by what they became."""
    classes = tuple(CogClass(value=each.value, name=each.name, color=each.colour) for each in comparison.classes)
    spec = CogSpec(name=comparison.layer, dtype="uint8", nodata=None, kind="class", classes=classes)
    return shapes_style(spec, attribute="to_value")


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
    """The comparison as JSON values: the keys of its first layer of classes, those of more in ``others``."""
    told = [{**layer_json(each, grid), "mcnemar": tests.get(each.layer)} for each in layers]
    first, others = (told[0], told[1:]) if told else ({"layer": None, "table": None}, [])
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
        sentences.append(f"Only classes and values on the grid are compared, not {listed_names(left_out)}.")
    return sentences


def _one_sided(a: FinishedProduct, b: FinishedProduct, layer: str) -> list[str]:
    """A sentence on classes that only one of two products can have; none if both have the same."""
    names = [[short(known.name) for known in product.layers[layer].classes] for product in (a, b)]
    own = [[name for name in names[i] if name not in names[1 - i]] for i in (0, 1)]
    told = [f"only {word} has {listed_names(each)}" for each, word in zip(own, ("A", "B"), strict=True) if each]
    return [f"In {short(layer)} {', and '.join(told)}: pixels of these classes always differ."] if told else []
