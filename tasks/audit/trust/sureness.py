"""What a product says of how sure it is of each class of a pixel: its layers of probabilities, or of confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.spec.outputs import layer_word
from tilewright.tasks.audit.design.strata import valid_mask
from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.zones.layers import open_layers

if TYPE_CHECKING:
    from tilewright.tasks.audit.evaluate.classes import ScoredClasses
    from tilewright.tasks.audit.evaluate.targets import Target
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zones.layers import ProductLayer

PROBABILITY = "probability_"
"""How the names of a model's layers of probabilities begin. Source: models/spec/outputs.py."""

PERCENT = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sureness:
    """The layers that say how sure a product is, and the scored class of each, by its index; no ``owners`` for one of
    confidence. ``full`` is the stored value of certainty: 100 of percent, 1 of shares.
    """

    layers: tuple[ProductLayer, ...]
    owners: tuple[int, ...]
    full: float
    n_classes: int

    @property
    def of(self) -> str:
        """``probabilities`` or ``confidence``."""
        return "probabilities" if self.owners else "confidence"

    def scores(self, mapped: np.ndarray, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How well each class agrees with pixels, (class, ...) up to ``full``, and which pixels tell it (...).

        ``mapped`` (...) are indices of scored classes and ``stored`` (layer, ...) the layers there. A class's score is
        its probability. Of a confidence alone, the mapped class has it, and each other class what is left of it: its
        probability is at most that. Whole percents give int32, so that they compare exactly, and shares float64.
        """
        told = np.ones(mapped.shape, dtype=bool)
        for layer, values in zip(self.layers, stored, strict=True):
            told &= valid_mask(values, layer) & (values >= 0) & (values <= self.full)
        kind = np.dtype(np.int32 if stored.dtype.kind in "iu" else np.float64)
        scores = np.zeros((self.n_classes, *mapped.shape), dtype=kind)
        if not self.owners:
            sure = np.where(told, stored[0], 0).astype(kind)
            for number in range(self.n_classes):
                scores[number] = np.where(mapped == number, sure, kind.type(self.full) - sure)
            return scores, told
        for owner, values in zip(self.owners, stored, strict=True):
            scores[owner] += np.where(told, values, 0)
        return scores, told


def sureness_of(storage: Storage, target: Target) -> Sureness | None:
    """The layers of a product that say how sure it is of a layer of classes: those of the probabilities of all its
    classes, or its confidence; None where it has neither, and for values.

    Raises StoreError for layers that are not as the report says.
    """
    if target.classes is None:
        return None
    names = _probability_names(storage, target)
    if names is not None:
        layers = open_layers(storage, names).layers
        if len({each.dtype.kind in "iu" for each in layers}) == 1:
            return _sureness(layers, tuple(_owner(target.classes, value) for value, _ in target.layer.classes), target)
    if target.confidence is None:
        return None
    full = PERCENT if target.percent else 1.0
    n_classes = len(target.classes.names)
    return Sureness(layers=(target.confidence,), owners=(), full=full, n_classes=n_classes)


def _sureness(layers: tuple[ProductLayer, ...], owners: tuple[int, ...], target: Target) -> Sureness:
    assert target.classes is not None, "a layer of classes"
    # Probabilities are stored as percent in bytes. Source: models/spec/outputs.py.
    full = PERCENT if layers[0].dtype.kind in "iu" else 1.0
    return Sureness(layers=layers, owners=owners, full=full, n_classes=len(target.classes.names))


def _owner(classes: ScoredClasses, value: int) -> int:
    return classes.of_value[value]


def _probability_names(storage: Storage, target: Target) -> list[str] | None:
    """The layers of the probabilities of a layer's classes, in their order; None unless there is one of each."""
    report = read_object(storage, "report.json") or {}
    known = {text(each, "name") for each in rows(report, "layers") if each.get("kind") != "id"}
    of_classes = [each for each in rows(report, "layers") if rows(each, "classes") and each.get("kind") != "id"]
    # An output whose names another one has too writes all of its layers with a prefix.
    prefixes = [text(each, "name").removesuffix("class") for each in of_classes if _ends(each, target)]
    prefixes += [""] if len(of_classes) == 1 else []
    for prefix in prefixes:
        names = [f"{prefix}{PROBABILITY}{layer_word(name)}" for _, name in target.layer.classes]
        if known.issuperset(names) and len(set(names)) == len(names) > 1:
            return names
    return None


def _ends(told: object, target: Target) -> bool:
    return isinstance(told, dict) and told.get("name") == target.layer.name and target.layer.name.endswith("class")


def check_sureness(storage: Storage, target: Target) -> Sureness:
    """The layers that say how sure a product is. Raises LabelError where it has none, or for a layer of values."""
    if target.classes is None:
        raise LabelError(f"--trust is about classes, and the layer {target.layer.name} holds values: leave it out.")
    found = sureness_of(storage, target)
    if found is None:
        raise LabelError(
            f"{storage.uri} has neither confidence nor probabilities beside the layer {target.layer.name}: name one of "
            "them in its model's tw:layers and run its job again, or leave --trust out."
        )
    return found
