"""Exports a trained model and its facts as `model.onnx` and `card.json`, verified against the model itself."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.models.card.card import ModelCard, load_card
from tilewright.models.card.tile import TileSpec
from tilewright.models.export.card import card_json
from tilewright.models.export.facts import ExportError, ExportFacts, InputFacts, OutputFacts
from tilewright.models.export.from_torch import torch_graph, torch_outputs
from tilewright.models.export.from_trees import tree_graph, tree_outputs
from tilewright.models.export.parity import Parity, compare
from tilewright.models.spec.embedding import EmbeddingSpec
from tilewright.models.spec.inputs import DatesSpec, MissingSpec
from tilewright.models.spec.outputs import ClassSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[np.float32]]


__all__ = [
    "ClassSpec",
    "DatesSpec",
    "EmbeddingSpec",
    "ExportError",
    "ExportFacts",
    "ExportReport",
    "InputFacts",
    "MissingSpec",
    "OutputFacts",
    "Parity",
    "TileSpec",
    "draft_card",
    "export_estimator",
    "export_torch",
]

TOLERANCE = 1e-4
"""Largest difference allowed, relative to outputs above one: single precision through some dozen layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """The result of an export: the card as loaded, the size of its graph, and the comparison with the model."""

    card: ModelCard
    n_bytes: int
    parity: tuple[Parity, ...]

    def words(self) -> str:
        """The report as one sentence."""
        compared = "; ".join(
            f"{each.output} differs by at most {each.difference:.2g} ({each.worst}) over {len(each.tried)} inputs"
            for each in self.parity
        )
        return f"{self.card.name}: {self.n_bytes / 1e6:.3f} MB; {compared}"


def export_torch(
    module: Any, facts: ExportFacts, folder: Path, *, tolerance: float = TOLERANCE, examples: Sequence[Feeds] = ()
) -> ExportReport:
    """The report of the export of a torch module to `folder`, as `model.onnx` and `card.json`.

    The module takes tensors (batch, [time,] bands, height, width) in the order of `facts.inputs` and returns one tensor
    per entry of `facts.outputs`. `examples` are scaled feeds by input name, compared in addition to random and extreme
    ones. Raises ExportError: torch is missing, the module does not fit the facts, the graph is not faithful;
    CardError: the facts make no valid card. Nothing is written then.
    """
    graph = torch_graph(module, facts)
    return _write_verified(
        facts,
        graph,
        folder,
        lambda feeds: torch_outputs(module, facts, feeds),
        tolerance=tolerance,
        examples=examples,
    )


def export_estimator(
    estimator: Any, facts: ExportFacts, folder: Path, *, tolerance: float = TOLERANCE, examples: Sequence[Feeds] = ()
) -> ExportReport:
    """The report of the export of a fitted scikit-learn or LightGBM estimator that takes one row of features per pixel.

    `facts.rows` is True; a row holds the bands of the first step, then of the next (or in the order of `fold`).
    Raises ExportError and CardError as `export_torch`, and ExportError if the extra `export` is not installed.
    """
    graph = tree_graph(estimator, facts)
    name = facts.inputs[0].name
    return _write_verified(
        facts,
        graph,
        folder,
        lambda feeds: tree_outputs(estimator, facts, feeds[name]),
        tolerance=tolerance,
        examples=examples,
    )


def draft_card(facts: ExportFacts) -> ModelCard:
    """The card of the facts before a graph exists.

    Its inputs prepare training pixels as the runtime will prepare the pixels of a job. Raises CardError, which names
    the field, if the facts make no valid card.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.json"
        path.write_text(json.dumps(card_json(facts, b"")))
        return load_card(path, verify=False)


def _write_verified(
    facts: ExportFacts,
    graph: bytes,
    folder: Path,
    model_outputs: Callable[[Feeds], Sequence[NDArray[Any]]],
    *,
    tolerance: float,
    examples: Sequence[Feeds],
) -> ExportReport:
    """Writes both files to a temporary folder, verifies them there, and moves them to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as temporary:
        draft = Path(temporary)
        (draft / "model.onnx").write_bytes(graph)
        text = json.dumps(card_json(facts, graph), indent=2, ensure_ascii=False)
        (draft / "card.json").write_text(text + "\n", encoding="utf-8")
        parity = compare(load_card(draft), facts, model_outputs, tolerance=tolerance, examples=examples)
        for name in ("model.onnx", "card.json"):
            (draft / name).replace(folder / name)
    return ExportReport(card=load_card(folder), n_bytes=len(graph), parity=parity)
