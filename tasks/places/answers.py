"""The model's answer for each place: its windows in batches, and of each output the value of the centroid's pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.models.measure.window import answers_per_window, output_scale
from tilewright.models.spec.arrays import input_axes
from tilewright.models.transforms.postprocess import check_probabilities, layers_from_scores, scores
from tilewright.tasks.block.feeds import PlaceShape, window_feeds
from tilewright.tasks.block.infer import raw_outputs
from tilewright.tasks.block.output_grid import result_size
from tilewright.tasks.places.patches import window_of

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.tasks.block.infer import LoadedModel
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.places.rows import PlaceRows
    from tilewright.tasks.plan.plan import Plan

OBSERVED = "observed"


def answer_type(card: ModelCard, layers: tuple[str, ...]) -> np.dtype[np.void]:
    """The type of a place's record: the observed share of its window, and its layers as they are stored."""
    stored = {spec.name: spec.dtype for spec in card.layer_specs()}
    return np.dtype([(OBSERVED, "<f8"), *((name, np.dtype(stored[name]).newbyteorder("<")) for name in layers)])


def no_answers(card: ModelCard, layers: tuple[str, ...], n: int) -> np.ndarray:
    """The records of ``n`` places of which nothing is known."""
    records = np.zeros(n, dtype=answer_type(card, layers))
    for spec in card.layer_specs():
        if spec.name in layers:
            records[spec.name] = spec.nodata
    return records


@dataclass(slots=True, kw_only=True)
class Answers:
    """The ``records`` of a unit's places while they are filled, and the ``texts`` said of them, by column.

    Windows wait until ``per_call`` of them fill a call of the model.
    """

    plan: Plan
    model: LoadedModel
    rows: PlaceRows
    records: np.ndarray
    per_call: int
    texts: dict[str, list[str | None]] = field(default_factory=dict)
    n_run: int = 0
    _waiting: list[tuple[int, int, dict[str, np.ndarray]]] = field(default_factory=list)

    def add(self, number: int, row: int, inputs: BlockInputs, plan: Plan) -> None:
        """Take the window of a row, the record ``number`` of its unit, out of the inputs that were read for it."""
        place = PlaceShape(geometry=self.rows.places[row], centre=tuple(self.rows.centres[row].tolist()))
        feeds = window_feeds(plan, self.model.card, inputs, [window_of(self.rows.box(row))], places=[place])
        shapes = {name: feed.shape for name, feed in feeds.items()}
        if self._waiting and {name: feed.shape for name, feed in self._waiting[0][2].items()} != shapes:
            # A graph with a free time axis: a call has windows of one length.
            self.run()
        self._waiting.append((number, row, {name: np.array(feed) for name, feed in feeds.items()}))
        if len(self._waiting) == self.per_call:
            self.run()

    def run(self) -> None:
        """Run the model on the windows that wait."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        names = waiting[0][2]
        feeds = {name: self._joined(name, [window[name] for _, _, window in waiting]) for name in names}
        raw = raw_outputs(self.model, feeds, windows=len(waiting))
        lattice = self.plan.raster.lattice
        for output in self.model.card.outputs:
            planes = scores(output, raw[output.name], size=result_size(output, self.model.card, lattice))
            check_probabilities(output, planes)
            for (number, row, _), one in zip(waiting, planes, strict=True):
                made = layers_from_scores(output, self._at_centroid(output, one, row))
                for name in self.plan.raster.layers:
                    if name in made:
                        self.records[name][number] = made[name][0, 0]
        for name, column in self.texts.items():
            for (number, _, _), text in zip(waiting, raw[name], strict=True):
                column[number] = str(text)
        self.n_run += len(waiting)

    def _joined(self, name: str, arrays: list[np.ndarray]) -> np.ndarray:
        """An input of several windows; one that is the same for all, without an axis of windows, once."""
        extra = next((each for each in self.model.card.extras if each.name == name), None)
        shared = extra is not None and "batch" not in (input_axes(extra.dim_order) or ())
        return arrays[0] if shared or len(arrays) == 1 else np.concatenate(arrays)

    def _at_centroid(self, output: OutputSpec, planes: np.ndarray, row: int) -> np.ndarray:
        """The scores (K, 1, 1) of the output's pixel that holds the centroid, out of a window's (K, height, width)."""
        if answers_per_window(output, self.model.card):
            return planes
        scale = output_scale(output, self.model.card, step=self.plan.raster.lattice.step)
        box = self.rows.box(row)
        down, right = (
            int(place - start) * scale.numerator // scale.denominator
            for place, start in zip(self.rows.centres[row], (box.row_start, box.col_start), strict=True)
        )
        return planes[:, down : down + 1, right : right + 1]
