"""Which column of the labels is held against which layer of the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.tasks.audit.evaluate.classes import ScoredClasses, scored_classes
from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.zones.layers import ProductLayers, open_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zones.layers import ProductLayer

CLASS, CONFIDENCE = "class", "confidence"
"""A model's layers of the class chosen and of its probability. Source: models/spec/outputs.py."""

USUAL = ("class", "label", "landcover", "land_cover", "category", "value")
"""Columns that are taken if none has the name of a layer and none is asked for, the first there is."""

UNUSUAL = {CONFIDENCE, "entropy", "margin", "observations", "trusted"}
"""Layers that say how sure a model is: a column of that name is held against one only if it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A layer and the ``column`` of labels that it is held against; ``classes`` is None for a layer of values.

    ``confidence`` is the layer of the probability of the class chosen, in percent or as a share.
    """

    layer: ProductLayer
    column: str
    classes: ScoredClasses | None
    confidence: ProductLayer | None
    percent: bool

    @property
    def kind(self) -> str:
        """``class`` or ``value``."""
        return "value" if self.classes is None else "class"


def choose_targets(
    storage: Storage,
    columns: Sequence[str] | None,
    *,
    column: str | None,
    layer: str | None,
    maps: Mapping[str, Sequence[str]],
    name: str,
) -> list[Target]:
    """The layers that the labels of a file called ``name`` are held against.

    A column with the name of a layer is held against that layer, any other against the only layer of classes. Without
    ``column`` all columns that have the name of a layer are, or the first of `USUAL`. ``columns`` is None for a raster.

    Raises LabelError for a column or a layer that is not there or not told; StoreError for a product without layers.
    """
    report = read_object(storage, "report.json") or {}
    told = {text(each, "name"): each for each in rows(report, "layers")}
    mapped = [each for each in told if told[each].get("kind") != "id"]
    if layer is not None and layer not in mapped:
        raise LabelError(f"--layer {layer!r} is no layer of {storage.uri}: it has {', '.join(mapped) or 'none'}.")
    of_classes = [each for each in mapped if rows(told[each], "classes")]
    only = layer or (of_classes[0] if len(of_classes) == 1 else mapped[0] if len(mapped) == 1 else None)
    if columns is None:
        if column is not None:
            raise LabelError(f"--column {column!r}: a raster of labels has no columns, leave it out.")
        pairs = [("", only)]
    else:
        pairs = _paired(columns, mapped, only, column=column, layer=layer, name=name)
    if any(target is None for _, target in pairs):
        raise LabelError(f"{storage.uri} has the layers {', '.join(mapped) or 'none'}: say which with --layer.")
    product = open_layers(storage, list(dict.fromkeys([str(target) for _, target in pairs])))
    by_name = {each.name: each for each in product.layers}
    return [_target(storage, told, by_name[str(target)], held, maps) for held, target in pairs]


def _paired(
    columns: Sequence[str], mapped: Sequence[str], only: str | None, *, column: str | None, layer: str | None, name: str
) -> list[tuple[str, str | None]]:
    listed = ", ".join(map(str, columns)) or "none"
    if column is not None:
        if column not in columns:
            raise LabelError(f"{name} has no column {column!r}: it has {listed[:300]}.")
        return [(column, layer or (column if column in mapped else only))]
    named = [each for each in columns if each in mapped and each not in UNUSUAL and layer in {None, each}]
    if named:
        return [(each, each) for each in named]
    usual = next((each for each in USUAL if each in columns), None)
    if usual is None:
        raise LabelError(f"Say with --column which column of {name} holds the labels: it has {listed[:300]}.")
    return [(usual, only)]


def _target(
    storage: Storage,
    told: Mapping[str, Any],
    layer: ProductLayer,
    column: str,
    maps: Mapping[str, Sequence[str]],
) -> Target:
    classes = scored_classes(layer.name, layer.classes, maps) if layer.classes else None
    if classes is None and maps:
        raise LabelError(f"--map is about classes, and the layer {layer.name} holds values: leave it out.")
    of_classes = [each for each in told if rows(told[each], "classes") and told[each].get("kind") != "id"]
    names = [f"{layer.name}_{CONFIDENCE}"]
    if layer.name.endswith(CLASS):
        # An output whose names another one has too writes all of its layers with a prefix.
        names.append(layer.name.removesuffix(CLASS) + CONFIDENCE)
    if of_classes == [layer.name]:
        names.append(CONFIDENCE)
    found = next((each for each in names if classes and each in told and told[each].get("kind") != "id"), None)
    if found is None:
        return Target(layer=layer, column=column, classes=classes, confidence=None, percent=False)
    confidence = open_layers(storage, [found]).layers[0]
    # Probabilities are stored as percent in bytes. Source: models/spec/outputs.py.
    percent = confidence.dtype.kind in "iu" or told[found].get("kind") == "percent"
    return Target(layer=layer, column=column, classes=classes, confidence=confidence, percent=percent)


def opened(storage: Storage, target: Target) -> ProductLayers:
    """The layers that a target reads, for `LayerPixels`."""
    grid = open_layers(storage, [target.layer.name]).grid
    layers = (target.layer, *([target.confidence] if target.confidence else []))
    return ProductLayers(storage=storage, grid=grid, layers=layers)
