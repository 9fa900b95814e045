"""The model card: a STAC MLM Item, read, checked and completed to the typed value that the runtime executes."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pystac
from pystac.extensions.mlm import ItemMLMExtension

from tilewright.models.card.files import is_file, model_files, read_json, text_files, words_files
from tilewright.models.card.graph import check_graph
from tilewright.models.card.parse_bands import declared_bands
from tilewright.models.card.parse_boxes import check_boxes_fit, read_boxes, read_masks
from tilewright.models.card.parse_extras import card_words, check_text_graph, text_spec
from tilewright.models.card.parse_inputs import read_inputs
from tilewright.models.card.parse_outputs import read_outputs
from tilewright.models.card.schema import check_schemas
from tilewright.models.card.tile import TileSpec, check_masks_fit, check_vectors_fit, fit_loop, fit_tile, read_tile
from tilewright.models.card.valid_for import KEY, SIMULATED, ValidFor, read_valid_for
from tilewright.models.errors import CardError
from tilewright.models.fields import CardField
from tilewright.models.spec.draws.stochastic import FIELD as STOCHASTIC
from tilewright.models.spec.draws.stochastic import StochasticSpec, read_stochastic
from tilewright.models.spec.embedding import SCALE, TextSpec
from tilewright.models.spec.inputs import DatesSpec, ExtraInput, InputSpec, MissingSpec
from tilewright.models.spec.outputs import ClassSpec, LayerSpec, OutputSpec, object_layer, seam_layer
from tilewright.models.spec.sampler import FIELD as SAMPLER
from tilewright.models.spec.sampler import SamplerSpec
from tilewright.models.spec.sampler_fields import read_sampler
from tilewright.models.spec.scaling import Scaling
from tilewright.models.spec.words import KEY as GENERATE
from tilewright.models.spec.words import WordsSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tilewright.models.card.graph import GraphFacts
    from tilewright.models.spec.boxes import BoxesSpec, BoxOutput, MasksSpec
    from tilewright.models.spec.words import GenerateSpec

__all__ = [
    "CardError",
    "ClassSpec",
    "DatesSpec",
    "ExtraInput",
    "InputSpec",
    "LayerSpec",
    "MissingSpec",
    "ModelCard",
    "OutputSpec",
    "Scaling",
    "TileSpec",
    "ValidFor",
    "load_card",
]

PROPERTY_FIELDS: Final = (GENERATE, "tw:text", "tw:tile", SAMPLER, STOCHASTIC, KEY, SIMULATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model that can be run: its ONNX file and everything the runtime must know about it.

    `sha256` is the hash of the model file; `digest` covers the card and the sha256 of all its files, so it changes with
    everything that could change a pixel. `weights` are external weight files. `raw` is the Item's JSON. `valid_for` is
    the range that the model was made for. A card with `members` combines several runs: `role` is "flips" or "d4" (one
    model on flipped windows), "mean" or "vote" (several models). `outputs` are those that become layers, `boxes` the
    tables of things found, `masks` the layers of objects found. `text` gives the vectors of words.
    `sampler` is the loop that runs the graph, `stochastic` the passes of one that draws random numbers.
    `seams`: beside each layer another one tells how much it changes where its windows lie half a step away.
    `words` are prompts that the model takes and answers that it gives.
    """

    name: str
    id: str
    folder: Path
    model_path: Path
    sha256: str
    digest: str
    weights: tuple[Path, ...]
    inputs: tuple[InputSpec, ...]
    extras: tuple[ExtraInput, ...]
    outputs: tuple[OutputSpec, ...]
    tile: TileSpec
    tasks: tuple[str, ...]
    architecture: str
    raw: Mapping[str, Any] = field(repr=False)
    valid_for: ValidFor = field(default_factory=ValidFor)
    members: tuple[ModelCard, ...] = ()
    role: str = ""
    boxes: tuple[BoxesSpec, ...] = ()
    masks: tuple[MasksSpec, ...] = ()
    text: TextSpec | None = None
    sampler: SamplerSpec | None = None
    seams: bool = False
    words: WordsSpec | None = None
    stochastic: StochasticSpec | None = None

    @property
    def loops(self) -> tuple[SamplerSpec, ...]:
        """The loops of the card and of its members."""
        return (*([self.sampler] if self.sampler else []), *(each for one in self.members for each in one.loops))

    @property
    def one_call(self) -> ModelCard:
        """The card of one call of the graph: without its loop, on the windows that the loop gives to the graph."""
        if self.sampler is None or self.sampler.average is None:
            return replace(self, sampler=None)
        tile = replace(self.tile, window=self.sampler.average.window, step=None, trim="measured")
        return replace(self._shaped(dict(self.sampler.shapes)), sampler=None, tile=tile)

    @property
    def as_exported(self) -> ModelCard:
        """The card with the shapes that the graph has, also where a loop cuts larger windows into those."""
        loop = self.sampler
        return self._shaped({name: shape for name, shape in loop.shapes if name in loop.fixed}) if loop else self

    def _shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> ModelCard:
        """The card with other shapes of some of its arrays, by name."""
        return replace(
            self,
            inputs=tuple(replace(each, shape=shapes.get(each.name, each.shape)) for each in self.inputs),
            extras=tuple(replace(each, shape=shapes.get(each.name, each.shape)) for each in self.extras),
            outputs=tuple(replace(each, shape=shapes.get(each.name, each.shape)) for each in self.outputs),
        )

    @property
    def resolution(self) -> float | None:
        """Pixel size of the card's grid in metres: the finest `tw:resolution`, None when no input has one."""
        return min((spec.resolution for spec in self.inputs if spec.resolution is not None), default=None)

    @property
    def pixelwise(self) -> bool:
        """Whether each pixel is a row of the batch (forests, boosting, networks over one pixel's series)."""
        return all(spec.pixelwise for spec in self.inputs)

    @property
    def per_window(self) -> tuple[str, ...]:
        """Names of the outputs that give one vector per window."""
        return () if self.pixelwise else tuple(output.name for output in self.outputs if output.rows)

    @property
    def batch(self) -> int | None:
        """The batch size to which the graph is fixed, None when free."""
        return next((size for spec in self.inputs if (size := spec.size("batch"))), None)

    @property
    def crop(self) -> tuple[int, int]:
        """Whole pixels of the card's grid that an output leaves out before and after a window's rows and columns."""
        crops = [output.crop for output in self.outputs if output.crop] or [(0.0, 0.0)]
        return math.ceil(max(before for before, _ in crops)), math.ceil(max(after for _, after in crops))

    def ratio(self, spec: InputSpec) -> float:
        """The pixel size of an input divided by that of the card's grid (2.0 for a 20 m input of a 10 m grid)."""
        finest = self.resolution
        return 1.0 if finest is None or spec.resolution is None else spec.resolution / finest

    def read_size(self, spec: InputSpec, window: int) -> int:
        """Height (= width), in the input's own pixels, of the area to read for a window of `window` grid pixels."""
        return round(window / self.ratio(spec))

    @property
    def only_boxes(self) -> bool:
        """Whether the model gives boxes, masks or answers in words alone, and nothing for each pixel."""
        return not self.outputs

    @property
    def detects(self) -> str:
        """What a detector finds, in a word: boxes or masks, or answers; empty for any other model."""
        return "boxes" if self.boxes else "masks" if self.masks else "answers in words" if self.answers else ""

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the answers in words that the model gives for a window, one for each prompt."""
        return self.words.tables if self.words is not None else ()

    @property
    def box_outputs(self) -> tuple[BoxOutput, ...]:
        """The outputs that tell of boxes, and of masks."""
        of_boxes = tuple(output for table in self.boxes for output in table.outputs)
        return of_boxes + tuple(output for masks in self.masks for output in masks.outputs)

    @property
    def ports(self) -> tuple[OutputSpec | BoxOutput | GenerateSpec, ...]:
        """The outputs of the graph that are read."""
        words = (self.words.generate,) if self.words is not None and self.words.generate is not None else ()
        return (*self.outputs, *self.box_outputs, *words)

    @property
    def table_classes(self) -> dict[str, tuple[ClassSpec, ...]]:
        """The classes of the things in each table that the model gives: of boxes, and of the objects of its layers.

        Answers have none.
        """
        objects = {spec.name: spec.classes for spec in self.layer_specs() if spec.kind == "id"}
        return {table.name: table.classes for table in self.boxes} | objects | dict.fromkeys(self.answers, ())

    @property
    def embedding(self) -> OutputSpec | None:
        """The output of vectors; None if there is none."""
        return next((output for output in self.outputs if output.embedding), None)

    @property
    def vector_kinds(self) -> dict[str, str]:
        """The layers without files by name: "window" or "pixel", of which they have a vector each, or "scale"."""
        each = "window" if self.per_window else "pixel"
        return {spec.name: spec.kind.replace("vector", each) for spec in self.layer_specs() if not spec.mapped}

    @property
    def vector_bytes(self) -> float:
        """Bytes of the stored vectors per pixel of the card's grid; 0 if there are none."""
        return sum(
            spec.bytes_per_pixel * output.scale**2
            for output in self.outputs
            if output.embedding
            for spec in output.layer_specs()
        )

    def with_scales(self, names: Iterable[str]) -> tuple[str, ...]:
        """The layers of these names, and the scales of those of vectors, without which nobody can read them."""
        asked = {*names}
        scales = {f"{spec.name}{SCALE}" for spec in self.layer_specs() if spec.kind == "vector" and spec.name in asked}
        return tuple(spec.name for spec in self.layer_specs() if spec.name in asked | scales)

    @property
    def filled_from_window(self) -> bool:
        """Whether a missing observation is filled from other pixels of its window."""
        return any(spec.missing.from_window for spec in self.inputs)

    def layer_specs(self) -> tuple[LayerSpec, ...]:
        """Every raster the card writes, in the card's order; the names are unique."""
        told = self._own_layers()
        return (*told, *(seam_layer(spec) for spec in told if self.seams and spec.mapped and spec.kind != "id"))

    def _own_layers(self) -> tuple[LayerSpec, ...]:
        """The rasters that the model gives."""
        objects = (object_layer(each.name, each.boxes.classes, source="masks") for each in self.masks)
        return (*objects, *(layer for output in self.outputs for layer in output.layer_specs()))


