"""The facts about a trained model that its weights do not hold: inputs, outputs and windows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tilewright.models.card.tile import TileSpec
from tilewright.models.spec.inputs import DatesSpec, MissingSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.models.spec.embedding import EmbeddingSpec
    from tilewright.models.spec.outputs import ClassSpec


IMPLIED_STEPS = {"composite": 1, "static": 1, "pair": 2}


class ExportError(ValueError):
    """A model that cannot be exported: what was given, what was expected, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """One input of the model; `name` is its name in the exported graph.

    `bands` are in the model's order; those in `derived` are expressions over bands, in the input's unit. `scaling`
    holds MLM value-scaling objects: none, one for all bands, or one per band. `statistics` are those of the values of
    each band in training, as in a card (`tw:statistics`), or none. The steps of an image are a time axis if `fold` is
    None, else they are folded into the bands axis in the order of `fold`; the steps of a row are always folded.
    """

    name: str = "image"
    bands: tuple[str, ...]
    derived: Mapping[str, str] = field(default_factory=dict)
    collection: str = "sentinel-2-l2a"
    unit: str = "reflectance"
    resolution: float = 10.0
    resampling: str = "bilinear"
    dates: DatesSpec = field(default_factory=DatesSpec)
    missing: MissingSpec = field(default_factory=MissingSpec)
    scaling: tuple[Mapping[str, Any], ...] = ()
    statistics: tuple[Mapping[str, float], ...] = ()
    fold: Literal["time-major", "band-major"] | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.bands:
            raise ExportError(f"input {self.name}: bands is empty; name the model's channels in their order")
        if len(self.scaling) not in {0, 1, len(self.bands)}:
            raise ExportError(
                f"input {self.name}: scaling has {len(self.scaling)} entries for {len(self.bands)} bands; give none, "
                "one for all, or one per band"
            )
        if len(self.statistics) not in {0, len(self.bands)}:
            raise ExportError(
                f"input {self.name}: statistics has {len(self.statistics)} entries for {len(self.bands)} bands; give "
                "none, or one per band"
            )

    @property
    def n_steps(self) -> int:
        """Length of the time axis; raises ExportError if the dates leave it open."""
        steps = IMPLIED_STEPS.get(self.dates.kind, self.dates.steps)
        if steps is None:
            raise ExportError(f"input {self.name}: dates of kind {self.dates.kind!r} need steps, the length to export")
        return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFacts:
    """One output: scores of `classes` in the order of the channels, or `values` with one layer name per channel.

    `layers` are those of classes as in a card (None: class and confidence). `scale` is the number of output pixels per
    pixel of the finest input, along a side. `crop` is the pixels of that input that the model leaves out before and
    after a window's rows and columns.
    `one_channel`: the model gives only the score of the second of two classes, a logit with `activation` sigmoid;
    `threshold` is the probability from which it is chosen (None: the larger). `per_window`: one vector per window,
    (batch, channel). `embedding`: the channels are one vector of `length` numbers, and `values` names its one layer.
    `valid_range` is that of values, and `outside` what becomes of others.
    """

    name: str = "scores"
    classes: tuple[ClassSpec, ...] = ()
    values: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    activation: Literal["softmax", "sigmoid", "none"] = "none"
    layers: tuple[str, ...] | None = None
    scale: float = 1.0
    crop: tuple[float, float] = (0.0, 0.0)
    one_channel: bool = False
    threshold: float | None = None
    per_window: bool = False
    embedding: EmbeddingSpec | None = None
    length: int = 0
    valid_range: tuple[float, float] | None = None
    outside: Literal["nodata", "clip"] = "nodata"
    description: str = ""

    def __post_init__(self) -> None:
        if bool(self.classes) == bool(self.values):
            raise ExportError(f"output {self.name}: give classes, or names of values, and not both")
        if (self.one_channel or self.threshold is not None) and len(self.classes) != 2:
            raise ExportError(
                f"output {self.name}: one_channel and threshold are for two classes, here are {len(self.classes)}"
            )
        if self.embedding is not None and (len(self.values) != 1 or self.length < 1):
            raise ExportError(
                f"output {self.name}: a vector is one layer of values, whose numbers are counted: give values=(name,) "
                "and length"
            )
        if self.valid_range is not None and self.classes:
            raise ExportError(f"output {self.name}: valid_range is for values, and classes have none")

    @property
    def n_channels(self) -> int:
        """Length of the channel axis."""
        if self.embedding is not None:
            return self.length
        return 1 if self.one_channel else len(self.classes) or len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """Everything that a card states in addition to the graph.

    `inputs` and `outputs` are in the model's order. `rows` is True if each pixel is a row of its own (forests,
    boosting). `tile.window` None leaves height and width free; the sides of a free window must then be multiples of
    `multiple`. `properties` are further fields of the Item, such as mlm:total_parameters.
    """

    name: str
    title: str
    description: str
    architecture: str
    inputs: tuple[InputFacts, ...]
    outputs: tuple[OutputFacts, ...]
    rows: bool = False
    tile: TileSpec = field(default_factory=TileSpec)
    multiple: int = 64
    datetime: str = "2026-01-01T00:00:00Z"
    properties: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*(each.name for each in self.inputs), *(each.name for each in self.outputs)]
        if not self.inputs or not self.outputs or len(set(names)) != len(names):
            raise ExportError(f"{self.name}: give at least one input and one output, each with a name of its own")

    @property
    def finest(self) -> float:
        """Pixel size in metres of the card's grid."""
        return min(each.resolution for each in self.inputs)

    def ratio(self, entry: InputFacts) -> float:
        """Pixels of the card's grid per pixel of an input, along a side."""
        return entry.resolution / self.finest

    def input_shape(self, entry: InputFacts, *, side: int | None = None) -> tuple[int, ...]:
        """Shape of the input's array for a window of `side` grid pixels; -1 for the batch, and for sides left free."""
        channels = len(entry.bands)
        if self.rows:
            return -1, channels * entry.n_steps
        size = self._side(side, 1 / self.ratio(entry))
        if entry.n_steps > 1 and entry.fold is None:
            return -1, entry.n_steps, channels, size, size
        return -1, channels * entry.n_steps, size, size

    def input_axes(self, entry: InputFacts) -> tuple[str, ...]:
        """The `dim_order` of the input's array."""
        if self.rows:
            return "batch", "features"
        time = ("time",) if entry.n_steps > 1 and entry.fold is None else ()
        return ("batch", *time, "bands", "height", "width")

    def output_shape(self, entry: OutputFacts) -> tuple[int, ...]:
        """Shape of the output's array; -1 for the batch, and for sides left free."""
        if self.rows or entry.per_window:
            return -1, entry.n_channels
        size = self._side(None, entry.scale)
        size -= round(sum(entry.crop) * entry.scale) if size > 0 else 0
        return -1, entry.n_channels, size, size

    def output_axes(self, entry: OutputFacts) -> tuple[str, ...]:
        """The `dim_order` of the output's array."""
        channel = "class" if entry.classes else "channel"
        return ("batch", channel) if self.rows or entry.per_window else ("batch", channel, "height", "width")

    def _side(self, side: int | None, scale: float) -> int:
        side = side or self.tile.window
        if side is None:
            return -1
        size = side * scale
        if not math.isclose(size, round(size)):
            raise ExportError(
                f"{self.name}: a window of {side} pixels is {size:g} of an input or output; give a tile.window, or a "
                "multiple, that is whole for all of them"
            )
        return round(size)
