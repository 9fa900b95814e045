"""One output of a model: classes or values, their scale on the grid, and the layers written from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tilewright.models.spec.arrays import output_axes
from tilewright.models.spec.embedding import NO_VECTOR, SCALE, EmbeddingSpec

CLASS_LAYERS: Final = ("class", "confidence", "probabilities", "entropy", "margin")
"""Layers that can be made from class scores; any other word in `tw:layers` renames the class layer."""

NODATA_BYTE: Final = 255

NODATA_ID: Final = -1
"""Where nothing was seen in a layer of ids; 0 is seen, and of no object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSpec:
    """One class: the value written (0-254), its name, and its colour as six hex digits or None."""

    value: int
    name: str
    description: str = ""
    color: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """One output raster: `class` and `percent` are uint8 with nodata 255, `value` is float32 with nodata NaN.

    `id` is int32 with nodata -1: the numbers of objects, of which `classes` has what they are. `vector` has a vector of
    `length` numbers for each pixel, stored as its `embedding` says, and `scale` the float32 scales of such vectors.
    `image` names the file of several layers of which it is a band, empty for a file of its own.
    """

    name: str
    kind: Literal["class", "percent", "value", "id", "vector", "scale"]
    source: str
    classes: tuple[ClassSpec, ...] = ()
    unit: str = "1"
    description: str = ""
    length: int = 0
    embedding: EmbeddingSpec | None = None
    image: str = ""

    @property
    def file(self) -> str:
        """The name of the layer's file, without its ending."""
        return self.image or self.name

    @property
    def ranked(self) -> bool:
        """Whether its numbers are amounts, which have a mean and a range, and not the names of classes or objects."""
        return self.kind in {"percent", "value"}

    @property
    def mapped(self) -> bool:
        """Whether it is a map, with a file and smaller levels; a layer of vectors is in the store alone."""
        return self.kind not in {"vector", "scale"}

    @property
    def trailing(self) -> tuple[int, ...]:
        """The dimensions of its array beyond (y, x)."""
        return (self.length,) if self.kind == "vector" else ()

    @property
    def dtype(self) -> str:
        """The numpy name of the stored type."""
        if self.embedding is not None and self.kind == "vector":
            return self.embedding.storage
        return {"value": "float32", "id": "int32", "scale": "float32"}.get(self.kind, "uint8")

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes of a pixel as it is stored, uncompressed."""
        return np.dtype(self.dtype).itemsize * math.prod(self.trailing)

    @property
    def nodata(self) -> float:
        """The stored marker for no value."""
        if self.dtype.startswith("float"):
            return math.nan
        return {"id": float(NODATA_ID), "vector": float(NO_VECTOR)}.get(self.kind, float(NODATA_BYTE))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundarySpec:
    """The objects of a class map with boundaries: parts of the class `interior`, joined by their edges, where its
    probability is `least_probability` or more. Between them lies the class `boundary`.
    """

    name: str
    interior: str
    boundary: str
    least_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output of the graph.

    `channels` is K, the number of classes or values after all axes but batch, height and width are flattened in the
    array's order. `scale` is output pixels per pixel of the card's grid, in each direction. `crop` is the pixels of the
    card's grid that a graph of unpadded convolutions leaves out (at the top and left, at the bottom and right) of its
    window: output pixel i lies crop[0] pixels further in. None if the card says nothing. `labels`: the graph gives
    class values itself (argmax inside). `threshold` is the least probability of the second of two classes, None =
    argmax. `prefix` precedes the layers' names if two outputs would write the same names. `scored`: the array already
    holds scores (combined from several runs or cards), followed by the planes of `measures`: one per measure for
    classes, one per measure and channel for values. `image`: its layers are the bands of one file of that name.
    `layered`: the graph gives the layers themselves, uint8
    (batch, layer, height, width) in the order of `layer_specs`. `instances`: its objects are a layer too.
    `embedding`: its channels are one vector, which is one layer. `words`: its channels are a vector, its classes
    are words, of which these are the vectors, and the scores are from their cosines, in deviations from the mean of
    each word where `usual` has both. `least`: the probability below which no class is chosen.
    """

    name: str
    tasks: tuple[str, ...]
    shape: tuple[int, ...]
    dim_order: tuple[str, ...]
    data_type: str
    channels: int
    classes: tuple[ClassSpec, ...] = ()
    activation: Literal["softmax", "sigmoid", "none"] = "none"
    layers: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    scale: float = 1.0
    crop: tuple[float, float] | None = None
    valid_range: tuple[float, float] | None = None
    outside: Literal["nodata", "clip"] = "nodata"
    threshold: float | None = None
    labels: bool = False
    prefix: str = ""
    description: str = ""
    scored: bool = False
    measures: tuple[str, ...] = ()
    layered: bool = False
    instances: BoundarySpec | None = None
    embedding: EmbeddingSpec | None = None
    words: tuple[tuple[float, ...], ...] = ()
    usual: tuple[tuple[float, float], ...] = ()
    least: float = 0.0
    image: str = ""

    @property
    def axes(self) -> tuple[str, ...]:
        """The meaning of each dimension: batch, height, width, channel (the last any number of times)."""
        axes = output_axes(self.dim_order)
        assert axes is not None, f"the output {self.name} was accepted with the unknown dimensions {self.dim_order}"
        return axes

    @property
    def unit(self) -> str:
        """The unit of the values if all channels share one, else "1"."""
        return self.units[0] if len(set(self.units)) == 1 else "1"

    @property
    def cropped(self) -> tuple[int, int]:
        """The `crop` in the output's own pixels, whole ones; (0, 0) without a crop."""
        before, after = self.crop or (0.0, 0.0)
        return round(before * self.scale), round(after * self.scale)

    @property
    def n_scores(self) -> int:
        """K of `postprocess.scores`: classes (two for a single channel with two classes), one for labels, or values."""
        return 1 if self.labels else len(self.classes) or self.channels

    @property
    def n_planes(self) -> int:
        """The number of planes that can be averaged: `n_scores`, but one per class for labels, plus `n_measured`."""
        return (len(self.classes) or self.channels) + self.n_measured

    @property
    def n_measured(self) -> int:
        """The number of planes of all `measures`."""
        return len(self.measures) * (1 if self.classes else self.channels)

    @property
    def rows(self) -> bool:
        """Whether the array has no height and width: one vector per pixel or per window, as the inputs have it."""
        return "height" not in self.axes

    def layer_specs(self) -> tuple[LayerSpec, ...]:
        """The rasters written from this output, in the card's order; `probabilities` becomes one raster per class."""
        if self.embedding is not None:
            return self._vectors(self.embedding)
        return (*self._objects(), *(spec for layer in self.layers for spec in self._layer(layer)), *self._measured())

    def _vectors(self, embedding: EmbeddingSpec) -> tuple[LayerSpec, ...]:
        name = self.prefix + self.layers[0]
        vectors = LayerSpec(
            name=name,
            kind="vector",
            source="vector",
            description=self.description,
            length=self.channels,
            embedding=embedding,
        )
        described = f"scales of the vectors of {name}: a vector is its numbers times its scale"
        scales = LayerSpec(name=name + SCALE, kind="scale", source="scale", description=described, embedding=embedding)
        return (vectors, scales) if embedding.storage == "int8" else (vectors,)

    def _objects(self) -> tuple[LayerSpec, ...]:
        if self.instances is None:
            return ()
        interior = next(each for each in self.classes if each.name == self.instances.interior)
        return (object_layer(self.prefix + self.instances.name, (interior,), source="interior"),)

    def _measured(self) -> tuple[LayerSpec, ...]:
        if self.classes:
            return tuple(
                LayerSpec(
                    name=self.prefix + measure,
                    kind="percent",
                    source=f"measure:{i}",
                    unit="percent",
                    description=PERCENT_MEANING[measure],
                )
                for i, measure in enumerate(self.measures)
            )
        return tuple(
            LayerSpec(
                name=f"{self.prefix}{layer}_{measure}",
                kind="value",
                source=measure,
                unit=unit,
                description=f"standard deviation of {layer} over {VALUE_MEANING[measure]}",
            )
            for measure in self.measures
            for layer, unit in zip(self.layers, self.units, strict=True)
        )

    def _layer(self, layer: str) -> tuple[LayerSpec, ...]:
        if not self.classes:
            unit = self.units[self.layers.index(layer)]
            return (
                LayerSpec(
                    name=self.prefix + layer,
                    kind="value",
                    source=layer,
                    unit=unit,
                    description=self.description,
                    image=self.image,
                ),
            )
        if layer not in CLASS_LAYERS or layer == "class":
            return (
                LayerSpec(
                    name=self.prefix + layer,
                    kind="class",
                    source="class",
                    classes=self.classes,
                    description=self.description,
                ),
            )
        if layer == "probabilities":
            return tuple(
                LayerSpec(
                    name=f"{self.prefix}probability_{layer_word(cls.name)}",
                    kind="percent",
                    source=f"probability:{k}",
                    unit="percent",
                    description=f"probability of {cls.name}",
                )
                for k, cls in enumerate(self.classes)
            )
        return (
            LayerSpec(
                name=self.prefix + layer,
                kind="percent",
                source=layer,
                unit="percent",
                description=PERCENT_MEANING[layer],
            ),
        )


