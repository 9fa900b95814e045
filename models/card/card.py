"""The model card: a STAC MLM Item, read, checked and completed to the typed value that the runtime executes."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pystac
from pystac.extensions.mlm import ItemMLMExtension

from tilewright.models.card.files import is_file, model_files, read_json, text_files, words_files
from tilewright.models.card.graph import check_graph, graph_facts, graph_inputs, graph_outputs, read_graph
from tilewright.models.card.parse_boxes import check_boxes_fit, read_boxes, read_masks
from tilewright.models.card.parse_extras import card_words
from tilewright.models.card.parse_inputs import read_inputs
from tilewright.models.card.parse_outputs import check_vectors_fit, read_outputs
from tilewright.models.card.schema import check_schemas
from tilewright.models.card.tile import TileSpec, fit_tile, read_tile
from tilewright.models.card.valid_for import KEY, SIMULATED, ValidFor, read_valid_for
from tilewright.models.errors import CardError
from tilewright.models.fields import CardField
from tilewright.models.spec.embedding import IDS, MASK, SCALE, TextSpec
from tilewright.models.spec.inputs import DatesSpec, ExtraInput, InputSpec, MissingSpec
from tilewright.models.spec.outputs import ClassSpec, LayerSpec, OutputSpec, object_layer
from tilewright.models.spec.scaling import Scaling
from tilewright.models.spec.words import KEY as GENERATE
from tilewright.models.spec.words import WordsSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tilewright.models.card.files import ModelFile
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

PROPERTY_FIELDS: Final = (GENERATE, "tw:text", "tw:tile", KEY, SIMULATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model that can be run: its ONNX file and everything the runtime must know about it.

    `sha256` is the hash of the model file; `digest` covers the card and the sha256 of all its files, so it changes with
    everything that could change a pixel. `weights` are external weight files. `raw` is the Item's JSON. `valid_for` is
    the range that the model was made for. A card with `members` combines several runs: `role` is "flips" or "d4" (one
    model on flipped windows), "mean" or "vote" (several models). `outputs` are those that become layers, `boxes` the
    tables of things found, `masks` the layers of objects found. `text` gives the vectors of words.
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
    words: WordsSpec | None = None

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

    def layer_specs(self) -> tuple[LayerSpec, ...]:
        """Every raster the card writes, in the card's order; the names are unique."""
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
            _check_text_graph(card.text, card.outputs)
        check_graph(card.model_path, card.inputs, card.extras, card.ports, weights=card.weights)
    return card


def _typed_card(raw: dict[str, Any], folder: Path, *, verify: bool) -> ModelCard:
    """The typed card from a valid Item."""
    item = ItemMLMExtension(pystac.Item.from_dict(raw, migrate=False))
    properties = CardField(path="properties", content=raw["properties"])
    properties.only(PROPERTY_FIELDS, prefix="tw:")
    inputs, extras = read_inputs(properties, _declared_bands(raw))
    outputs = read_outputs(properties)
    layers = [layer.name for output in outputs for layer in output.layer_specs()]
    masks = read_masks(properties, taken=[*layers, *(f"{name}_polygons" for name in layers)])
    boxes = read_boxes(properties, taken=[*layers, *(each.name for each in masks)])
    tile = read_tile(properties.child("tw:tile"))
    tile, outputs = fit_tile(tile, inputs, outputs)
    check_boxes_fit((*boxes, *masks), inputs)
    _check_masks_fit(masks, outputs)
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
        text=_text(texts),
        words=words,
        weights=tuple(file.path for file in files[1:]),
        inputs=inputs,
        extras=extras,
        outputs=outputs,
        boxes=boxes,
        masks=masks,
        tile=tile,
        tasks=tuple(str(task) for task in item.tasks),
        architecture=item.architecture,
        raw=raw,
        valid_for=read_valid_for(properties),
    )


def _check_masks_fit(masks: tuple[MasksSpec, ...], outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse masks beside layers of other pixels: masks are those of the window. Raises CardError."""
    other = next((output.name for output in outputs if output.scale != 1 or output.rows), None)
    if masks and other is not None:
        raise CardError(
            f"properties.mlm:output ({other}): its pixels are not those of the window, as those of the masks of "
            f"{masks[0].name} are; give it the size of the window in the graph, or leave it out"
        )


def _text(files: Mapping[str, ModelFile]) -> TextSpec | None:
    if not files:
        return None
    model, tokenizer = files["model"], files["tokenizer"]
    return TextSpec(model=model.path, tokenizer=tokenizer.path, sha256=(model.sha256, tokenizer.sha256))


def _check_text_graph(text: TextSpec, outputs: tuple[OutputSpec, ...]) -> None:
    """Refuse a text tower whose inputs are not tokens, or whose vectors are of another length. Raises CardError."""
    model = read_graph(text.model)
    field, inputs = "properties.tw:text.model", graph_inputs(model)
    if graph_facts(model, text.model).external:
        raise CardError(f"{field} has weights in other files; write them into {text.model.name}")
    unknown = sorted({*inputs} - {IDS, MASK})
    if unknown or IDS not in inputs or any(port.data_type not in {"int32", "int64"} for port in inputs.values()):
        found = ", ".join(f"{name} ({port.data_type})" for name, port in inputs.items())
        raise CardError(f"{field} takes {found or 'nothing'}; export it with {IDS}, and {MASK} if it has one, as int64")
    length = next(output.channels for output in outputs if output.embedding)
    shape = next(iter(graph_outputs(model).values())).shape
    if shape is not None and (not 1 <= len(shape) <= 2 or shape[-1] not in {-1, length}):
        raise CardError(
            f"{field} gives {' x '.join(map(str, shape))} first, and the vectors of pixels have {length} numbers; "
            "export it with its projection, so that its first output is the vector"
        )


def _declared_bands(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the Item's `bands` and of its assets, then the common names that belong to one of these bands alone."""
    owners = [raw["properties"], *raw["assets"].values()]
    entries = [band for owner in owners for band in owner.get("bands") or owner.get("eo:bands") or []]
    named = {str(band["name"]): band for band in entries if isinstance(band, dict) and "name" in band}
    commons = Counter(common for band in named.values() if (common := _common_name(band)))
    return (*named, *(common for common, n_bands in commons.items() if n_bands == 1 and common not in named))


def _common_name(band: Mapping[str, Any]) -> str | None:
    stated = next((band[key] for key in ("eo:common_name", "common_name") if band.get(key)), None)
    return str(stated) if stated is not None else None


def _digest(raw: Mapping[str, Any], checksums: list[str]) -> str:
    canonical = json.dumps([raw, checksums], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
