"""A block's layers while they are filled: windows pasted or blended in, nodata put back at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.postprocess import layers_from_scores
from tasks.merge import blend_weights, kept_scores, start_blend
from tasks.output_grid import answers_per_window, output_box, output_scale, repeat_to

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.outputs import OutputSpec
    from tasks.grid import PixelBox
    from tasks.merge import Blend
    from tasks.plan import Plan
    from tasks.tiles import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The layers of a block being filled: ``stored`` by layer, ``blends`` by output where windows are blended."""

    plan: Plan
    card: ModelCard
    inner: PixelBox
    stored: dict[str, np.ndarray]
    blends: dict[str, Blend]

    @classmethod
    def over(cls, plan: Plan, card: ModelCard, inner: PixelBox) -> Canvas:
        """An empty canvas over a block's inner box."""
        shape = plan.product_box_of(inner).shape
        stored = {spec.name: np.full(shape, spec.nodata, dtype=spec.dtype) for spec in card.layer_specs()}
        blends = {
            output.name: start_blend(output_box(inner, output, card, plan.lattice), n_scores=output.n_planes)
            for output in card.outputs
            if plan.lattice.merge == "blend" and not answers_per_window(output, card)
        }
        return cls(plan=plan, card=card, inner=inner, stored=stored, blends=blends)

    def add(self, window: Window, answer: dict[str, np.ndarray]) -> None:
        """Take one window's answer, as ``window_answer`` gives it. Windows must come in the order of the lattice."""
        for output in self.card.outputs:
            if output.name in self.blends:
                outer = output_box(window.outer, output, self.card, self.plan.lattice)
                weights = blend_weights(self.plan.lattice, size=outer.shape)
                self.blends[output.name].add(outer, answer[output.name], weights)
            else:
                self._paste(output, window, answer)

    def layers(self, usable: np.ndarray) -> dict[str, np.ndarray]:
        """Every layer with nodata where a product pixel is not usable; blends are turned into layers first."""
        for output in self.card.outputs:
            if output.name in self.blends:
                made = layers_from_scores(output, self.blends[output.name].scores())
                for name, array in made.items():
                    self.stored[name][:] = repeat_to(array, self.stored[name].shape)
        for spec in self.card.layer_specs():
            self.stored[spec.name][~usable] = spec.nodata
        return dict(self.stored)

    def _paste(self, output: OutputSpec, window: Window, answer: dict[str, np.ndarray]) -> None:
        seen = self.plan.product_box_of(window.kept).intersect(self.plan.product_box_of(self.inner))
        if seen.empty:
            return
        place = seen.slices_in(self.plan.product_box_of(self.inner))
        for spec in output.layer_specs():
            self.stored[spec.name][place] = repeat_to(answer[spec.name], seen.shape)


def window_answer(
    plan: Plan, card: ModelCard, output: OutputSpec, window: Window, made: np.ndarray
) -> dict[str, np.ndarray]:
    """What a canvas takes of one window's scores (K, h, w): layers of its kept part, or the scores to be blended."""
    if answers_per_window(output, card):
        return layers_from_scores(output, made)
    if plan.lattice.merge == "blend":
        return {output.name: made}
    scale = output_scale(output, card, plan.lattice)
    return layers_from_scores(output, kept_scores(window, made, up=scale.numerator, down=scale.denominator))
