"""The card that runs a graph several times with what it draws, and gives the mean of its answers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tilewright.models.cache import find_cached, process_folder, write_cached
from tilewright.models.errors import CardError
from tilewright.models.run.augment import DRAWN, refuse_repeated, repeated_card
from tilewright.models.spec.draws.stochastic import FIELD
from tilewright.models.spec.inputs import ExtraInput
from tilewright.models.stochastic.layouts import site_layouts
from tilewright.models.stochastic.rewrite import drawn_inputs, rewritten, whole_graph
from tilewright.models.stochastic.sites import find_sites

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard


VERSION: Final = 1
"""Increased when the same card would draw other numbers."""


def stochastic_card(card: ModelCard, *, cache: Path | None = None) -> ModelCard:
    """The card that runs a graph of `tw:stochastic` in its passes; another card as it is.

    Its only member is the graph with an input in place of each operator that draws: a layer that lies on pixels has
    numbers of its own for each absolute pixel, channel and pass, and one that does not has the same in all windows of a
    pass. The rewritten graph is kept in the folder `cache`, None for one of this process.
    Raises CardError where the graph draws nothing, or an operator cannot be given a place.
    """
    spec = card.stochastic
    if spec is None or card.members:
        return card
    field = f"properties.{FIELD}"
    refuse_repeated(card, "passes", spread=spec.spread, split=spec.split, field=field)
    if card.sampler:
        raise CardError(f"{field}: {card.name} runs in a loop (tw:sampler), which draws its own noise; leave one out")
    model = whole_graph(card)
    sites = find_sites(model, name=card.name)
    layouts = site_layouts(model, card, sites)
    inputs = drawn_inputs(model, card, sites, layouts, seed=spec.seed)
    content = rewritten(model, sites, layouts, inputs)
    sha256 = hashlib.sha256(content).hexdigest()
    member = replace(
        card,
        model_path=_kept(content, sha256, cache),
        sha256=sha256,
        weights=(),
        extras=(*card.extras, *inputs),
        stochastic=None,
    )
    places = (_places(card),) if any(layout.ratio for layout in layouts) else ()
    joint = repeated_card(
        member,
        DRAWN,
        spread=spec.spread,
        split=spec.split,
        extras=(*card.extras, *places),
        settings=(VERSION, spec.passes, [[extra.shape, extra.scale, extra.seed] for extra in inputs]),
    )
    return replace(joint, sha256=card.sha256, stochastic=spec)


def _places(card: ModelCard) -> ExtraInput:
    """The extra input that says where windows lie on the card's grid."""
    return ExtraInput(
        name="#places",
        kind="noise",
        of=card.inputs[0].name,
        parts=(),
        values=(),
        shape=(-1, 4),
        dim_order=("batch", "bands"),
        data_type="int64",
    )


def _kept(content: bytes, sha256: str, cache: Path | None) -> Path:
    """The file of a rewritten graph: the one that is there, if it holds these bytes. Raises CardError without room."""
    try:
        path = (cache or process_folder()) / f"drawn-{sha256[:32]}.onnx"
        kept = find_cached(path)
        if kept is not None and hashlib.sha256(kept.read_bytes()).hexdigest() == sha256:
            return kept
        return write_cached(path, content)
    except OSError as error:
        raise CardError(f"properties.{FIELD}: no disk has room for the graph with its inputs: {error}") from error
