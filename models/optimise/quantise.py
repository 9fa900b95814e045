"""Quantises a card's graph to whole numbers of 8 bits, from the ranges that its tensors had on some windows.

The ranges decide everything: the same ranges give the same graph on every machine with the same onnxruntime, so that a
plan that holds them holds the graph. The first layers stay in single precision, since one scale for all bands loses the
faint ones beside clouds and snow, and the last, where ties between classes are decided.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import math
import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from tilewright.models.cache import find_cached, write_cached
from tilewright.models.errors import CardError
from tilewright.models.run.providers import create_session, import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard

Ranges = dict[str, tuple[float, float]]
"""The lowest and the highest value of each tensor by its name, with zero between them."""

VERSION: Final = 2
"""Increased when the same ranges would yield another graph."""

WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with weights, which take the time of a model."""

QUANTISED: Final = (*WEIGHTED, "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Resize", "Add")
"""Operators in whole numbers: those with weights, and those between them, which else would convert there and back."""

OLDEST_OPSET: Final = 13
"""First opset that quantises weights by channel. Source: ONNX operator changelog, DequantizeLinear."""

ENDS: Final = ("/lowest", "/highest")
"""Ends of the names of the outputs that are added to measure a tensor."""

DIGITS: Final = 3
"""Digits of a range that are kept, so that the last digits of another processor's sums make no other graph."""


def quantise_obstacle(card: ModelCard) -> str:
    """Why a card's graph cannot be quantised, as the end of a sentence; empty if it can."""
    if card.members:
        return f"{card.name} stands for several runs"
    if card.sampler:
        return f"{card.name} runs in a loop (tw:sampler), whose numbers are of other ranges in each step"
    if card.weights:
        return f"{card.name} has external weight files"
    model = onnx.load(str(card.model_path), load_external_data=False)
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        return f"{card.name} has no layer with weights ({', '.join(WEIGHTED)})"
    version = next((entry.version for entry in model.opset_import if not entry.domain), 0)
    if version < OLDEST_OPSET:
        return f"{card.name} uses opset {version}, and {OLDEST_OPSET} is needed"
    return ""


