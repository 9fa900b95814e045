"""Fuses a card's scaling, resizing, activation, argmax and rounding into its graph: uint16 in, uint8 out.

Meant for a GPU, where every byte over the bus and every pass over a window on the CPU counts. Input pixels are rounded
(to half a DN of Sentinel-2), so results agree with the unfused path up to that rounding and float rounding, not bit for
bit. Whether a product was made with a fused graph is therefore part of its plan and of its key.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

import onnx

from tilewright.models.cache import write_cached
from tilewright.models.errors import CardError
from tilewright.models.optimise.fuse_graph import compose_graph, opset
from tilewright.models.optimise.fuse_specs import fused_input, layered_output

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard


# Increased when the same card would yield another graph.
VERSION: Final = 2

OLDEST_OPSET: Final = 13
"""First opset with softmax over one axis and with the reductions used here. Source: ONNX operator changelog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedModel:
    """The composed graph's file and hash, and the card that describes it.

    `card` has the inputs as they must be prepared and the outputs as the graph gives them (`OutputSpec.layered`); its
    name, digest and sha256 are those of the original card.
    """

    card: ModelCard
    path: Path
    sha256: str


def obstacle(card: ModelCard, *, blended: bool, half: bool = False) -> str:
    """Why a card's graph cannot be fused, as the end of a sentence; empty if it can.

    `blended`: windows are blended, so the graph must give scores instead of layers. `half`: arithmetic in float16 is
    requested, which needs its own graph even if nothing of the card moves into it.
    """
    if card.table_classes or card.members:
        finds = f"finds {card.detects}" if card.detects else "tells objects apart"
        return f"{card.name} {finds if card.table_classes else 'stands for several runs'}"
    if card.sampler or card.weights:
        return f"{card.name} {'runs in a loop (tw:sampler)' if card.sampler else 'has external weight files'}"
    if any(card.crop):
        return f"{card.name} crops its windows"
    version = opset(onnx.load(str(card.model_path), load_external_data=False))
    if version < OLDEST_OPSET:
        return f"{card.name} uses opset {version}, and {OLDEST_OPSET} is needed"
    if not half and _fused_card(card, blended=blended) == card:
        return f"nothing of {card.name}'s card can move into its graph"
    return ""


def fuse_model(card: ModelCard, *, cache: Path, blended: bool = False, half: bool = False) -> FusedModel:
    """The card's graph with its pre- and postprocessing fused, kept in the folder `cache` by the card's digest.

    `blended`: the graph gives scores, because windows are blended afterwards. `half`: the model's own arithmetic is
    float16; scaling and activation stay float32.
    Raises CardError if the card cannot be fused (see `obstacle`).
    """
    if reason := obstacle(card, blended=blended, half=half):
        raise CardError(f"fuse: {reason}; write fuse: no")
    model = onnx.load(str(card.model_path))
    if half:
        model = float16_graph(model)
    fused = _fused_card(card, blended=blended)
    content = compose_graph(card, fused, model)
    cache_key = f"{VERSION} {card.digest} {blended} {half}"
    path = cache / f"fused-{hashlib.sha256(cache_key.encode()).hexdigest()[:32]}.onnx"
    if not path.exists() or path.read_bytes() != content:
        path = write_cached(path, content)
    return FusedModel(card=replace(fused, model_path=path), path=path, sha256=hashlib.sha256(content).hexdigest())


def _fused_card(card: ModelCard, *, blended: bool) -> ModelCard:
    """The card without the steps that move into the graph; equal to `card` if none can."""
    return replace(
        card,
        inputs=tuple(fused_input(card, spec) for spec in card.inputs),
        outputs=card.outputs if blended else tuple(layered_output(card, spec) for spec in card.outputs),
    )


def float16_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with float16 arithmetic and unchanged float32 inputs and outputs; `model` may be changed.

    Operators that lose too much precision in float16, or have no kernel for it, keep float32 between casts.
    Source: onnxruntime 1.31, transformers/float16.py, DEFAULT_OP_BLOCK_LIST.
    """
    # Part of onnxruntime, which the base install lacks.
    converter = importlib.import_module("onnxruntime.transformers.float16")
    converted: onnx.ModelProto = converter.convert_float_to_float16(model, keep_io_types=True)
    # The converter appends the casts; ONNX requires each node after the nodes whose outputs it uses.
    producers = {name: i for i, node in enumerate(converted.graph.node) for name in node.output if name}
    dependencies = {
        i: {producers[name] for name in node.input if name in producers} for i, node in enumerate(converted.graph.node)
    }
    nodes = [converted.graph.node[i] for i in TopologicalSorter(dependencies).static_order()]
    del converted.graph.node[:]
    converted.graph.node.extend(nodes)
    return converted
