"""The layers of a block while windows are pasted or blended into them; nodata is restored at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.window import answers_per_window, output_scale
from tilewright.models.transforms.postprocess import layers_from_scores
from tilewright.models.transforms.weights import window_weights
from tilewright.tasks.block.output_grid import output_box, repeat_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.grid.windows import Lattice, Window
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLayers:
    """The layers of a block while they are filled: ``stored`` by layer, ``blends`` by output if windows are blended."""

    plan: Plan
    card: ModelCard
    inner: PixelBox
    stored: dict[str, np.ndarray]
    blends: dict[str, Blend]

    @classmethod
    def over(cls, plan: Plan, card: ModelCard, inner: PixelBox) -> BlockLayers:
        """Empty layers over a block's inner box."""
        shape = plan.raster.product_box_of(inner).shape
        stored = {
            spec.name: np.full((*shape, *spec.trailing), spec.nodata, dtype=spec.dtype) for spec in card.layer_specs()
        }
        blends = {
            output.name: start_blend(output_box(inner, output, card, plan.raster.lattice), n_scores=output.n_planes)
            for output in card.outputs
            if plan.raster.lattice.merge == "blend" and not answers_per_window(output, card)
        }
        return cls(plan=plan, card=card, inner=inner, stored=stored, blends=blends)

    def add(self, window: Window, answer: dict[str, np.ndarray]) -> None:
        """Add one window, from ``window_answer``. Windows must come in the order of the lattice."""
        for output in self.card.outputs:
            if output.name in self.blends:
                outer = output_box(window.outer, output, self.card, self.plan.raster.lattice)
                weights = blend_weights(self.plan.raster.lattice, size=outer.shape)
                # A rim that the graph leaves out is no answer, so it has no weight.
                weights = _without_rim(weights, output.cropped)
                self.blends[output.name].add(outer, answer[output.name], weights)
            else:
                self._paste(output, window, answer)

    def add_changes(self, box: PixelBox, changes: dict[str, np.ndarray]) -> None:
        """Add how much layers change in a box of model-grid pixels, by their names (``SeamComparison.changes``)."""
        here = self.plan.raster.product_box_of(box)
        place = here.slices_in(self.plan.raster.product_box_of(self.inner))
        for name, change in changes.items():
            if (seam := f"{name}_seam") in self.stored:
                self.stored[seam][place] = repeat_to(change, here.shape)

    def layers(self, usable: np.ndarray) -> dict[str, np.ndarray]:
        """Every layer by name, nodata where a product pixel is not usable; blends are made into layers first."""
        for output in self.card.outputs:
            if output.name in self.blends:
                made = layers_from_scores(output, self.blends[output.name].scores())
                for name, array in made.items():
                    self.stored[name][:] = repeat_to(array, self.stored[name].shape)
        for spec in self.card.layer_specs():
            if spec.source == "masks":
                # Which masks count is known once all blocks are there; this one knows what was seen.
                self.stored[spec.name][:] = 0
            self.stored[spec.name][~usable] = spec.nodata
        return dict(self.stored)

    def put_otherwise(self, layers: dict[str, np.ndarray], outside: np.ndarray) -> int:
        """Put the screen's class into the layers of classes where the model did not look, (y, x) bool; how many pixels.

        None where the screen names no class, or no layer of the product has classes.
        """
        screen = self.plan.screen
        named = [spec.name for spec in self.card.layer_specs() if spec.kind == "class"]
        if screen is None or screen.otherwise is None or not {*named} & {*self.plan.raster.layers}:
            return 0
        for name in named:
            layers[name][outside] = screen.otherwise
        return int(np.count_nonzero(outside))

    def _paste(self, output: OutputSpec, window: Window, answer: dict[str, np.ndarray]) -> None:
        shared = self.plan.raster.product_box_of(window.kept).intersect(self.plan.raster.product_box_of(self.inner))
        if shared.empty:
            return
        place = shared.slices_in(self.plan.raster.product_box_of(self.inner))
        for spec in output.layer_specs():
            self.stored[spec.name][place] = repeat_to(answer[spec.name], shared.shape)


def covered_by(windows: Iterable[Window], plan: Plan, inner: PixelBox) -> np.ndarray:
    """True where one of the windows has a say, (y, x) bool over a block's inner box in product pixels."""
    box = plan.raster.product_box_of(inner)
    covered = np.zeros(box.shape, dtype=bool)
    for window in windows:
        shared = plan.raster.product_box_of(window.kept).intersect(box)
        if not shared.empty:
            covered[shared.slices_in(box)] = True
    return covered


def window_answer(
    plan: Plan, card: ModelCard, output: OutputSpec, window: Window, made: np.ndarray
) -> dict[str, np.ndarray]:
    """The argument of ``BlockLayers.add`` for one window's scores (K, h, w): by name, the layers of its kept part or
    the scores to blend.
    """
    if answers_per_window(output, card):
        return layers_from_scores(output, made)
    if plan.raster.lattice.merge == "blend":
        return {output.name: made}
    scale = output_scale(output, card, step=plan.raster.lattice.step)
    return layers_from_scores(output, kept_scores(window, made, up=scale.numerator, down=scale.denominator))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Blended scores of a block: ``total`` (K, H, W) float32 sums, ``weight`` (H, W) float32 sums."""

    inner: PixelBox
    total: np.ndarray
    weight: np.ndarray

    def add(self, window: PixelBox, scores: np.ndarray, weights: np.ndarray) -> None:
        """Add one window's scores (K, h, w) with its weights (h, w). Windows must come in lattice order.

        Float sums depend on their order; a fixed one makes a pixel the same in every block that computes it.
        """
        shared = window.intersect(self.inner)
        if shared.empty:
            return
        here, there = shared.slices_in(self.inner), shared.slices_in(window)
        self.total[(slice(None), *here)] += scores[(slice(None), *there)] * weights[there]
        self.weight[here] += weights[there]

    def scores(self) -> np.ndarray:
        """The weighted mean (K, H, W) float32, NaN where no window has weight."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total / np.where(self.weight > 0, self.weight, np.nan)


def start_blend(inner: PixelBox, *, n_scores: int) -> Blend:
    """An empty blend over a block."""
    return Blend(
        inner=inner,
        total=np.zeros((n_scores, *inner.shape), dtype=np.float32),
        weight=np.zeros(inner.shape, dtype=np.float32),
    )


def blend_weights(lattice: Lattice, *, size: tuple[int, int]) -> np.ndarray:
    """Weights (h, w) float32 of a window's pixels, falling over its trim, where it has least context."""
    height, width = size
    rims = (lattice.trim * height // lattice.window, lattice.trim * width // lattice.window)
    return window_weights(size, rims=rims)


def _without_rim(weights: np.ndarray, cropped: tuple[int, int]) -> np.ndarray:
    """The weights (h, w), 0 in the first and last ``cropped`` rows and columns."""
    before, after = cropped
    inside = np.zeros(weights.shape, bool)
    inside[before : len(weights) - after, before : weights.shape[1] - after] = True
    return np.where(inside, weights, np.float32(0))


def kept_scores(window: Window, scores: np.ndarray, *, up: int, down: int) -> np.ndarray:
    """The part (K, h, w) of a window's scores (K, H, W) that may be used; H = window height * up / down."""
    kept = window.kept.rescale(numerator=up, denominator=down)
    outer = window.outer.rescale(numerator=up, denominator=down)
    return scores[(slice(None), *kept.slices_in(outer))]
