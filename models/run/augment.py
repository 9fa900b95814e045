"""One model run several times, its answers averaged: on windows turned about, on noisy ones, with what it draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.errors import CardError
from tilewright.models.fields import did_you_mean
from tilewright.models.run.ensemble import RunningMoments, joint_card, joint_output, refuse_split, split_measures
from tilewright.models.spec.arrays import input_axes
from tilewright.models.spec.inputs import ExtraInput
from tilewright.models.transforms.draws import drawn_numbers
from tilewright.models.transforms.noise import normal_noise
from tilewright.models.transforms.postprocess import scores
from tilewright.models.transforms.preprocess import empty_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.models.spec.inputs import InputSpec

    _Version = tuple[dict[str, NDArray[Any]], Callable[[NDArray[np.float32]], NDArray[np.float32]]]
    _Versions = Callable[[Mapping[str, NDArray[Any]]], Iterator[_Version]]


NOISE: Final = "noise"

DRAWN: Final = "drawn"
"""The role of a card whose graph draws random numbers, in passes (`models/stochastic`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One symmetry of a square window: transposed, then its rows, then its columns reversed."""

    transposed: bool
    rows: bool
    cols: bool

    def apply(self, array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
        """The array flipped; `height` and `width` are the indices of those axes."""
        flipped = np.swapaxes(array, height, width) if self.transposed else array
        return np.ascontiguousarray(np.flip(flipped, self._reversed_axes(height, width)))

    def undo(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Planes (N, K, height, width) flipped back."""
        flipped = np.flip(planes, self._reversed_axes(2, 3))
        return np.swapaxes(flipped, 2, 3) if self.transposed else flipped

    def _reversed_axes(self, height: int, width: int) -> tuple[int, ...]:
        return (height,) * self.rows + (width,) * self.cols


FLIPS: Final = {
    "flips": tuple(Flip(transposed=False, rows=rows, cols=cols) for rows, cols in product((False, True), repeat=2)),
    "d4": tuple(
        Flip(transposed=transposed, rows=rows, cols=cols) for transposed, rows, cols in product((False, True), repeat=3)
    ),
}
"""`flips`: identity, vertical, horizontal, both; `d4`: these and their transposes, all of a square."""


def augmented_card(card: ModelCard, *, kind: str, spread: bool, split: bool = False) -> ModelCard:
    """The card that runs the model with every flip of `kind`; `spread` adds the deviation over the flips as layers,
    `split` for classes the parts of the entropy, see `ensemble.SPLIT`.

    Raises CardError for pixelwise models, which flips do not change, and for detectors.
    """
    refuse_repeated(card, "flips", spread=spread, split=split)
    if card.pixelwise:
        raise CardError(f"augment: {card.name} takes single pixels, which flips and turns do not change; leave it out")
    return repeated_card(card, kind, spread=spread, split=split, extras=card.extras)


def noisy_card(
    card: ModelCard,
    *,
    sigma: float | Mapping[str, float],
    passes: int,
    seed: int,
    spread: bool,
    split: bool = False,
) -> ModelCard:
    """The card that runs the model `passes` times with normal noise on its bands, of deviation `sigma` in their units.

    `sigma` is one number for all bands, which then have one unit, or one by the name of a band; others have no noise.
    The noise of a pixel is a function of `seed`, its place, band, step and pass, so that no cut of the work shows.

    Raises CardError for detectors, bands that the model lacks, and inputs whose pixels are not the grid's or whose
    scaling is no line, where noise in the band's unit is not one in the graph's.
    """
    refuse_repeated(card, "runs", spread=spread, split=split)
    by_band = sigma if not isinstance(sigma, (int, float)) else _one_for_all(card, sigma)
    known = [band for spec in card.inputs for band in spec.bands]
    if unknown := [band for band in by_band if band not in known]:
        hint, takes = did_you_mean(unknown[0], known), ", ".join(dict.fromkeys(known))
        raise CardError(f"augment.sigma: {card.name} has no band {', '.join(unknown)}{hint}; it takes {takes}")
    noise = tuple(
        _noise_of(card, spec, by_band, number=number, passes=passes, seed=seed)
        for number, spec in enumerate(card.inputs)
        if any(band in by_band for band in spec.bands)
    )
    settings = ([[each.of, list(each.values), each.seed] for each in noise],)
    return repeated_card(card, NOISE, spread=spread, split=split, extras=(*card.extras, *noise), settings=settings)


def refuse_repeated(card: ModelCard, what: str, *, spread: bool, split: bool, field: str = "augment") -> None:
    """Raise CardError naming a field where a card's answers have no mean, no spread or no entropy over `what`."""
    if card.detects:
        raise CardError(f"{field}: {card.name} finds {card.detects}, which are not averaged over {what}; leave it out")
    if spread and card.embedding:
        raise CardError(f"{field}.spread: {card.name} gives vectors, which have no spread; leave it out")
    if split:
        refuse_split((card,), field)


def repeated_card(card: ModelCard, role: str, *, spread: bool, split: bool, **changes: Any) -> ModelCard:
    """The card that runs another one several times in a `role`; `changes` are its extra inputs and settings."""
    measures = ("spread",) if spread else ()
    # A rim turned about lies on the other side, so the wider one counts on both.
    outputs = tuple(
        joint_output(
            output,
            split_measures(output, measures, split=split),
            crop=(max(output.crop),) * 2 if output.crop else None,
        )
        for output in card.outputs
    )
    return joint_card((card,), role=role, name=card.name, inputs=card.inputs, outputs=outputs, **changes)


def _one_for_all(card: ModelCard, sigma: float) -> dict[str, float]:
    units = dict.fromkeys(spec.unit for spec in card.inputs)
    if len(units) > 1:
        raise CardError(
            f"augment.sigma: the bands of {card.name} have the units {', '.join(units)}; write one deviation for each "
            "band that is to have noise, as {red: 0.01}"
        )
    return {band: float(sigma) for spec in card.inputs for band in spec.bands}


def _noise_of(
    card: ModelCard, spec: InputSpec, by_band: Mapping[str, float], *, number: int, passes: int, seed: int
) -> ExtraInput:
    """The extra input that says where the windows of an input lie, and what noise goes onto it."""
    reason = None
    if spec.resize is not None:
        reason = "is resized, so that its pixels are not those of the grid"
    elif np.dtype(spec.data_type).kind != "f":
        reason = f"takes whole numbers ({spec.data_type})"
    elif any(
        scaling.expression is not None
        for band, scaling in zip(spec.bands, spec.value_scaling, strict=True)
        if band in by_band
    ):
        reason = "is scaled by an expression"
    if reason:
        raise CardError(f"augment: noise cannot be put onto {spec.name} of {card.name}, which {reason}; leave it out")
    scaled = (
        by_band.get(band, 0.0) * abs(scaling.gain) for band, scaling in zip(spec.bands, spec.value_scaling, strict=True)
    )
    return ExtraInput(
        name=f"{spec.name}#noise",
        kind="noise",
        of=spec.name,
        parts=(),
        values=(float(passes), *scaled),
        shape=(-1, 4),
        dim_order=("batch", "bands"),
        data_type="int64",
        scale=1 / card.ratio(spec),
        seed=seed * len(card.inputs) + number,
    )


class AugmentedRunner:
    """Runs a graph on several versions of its windows and gives mean scores, followed by the measures of the card."""

    def __init__(self, card: ModelCard, inner: Runner) -> None:
        self._card, (self._member,), self._inner = card, card.members, inner
        self._versions = {NOISE: _noisy, DRAWN: _drawn}.get(card.role, _flipped)(card)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scores by output, (N, K, height, width) float32, or (N, K) for one vector per window."""
        running = {joint.name: RunningMoments(joint) for joint in self._card.outputs}
        for version, undo in self._versions(feeds):
            outputs = self._inner.run(version)
            for output in self._member.outputs:
                planes = scores(output, outputs[output.name], votes=True)
                running[output.name].add(planes if output.rows else undo(planes))
        return {output.name: running[output.name].planes(rows=output.rows) for output in self._member.outputs}


def _flipped(card: ModelCard) -> _Versions:
    """The feeds with every flip of a card, and how its planes are flipped back."""
    (member,) = card.members
    ports = {spec.name: spec.axes for spec in member.inputs}
    ports |= {extra.name: input_axes(extra.dim_order) or () for extra in member.extras}
    spatial = {name: (axes.index("height"), axes.index("width")) for name, axes in ports.items() if "height" in axes}

    def versions(feeds: Mapping[str, NDArray[Any]]) -> Iterator[_Version]:
        for flip in FLIPS[card.role]:
            yield (
                {name: flip.apply(feed, *spatial[name]) if name in spatial else feed for name, feed in feeds.items()},
                flip.undo,
            )

    return versions


def _noisy(card: ModelCard) -> _Versions:
    """The feeds with the noise of every pass; planes stay where they are."""
    noise = [extra for extra in card.extras if extra.kind == "noise"]
    specs = {spec.name: spec for spec in card.inputs}
    names = {extra.name for extra in noise}

    def versions(feeds: Mapping[str, NDArray[Any]]) -> Iterator[_Version]:
        own = {name: feed for name, feed in feeds.items() if name not in names}
        for number in range(round(noise[0].values[0])):
            added = {
                extra.of: _with_noise(specs[extra.of], extra, feeds[extra.of], places=feeds[extra.name], number=number)
                for extra in noise
            }
            yield {**own, **added}, lambda planes: planes

    return versions


def _drawn(card: ModelCard) -> _Versions:
    """The feeds with what the graph draws in every pass."""
    assert card.stochastic is not None, f"{card.name} draws nothing"
    (member,), passes, first = card.members, card.stochastic.passes, card.inputs[0]
    sites = [extra for extra in member.extras if extra.kind == "drawn"]
    told = {extra.name for extra in card.extras} - {extra.name for extra in member.extras}

    def versions(feeds: Mapping[str, NDArray[Any]]) -> Iterator[_Version]:
        own = {name: feed for name, feed in feeds.items() if name not in told}
        places = next((feeds[name] for name in told), None)
        n = feeds[first.name].shape[first.axes.index("batch")]
        for step in range(passes):
            drawn = {extra.name: drawn_numbers(extra, places, n=n, step=step) for extra in sites}
            yield {**own, **drawn}, lambda planes: planes

    return versions


def _with_noise(
    spec: InputSpec, extra: ExtraInput, feed: NDArray[Any], *, places: NDArray[np.int64], number: int
) -> NDArray[Any]:
    """An input's array with the noise of one pass; `places` (N, 4) as `prepare_extra` gives them."""
    (_, *deviations), n_bands = extra.values, len(spec.bands)
    height, width = places[0, 2:].tolist()
    n_steps = feed.size // (len(places) * n_bands * height * width)
    made, view = empty_array(spec, n=len(places), t=n_steps, height=height, width=width)
    for window, (row, col, *_) in enumerate(places.tolist()):
        drawn = normal_noise(
            seed=extra.seed,
            step=number,
            channels=n_steps * n_bands,
            rows=range(row, row + height),
            cols=range(col, col + width),
        )
        view[window] = drawn.reshape(n_steps, n_bands, height, width) * np.array(deviations, np.float32)[:, None, None]
    made += feed
    for band, scaling in enumerate(spec.value_scaling):
        if deviations[band] and (scaling.low is not None or scaling.high is not None):
            # What lies at a limit of the scaling stays within it.
            view[:, :, band] = np.clip(view[:, :, band], scaling.low, scaling.high)
    return made
