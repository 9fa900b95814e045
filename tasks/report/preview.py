"""preview.png: a picture of the product with a legend, a scale bar, coordinates along its axes, and attribution."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pyproj import CRS
from pyproj.exceptions import CRSError

from tilewright.tasks.colours import UNSEEN, ramp_table, rgb, slanted_lines
from tilewright.tasks.grid.crs import geographic_crs, transformer
from tilewright.tasks.report.format import figure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tilewright.tasks.report.picture import Legend


WIDTH = 1200

MAX_MAP_HEIGHT = 1100

SHADING = 0.14
"""Share by which the ground makes the colour of a class lighter or darker: the ground is seen, and the colour stays
that of the legend. Colours of values are drawn as they are, since a shade of one is another value."""

_MARGIN, _AXIS, _LEGEND_WIDTH, _HEADER, _FOOTER = 40, 74, 250, 118, 64

_MAX_SWATCHES = 30

_MAX_TEXT = 400  # characters: more than fit on any line of the picture

_INK, _MUTED, _LINE, _PAPER, _EMPTY = "#1b1f23", "#6a6f76", "#d9d5cc", "#fcfbf8", "#f5f5f5"

_METRES_PER_DEGREE = 111_320.0  # at the equator, WGS 84


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The extent of a picture: `bounds` (minx, miny, maxx, maxy) and `resolution` in units of `crs`."""

    crs: str
    bounds: tuple[float, float, float, float]
    resolution: float

    def metres_per_unit(self) -> float:
        """Metres in one unit of the CRS, along x in the middle of the frame; 1.0 if the CRS is unknown."""
        try:
            crs = CRS.from_user_input(self.crs)
        except CRSError:
            return 1.0
        if crs.is_geographic:
            return _METRES_PER_DEGREE * math.cos(math.radians((self.bounds[1] + self.bounds[3]) / 2))
        return float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0

    def ground_metres_per_unit(self) -> float:
        """Metres on the ground in one unit of the CRS, along x in the middle; `metres_per_unit` beyond a projection."""
        minx, miny, maxx, maxy = self.bounds
        try:
            crs = CRS.from_user_input(self.crs)
            to_degrees = transformer(self.crs, geographic_crs(self.crs))
        except CRSError:
            return 1.0
        geod, middle, half = crs.get_geod(), (minx + maxx) / 2, (maxx - minx) / 100
        lons, lats = to_degrees.transform([middle - half, middle + half], [(miny + maxy) / 2] * 2)
        metres = geod.inv(lons[0], lats[0], lons[1], lats[1])[2] / (2 * half) if geod and half else math.nan
        return float(metres) if math.isfinite(metres) and metres > 0 else self.metres_per_unit()


@dataclass(frozen=True, slots=True, kw_only=True)
class _MapBox:
    """The pixels of the canvas that the map covers."""

    left: int
    top: int
    width: int
    height: int


