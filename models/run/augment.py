"""Test-time augmentation: one model run on flipped and rotated windows, results flipped back and averaged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.errors import CardError
from tilewright.models.run.ensemble import joint_card, joint_output
from tilewright.models.spec.arrays import input_axes
from tilewright.models.transforms.postprocess import scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.models.spec.outputs import OutputSpec


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


def augmented_card(card: ModelCard, *, kind: str, spread: bool) -> ModelCard:
    """The card that runs the model with every flip of `kind`; `spread` adds the deviation over the flips as layers.

    Raises CardError for pixelwise models, which flips do not change, and for detectors.
    """
    if card.detects:
        raise CardError(f"augment: {card.name} finds {card.detects}, which are not averaged over flips; leave it out")
    if card.pixelwise:
        raise CardError(f"augment: {card.name} takes single pixels, which flips and turns do not change; leave it out")
    if spread and card.embedding:
        raise CardError(f"augment.spread: {card.name} gives vectors, which have no spread; leave it out")
    measures = ("spread",) if spread else ()
    # A rim turned about lies on the other side, so the wider one counts on both.
    outputs = tuple(
        joint_output(output, measures, crop=(max(output.crop),) * 2 if output.crop else None) for output in card.outputs
    )
    return joint_card((card,), role=kind, name=card.name, inputs=card.inputs, extras=card.extras, outputs=outputs)


class AugmentedRunner:
    """Runs a graph once per flip and gives mean scores, followed by their spread if the card asks for it."""

    def __init__(self, card: ModelCard, inner: Runner) -> None:
        self._card, (self._member,), self._inner = card, card.members, inner
        ports = {spec.name: spec.axes for spec in self._member.inputs}
        ports |= {extra.name: input_axes(extra.dim_order) or () for extra in self._member.extras}
        self._spatial_axes = {
            name: (axes.index("height"), axes.index("width")) for name, axes in ports.items() if "height" in axes
        }

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scores by output, (N, K, height, width) float32, or (N, K) for one vector per window."""
        running: dict[str, _RunningMoments] = {output.name: _RunningMoments() for output in self._member.outputs}
        for flip in FLIPS[self._card.role]:
            flipped = {
                name: flip.apply(feed, *self._spatial_axes[name]) if name in self._spatial_axes else feed
                for name, feed in feeds.items()
            }
            outputs = self._inner.run(flipped)
            for output in self._member.outputs:
                planes = scores(output, outputs[output.name], votes=True)
                running[output.name].add(planes if output.rows else flip.undo(planes))
        return {
            output.name: _with_spread(output, joint, running[output.name])
            for output, joint in zip(self._member.outputs, self._card.outputs, strict=True)
        }


class _RunningMoments:
    """Mean and squared deviations of planes that are added one by one.

    Source: Welford, Technometrics 4 (1962), 419-420: no squares of large numbers are subtracted.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean = np.empty(0, np.float32)
        self.squares = np.empty(0, np.float32)

    def add(self, planes: NDArray[np.float32]) -> None:
        self.n += 1
        if self.n == 1:
            self.mean, self.squares = planes.astype(np.float32), np.zeros(planes.shape, np.float32)
            return
        delta = planes - self.mean
        self.mean += delta / np.float32(self.n)
        self.squares += delta * (planes - self.mean)

    @property
    def deviation(self) -> NDArray[np.float32]:
        return np.sqrt(self.squares / np.float32(self.n))


def _with_spread(output: OutputSpec, joint: OutputSpec, running: _RunningMoments) -> NDArray[np.float32]:
    parts = [running.mean]
    if "spread" in joint.measures:
        n_scores = len(output.classes) or output.channels
        deviation = running.deviation[:, :n_scores]
        parts.append(deviation.max(axis=1, keepdims=True) if output.classes else deviation)
    stacked = np.concatenate(parts, axis=1)
    return stacked[:, :, 0, 0] if output.rows else stacked
