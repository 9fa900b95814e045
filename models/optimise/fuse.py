"""A card's scaling, resizing, activation, argmax and rounding put into its graph: uint16 goes in, uint8 comes out.

For a GPU, where every byte over the bus and every pass over a window on the CPU counts. Pixels are rounded on the way
in (to half a step of Sentinel-2's own numbers), so results agree with the plain path to that rounding and to the noise
of float arithmetic, and not bit for bit: whether a product was made this way is part of its plan and of its key.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

import onnx

from tilewright.models.cache import keep
from tilewright.models.errors import CardError
from tilewright.models.optimise.fuse_graph import composed, opset
from tilewright.models.optimise.fuse_specs import carried_input, layered_output

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard


# Raised when another graph would be composed from the same card.
VERSION: Final = 2

OLDEST_OPSET: Final = 13
"""Softmax over one axis, and reductions as they are written here. Source: ONNX operator changelog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedModel:
    """The composed graph's file and hash, and the card that describes it.

    `card` has the inputs as they must be prepared and the outputs as they come (`OutputSpec.layered`); name, digest and
    sha256 are those of the model it stands for.
    """

    card: ModelCard
    path: Path
    sha256: str


def obstacle(card: ModelCard, *, blended: bool, half: bool = False) -> str:
    """Why a card's graph cannot be fused, as the end of a sentence; empty where it can.

    `blended`: windows are blended, so scores must come out and layers cannot. `half`: arithmetic in float16 is asked
    for, which is a graph of its own even where nothing moves into it.
    """
    if card.members:
        return f"{card.name} stands for several runs"
    if card.weights:
        return f"{card.name} has external weight files"
    version = opset(onnx.load(str(card.model_path), load_external_data=False))
    if version < OLDEST_OPSET:
        return f"{card.name} uses opset {version}, and {OLDEST_OPSET} is needed"
    if not half and _changed(card, blended=blended) == card:
        return f"nothing of {card.name}'s card can move into its graph"
    return ""


def fuse_model(card: ModelCard, *, cache: Path, blended: bool = False, half: bool = False) -> FusedModel:
    """The card's graph with what stands around it inside, kept in the folder `cache` by the card's digest.

    `blended`: scores come out, since windows are blended after them; `half`: the model's own arithmetic in float16,
    scaling and activation stay float32.
    Raises CardError where that cannot be (see `obstacle`).
    """
    if reason := obstacle(card, blended=blended, half=half):
        raise CardError(f"fuse: {reason}; write fuse: no")
    model = onnx.load(str(card.model_path))
    if half:
        model = half_graph(model)
    fused = _changed(card, blended=blended)
    content = composed(card, fused, model)
    made_of = f"{VERSION} {card.digest} {blended} {half}"
    path = cache / f"fused-{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.onnx"
    if not path.exists() or path.read_bytes() != content:
        path = keep(path, content)
    return FusedModel(card=replace(fused, model_path=path), path=path, sha256=hashlib.sha256(content).hexdigest())


def _changed(card: ModelCard, *, blended: bool) -> ModelCard:
    """The card with all that can move into the graph moved; equal to `card` where nothing can."""
    return replace(
        card,
        inputs=tuple(carried_input(card, spec) for spec in card.inputs),
        outputs=card.outputs if blended else tuple(layered_output(card, spec) for spec in card.outputs),
    )


def half_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with float16 inside and its inputs and outputs float32 as before; `model` may be changed.

    Operators that lose too much in float16, or have no kernel for it, keep float32 between casts.
    Source: onnxruntime 1.31, transformers/float16.py, DEFAULT_OP_BLOCK_LIST.
    """
    # It comes with onnxruntime, which the base install has not.
    converter = importlib.import_module("onnxruntime.transformers.float16")
    made: onnx.ModelProto = converter.convert_float_to_float16(model, keep_io_types=True)
    # The casts stand at the end; ONNX wants nodes after what they use.
    maker = {name: i for i, node in enumerate(made.graph.node) for name in node.output if name}
    needs = {i: {maker[name] for name in node.input if name in maker} for i, node in enumerate(made.graph.node)}
    nodes = [made.graph.node[i] for i in TopologicalSorter(needs).static_order()]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made