def write_preview(
    path: Path,
    *,
    layer: NDArray[np.uint8],
    legend: Legend,
    frame: Frame,
    title: str,
    subtitle: str = "",
    attribution: str = "",
    background: NDArray[np.uint8] | None = None,
) -> None:
    """Writes `layer` (y, x, 4) uint8 over `background` (y, x, 3) uint8 as a PNG 1200 px wide.

    Both cover `frame`; `legend` explains the layer's colours. Transparent pixels of the layer have no value: slanted
    lines say so, over the background and in the legend. The same input gives the same bytes.
    """
    box = _map_box(layer.shape[0], layer.shape[1])
    unseen = bool((layer[..., 3] == 0).any())
    bottom = box.top + max(box.height, _legend_height(legend, unseen=unseen))
    canvas = Image.new("RGB", (WIDTH, bottom + _AXIS // 2 + _FOOTER), _PAPER)
    draw = ImageDraw.Draw(canvas)
    canvas.paste(_drawn_map(layer, background, box, shaded=not legend.ends), (box.left, box.top))
    _draw_heading(draw, title=title, subtitle=subtitle)
    _draw_axes(draw, frame, box)
    left = box.left + box.width + 36
    below = _draw_legend(draw, legend, left=left, top=box.top)
    if unseen:
        canvas.paste(_hatched(Image.new("RGB", (25, 19), _EMPTY)), (left, below))
        draw.rectangle([left, below, left + 24, below + 18], outline=_LINE)
        _write(draw, (left + 36, below + 10), "no data", 16, anchor="lm")
    _draw_scale(draw, frame, box, bottom=bottom)
    _draw_footer(draw, frame, attribution, height=canvas.height)
    canvas.save(path, format="PNG", compress_level=6)


def nice_length(longest: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer than `longest` (> 0)."""
    power = 10 ** math.floor(math.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def length_text(metres: float) -> str:
    """A length with its unit: "500 m", "2 km"."""
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"


def _map_box(height: int, width: int) -> _MapBox:
    max_width = WIDTH - 2 * _MARGIN - _AXIS - _LEGEND_WIDTH
    scale = min(max_width / width, MAX_MAP_HEIGHT / height)
    return _MapBox(
        left=_MARGIN + _AXIS, top=_HEADER, width=max(1, round(width * scale)), height=max(1, round(height * scale))
    )


def _drawn_map(
    layer: NDArray[np.uint8], background: NDArray[np.uint8] | None, box: _MapBox, *, shaded: bool
) -> Image.Image:
    """The map as large as its box: the layer, and lines over the ground where it has no value."""
    under = Image.new("RGBA", (layer.shape[1], layer.shape[0]), (*rgb(_EMPTY), 255))
    if background is not None:
        scene = Image.fromarray(np.dstack([background, np.where(background.any(axis=-1), 255, 0).astype(np.uint8)]))
        under = Image.alpha_composite(under, scene.resize(under.size, Image.Resampling.BOX))
        layer = _shaded(layer, np.asarray(under)[..., :3]) if shaded else layer
    whole = Image.alpha_composite(under, Image.fromarray(layer)).convert("RGB")
    # Pixels stay visible as pixels when they are enlarged; shrinking averages the colours already drawn.
    resampling = Image.Resampling.NEAREST if box.width >= whole.width else Image.Resampling.BOX
    whole = whole.resize((box.width, box.height), resampling)
    seen = Image.fromarray(layer[..., 3]).resize(whole.size, resampling)
    return Image.composite(whole, _hatched(whole), seen.point(lambda alpha: 255 if alpha >= 128 else 0))


def _shaded(layer: NDArray[np.uint8], ground: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The layer's colours, lighter where the ground is lighter than it is on average, by SHADING at most."""
    light = ground.astype(np.float32).mean(axis=-1)
    seen = layer[..., 3] > 0
    if not seen.any():
        return layer
    spread = max(float(light[seen].std()) * 2, 1.0)
    factor = 1 + SHADING * np.clip((light - light[seen].mean()) / spread, -1, 1)
    colours = np.rint(np.clip(layer[..., :3] * factor[..., None], 0, 255)).astype(np.uint8)
    return np.dstack([colours, layer[..., 3]])


def _hatched(image: Image.Image) -> Image.Image:
    lines = slanted_lines(image.height, image.width, apart=9, thick=2)
    drawn = np.array(image)
    drawn[lines] = rgb(UNSEEN)
    return Image.fromarray(drawn)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _draw_heading(draw: ImageDraw.ImageDraw, *, title: str, subtitle: str) -> None:
    _write(draw, (_MARGIN, 30), _shortened(draw, title, 34, WIDTH - 2 * _MARGIN), 34)
    _write(draw, (_MARGIN, 76), _shortened(draw, subtitle, 17, WIDTH - 2 * _MARGIN), 17, fill=_MUTED)


def _draw_footer(draw: ImageDraw.ImageDraw, frame: Frame, attribution: str, *, height: int) -> None:
    top = height - _FOOTER + 14
    draw.line([(_MARGIN, top - 12), (WIDTH - _MARGIN, top - 12)], fill=_LINE)
    projection = frame.crs if len(frame.crs) <= 24 else "projected"
    grid = f"{projection}, {frame.resolution:g} {'m' if frame.metres_per_unit() == 1 else 'units'} pixels"
    draw.text((WIDTH - _MARGIN, top), grid, fill=_MUTED, font=_font(14), anchor="ra")
    max_width = WIDTH - 2 * _MARGIN - draw.textlength(grid, font=_font(14)) - 30
    _write(draw, (_MARGIN, top), _shortened(draw, attribution, 14, max_width), 14, fill=_MUTED)


def _draw_axes(draw: ImageDraw.ImageDraw, frame: Frame, box: _MapBox) -> None:
    minx, miny, maxx, maxy = frame.bounds
    right, bottom = box.left + box.width, box.top + box.height
    draw.rectangle([box.left - 1, box.top - 1, right, bottom], outline=_MUTED)
    for value in _ticks(minx, maxx, box.width / 150):
        x = box.left + (value - minx) / (maxx - minx) * box.width
        draw.line([(x, bottom), (x, bottom + 6)], fill=_MUTED)
        draw.text((x, bottom + 10), _coordinate(value), fill=_MUTED, font=_font(14), anchor="ma")
    for value in _ticks(miny, maxy, box.height / 110):
        y = box.top + (maxy - value) / (maxy - miny) * box.height
        draw.line([(box.left - 7, y), (box.left - 1, y)], fill=_MUTED)
        draw.text((box.left - 11, y), _coordinate(value), fill=_MUTED, font=_font(14), anchor="rm")


def _ticks(low: float, high: float, n: float) -> list[float]:
    """Multiples of a step between `low` and `high`, about `n` of them; the step is 1, 2 or 5 times a power of ten."""
    least = (high - low) / max(n, 1)
    power = 10 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _coordinate(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:g}"


def _row_height(legend: Legend) -> int:
    return 30 if len(legend.swatches) <= 14 else 23


def _legend_height(legend: Legend, *, unseen: bool) -> int:
    # The scale bar and the north arrow are below the legend.
    rows = _row_height(legend) * (min(len(legend.swatches), _MAX_SWATCHES) + 1)
    return (rows if legend.swatches else 270) + (40 if unseen else 0) + 44 + 60


def _draw_legend(draw: ImageDraw.ImageDraw, legend: Legend, *, left: int, top: int) -> int:
    """Draw the legend; returns where there is room below it."""
    room, row = WIDTH - _MARGIN - left, _row_height(legend)
    _write(draw, (left, top), _shortened(draw, legend.title, 20, room), 20)
    if legend.ends:
        _draw_ramp(draw, legend, left=left, top=top + 44)
    for number, swatch in enumerate(legend.swatches[:_MAX_SWATCHES]):
        y = top + 44 + row * number
        draw.rectangle([left, y, left + 24, y + row - 12 + 4], fill=swatch.colour, outline=_LINE)
        label = _shortened(draw, swatch.label, row // 2 + 2, room - 36)
        _write(draw, (left + 36, y + row // 2 - 5), label, row // 2 + 2, anchor="lm")
    if (more := len(legend.swatches) - _MAX_SWATCHES) > 0:
        at = (left, top + 44 + row * _MAX_SWATCHES)
        draw.text(at, f"and {more} more classes", fill=_MUTED, font=_font(15))
    n_rows = min(len(legend.swatches), _MAX_SWATCHES) + (more > 0)
    return top + 44 + (row * n_rows if legend.swatches else 275 if legend.ends else 0) + (10 if n_rows else 0)


def _draw_ramp(draw: ImageDraw.ImageDraw, legend: Legend, *, left: int, top: int) -> None:
    assert legend.ends is not None, "only a legend with ends has a ramp"
    for row, colour in enumerate(ramp_table()[::-1]):
        draw.line([(left, top + row), (left + 24, top + row)], fill=tuple(int(channel) for channel in colour))
    low, high = legend.ends
    for share, value in ((0.0, high), (0.5, (low + high) / 2), (1.0, low)):
        text = _drawable(f"{figure(value)} {legend.unit}".strip())
        _write(draw, (left + 36, top + round(share * 255)), text, 16, anchor="lm")


def _draw_scale(draw: ImageDraw.ImageDraw, frame: Frame, box: _MapBox, *, bottom: int) -> None:
    metres_per_pixel = (frame.bounds[2] - frame.bounds[0]) * frame.ground_metres_per_unit() / box.width
    metres = nice_length(metres_per_pixel * min(190, box.width * 0.8))
    length = round(metres / metres_per_pixel)
    left = box.left + box.width + 36
    right, tip = left + length, bottom - 8
    draw.line([(left, tip), (left, bottom - 1), (right, bottom - 1), (right, tip)], fill=_INK, width=2)
    draw.text((left + length / 2, bottom - 12), length_text(metres), fill=_INK, font=_font(15), anchor="ms")
    _draw_north(draw, x=WIDTH - _MARGIN - 14, bottom=bottom)


def _draw_north(draw: ImageDraw.ImageDraw, *, x: int, bottom: int) -> None:
    draw.polygon([(x, bottom - 40), (x - 8, bottom - 18), (x, bottom - 23), (x + 8, bottom - 18)], fill=_INK)
    draw.text((x, bottom), "N", fill=_INK, font=_font(15), anchor="ms")


_RAISED = {"²": "2", "³": "3"}

_RAISED_FIGURE = re.compile("([²³])")

_REPLACED: dict[str, str | int | None] = {
    **dict.fromkeys("\u202f\u00a0\u2009", " "), "–": "-", "−": "-", "×": "x", "≥": ">=", "≤": "<=", "µ": "u",
}  # fmt: skip


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, *, fill: str = _INK, anchor: str = "la"
) -> None:
    """Draw text from its left end; raised figures as small ones, since Pillow's font draws boxes for them."""
    x, y = at
    for piece in _RAISED_FIGURE.split(text):
        raised = piece in _RAISED
        font = _font(round(size * 0.62) if raised else size)
        drawn, up = _RAISED.get(piece, piece), size * (0.28 if anchor == "lm" else 0.06) if raised else 0
        draw.text((x, y - up), drawn, fill=fill, font=font, anchor=anchor)
        x += draw.textlength(drawn, font=font)


def _drawable(text: str) -> str:
    # Pillow's font has none of these and draws boxes for them.
    return text.translate(str.maketrans(_REPLACED))


def _shortened(draw: ImageDraw.ImageDraw, text: str, size: int, max_width: float) -> str:
    """The text on one line, cut with an ellipsis to at most `max_width` pixels."""
    # Names come from catalogs and cards: a line break would leave the line, a long name the picture.
    text, font = " ".join(_drawable(text[:_MAX_TEXT]).split()), _font(size)
    if draw.textlength(text, font=font) <= max_width:
        return text
    n_fitting = bisect_left(range(len(text)), max_width, key=lambda n: draw.textlength(text[:n] + "…", font=font))
    return text[: max(n_fitting - 1, 0)].rstrip() + "…"
