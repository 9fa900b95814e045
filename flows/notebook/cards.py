"""A product, its report and scenes as rich text: the map, the legend with areas, the figures of its making."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from tilewright.flows.shown import shown
from tilewright.tasks.notebook import card, figure, joined, lines, swatch, table
from tilewright.tasks.report.fields import mapping, rows, text, texts
from tilewright.tasks.report.format import area, day, duration, percent, plural, size
from tilewright.tasks.report.format import figure as digits
from tilewright.tasks.report.layer_views import layer_views
from tilewright.tasks.report.sections import headline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.report.layer_views import LayerView


LARGEST_PICTURE = 16 * 2**20
"""Bytes of the largest picture that is read."""

SIDE = 720
"""Pixels of the longer side of a picture in a notebook, which keeps all that it ever showed."""

MOST_CLASSES = 12
"""Classes of a layer that are listed."""


class FoundScenes(tuple["Scene", ...]):
    """The scenes that a search found, which a notebook shows as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        days = sorted({scene.solar_day for scene in self})
        return f"<{len(self)} scenes{f' of {days[0]} to {days[-1]}' if days else ''}>"

    def _repr_html_(self) -> str:
        told = [
            (
                scene.id,
                f"{scene.datetime:%Y-%m-%d %H:%M}",
                scene.collection,
                scene.platform or "",
                percent(scene.cloud_cover),
                scene.state,
            )
            for scene in self
        ]
        head = ("scene", "UTC", "collection", "platform", "cloud", "radiometry")
        return card(f"{len(self)} scenes", (), pieces=[table(head, told)] if told else [])


def report_card(report: Mapping[str, Any]) -> str:
    """A report as rich text: what was made of which scenes, and how long it took."""
    seconds = mapping(report, "seconds")
    facts = [
        ("model", text(mapping(report, "model"), "name")),
        ("exact", f"{text(report, 'exactness')}: {text(report, 'exact_reason')}"),
        ("without a value", percent(report.get("missing_percent"))),
        ("read", size(report.get("bytes_read"))),
        ("took", duration(seconds.get("total"))),
    ]
    scenes = [
        (text(row, "id"), day(row.get("datetime")), percent(row.get("cloud_cover")), text(row, "used_in_blocks"))
        for row in rows(report, "scenes")
    ]
    pieces = [lines(texts(report, "warnings"))]
    if scenes:
        pieces.append(table(("scene", "day", "cloud", "blocks"), scenes))
    return card(f"Report of {text(report, 'name')}", facts, subtitle=headline(report), pieces=pieces)


def product_card(uri: str, report: Mapping[str, Any], picture: bytes | None) -> str:
    """A product as rich text; ``picture`` is its preview, None where there is none. Whatever is odd is left out."""
    facts = [("folder", shown(uri)), ("without a value", percent(report.get("missing_percent")))]
    pieces = [figure(_small(picture), f"Map of {text(report, 'name')}")] if picture else []
    layers = [(view.title, _told(view)) for view in layer_views(report, {})]
    if layers:
        pieces.append(table(("layer", ""), layers))
    tables = [(text(row, "name"), plural(row.get("rows"), "row")) for row in rows(report, "tables")]
    tables += [(text(row, "name"), plural(row.get("dimensions"), "number")) for row in rows(report, "embeddings")]
    if tables:
        pieces.append(table(("table", ""), tables))
    return card(f"Product {text(report, 'name')}", facts, subtitle=headline(report), pieces=pieces)


def _told(view: LayerView) -> Markup:
    """The legend of a layer of classes with their ground, or the range of a layer of values."""
    if view.classes:
        listed = (view.found or view.classes)[:MOST_CLASSES]
        told = [joined(swatch(row.colour), f"{row.name} {_ground(row.area_km2, row.percent)}") for row in listed]
        n_more = len(view.classes) - len(listed)
        return lines([*told, *([f"and {n_more} more"] if n_more else [])])
    if view.lowest is None or view.highest is None:
        return joined(view.description or view.kind)
    ends = " to ".join(digits(end) for end in (view.lowest, view.highest))
    return joined(f"{ends} {view.unit}", f", {view.description}" if view.description else "")


def _ground(km2: float | None, share: float | None) -> str:
    told = [words for words in (area(None if km2 is None else km2 * 1e6), percent(share)) if words]
    return ", ".join(told)


def _small(content: bytes) -> str:
    """A data: URI of a picture, made small; empty for what is none or too large to be one of ours."""
    if len(content) > LARGEST_PICTURE:
        return ""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
            if max(opened.size) > 20 * SIDE:
                return ""
            opened.load()
            drawn = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    drawn.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    drawn.save(encoded, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
