"""preview.png: a picture of the product with a legend, a scale bar, coordinates along its axes, and attribution."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pyproj import CRS
from pyproj.exceptions import CRSError

from tilewright.tasks.colours import ramp_table, rgb
from tilewright.tasks.grid.crs import geographic_crs, transformer
from tilewright.tasks.report.format import figure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tilewright.tasks.report.picture import Legend


WIDTH = 1200

MAX_MAP_HEIGHT = 1100

OPACITY = 0.7
"""Opacity of the layer over the true-colour picture: its colours are readable and the ground stays visible."""

_MARGIN, _AXIS, _LEGEND_WIDTH, _HEADER, _FOOTER = 40, 74, 250, 118, 64

_MAX_SWATCHES = 30

_MAX_TEXT = 400  # characters: more than fit on any line of the picture

_INK, _MUTED, _LINE, _PAPER, _EMPTY = "#1b1f23", "#6a6f76", "#d9d5cc", "#fcfbf8", "#efece5"

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

    Both cover `frame`; `legend` explains the layer's colours. The same input gives the same bytes.
    """
    box = _map_box(layer.shape[0], layer.shape[1])
    bottom = box.top + max(box.height, _legend_height(legend))
    canvas = Image.new("RGB", (WIDTH, bottom + _AXIS // 2 + _FOOTER), _PAPER)
    draw = ImageDraw.Draw(canvas)
    blended = _blended(layer, background)
    # Pixels stay visible as pixels when they are enlarged; shrinking averages the colours already blended.
    resampling = Image.Resampling.NEAREST if box.width >= blended.width else Image.Resampling.BOX
    canvas.paste(blended.convert("RGB").resize((box.width, box.height), resampling), (box.left, box.top))
    _draw_heading(draw, title=title, subtitle=subtitle)
    _draw_axes(draw, frame, box)
    _draw_legend(draw, legend, left=box.left + box.width + 36, top=box.top)
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


def _blended(layer: NDArray[np.uint8], background: NDArray[np.uint8] | None) -> Image.Image:
    over = Image.fromarray(layer)
    under = Image.new("RGBA", over.size, (*rgb(_EMPTY), 255))
    if background is None:
        return Image.alpha_composite(under, over)
    scene = Image.fromarray(np.dstack([background, np.where(background.any(axis=-1), 255, 0).astype(np.uint8)]))
    under = Image.alpha_composite(under, scene.resize(over.size, Image.Resampling.BOX))
    over.putalpha(over.getchannel("A").point(lambda alpha: round(alpha * OPACITY)))
    return Image.alpha_composite(under, over)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _draw_heading(draw: ImageDraw.ImageDraw, *, title: str, subtitle: str) -> None:
    draw.text((_MARGIN, 30), _shortened(draw, title, 34, WIDTH - 2 * _MARGIN), fill=_INK, font=_font(34))
    draw.text((_MARGIN, 76), _shortened(draw, subtitle, 17, WIDTH - 2 * _MARGIN), fill=_MUTED, font=_font(17))


def _draw_footer(draw: ImageDraw.ImageDraw, frame: Frame, attribution: str, *, height: int) -> None:
    top = height - _FOOTER + 14
    draw.line([(_MARGIN, top - 12), (WIDTH - _MARGIN, top - 12)], fill=_LINE)
    projection = frame.crs if len(frame.crs) <= 24 else "projected"
    grid = f"{projection}, {frame.resolution:g} {'m' if frame.metres_per_unit() == 1 else 'units'} pixels"
    draw.text((WIDTH - _MARGIN, top), grid, fill=_MUTED, font=_font(14), anchor="ra")
    max_width = WIDTH - 2 * _MARGIN - draw.textlength(grid, font=_font(14)) - 30
    draw.text((_MARGIN, top), _shortened(draw, attribution, 14, max_width), fill=_MUTED, font=_font(14))


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


def _legend_height(legend: Legend) -> int:
    # The scale bar and the north arrow are below the legend.
    return (_row_height(legend) * (min(len(legend.swatches), _MAX_SWATCHES) + 1) if legend.swatches else 270) + 44 + 60


def _draw_legend(draw: ImageDraw.ImageDraw, legend: Legend, *, left: int, top: int) -> None:
    room, row = WIDTH - _MARGIN - left, _row_height(legend)
    draw.text((left, top), _shortened(draw, legend.title, 20, room), fill=_INK, font=_font(20))
    if legend.ends:
        _draw_ramp(draw, legend, left=left, top=top + 44)
    for number, swatch in enumerate(legend.swatches[:_MAX_SWATCHES]):
        y = top + 44 + row * number
        draw.rectangle([left, y, left + 24, y + row - 12 + 4], fill=swatch.colour, outline=_LINE)
        label = _shortened(draw, swatch.label, row // 2 + 2, room - 36)
        draw.text((left + 36, y + row // 2 - 5), label, fill=_INK, font=_font(row // 2 + 2), anchor="lm")
    if (more := len(legend.swatches) - _MAX_SWATCHES) > 0:
        at = (left, top + 44 + row * _MAX_SWATCHES)
        draw.text(at, f"and {more} more classes", fill=_MUTED, font=_font(15))


def _draw_ramp(draw: ImageDraw.ImageDraw, legend: Legend, *, left: int, top: int) -> None:
    assert legend.ends is not None, "only a legend with ends has a ramp"
    for row, colour in enumerate(ramp_table()[::-1]):
        draw.line([(left, top + row), (left + 24, top + row)], fill=tuple(int(channel) for channel in colour))
    low, high = legend.ends
    for share, value in ((0.0, high), (0.5, (low + high) / 2), (1.0, low)):
        text = _drawable(f"{figure(value)} {legend.unit}".strip())
        draw.text((left + 36, top + round(share * 255)), text, fill=_INK, font=_font(16), anchor="lm")


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


def _drawable(text: str) -> str:
    # Pillow's font has no narrow spaces, dashes or raised figures and draws boxes for them.
    for character, drawn in (("\u202f", " "), ("\u00a0", " "), ("\u2009", " "), ("–", "-"), ("km²", "sq km")):
        text = text.replace(character, drawn)
    return text


def _shortened(draw: ImageDraw.ImageDraw, text: str, size: int, max_width: float) -> str:
    """The text on one line, cut with an ellipsis to at most `max_width` pixels."""
    # Names come from catalogs and cards: a line break would leave the line, a long name the picture.
    text, font = " ".join(_drawable(text[:_MAX_TEXT]).split()), _font(size)
    if draw.textlength(text, font=font) <= max_width:
        return text
    n_fitting = bisect_left(range(len(text)), max_width, key=lambda n: draw.textlength(text[:n] + "…", font=font))
    return text[: max(n_fitting - 1, 0)].rstrip() + "…"
