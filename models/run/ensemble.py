"""Ensembles: the scores of several cards averaged or their votes counted, their disagreement; cards of several runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.card.tile import TileSpec
from tilewright.models.errors import CardError
from tilewright.models.transforms.postprocess import entropy, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.models.spec.outputs import OutputSpec


SPLIT = ("aleatoric", "epistemic")
"""Measures of classes: the entropy that each run sees by itself, and what comes from runs that differ."""


def ensemble_card(cards: Sequence[ModelCard], *, combine: str, disagreement: bool, split: bool = False) -> ModelCard:
    """The card of an ensemble: the inputs of all cards, the outputs of the first.

    `combine` is "mean" of scores, or "vote" of classes. `disagreement` adds layers: for classes the share of models
    whose class differs from the ensemble's, for values the standard deviation. `split` adds those of SPLIT for classes.

    Raises CardError if the cards do not give the same layers on the same grid from windows of the same size.
    """
    if finder := next((card for card in cards if card.detects), None):
        raise CardError(
            f"ensemble: {finder.name} finds {finder.detects}, which are not averaged over models; leave it out"
        )
    if vectors := next((card for card in cards if card.embedding), None):
        raise CardError(
            f"ensemble: {vectors.name} gives vectors, and those of different models are not comparable; leave it out"
        )
    for card in cards[1:]:
        _refuse_mismatch(cards[0], card)
    if combine == "vote" and not all(output.classes for output in cards[0].outputs):
        raise CardError(f"ensemble.combine: {cards[0].name} gives values, which cannot be voted on; write mean")
    measures = ("disagreement",) if disagreement else ()
    if split:
        refuse_split(cards, "ensemble")
    inputs, extras = [], []
    for number, card in enumerate(cards):
        prefix = input_prefix(card, number)
        inputs += [replace(spec, name=prefix + spec.name) for spec in card.inputs]
        extras += [replace(extra, name=prefix + extra.name, of=prefix + extra.of) for extra in card.extras]
    return joint_card(
        tuple(cards),
        role=combine,
        name="+".join(dict.fromkeys(card.name for card in cards)),
        inputs=tuple(inputs),
        extras=tuple(extras),
        outputs=tuple(
            joint_output(same[0], split_measures(same[0], measures, split=split), crop=_widest_crop(same))
            for same in zip(*(card.outputs for card in cards), strict=True)
        ),
        tile=_tile(cards),
    )


def _widest_crop(outputs: Sequence[OutputSpec]) -> tuple[float, float] | None:
    """The rim (before, after) that one of the outputs leaves out."""
    crops = [output.crop for output in outputs if output.crop]
    return (max(before for before, _ in crops), max(after for _, after in crops)) if crops else None


def input_prefix(card: ModelCard, number: int) -> str:
    """The prefix of the names of a member's inputs."""
    return f"{card.name}#{number + 1}/"


