"""The styles of a product: which files they are, and their content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.styles.raster import image_style, raster_style
from tilewright.tasks.styles.shapes import shapes_style

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from tilewright.tasks.cog.spec import CogSpec

ENDING = ".qml"
"""QGIS reads the style of a file from the one beside it with this ending in place of the file's own."""

MEDIA_TYPE = "application/xml"
"""The format has no media type of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStyle:
    """The style of one layer: what its file holds, and the values at the two ends of its ramp, if it has one.

    `tables` are the names of the tables of its shapes.
    """

    spec: CogSpec
    ends: tuple[float, float] | None
    tables: tuple[str, ...] = ()

    def documents(self) -> Mapping[str, bytes]:
        """The content of the styles of the layer and its tables, by file name."""
        shapes = {f"{table}{ENDING}": shapes_style(self.spec) for table in self.tables}
        return {f"{self.spec.name}{ENDING}": raster_style(self.spec, self.ends), **shapes}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStyle:
    """The style of an image: its file's name, the bands that are shown, from 1, and the values at black and white."""

    name: str
    bands: tuple[int, ...]
    ends: tuple[float, float] | None

    def documents(self) -> Mapping[str, bytes]:
        """The content of the style, by file name."""
        return {f"{self.name}{ENDING}": image_style(self.bands, self.ends)}


def style_files(names: Collection[str]) -> dict[str, str]:
    """The files of the styles of layers, images and tables of these names, each with its key among an Item's assets.

    A key that is the name of a layer or table is not given twice: that one has no style.
    """
    return {f"{name}{ENDING}": key for name in names if (key := f"{name}_style") not in names}


def write_styles(folder: Path, styles: Collection[LayerStyle | ImageStyle], wanted: Collection[str]) -> tuple[str, ...]:
    """Write the styles whose file names are wanted into a local folder; returns these names, sorted."""
    documents = {name: content for style in styles for name, content in style.documents().items() if name in wanted}
    for name, content in documents.items():
        (folder / name).write_bytes(content)
    return tuple(sorted(documents))
