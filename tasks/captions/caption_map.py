"""Answers in words as a small map: the windows in the colour of what is said of them, the commonest answers by name."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import shapely
from PIL import Image, ImageDraw

from tilewright.catalogs.parquet import pyarrow
from tilewright.models.spec.outputs import NODATA_BYTE, ClassSpec, LayerSpec
from tilewright.tasks.captions.caption_file import TEXT
from tilewright.tasks.colours import GROUND
from tilewright.tasks.tables.geoparquet import GEOMETRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.grid.grid import Grid

MOST_NAMED = 8
"""Answers that have a colour of their own; the others share one."""

LONGEST_NAME = 40
"""Letters of an answer in the legend."""


def caption_map(content: bytes, table: str, *, grid: Grid, observed: np.ndarray) -> tuple[np.ndarray, LayerSpec]:
    """The windows of a table of answers, the bytes of its file, and the map as a layer of what is said.

    `observed` (y, x) is True where something was seen, over the extent of `grid`, in the size of the map.
    """
    read = pyarrow().parquet.read_table(io.BytesIO(content), columns=[TEXT, GEOMETRY])
    texts = read.column(TEXT).to_pylist()
    bounds = shapely.bounds(shapely.from_wkb(read.column(GEOMETRY).to_numpy(zero_copy_only=False)))
    values, said = answer_classes(texts)
    canvas = Image.new("L", observed.shape[::-1], color=0)
    draw = ImageDraw.Draw(canvas)
    left, _, right, top = grid.bounds_of(grid.extent)
    scale = observed.shape[1] / (right - left)
    for text, (x1, y1, x2, y2) in zip(texts, bounds.tolist(), strict=True):
        row, col = round((top - y2) * scale), round((x1 - left) * scale)
        # The last row and column are drawn too.
        last_row, last_col = round((top - y1) * scale) - 1, round((x2 - left) * scale) - 1
        draw.rectangle([col, row, max(col, last_col), max(row, last_row)], fill=values[text])
    pixels = np.where(observed, np.asarray(canvas), np.uint8(NODATA_BYTE))
    classes = (ClassSpec(value=0, name="nothing said", color=GROUND[1:]), *said)
    return pixels, LayerSpec(name=table, kind="class", source="class", classes=classes)


def answer_classes(texts: Iterable[str]) -> tuple[dict[str, int], tuple[ClassSpec, ...]]:
    """The class of each answer, from 1 on, and the classes: the commonest answers, and one for all others."""
    counts = Counter(texts)
    named = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_NAMED]
    others = len(named) + 1
    values = dict.fromkeys(counts, others) | {text: number for number, text in enumerate(named, start=1)}
    classes = tuple(ClassSpec(value=values[text], name=_name(text)) for text in named)
    if len(counts) > len(named):
        classes = (*classes, ClassSpec(value=others, name=f"{len(counts) - len(named):,} other answers"))
    return values, classes


def _name(text: str) -> str:
    """An answer in a legend: short, what is no letter made visible."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return (shown[: LONGEST_NAME - 1] + "…" if len(shown) > LONGEST_NAME else shown) or "(empty)"