class EnsembleRunner:
    """Runs every member on its own inputs and gives their joint scores, followed by their disagreement."""

    def __init__(self, card: ModelCard, members: Sequence[Runner]) -> None:
        self._card, self._members = card, tuple(members)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scores by output, (N, K, height, width) float32, or (N, K) for an output without height and width."""
        planes: dict[str, list[NDArray[np.float32]]] = {output.name: [] for output in self._card.outputs}
        for number, (card, runner) in enumerate(zip(self._card.members, self._members, strict=True)):
            prefix = input_prefix(card, number)
            member_feeds = {name.removeprefix(prefix): feed for name, feed in feeds.items() if name.startswith(prefix)}
            outputs = runner.run(member_feeds)
            for joint, output in zip(self._card.outputs, card.outputs, strict=True):
                planes[joint.name].append(scores(output, outputs[output.name], votes=True))
        return {
            joint.name: _combined(joint, planes[joint.name], vote=self._card.role == "vote")
            for joint in self._card.outputs
        }


def _combined(output: OutputSpec, members: list[NDArray[np.float32]], *, vote: bool) -> NDArray[np.float32]:
    """Joint scores of one output and its measures, (N, planes, height, width) or (N, planes)."""
    choices = [_class_indices(output, planes) for planes in members] if output.classes else []
    if vote:
        values = np.arange(len(output.classes))[None, :, None, None]
        members = [(choice[:, None] == values).astype(np.float32) for choice in choices]
    stack = np.stack(members)
    mean: NDArray[np.float32] = np.asarray(stack.mean(axis=0, dtype=np.float32))
    parts = [mean]
    if "disagreement" in output.measures and output.classes:
        joint_choice = _class_indices(output, mean)
        disagreeing = np.stack([choice != joint_choice for choice in choices])
        parts.append(disagreeing.mean(axis=0, dtype=np.float32, keepdims=True).swapaxes(0, 1))
    elif "disagreement" in output.measures:
        parts.append(np.asarray(stack.std(axis=0, dtype=np.float32)))
    if SPLIT[0] in output.measures:
        parts.append(split_entropy(output, mean, np.mean([own_entropy(output, each) for each in stack], axis=0)))
    stacked = np.concatenate(parts, axis=1).astype(np.float32, copy=False)
    return stacked[:, :, 0, 0] if output.rows else stacked


def refuse_split(cards: Sequence[ModelCard], field: str) -> None:
    """Raise CardError where no output of a card has probabilities whose entropy could be split."""
    for card in cards:
        if not any(output.classes for output in card.outputs):
            raise CardError(
                f"{field}.split: {card.name} gives values, which have no entropy; leave it out, or ask for the spread"
            )
        if sure := next((output for output in card.outputs if output.labels), None):
            raise CardError(
                f"{field}.split: {sure.name} of {card.name} gives class values without probabilities; leave it out"
            )


def split_measures(output: OutputSpec, measures: tuple[str, ...], *, split: bool) -> tuple[str, ...]:
    """The measures of an output's runs, those of SPLIT among them where they are asked and it has classes."""
    return (*measures, *SPLIT) if split and output.classes else measures


def own_entropy(output: OutputSpec, planes: NDArray[np.float32]) -> NDArray[np.float64]:
    """The entropy (N, height, width) of one run's scores (N, K, height, width), 0 to 1."""
    independent = output.activation == "sigmoid" and output.channels > 1
    return np.stack([entropy(each[: len(output.classes)], independent=independent) for each in planes]).astype(
        np.float64
    )


def split_entropy(output: OutputSpec, mean: NDArray[np.float32], own: NDArray[np.float64]) -> NDArray[np.float32]:
    """The planes (N, 2, height, width) of SPLIT: the mean of the runs' own entropies, and what their mean scores have
    beyond it. Source: Depeweg et al., ICML 2018, arXiv:1710.07283, equation 5; Houlsby et al., arXiv:1112.5745.
    """
    # The entropy is concave, so only rounding could make the difference negative.
    between = np.maximum(own_entropy(output, mean) - own, 0)
    return np.stack([own, between], axis=1).astype(np.float32)


class RunningMoments:
    """Mean and squared deviations of planes that are added one by one, and the mean of their own entropies.

    Source: Welford, Technometrics 4 (1962), 419-420: no squares of large numbers are subtracted.
    """

    def __init__(self, joint: OutputSpec) -> None:
        self.joint, self.n = joint, 0
        self.mean = np.empty(0, np.float32)
        self.squares = np.empty(0, np.float32)
        self.own = np.empty(0, np.float64)

    def add(self, planes: NDArray[np.float32]) -> None:
        """Count the scores (N, K, height, width) of one run."""
        self.n += 1
        # An ensemble's own parts are behind the scores, where they were asked of it.
        if self._split:
            own = own_entropy(self.joint, planes)
            self.own = own if self.n == 1 else self.own + (own - self.own) / self.n
        if self.n == 1:
            self.mean, self.squares = planes.astype(np.float32), np.zeros(planes.shape, np.float32)
            return
        delta = planes - self.mean
        self.mean += delta / np.float32(self.n)
        self.squares += delta * (planes - self.mean)

    @property
    def deviation(self) -> NDArray[np.float32]:
        """The standard deviation of the scores over the runs."""
        return np.sqrt(self.squares / np.float32(self.n))

    @property
    def _split(self) -> bool:
        return SPLIT[0] in self.joint.measures

    def planes(self, *, rows: bool) -> NDArray[np.float32]:
        """Mean scores, followed by the measures of the output."""
        parts = [self.mean]
        if "spread" in self.joint.measures:
            n_scores = len(self.joint.classes) or self.joint.channels
            deviation = self.deviation[:, :n_scores]
            parts.append(deviation.max(axis=1, keepdims=True) if self.joint.classes else deviation)
        if self._split:
            parts.append(split_entropy(self.joint, self.mean, self.own))
        stacked = np.concatenate(parts, axis=1)
        return stacked[:, :, 0, 0] if rows else stacked


