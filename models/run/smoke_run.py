"""Runs a card's model on zeros, ones and noise, and checks its outputs before any real pixel is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.errors import CardError
from tilewright.models.transforms.boxes import found_boxes
from tilewright.models.transforms.extras import WindowFacts, prepare_extra
from tilewright.models.transforms.masks import mask_scores
from tilewright.models.transforms.postprocess import scores
from tilewright.models.transforms.preprocess import prepare_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession
    from tilewright.models.spec.boxes import BoxesSpec, MasksSpec
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.models.spec.outputs import OutputSpec


KINDS: Final = ("zeros", "ones", "noise")

FREE_STEPS: Final = 3
"""Steps of an input with a free number of dates."""

SEED: Final = 20260101

MOST_LETTERS: Final = 60
"""Letters of an answer in words that a person is shown."""

# Sums of probabilities and repeated runs may differ by rounding only.
ROUNDING: Final = 1e-3

RANGES: Final = {
    "reflectance": (0.0, 0.6),
    "linear": (0.001, 1.0),
    "db": (-28.0, 2.0),
    "m": (-100.0, 4000.0),
    "class": (0.0, 11.0),
}
"""Range of physical values by unit: Sentinel-2 over land without snow, Sentinel-1 over land, land elevations, scene
classes."""

OTHER_RANGE: Final = (-1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeRun:
    """One run: the kind of its input, and per output its name, the share of finite scores, the smallest and the largest
    finite score (0 if there is none).
    """

    name: str
    outputs: tuple[tuple[str, float, float, float], ...]

    def words(self) -> str:
        """The run as text for a person."""
        return "; ".join(
            f"{name} {low:.4g} to {high:.4g}" + ("" if finite == 1 else f", {1 - finite:.1%} not finite")
            for name, finite, low, high in self.outputs
        )


def run_smoke_test(card: ModelCard, session: ModelSession, *, side: int) -> tuple[tuple[SmokeRun, ...], list[str]]:
    """The runs on windows of `side` grid pixels, and one warning per suspicious result.

    Raises CardError if an output contradicts the card (another size, class values that it does not list),
    InferenceError if the graph fails.
    """
    runs, warnings, answers = [], [], {}
    for kind in KINDS:
        raw = session.run(synthetic_inputs(card, side=side, kind=kind))
        answers[kind] = {spec.name: _scores(card, spec, raw[spec.name], side) for spec in card.outputs}
        seen = [_statistics(spec, answers[kind][spec.name]) for spec in card.outputs]
        seen += [_scores_seen(table, raw, side) for table in card.boxes]
        seen += [_masks_seen(masks, raw, side) for masks in card.masks]
        seen += [_letters_seen(name, raw[name]) for name in card.answers]
        runs.append(SmokeRun(name=kind, outputs=tuple(seen)))
    for spec in card.outputs:
        warnings.extend(_warnings(spec, [answers[kind][spec.name] for kind in KINDS]))
    repeated = session.run(synthetic_inputs(card, side=side, kind="noise"))
    warnings.extend(
        f"{spec.name}: the same input gives another answer each time; the graph draws random numbers"
        for spec in card.outputs
        if not np.array_equal(
            _scores(card, spec, repeated[spec.name], side), answers["noise"][spec.name], equal_nan=True
        )
    )
    return tuple(runs), warnings


def synthetic_inputs(card: ModelCard, *, side: int, kind: str = "noise") -> dict[str, NDArray[Any]]:
    """All inputs of the graph for one window of `side` grid pixels: physical zeros, ones or seeded noise."""
    random = np.random.default_rng(SEED)
    steps = {spec.name: _synthetic_steps(card, spec, side, kind, random) for spec in card.inputs}
    feeds = {spec.name: prepare_input(spec, steps[spec.name]) for spec in card.inputs}
    for extra in card.extras:
        _, n_steps, _, height, width = steps[extra.of].shape
        if extra.kind in {"state", "noise", "drawn"}:
            # What is drawn is placed on the card's own grid.
            height = width = side if extra.kind == "drawn" else round(side * extra.scale)
        lonlat = np.stack(np.meshgrid(np.linspace(13, 13.1, width), np.linspace(48.1, 48, height)))[None]
        facts = WindowFacts(
            n=1,
            height=height,
            width=width,
            days=tuple(date(2026, 1 + step % 12, 1) for step in range(n_steps)),
            valid=np.ones((1, n_steps, height, width), bool),
            lonlat=lonlat,
            mask=np.ones((1, height, width), bool),
            corners=np.zeros((1, 2), np.int64),
            pixel_size=np.array([[10.0, 10.0]]),
        )
        feeds[extra.name] = prepare_extra(extra, facts)
    return feeds


def quick_run(card: ModelCard, *, side: int) -> tuple[ModelCard, dict[str, NDArray[Any]], int]:
    """A card, its inputs, and how many times as long a window of `side` grid pixels takes as one run of it.

    That is the card itself and once, or for loops one evaluation, on a window of those that are averaged.
    """
    if not card.loops:
        return card, synthetic_inputs(card, side=side), 1
    averages = [loop.average.window for loop in card.loops if loop.average]
    quick = _first_step(card)
    return (
        quick,
        synthetic_inputs(quick, side=max(averages, default=side)),
        max(loop.calls(side) for loop in card.loops),
    )


def _first_step(card: ModelCard) -> ModelCard:
    """The card whose loops end after one evaluation."""
    sampler = card.sampler.first_step() if card.sampler else None
    return replace(card, sampler=sampler, members=tuple(_first_step(member) for member in card.members))


def _synthetic_steps(
    card: ModelCard, spec: InputSpec, side: int, kind: str, random: np.random.Generator
) -> NDArray[np.float32]:
    size = card.read_size(spec, side)
    shape = (1, spec.dates.steps or FREE_STEPS, len(spec.source_bands), size, size)
    if kind == "noise":
        return random.uniform(*physical_range(spec.unit), shape).astype(np.float32)
    return np.full(shape, 0 if kind == "zeros" else 1, np.float32)


def _scores(card: ModelCard, spec: OutputSpec, raw: NDArray[Any], side: int) -> NDArray[np.float32]:
    expected = round(side * spec.scale)
    if not spec.rows and not any(each.resize for each in card.inputs):
        sizes = {raw.shape[spec.axes.index(axis)] for axis in ("height", "width")}
        if sizes != {expected}:
            raise CardError(
                f"properties.mlm:output ({spec.name}).tw:scale is {spec.scale:g}; a window of {side} pixels gave "
                f"{max(sizes)}, not {expected}: write {max(sizes) / side:g}, or pad inside the graph"
            )
    return scores(spec, raw, size=(side, side) if card.pixelwise else None)


def _scores_seen(table: BoxesSpec, raw: Mapping[str, NDArray[Any]], side: int) -> tuple[str, float, float, float]:
    """As `_statistics` for the scores of all boxes that are complete, whatever their score."""
    (boxes,) = found_boxes(replace(table, least_score=0), raw, windows=1, window=side)
    low, high = (float(boxes["score"].min()), float(boxes["score"].max())) if len(boxes) else (0.0, 0.0)
    return f"{len(boxes):,} boxes of {table.name}, scores", 1.0, low, high


def _masks_seen(masks: MasksSpec, raw: Mapping[str, NDArray[Any]], side: int) -> tuple[str, float, float, float]:
    """The same for objects with masks, at which it does not look."""
    found = mask_scores(masks, raw, window=side).tolist()
    return f"{len(found):,} masks of {masks.name}, scores", 1.0, min(found, default=0.0), max(found, default=0.0)


def _letters_seen(name: str, answers: NDArray[Any]) -> tuple[str, float, float, float]:
    """The first answer in words, and as `_statistics` the letters of the shortest and of the longest one."""
    lengths = [float(len(each)) for each in answers.tolist()]
    return f"{name} {str(answers[0])[:MOST_LETTERS]!a}, letters", 1.0, min(lengths), max(lengths)


def _statistics(spec: OutputSpec, answer: NDArray[np.float32]) -> tuple[str, float, float, float]:
    finite = np.isfinite(answer)
    kept = answer[finite]
    low, high = (float(kept.min()), float(kept.max())) if kept.size else (0.0, 0.0)
    if spec.labels and (unknown := sorted(set(np.unique(kept).tolist()) - {each.value for each in spec.classes})):
        raise CardError(
            f"properties.mlm:output ({spec.name}).classification:classes has no value {unknown[0]:g}, which the graph "
            "gave: list it"
        )
    return spec.name, float(finite.mean()), low, high


def _warnings(spec: OutputSpec, answers: list[NDArray[np.float32]]) -> list[str]:
    warnings = []
    if any(not np.isfinite(answer).all() for answer in answers):
        warnings.append(f"{spec.name}: some answers are not finite; such pixels become nodata")
    if all(np.array_equal(answer, answers[0]) for answer in answers):
        warnings.append(f"{spec.name}: zeros, ones and noise give the same answer; is the input scaled as in training?")
    if spec.classes and not spec.labels and not all(_are_probabilities(spec, answer) for answer in answers):
        otherwise = "confidence means nothing" if spec.channels > 1 else "runs refuse logits, which are cut at 0.5"
        warnings.append(
            f"{spec.name}: scores are no probabilities; write tw:activation softmax or sigmoid, else {otherwise}"
        )
    low, high = spec.valid_range or (-np.inf, np.inf)
    if any(((answer < low) | (answer > high)).any() for answer in answers):
        warnings.append(f"{spec.name}: some answers to noise lie outside tw:valid_range {low:g} to {high:g}")
    return warnings


def _are_probabilities(spec: OutputSpec, answer: NDArray[np.float32]) -> bool:
    # Measures of several runs stand behind the scores.
    answer = answer[:, : len(spec.classes)]
    within = bool(((answer >= -ROUNDING) & (answer <= 1 + ROUNDING) | ~np.isfinite(answer)).all())
    sums = answer.sum(axis=1)
    return within and (spec.activation == "sigmoid" or bool((np.abs(sums - 1) <= ROUNDING)[np.isfinite(sums)].all()))


def physical_range(unit: str) -> tuple[float, float]:
    """The smallest and the largest value to try for a unit."""
    return RANGES.get(unit, OTHER_RANGE)
