"""The layers of a product as the page shows them: their files, and the meaning of their numbers and colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.publish.item import TRUE_COLOUR
from tilewright.flows.view.files import Files, RasterFacts, ViewError, href_of
from tilewright.tasks.colours import RAMP_STOPS
from tilewright.tasks.report.fields import rows, text
from tilewright.tasks.report.layer_views import IDS, layer_views
from tilewright.tasks.report.outlines.columns import cell
from tilewright.tasks.report.picture import listed_colours, object_colours, ramp_colours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tilewright.tasks.report.fields import Fields
    from tilewright.tasks.report.layer_views import ClassRow, LayerView
    from tilewright.tasks.storage.storage import Storage

MOST_LAYERS, MOST_PARTS, MOST_CLASSES = 200, 4096, 256
"""Layers of a product, files of a layer and classes that are shown."""

LARGEST_END = 1e30
"""Values at the ends of a ramp beyond which they are no measure of anything."""

IMAGE = "image"
"""The kind of a layer of three bands, drawn in red, green and blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedLayer:
    """One layer: ``bands`` of its files, from 1, and the value at the ends of the ramp of each, in its unit.

    ``parts`` are its files with their headers: one, or those of a large product. ``colours`` of classes by value.
    """

    name: str
    kind: str
    unit: str
    description: str
    bands: tuple[int, ...]
    ends: tuple[tuple[float, float], ...]
    classes: tuple[ClassRow, ...]
    parts: tuple[tuple[str, RasterFacts], ...]
    colours: Mapping[int, str] = field(default_factory=dict)

    @property
    def area(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) of all parts in degrees, east beyond 180 where it crosses 180."""
        areas = np.array([facts.area for _, facts in self.parts])
        # All parts on one side of the first one.
        moved = areas[:, [0, 2]] + 360.0 * np.round((areas[0, 0] - areas[:, [0]]) / 360.0)
        return float(moved[:, 0].min()), float(areas[:, 1].min()), float(moved[:, 1].max()), float(areas[:, 3].max())

    @property
    def names(self) -> dict[int, str]:
        """The names of classes by value."""
        return {value: row.name for row in self.classes if (value := _whole(row.value)) is not None}

    def seen(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """True where stored numbers (band, y, x) are values in all bands."""
        seen = np.isfinite(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, dtype=bool)
        nodata = self.parts[0][1].nodata
        if nodata is not None and np.isfinite(nodata):
            seen &= pixels != nodata
        return np.asarray(seen.all(axis=0))

    def coloured(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """The colours (y, x, 4) of stored numbers (band, y, x); transparent where there is no value."""
        seen = self.seen(pixels)
        if self.kind == "class":
            colours = listed_colours(pixels[0], self.colours)
        elif self.kind == IDS:
            colours = object_colours(pixels[0])
        elif self.kind == IMAGE:
            colours = np.stack([self._brightness(number, band) for number, band in enumerate(pixels)], axis=-1)
        else:
            colours = ramp_colours(self._values(0, pixels[0]), self.ends[0])
        shown = np.dstack([colours, np.full(seen.shape, 255, dtype=np.uint8)])
        shown[~seen] = 0
        return shown

    def _values(self, number: int, stored: NDArray[Any]) -> NDArray[Any]:
        facts, band = self.parts[0][1], self.bands[number] - 1
        scale, offset = facts.scales[band], facts.offsets[band]
        return stored if (scale, offset) == (1.0, 0.0) else stored * scale + offset

    def _brightness(self, number: int, stored: NDArray[Any]) -> NDArray[np.uint8]:
        low, high = self.ends[number]
        values = np.nan_to_num(self._values(number, stored).astype(np.float64), nan=low, posinf=high, neginf=low)
        return np.rint(255 * np.clip((values - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)

    def to_json(self) -> dict[str, Any]:
        """What the page is told of the layer."""
        legend = [{"value": row.value, "name": cell(row.name), "colour": row.colour} for row in self.classes]
        return {
            "name": cell(self.name),
            "kind": self.kind,
            "unit": cell(self.unit),
            "description": self.description[:400],
            "classes": legend,
            "ends": list(self.ends[0]) if self.ends and self.kind != IMAGE else None,
            "ramp": list(RAMP_STOPS) if self.kind in {"value", "percent"} else [],
            "area": list(self.area),
        }


def viewed_layers(
    storage: Storage, report: Mapping[str, Any], files: Files
) -> tuple[tuple[ViewedLayer, ...], tuple[str, ...]]:
    """The layers of a product that have files, images before their bands; and sentences on those that are not shown."""
    told = {**report, "layers": rows(report, "layers")[:MOST_LAYERS], "tables": []}
    views = layer_views(told, {})
    headers: dict[str, RasterFacts] = {}
    layers: list[ViewedLayer] = []
    notes: list[str] = []
    for row, view in zip(told["layers"], views, strict=True):
        try:
            layers.append(_layer(row, view, _parts(storage, row, files, headers)))
        except ViewError as error:
            notes.append(f"Layer {cell(view.name)} is not shown: {error}.")
    images = list(_images(told["layers"], layers))
    return (*images, *layers), tuple(notes)


def _parts(
    storage: Storage, row: Fields, files: Files, headers: dict[str, RasterFacts]
) -> tuple[tuple[str, RasterFacts], ...]:
    """The files of a layer with their headers, each looked at once."""
    listed = row.get("parts")
    names = listed if isinstance(listed, list) and listed else [row.get("href")]
    if not all(isinstance(name, str) for name in names) or len(names) > MOST_PARTS:
        raise ViewError("it has no file, as vectors have none" if names == [None] else "its files are not told")
    found = []
    for name in map(str, names):
        href = href_of(storage, name.removeprefix("./"))
        if href not in headers:
            headers[href] = files.facts(href)
        found.append((href, headers[href]))
    return tuple(found)


def _layer(row: Fields, view: LayerView, parts: tuple[tuple[str, RasterFacts], ...]) -> ViewedLayer:
    band = row.get("band", 1)
    n_bands = len(parts[0][1].dtypes)
    if not isinstance(band, int) or isinstance(band, bool) or not 1 <= band <= n_bands:
        raise ViewError(f"its file has no band {text(row, 'band')}")
    if len({(facts.dtypes, repr(facts.nodata), facts.scales, facts.offsets) for _, facts in parts}) > 1:
        raise ViewError("its files are not alike")
    kind = view.kind if view.kind in {"class", "percent", IDS} else "value"
    if kind in {"class", IDS} and not parts[0][1].dtypes[band - 1].startswith(("int", "uint")):
        raise ViewError("classes and ids are whole numbers, and its file holds others")
    classes = view.classes[:MOST_CLASSES] if kind in {"class", IDS} else ()
    colours = {value: each.colour for each in classes if (value := _whole(each.value)) is not None}
    largest = np.iinfo(parts[0][1].dtypes[band - 1]).max if kind == "class" else 0
    return ViewedLayer(
        name=view.name,
        kind=kind,
        unit=view.unit,
        description=view.description,
        bands=(band,),
        ends=(_ends(view),) if kind in {"value", "percent"} else (),
        classes=classes,
        parts=parts,
        colours={value: colour for value, colour in colours.items() if 0 <= value <= largest},
    )


def _ends(view: LayerView) -> tuple[float, float]:
    low, high = view.ends or (0.0, 1.0)
    return (low, high) if max(abs(low), abs(high)) < LARGEST_END else (0.0, 1.0)


def _images(told: Sequence[Fields], layers: Sequence[ViewedLayer]) -> Iterator[ViewedLayer]:
    """The images that have red, green and blue among the bands of one file."""
    of_file: dict[tuple[str, ...], dict[str, ViewedLayer]] = {}
    for layer in layers:
        if len(layer.parts[0][1].dtypes) >= len(TRUE_COLOUR):
            of_file.setdefault(tuple(href for href, _ in layer.parts), {})[layer.name] = layer
    for hrefs, bands in of_file.items():
        if bands.keys() >= set(TRUE_COLOUR) and all(bands[name].kind == "value" for name in TRUE_COLOUR):
            shown = [bands[name] for name in TRUE_COLOUR]
            stem = hrefs[0].rpartition("/")[2].rpartition(".")[0]
            yield ViewedLayer(
                name=f"{stem}: true colour",
                kind=IMAGE,
                unit="",
                description="",
                bands=tuple(each.bands[0] for each in shown),
                ends=tuple(each.ends[0] for each in shown),
                classes=(),
                parts=shown[0].parts,
            )


def _whole(value: str) -> int | None:
    return int(value) if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 12 else None
