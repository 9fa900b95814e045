"""The facts about a finished product from which its STAC Item and Collection are written."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

COG = "image/tiff; application=geotiff; profile=cloud-optimized"

VRT = "application/xml"
"""GDAL's VRT has no media type of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One file of the product: a layer, the Zarr store, preview, reports, the input manifest, the plan, class names.

    `key` is the asset's key in the Item; `href` is relative to the Item or absolute; `size` is in bytes, None if it is
    not published; `checksum` is a multihash in hex or None.
    """

    key: str
    href: str
    media_type: str
    roles: tuple[str, ...]
    title: str = ""
    description: str = ""
    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """One class of a layer: its stored value, displayed name, colour "#rrggbb" or None, and number of pixels."""

    value: int
    name: str
    description: str = ""
    color: str | None = None
    pixels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsFacts:
    """Statistics of the stored values of a layer's valid pixels, and the percentage of pixels that are valid."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterBand:
    """A band of a layer's file; `name` is empty for that of the layer.

    A pixel's value in `unit` (UCUM code, empty without a unit) is its stored value, of type `dtype` (NumPy's name),
    times `scale` plus `offset`. `nodata` is a stored value, NaN, or None if every pixel is valid. `classes` is empty
    for a layer of values, `statistics` None if no pixel is valid.
    """

    dtype: str
    nodata: float | None
    name: str = ""
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    statistics: StatisticsFacts | None = None
    classes: tuple[ClassFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """One layer on the product's grid: its file, with size and checksum, and the file's band.

    The layers of an image are the bands of one file, of which `more` are those after the first.
    The file's role is "data" for a result of the model, "metadata" for a layer that accompanies it (confidence).
    """

    file: FileFacts
    band: RasterBand
    more: tuple[RasterBand, ...] = ()

    def __post_init__(self) -> None:
        assert self.file.size is not None, f"layer {self.name} has no size"
        assert self.file.checksum is not None, f"layer {self.name} has no checksum"

    @property
    def name(self) -> str:
        """The layer's name, which is its asset's key."""
        return self.file.key


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintFacts:
    """The area on the ground, in degrees of EPSG:4326.

    `geometry` is GeoJSON, split at 180 degrees; `bbox` (minx, miny, maxx, maxy) has minx > maxx if it crosses the
    antimeridian.
    """

    geometry: Mapping[str, Any] = field(hash=False)
    bbox: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        assert not any(math.isnan(edge) for edge in self.bbox), f"bbox {self.bbox}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFacts:
    """The pixels of the requested area; without ``shape`` and ``transform`` for a product that has none.

    `crs` is "EPSG:n" or WKT; `shape` is (height, width); `transform` (a b c d e f) maps (column, row) to CRS units;
    `gsd` is the side of a pixel in metres.
    """

    crs: str
    shape: tuple[int, int] | None
    transform: tuple[float, ...]
    gsd: float

    def __post_init__(self) -> None:
        assert len(self.transform) == (6 if self.shape else 0), f"transform {self.transform} has not six numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFacts:
    """The period the product was asked for, `start` and `end` included, and when it was `created`; with time zones."""

    start: datetime
    end: datetime
    created: datetime

    def __post_init__(self) -> None:
        assert all(moment.tzinfo for moment in (self.start, self.end, self.created)), f"{self}: a time without zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """The model card of the product; `href` is the card's, `sha256` is the digest of the model's file."""

    id: str
    name: str
    href: str
    sha256: str
    tasks: tuple[str, ...] = ()
    architecture: str = ""
    framework: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFacts:
    """One scene that the product was made from; `href` is the unsigned href of its Item."""

    id: str
    collection: str
    href: str
    datetime: datetime
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Everything that the product was made from and with: model, scenes, software, settings.

    `software` maps names to versions. `expression` holds the settings that made the product with the card; it is
    written unchanged next to the reference to the model. `outside_valid_for` says how the product leaves the range that
    its models were made for, as JSON values; empty if it does not. `keep_query` names the parameters in hrefs of scenes
    that are published. `simulated`: some scenes were not seen by any satellite.
    """

    model: ModelSummary
    scenes: tuple[SceneFacts, ...]
    software: Mapping[str, str] = field(hash=False)
    expression: Mapping[str, Any] = field(default_factory=dict, hash=False)
    outside_valid_for: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    keep_query: tuple[str, ...] = ()
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingFacts:
    """A layer of vectors: of which `kind` (for each "chip", which is a window, or each "pixel"), how many `dimensions`,
    stored as `dtype`, compared by `metric`.

    `chip` is (window, step) in pixels of the model's grid; `scales` names the layer of the scales of vectors, empty if
    they have none; `model` and `sources` are URIs; `gsd` is the distance of two vectors in metres.
    """

    layer: str
    kind: Literal["chip", "pixel"]
    dimensions: int
    dtype: str
    metric: str
    chip: tuple[int, int] | None
    scales: str
    model: str
    sources: tuple[str, ...]
    gsd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedFacts:
    """Another Item of the same product: the whole product for a part, or one of its parts for the whole."""

    href: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFacts:
    """All facts that are published about a product.

    Raises:
        CatalogError: an id that is no file name, two assets with one key, a reversed period.
    """

    id: str
    collection: str
    title: str
    description: str
    footprint: FootprintFacts
    time: TimeFacts
    grid: GridFacts
    layers: tuple[LayerFacts, ...]
    files: tuple[FileFacts, ...]
    provenance: Provenance
    related: tuple[RelatedFacts, ...] = ()
    embedding: EmbeddingFacts | None = None

    def __post_init__(self) -> None:
        for name in (self.id, self.collection):
            if not ID.fullmatch(name):
                raise CatalogError(f"id {name!r} is not up to 128 letters, digits, dots, dashes, underscores")
        keys = Counter([*(layer.name for layer in self.layers), *(file.key for file in self.files)])
        duplicates = sorted(key for key, count in keys.items() if count > 1)
        if duplicates:
            raise CatalogError(
                f"{self.id}: assets {', '.join(duplicates)} are named twice; every layer and file needs its own name"
            )
        start, end = self.time.start, self.time.end
        if start > end:
            raise CatalogError(f"{self.id}: the period starts at {start} and ends before, at {end}")