def _class_indices(output: OutputSpec, planes: NDArray[np.float32]) -> NDArray[np.intp]:
    """The index of the chosen class, (N, height, width), for scores (N, K, height, width)."""
    if output.threshold is not None:
        return (planes[:, 1] >= np.float32(output.threshold)).astype(np.intp)
    return planes.argmax(axis=1)


def _refuse_mismatch(first: ModelCard, other: ModelCard) -> None:
    pairs: dict[str, tuple[Any, Any]] = {
        "tw:resolution": (first.resolution, other.resolution),
        "tw:tile.window": (first.tile.window, other.tile.window),
        "batch size": (first.batch, other.batch),
        "input layout": (_layout(first), _layout(other)),
        "outputs": (
            [_comparable(output) for output in first.outputs],
            [_comparable(output) for output in other.outputs],
        ),
    }
    for field, (one, two) in pairs.items():
        if one != two:
            raise CardError(
                f"ensemble: {other.name} cannot stand beside {first.name}: {field} must be the same, "
                f"they are {one} and {two}"
            )


def _layout(card: ModelCard) -> str:
    return "pixels" if card.pixelwise else "windows, resized" if any(spec.resize for spec in card.inputs) else "windows"


def _comparable(output: OutputSpec) -> dict[str, Any]:
    """The properties of an output that must be equal for the scores of two models to mean the same."""
    classes = {entry.value: entry.name for entry in output.classes}
    kind = {"classes": classes} if classes else {"values": dict(zip(output.layers, output.units, strict=True))}
    return {**kind, "tw:scale": output.scale, "per window": output.rows}


def _tile(cards: Sequence[ModelCard]) -> TileSpec:
    """The windows that suit every member: the widest trim and the largest step of all cards."""
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


def joint_output(
    output: OutputSpec, measures: tuple[str, ...], *, crop: tuple[float, float] | None = None
) -> OutputSpec:
    """An output whose scores combine several runs, followed by the planes of `measures`.

    `crop` is the widest rim that one of the runs leaves out.
    """
    axes = output.axes
    sizes = [output.shape[axes.index(axis)] for axis in ("height", "width")] if not output.rows else []
    joint = replace(output, scored=True, labels=False, data_type="float32", measures=(*output.measures, *measures))
    return replace(
        joint,
        crop=crop,
        dim_order=("batch", "channel", *(("height", "width") if sizes else ())),
        shape=(-1, joint.n_planes, *sizes),
    )


def joint_card(
    members: tuple[ModelCard, ...], *, role: str, name: str, settings: tuple[Any, ...] = (), **changes: Any
) -> ModelCard:
    """The joint card of `members` in a `role`; its digest covers theirs, the role with its settings and the outputs."""
    outputs = [[output.name, list(output.measures)] for output in changes["outputs"]]
    canonical = json.dumps([role, [card.digest for card in members], outputs, *settings])
    sha256 = hashlib.sha256("".join(card.sha256 for card in members).encode()).hexdigest()
    return replace(
        members[0],
        name=name,
        members=members,
        sampler=None,
        role=role,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        sha256=members[0].sha256 if len(members) == 1 else sha256,
        **changes,
    )