def measure_ranges(card: ModelCard, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> Ranges:
    """The ranges of the tensors of a card's graph over the windows in `feeds`, each rounded outwards.

    Raises CardError if the graph cannot be prepared, and if a tensor has values that are not finite.
    """
    model = _prepared(card)
    names = _activations(model)
    session, _, _ = create_session(_with_extremes(model, names), provider="cpu", threads=1)
    lows, highs = np.zeros(len(names)), np.zeros(len(names))
    for feed in feeds:
        found = np.array(
            session.run([f"{name}{end}" for end in ENDS for name in names], dict(feed)), np.float64
        ).reshape(2, -1)
        if not np.isfinite(found).all():
            worst = names[int(np.argmin(np.isfinite(found).all(axis=0)))]
            raise CardError(f"precision int8 cannot be: {card.name} computes numbers that are not finite ({worst})")
        lows, highs = np.minimum(lows, found[0]), np.maximum(highs, found[1])
    return {name: (0.0 - _outwards(-low), _outwards(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def quantised_card(
    card: ModelCard, ranges: Mapping[str, tuple[float, float]], *, cache: Path, sha256: str = ""
) -> ModelCard:
    """The card with its graph quantised by `ranges`, kept in the folder `cache`; name and digest stay the card's.

    A kept graph is taken only if it has the `sha256` of a plan: any other file is damaged, and made anew.

    Raises CardError if the graph has no such tensors.
    """
    runtime = import_onnxruntime().__version__
    told = sorted((name, *map(float, ends)) for name, ends in ranges.items())
    key = f"{VERSION} {runtime} {onnx.__version__} {card.digest} {card.sha256} {told}"
    path = cache / f"int8-{hashlib.sha256(key.encode()).hexdigest()[:32]}.onnx"
    found = find_cached(path)
    if found is None or hashlib.sha256(found.read_bytes()).hexdigest() != sha256:
        found = write_cached(path, _quantised(card, ranges).SerializeToString(deterministic=True))
    return replace(card, model_path=found, sha256=hashlib.sha256(found.read_bytes()).hexdigest())


def _prepared(card: ModelCard) -> onnx.ModelProto:
    """The graph with its normalisations folded into its weights, and the types of its tensors."""
    prepare = importlib.import_module("onnxruntime.quantization.shape_inference").quant_pre_process
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.onnx"
        try:
            prepare(str(card.model_path), str(path), skip_symbolic_shape=True)
        except Exception as error:
            # onnxruntime's own exceptions share no base class but Exception.
            raise CardError(f"precision int8 cannot be: {' '.join(str(error).split())[:300]}") from error
        model = onnx.load(str(path))
    taken = {node.name for node in model.graph.node}
    for number, node in enumerate(model.graph.node):
        if not node.name:
            # Nodes are left in single precision by their names, which a graph need not give.
            node.name = next(name for name in (f"node{number}{'_' * n}" for n in count()) if name not in taken)
            taken.add(node.name)
    return model


def _activations(model: onnx.ModelProto) -> list[str]:
    """The names of the float32 tensors that quantised operators read and write, but for weights; sorted."""
    constants = {tensor.name for tensor in model.graph.initializer}
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    single = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    used = {name for node in model.graph.node if node.op_type in QUANTISED for name in (*node.input, *node.output)}
    return sorted((used & single) - constants)


def _with_extremes(model: onnx.ModelProto, names: Iterable[str]) -> bytes:
    """The graph with the lowest and the highest value of each tensor as further outputs."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    for name in names:
        for end, operator in zip(ENDS, ("ReduceMin", "ReduceMax"), strict=True):
            augmented.graph.node.append(helper.make_node(operator, [name], [name + end], keepdims=0))
            augmented.graph.output.append(helper.make_tensor_value_info(name + end, TensorProto.FLOAT, []))
    return augmented.SerializeToString()


def _outwards(value: float) -> float:
    """A number that is not negative, rounded up to a few digits."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - DIGITS)
    return float(f"{math.ceil(value / unit) * unit:.{DIGITS - 1}e}")


def _quantised(card: ModelCard, ranges: Mapping[str, tuple[float, float]]) -> onnx.ModelProto:
    calibrate = importlib.import_module("onnxruntime.quantization.calibrate")
    kinds = importlib.import_module("onnxruntime.quantization.quant_utils").QuantType
    quantizer = importlib.import_module("onnxruntime.quantization.qdq_quantizer").QDQQuantizer
    model = _prepared(card)
    if lacking := sorted(set(_activations(model)) - set(ranges)):
        raise CardError(f"precision int8 cannot be: the plan has no range for {lacking[0]} of {card.name}")
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    root = logging.getLogger()
    level = root.level
    try:
        # It logs each tensor that it leaves alone.
        root.setLevel(logging.ERROR)
        made = quantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=kinds.QInt8,
            activation_qType=kinds.QUInt8,
            tensors_range=calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, limits),
            nodes_to_quantize=[],
            nodes_to_exclude=_first_and_last(model),
            op_types_to_quantize=list(QUANTISED),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        made.quantize_model()
    finally:
        root.setLevel(level)
    quantised: onnx.ModelProto = made.model.model
    return quantised


def _first_and_last(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes with weights that have no others before or behind them, and of those outside of these."""
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    users: dict[str, list[onnx.NodeProto]] = {}
    producers = {name: [node] for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return sorted(_up_to_weights(inputs, users, "output") | _up_to_weights(outputs, producers, "input"))


def _up_to_weights(names: list[str], beside: Mapping[str, list[onnx.NodeProto]], onwards: str) -> set[str]:
    """The names of the nodes that are reached from tensors without passing one with weights, and those that end it."""
    waiting, found = list(names), set()
    while waiting:
        for node in beside.get(waiting.pop(), ()):
            if node.name not in found:
                found.add(node.name)
                waiting.extend([] if node.op_type in WEIGHTED else getattr(node, onwards))
    return found
