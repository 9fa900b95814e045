"""Several cards as one: their scores averaged or their votes counted, and where they disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.card.tile import TileSpec
from tilewright.models.errors import CardError
from tilewright.models.run.joint import joint_card, joint_output
from tilewright.models.transforms.postprocess import scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.models.spec.outputs import OutputSpec


def ensemble_card(cards: Sequence[ModelCard], *, combine: str, disagreement: bool) -> ModelCard:
    """The card of several models that answer one question: inputs of all, outputs of the first.

    `combine` is "mean" of scores, or "vote" of classes. `disagreement` adds layers: for classes the share of models
    that choose another class than all together, for values the standard deviation.

    Raises CardError where the cards do not give the same layers on the same grid from windows of the same size.
    """
    for card in cards[1:]:
        _refuse_unlike(cards[0], card)
    if combine == "vote" and not all(output.classes for output in cards[0].outputs):
        raise CardError(f"ensemble.combine: {cards[0].name} gives values, which cannot be voted on; write mean")
    measures = ("disagreement",) if disagreement else ()
    inputs, extras = [], []
    for number, card in enumerate(cards):
        front = prefix(card, number)
        inputs += [replace(spec, name=front + spec.name) for spec in card.inputs]
        extras += [replace(extra, name=front + extra.name, of=front + extra.of) for extra in card.extras]
    return joint_card(
        tuple(cards),
        role=combine,
        name="+".join(dict.fromkeys(card.name for card in cards)),
        inputs=tuple(inputs),
        extras=tuple(extras),
        outputs=tuple(joint_output(output, measures) for output in cards[0].outputs),
        tile=_tile(cards),
    )


def prefix(card: ModelCard, number: int) -> str:
    """What stands before the names of a member's inputs."""
    return f"{card.name}#{number + 1}/"


class EnsembleRunner:
    """Runs every member on its own inputs and gives their joint scores, and behind them their disagreement."""

    def __init__(self, card: ModelCard, members: Sequence[Runner]) -> None:
        self._card, self._members = card, tuple(members)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scores by output, (N, K, height, width) float32, or (N, K) where it has no height and width."""
        planes: dict[str, list[NDArray[np.float32]]] = {output.name: [] for output in self._card.outputs}
        for number, (card, runner) in enumerate(zip(self._card.members, self._members, strict=True)):
            front = prefix(card, number)
            own = {name.removeprefix(front): feed for name, feed in feeds.items() if name.startswith(front)}
            made = runner.run(own)
            for joint, output in zip(self._card.outputs, card.outputs, strict=True):
                planes[joint.name].append(scores(output, made[output.name], votes=True))
        return {
            joint.name: _joined(joint, planes[joint.name], vote=self._card.role == "vote")
            for joint in self._card.outputs
        }


def _joined(output: OutputSpec, members: list[NDArray[np.float32]], *, vote: bool) -> NDArray[np.float32]:
    """Joint scores of one output and its measures, (N, planes, height, width) or (N, planes)."""
    own = [_choices(output, planes) for planes in members] if output.classes else []
    if vote:
        values = np.arange(len(output.classes))[None, :, None, None]
        members = [(choice[:, None] == values).astype(np.float32) for choice in own]
    stack = np.stack(members)
    mean: NDArray[np.float32] = np.asarray(stack.mean(axis=0, dtype=np.float32))
    parts = [mean]
    if "disagreement" in output.measures and output.classes:
        together = _choices(output, mean)
        unlike = np.stack([choice != together for choice in own])
        parts.append(unlike.mean(axis=0, dtype=np.float32, keepdims=True).swapaxes(0, 1))
    elif "disagreement" in output.measures:
        parts.append(np.asarray(stack.std(axis=0, dtype=np.float32)))
    whole = np.concatenate(parts, axis=1).astype(np.float32, copy=False)
    return whole[:, :, 0, 0] if output.rows else whole


def _choices(output: OutputSpec, planes: NDArray[np.float32]) -> NDArray[np.intp]:
    """The index of the class chosen, (N, height, width), of scores (N, K, height, width)."""
    if output.threshold is not None:
        return (planes[:, 1] >= np.float32(output.threshold)).astype(np.intp)
    return planes.argmax(axis=1)


def _refuse_unlike(first: ModelCard, other: ModelCard) -> None:
    pairs: dict[str, tuple[Any, Any]] = {
        "tw:resolution": (first.resolution, other.resolution),
        "tw:tile.window": (first.tile.window, other.tile.window),
        "batch size": (first.batch, other.batch),
        "input layout": (_layout(first), _layout(other)),
        "outputs": ([_answer(output) for output in first.outputs], [_answer(output) for output in other.outputs]),
    }
    for what, (one, two) in pairs.items():
        if one != two:
            raise CardError(
                f"ensemble: {other.name} cannot stand beside {first.name}: {what} must be the same, "
                f"they are {one} and {two}"
            )


def _layout(card: ModelCard) -> str:
    return "pixels" if card.pixelwise else "windows, resized" if any(spec.resize for spec in card.inputs) else "windows"


def _answer(output: OutputSpec) -> dict[str, Any]:
    """What of an output must agree, so that scores of two models mean the same."""
    classes = {entry.value: entry.name for entry in output.classes}
    kind = {"classes": classes} if classes else {"values": dict(zip(output.layers, output.units, strict=True))}
    return {**kind, "tw:scale": output.scale, "per window": output.rows}


def _tile(cards: Sequence[ModelCard]) -> TileSpec:
    """Windows large enough for every member: the widest trim and the largest step asked for."""
    tiles = [card.tile for card in cards]
    trims = [tile.trim for tile in tiles if isinstance(tile.trim, int)]
    if trims and len(trims) < len(tiles):
        raise CardError("ensemble: some of its cards measure tw:tile.trim and others write it; do either in all")
    merges = {tile.merge for tile in tiles}
    return TileSpec(
        window=tiles[0].window,
        step=max((tile.step for tile in tiles if tile.step), default=None),
        trim=max(trims) if trims else "measured",
        merge="blend" if "blend" in merges else "trim" if merges == {"trim"} else "auto",
    )
