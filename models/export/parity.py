"""Compares an exported graph with its model: both run on random and on extreme inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tilewright.models.export.facts import ExportError
from tilewright.models.measure.ports import card_ports
from tilewright.models.run.session import open_graph
from tilewright.models.run.smoke_run import SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.export.facts import ExportFacts, OutputFacts
    from tilewright.models.measure.probe import Port

    Feeds = Mapping[str, NDArray[np.float32]]


RANDOM_RUNS = 3

N_ROWS = 4096

# Factor beyond the range of a model's inputs: values of a bright cloud or a broken pixel.
FAR = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The comparison of one output over all inputs tried.

    `difference` is the largest absolute difference, relative to the largest output if that is above one; `unlike` the
    largest share of pixels (or rows) with another best class, 0 for values; `worst` names the input with the largest
    difference, `tried` all inputs.
    """

    output: str
    difference: float
    unlike: float
    worst: str
    tried: tuple[str, ...]


def compare(
    card: ModelCard,
    facts: ExportFacts,
    model_outputs: Callable[[Feeds], Sequence[NDArray[Any]]],
    *,
    tolerance: float,
    examples: Sequence[Feeds] = (),
) -> tuple[Parity, ...]:
    """One comparison per output: the graph of the card against `model_outputs`, both for the same feeds.

    `examples` are feeds in addition to random and extreme ones: real pixels, scaled as in the card.
    Raises ExportError if shapes differ, or a difference is above the tolerance.
    """
    # The graph's own results: a session of the card gives whole windows where the graph crops them.
    session = open_graph(card.model_path, sha256=card.sha256, provider="cpu")
    found: dict[str, list[tuple[str, float, float]]] = {entry.name: [] for entry in facts.outputs}
    for kind, feeds in (*_feeds(card, facts), *((f"example {n}", each) for n, each in enumerate(examples, start=1))):
        ours = session.run(feeds)
        for entry, theirs in zip(facts.outputs, model_outputs(feeds), strict=True):
            graph_output = ours[entry.name]
            if graph_output.shape != theirs.shape:
                raise ExportError(
                    f"{facts.name}: on {kind} the graph gives {entry.name} as {list(graph_output.shape)}, the model as "
                    f"{list(theirs.shape)}; an operation depends on the size it was traced with"
                )
            unlike = _unlike(graph_output, theirs, entry)
            found[entry.name].append((kind, _difference(graph_output, theirs), unlike))
    parities = tuple(_parity(name, runs) for name, runs in found.items())
    for each in parities:
        if not each.difference <= tolerance:
            raise ExportError(
                f"{facts.name}: {each.output} of the graph differs from the model's by {each.difference:.3g} on "
                f"{each.worst}, more than the tolerance of {tolerance:g}; the conversion is not faithful"
            )
    return parities


def _feeds(card: ModelCard, facts: ExportFacts) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """(kind, feeds by input name): random of two window sizes, zeros, lowest, highest, far outside, on thresholds."""
    random = np.random.default_rng(SEED)
    ports, _ = card_ports(card)
    side = facts.tile.window or facts.multiple
    sizes = [(side, side)] if facts.tile.window else [(side, side), (2 * side, 3 * side)]
    for number in range(RANDOM_RUNS):
        size = sizes[number % len(sizes)]
        yield f"random {number + 1}", {port.name: _uniform_feed(random, port, size) for port in ports}
    shapes = {port.name: _feed_shape(port, sizes[0]) for port in ports}
    for kind, low, high in (("zeros", 0, 0), ("lowest", 1, 0), ("highest", 0, 1)):
        constants = {port.name: np.float32(low * port.low + high * port.high) for port in ports}
        yield kind, {name: np.full(shapes[name], value) for name, value in constants.items()}
    yield "far outside", {port.name: FAR * _uniform_feed(random, port, sizes[0]) for port in ports}
    if facts.rows:
        yield from _threshold_feeds(card, random, ports[0])


def _uniform_feed(random: np.random.Generator, port: Port, size: tuple[int, int]) -> NDArray[np.float32]:
    return random.uniform(port.low, port.high, _feed_shape(port, size)).astype(np.float32)


def _feed_shape(port: Port, size: tuple[int, int]) -> tuple[int, ...]:
    """Shape of the port's array for windows of `size` (height, width) pixels of the card's grid."""
    sides = {"height": round(size[0] * port.ratio), "width": round(size[1] * port.ratio)}
    batch = 2 if port.spatial else N_ROWS
    return tuple(
        batch if axis == "batch" else sides.get(axis, length) if length < 1 else length
        for axis, length in zip(port.dims, port.shape, strict=True)
    )


def _threshold_feeds(
    card: ModelCard, random: np.random.Generator, port: Port
) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """(kind, rows) exactly on each threshold of the trees, and on the next float32 numbers below and above it."""
    splits = [pair for node in onnx.load(card.model_path).graph.node for pair in _splits(node)]
    if not splits:
        return
    features, values = (np.array(each) for each in zip(*splits, strict=True))
    values = values.astype(np.float32)
    for kind, direction in (("on thresholds", 0.0), ("below thresholds", -np.inf), ("above thresholds", np.inf)):
        rows = random.uniform(port.low, port.high, (len(values), port.shape[1])).astype(np.float32)
        moved = np.nextafter(values, np.float32(direction)) if direction else values
        rows[np.arange(len(values)), features.astype(int)] = moved
        yield kind, {port.name: rows}


def _splits(node: onnx.NodeProto) -> list[tuple[int, float]]:
    """(feature, threshold) of every split of a tree ensemble; nothing for other nodes."""
    if not node.op_type.startswith("TreeEnsemble"):
        return []
    attributes = {each.name: each for each in node.attribute}
    if "nodes_modes" not in attributes:
        return []
    modes, features = attributes["nodes_modes"].strings, attributes["nodes_featureids"].ints
    nodes = zip(modes, features, attributes["nodes_values"].floats, strict=True)
    return [(feature, value) for mode, feature, value in nodes if mode != b"LEAF"]


def _difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest relative difference of two outputs."""
    size = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0)) / size


def _unlike(ours: NDArray[Any], theirs: NDArray[Any], entry: OutputFacts) -> float:
    """The share of pixels with another class; 0 for values."""
    if len(entry.classes) < 2:
        return 0.0
    if not entry.one_channel:
        return float((ours.argmax(axis=1) != theirs.argmax(axis=1)).mean())
    chosen = entry.threshold or 0.5
    from_here = math.log(chosen / (1 - chosen)) if entry.activation == "sigmoid" and chosen < 1 else chosen
    return float(((ours > from_here) != (theirs > from_here)).mean())


def _parity(name: str, runs: Sequence[tuple[str, float, float]]) -> Parity:
    # A NaN counts as the largest difference; no comparison would find it.
    worst = max(runs, key=lambda run: np.inf if np.isnan(run[1]) else run[1])
    return Parity(
        output=name,
        difference=worst[1],
        unlike=max(run[2] for run in runs),
        worst=worst[0],
        tried=tuple(run[0] for run in runs),
    )
