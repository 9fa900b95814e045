"""A trained model and a few facts about it -> `model.onnx` and `card.json`, proven to answer as the model does."""

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
from tilewright.models.export.from_torch import torch_answers, torch_graph
from tilewright.models.export.from_trees import tree_answers, tree_graph
from tilewright.models.export.parity import Parity, compare
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
"""Largest difference allowed, relative to answers above one: single precision through some dozen layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written: the card as it loads, the size of its graph, and how it compares with the model."""

    card: ModelCard
    n_bytes: int
    parity: tuple[Parity, ...]

    def words(self) -> str:
        """The report for a person."""
        compared = "; ".join(
            f"{each.output} differs by at most {each.difference:.2g} ({each.worst}) over {len(each.tried)} inputs"
            for each in self.parity
        )
        return f"{self.card.name}: {self.n_bytes / 1e6:.3f} MB; {compared}"


def export_torch(
    module: Any, facts: ExportFacts, folder: Path, *, tolerance: float = TOLERANCE, examples: Sequence[Feeds] = ()
) -> ExportReport:
    """The report of a torch module written to `folder` as `model.onnx` and `card.json`; nothing is written on refusal.

    The module takes tensors (batch, [time,] bands, height, width) in the order of `facts.inputs` and gives one tensor
    per entry of `facts.outputs`. `examples` are scaled feeds by input name, compared beside random and edge ones.
    Raises ExportError: torch is missing, the module does not fit the facts, the graph is not faithful; CardError: the
    facts make no valid card.
    """
    graph = torch_graph(module, facts)
    return _written(
        facts,
        graph,
        folder,
        lambda feeds: torch_answers(module, facts, feeds),
        tolerance=tolerance,
        examples=examples,
    )


def export_estimator(
    estimator: Any, facts: ExportFacts, folder: Path, *, tolerance: float = TOLERANCE, examples: Sequence[Feeds] = ()
) -> ExportReport:
    """As `export_torch` for a fitted scikit-learn or LightGBM estimator that takes one row of features per pixel.

    `facts.rows` is True; a row is the bands of the first step, then of the next (or by `fold`).
    Raises ExportError and CardError as `export_torch`, and where the extra `export` is not installed.
    """
    graph = tree_graph(estimator, facts)
    name = facts.inputs[0].name
    return _written(
        facts,
        graph,
        folder,
        lambda feeds: tree_answers(estimator, facts, feeds[name]),
        tolerance=tolerance,
        examples=examples,
    )


def draft_card(facts: ExportFacts) -> ModelCard:
    """The card that the facts will make, before there is a graph: its inputs prepare training pixels as the runtime
    will prepare those of a job.

    Raises CardError naming the field where the facts make no valid card.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.json"
        path.write_text(json.dumps(card_json(facts, b"")))
        return load_card(path, verify=False)


def _written(
    facts: ExportFacts,
    graph: bytes,
    folder: Path,
    answers: Callable[[Feeds], Sequence[NDArray[Any]]],
    *,
    tolerance: float,
    examples: Sequence[Feeds],
) -> ExportReport:
    """Both files proven in a folder of their own, then moved to where they belong."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as place:
        trial = Path(place)
        (trial / "model.onnx").write_bytes(graph)
        text = json.dumps(card_json(facts, graph), indent=2, ensure_ascii=False)
        (trial / "card.json").write_text(text + "\n", encoding="utf-8")
        parity = compare(load_card(trial), facts, answers, tolerance=tolerance, examples=examples)
        for name in ("model.onnx", "card.json"):
            (trial / name).replace(folder / name)
    return ExportReport(card=load_card(folder), n_bytes=len(graph), parity=parity)