def object_layer(name: str, classes: tuple[ClassSpec, ...], *, source: Literal["interior", "masks"]) -> LayerSpec:
    """The layer of the ids of objects, which are of these classes.

    `source`: whether a block stores where objects are, 1 ("interior"), or only what was seen ("masks"), until ids are
    known.
    """
    described = f"ids of {', '.join(each.name for each in classes[:5])}{', ...' if len(classes) > 5 else ''}"
    return LayerSpec(name=name, kind="id", source=source, classes=classes, description=described)


def seam_layer(spec: LayerSpec) -> LayerSpec:
    """The layer of the changes of another one between windows half a step apart; of classes 1 where they change."""
    return LayerSpec(
        name=f"{spec.name}_seam",
        kind="value",
        source="seams",
        unit="1" if spec.kind == "class" else spec.unit,
        description=f"change of {spec.name} where its window lies half a step away, in the windows that were compared",
    )


PERCENT_MEANING: Final = {
    "confidence": "probability of the class chosen",
    "entropy": "entropy of the class probabilities, 100 = all classes alike",
    "margin": "probability of the best class less that of the second",
    "spread": "standard deviation of the least certain class's probability over runs (flips, turns, noise or draws)",
    "disagreement": "share of models whose own class is another than the one they choose together",
    "aleatoric": "mean entropy of each run by itself; with epistemic it is the entropy of all",
    "epistemic": "entropy because runs differ from one another (mutual information)",
}

VALUE_MEANING: Final = {"spread": "runs (flips, turns, noise or draws)", "disagreement": "models"}


def layer_word(name: str) -> str:
    """A class name as part of a layer's name; all but ASCII letters, digits, dot and dash become underscores."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in ".-") else "_" for letter in name)