def load_card(path: Path, *, verify: bool = True) -> ModelCard:
    """The card in a `card.json` (or the folder that holds one), checked against schemas, files and graph.

    `verify=False` skips the checks that need the files: existence, checksum and agreement with the graph.
    Raises CardError, which names the value, the expected value and the field to change.
    """
    path = path / "card.json" if is_file(path / "card.json") else path
    raw = read_json(path)
    check_schemas(raw, verify=verify)
    card = _typed_card(raw, path.parent, verify=verify)
    if verify:
        if card.text is not None:
            check_text_graph(card.text, card.outputs)
        check_card_graph(card)
    return card


def check_card_graph(card: ModelCard) -> GraphFacts:
    """The facts of a card's graph, whose inputs and outputs must be those of the card. Raises CardError."""
    called = card.as_exported
    ports, draws = (called.inputs, called.extras, called.ports), card.stochastic is not None
    return check_graph(card.model_path, *ports, weights=card.weights, draws=draws)


def _typed_card(raw: dict[str, Any], folder: Path, *, verify: bool) -> ModelCard:
    """The typed card from a valid Item."""
    item = ItemMLMExtension(pystac.Item.from_dict(raw, migrate=False))
    properties = CardField(path="properties", content=raw["properties"])
    properties.only(PROPERTY_FIELDS, prefix="tw:")
    inputs, extras = read_inputs(properties, declared_bands(raw))
    outputs = read_outputs(properties)
    layers = [layer.name for output in outputs for layer in output.layer_specs()]
    masks = read_masks(properties, taken=[*layers, *(f"{name}_polygons" for name in layers)])
    boxes = read_boxes(properties, taken=[*layers, *(each.name for each in masks)])
    tile = read_tile(properties.child("tw:tile"))
    sampler, extras = read_sampler(properties, inputs, extras, outputs)
    if sampler:
        sampler, inputs, extras, outputs = fit_loop(sampler, inputs, extras, outputs)
    tile, outputs = fit_tile(tile, inputs, outputs)
    check_boxes_fit((*boxes, *masks), inputs)
    check_masks_fit(masks, outputs)
    check_vectors_fit(outputs)
    files, texts = model_files(raw, folder, verify=verify), text_files(raw, folder, verify=verify)
    spoken = words_files(raw, folder, verify=verify)
    words = card_words(properties, inputs, extras, spoken)
    if texts and not any(output.embedding for output in outputs):
        raise properties.refuse("tw:text", "an output with tw:embedding is missing, whose vectors are those of words")
    return ModelCard(
        name=item.mlm_name,
        id=raw["id"],
        folder=folder,
        model_path=files[0].path,
        sha256=files[0].sha256,
        digest=_digest(raw, [file.sha256 for file in (*files, *texts.values(), *spoken.values())]),
        text=text_spec(texts),
        words=words,
        weights=tuple(file.path for file in files[1:]),
        inputs=inputs,
        extras=extras,
        outputs=outputs,
        boxes=boxes,
        masks=masks,
        sampler=sampler,
        stochastic=read_stochastic(properties),
        tile=tile,
        tasks=tuple(str(task) for task in item.tasks),
        architecture=item.architecture,
        raw=raw,
        valid_for=read_valid_for(properties),
    )


def _digest(raw: Mapping[str, Any], checksums: list[str]) -> str:
    canonical = json.dumps([raw, checksums], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
