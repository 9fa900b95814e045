"""Cards and sessions: what a model asks and gives, how it runs, how far it sees. It knows neither STAC search nor Dask.

card/        card.json found, read and checked
spec/        the values that say what inputs and outputs are
transforms/  pixels -> arrays, scores -> layers
run/         providers, sessions, several runs that answer as one
optimise/    the ONNX graph rewritten
stochastic/  what a graph draws given to it, pass by pass
measure/     receptive field, memory, windows; a card proven against its graph
imports/     a model of another tool -> card, or what is missing
export/      a trained model -> ONNX and card
builtin/     the built-in models; builtin/train, how the sample models were trained

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard as ModelCard
    from tilewright.models.card.card import load_card as load_card
    from tilewright.models.card.registry import find_card as find_card
    from tilewright.models.errors import CardError as CardError
    from tilewright.models.export.export import export_estimator as export_estimator
    from tilewright.models.export.export import export_torch as export_torch
    from tilewright.models.export.facts import ExportFacts as ExportFacts
    from tilewright.models.export.facts import InputFacts as InputFacts
    from tilewright.models.export.facts import OutputFacts as OutputFacts
    from tilewright.models.measure.check import check_card as check_card
    from tilewright.models.spec.embedding import EmbeddingSpec as EmbeddingSpec
    from tilewright.models.spec.outputs import ClassSpec as ClassSpec

_NAMES = {
    "CardError": "errors",
    "ClassSpec": "spec.outputs",
    "EmbeddingSpec": "spec.embedding",
    "ExportFacts": "export.facts",
    "InputFacts": "export.facts",
    "ModelCard": "card.card",
    "OutputFacts": "export.facts",
    "check_card": "measure.check",
    "export_estimator": "export.export",
    "export_torch": "export.export",
    "find_card": "card.registry",
    "load_card": "card.card",
}

__all__ = [
    "CardError",
    "ClassSpec",
    "EmbeddingSpec",
    "ExportFacts",
    "InputFacts",
    "ModelCard",
    "OutputFacts",
    "check_card",
    "export_estimator",
    "export_torch",
    "find_card",
    "load_card",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tilewright.models.{_NAMES[name]}"), name)
