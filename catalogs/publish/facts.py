"""The facts about a finished product from which its STAC Item and Collection are written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")

COG = "image/tiff; application=geotiff; profile=cloud-optimized"

VRT = "application/xml"
"""GDAL's VRT has no media type of its own."""


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
    """Statistics of the stored values of a layer's valid pixels."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """One layer as a file: `href` relative to the Item, `checksum` a multihash in hex, `nodata` None, a number or NaN.

    `role` is "data" for a result of the model, "metadata" for a layer that accompanies it (confidence, observations).
    `shape` (height, width) and `transform` (a b c d e f) are None if they equal the product's.
    """

    name: str
    href: str
    size: int
    checksum: str
    dtype: str
    nodata: float | None
    unit: str = ""
    title: str = ""
    description: str = ""
    classes: tuple[ClassFacts, ...] = ()
    statistics: StatisticsFacts | None = None
    scale: float = 1.0
    offset: float = 0.0
    media_type: str = COG
    role: str = "data"
    shape: tuple[int, int] | None = None
    transform: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Any other file of the product: the Zarr store, preview, reports, the input manifest, the job, class names."""

    key: str
    href: str
    media_type: str
    roles: tuple[str, ...]
    title: str = ""
    description: str = ""
    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model card of the product; `href` is the card's, `sha256` is the digest of the model's file."""

    id: str
    name: str
    href: str
    sha256: str
    tasks: tuple[str, ...] = ()
    architecture: str = ""
    framework: str = ""
    media_type: str = "application/geo+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFacts:
    """One scene that the product was made from; `href` is the unsigned href of its Item."""

    id: str
    collection: str
    href: str
    datetime: datetime
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedFacts:
    """Another Item of the same product: the whole product for a part, or one of its parts for the whole."""

    href: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFacts:
    """All facts that are published about a product.

    `geometry` is GeoJSON in EPSG:4326, split at 180 degrees; `bbox` has minx > maxx if it crosses the antimeridian.
    `crs` is "EPSG:n" or WKT; `shape` (height, width) and `transform` (a b c d e f) describe the requested area; `gsd`
    is in metres. `software` maps names to versions. `expression` holds the settings that made the product with the
    card; it is written unchanged next to the reference to the model. Datetimes are aware. Hrefs are relative to the
    Item or absolute.

    Raises:
        CatalogError: an id that is no file name, two assets with one key, a reversed period.
    """

    id: str
    collection: str
    title: str
    description: str
    geometry: Mapping[str, Any] = field(hash=False)
    bbox: tuple[float, float, float, float]
    start: datetime
    end: datetime
    created: datetime
    crs: str
    shape: tuple[int, int]
    transform: tuple[float, ...]
    layers: tuple[LayerFacts, ...]
    files: tuple[FileFacts, ...]
    model: ModelFacts
    scenes: tuple[SceneFacts, ...]
    software: Mapping[str, str] = field(hash=False)
    gsd: float | None = None
    lineage: str = ""
    expression: Mapping[str, Any] = field(default_factory=dict, hash=False)
    keywords: tuple[str, ...] = ()
    license: str = "other"
    related: tuple[RelatedFacts, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.id, self.collection):
            if not NAME.fullmatch(name):
                raise CatalogError(f"id {name!r} is not up to 128 letters, digits, dots, dashes, underscores")
        keys = [layer.name for layer in self.layers] + [file.key for file in self.files]
        duplicates = sorted({key for key in keys if keys.count(key) > 1})
        if duplicates:
            raise CatalogError(
                f"{self.id}: assets {', '.join(duplicates)} are named twice; every layer and file needs its own name"
            )
        if self.start > self.end:
            raise CatalogError(f"{self.id}: the period starts at {self.start} and ends before, at {self.end}")
        assert all(moment.tzinfo for moment in (self.start, self.end, self.created)), f"{self.id}: a time without zone"
        assert len(self.transform) == 6, f"{self.id}: transform {self.transform} has not six numbers"
        assert not any(math.isnan(edge) for edge in self.bbox), f"{self.id}: bbox {self.bbox}"
