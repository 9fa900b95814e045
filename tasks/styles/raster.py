"""The style of a layer: classes in their colours with their names, values along the ramp, images in true colour."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilewright.tasks.colours import RAMP_STOPS, rgb
from tilewright.tasks.styles.document import OPAQUE, label, leaf, style_document, with_alpha

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.cog.spec import CogSpec

NEAREST = {
    "enabled": "false", "maxOversampling": "2", "zoomedInResamplingMethod": "nearestNeighbour",
    "zoomedOutResamplingMethod": "nearestNeighbour",
}  # fmt: skip
"""Pixels are shown as they are: between two classes lies no third one."""

COLOURS = ("red", "green", "blue")

STRETCHED = "StretchToMinimumMaximum"
"""QGIS's word for values that are shown between the two that are stated."""


def raster_style(spec: CogSpec, ends: tuple[float, float] | None, stops: Sequence[str] = RAMP_STOPS) -> bytes:
    """The style of a layer's file; `ends` are the values at the two ends of the ramp of a layer without classes, whose
    colours are `stops`.
    """
    return _document(_classes(spec) if spec.classes else _ramp(*(ends or (0.0, 1.0)), unit=spec.unit, stops=stops))


def image_style(bands: Sequence[int], ends: tuple[float, float] | None) -> bytes:
    """The style of an image: three of its bands, by their places from 1, in red, green and blue, or one in grey.

    `ends` are the values of black and of full light, the same for all of them, so that hues are those of the ground.
    """
    low, high = ends or (0.0, 1.0)
    stretch = {"minValue": low, "maxValue": high if high > low else low + 1.0}
    if len(bands) == len(COLOURS):
        places = {f"{colour}Band": str(band) for colour, band in zip(COLOURS, bands, strict=True)}
        renderer, names = _renderer("multibandcolor", **places), [f"{colour}ContrastEnhancement" for colour in COLOURS]
    else:
        renderer = _renderer("singlebandgray", grayBand=str(bands[0]), gradient="BlackToWhite")
        names = ["contrastEnhancement"]
    for name in names:
        parts = [*(leaf(key, repr(value)) for key, value in stretch.items()), leaf("algorithm", STRETCHED)]
        ET.SubElement(renderer, name).extend(parts)
    return _document(renderer)


def _document(renderer: ET.Element) -> bytes:
    pipe = ET.Element("pipe")
    ET.SubElement(ET.SubElement(pipe, "provider"), "resampling", NEAREST)
    pipe.append(renderer)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", colorizeOn="0", grayscaleMode="0", saturation="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    pipe.append(leaf("resamplingStage", "resamplingFilter"))
    return style_document(pipe)


def _renderer(kind: str, **settings: str) -> ET.Element:
    common = {"type": kind, "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    element = ET.Element("rasterrenderer", {**common, **settings})
    ET.SubElement(element, "rasterTransparency")
    # The range is the one stated here, not one that is looked for when the file is opened.
    ET.SubElement(element, "minMaxOrigin").append(leaf("limits", "None"))
    return element


def _classes(spec: CogSpec) -> ET.Element:
    renderer = _renderer("paletted", band="1")
    palette = ET.SubElement(renderer, "colorPalette")
    for entry, colour in zip(spec.classes, spec.colours, strict=True):
        values = {"value": str(entry.value), "color": colour, "label": label(entry.name), "alpha": str(OPAQUE)}
        ET.SubElement(palette, "paletteEntry", values)
    return renderer


def _ramp(low: float, high: float, *, unit: str, stops: Sequence[str]) -> ET.Element:
    high = high if high > low else low + 1.0
    renderer = _renderer("singlebandpseudocolor", band="1", classificationMin=repr(low), classificationMax=repr(high))
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        labelPrecision="4",
        minimumValue=repr(low),
        maximumValue=repr(high),
    )
    shader.append(_gradient(stops))
    ending = {"%": " %", "percent": " %", "1": "", "": ""}.get(unit, f" {label(unit)}")
    for number, colour in enumerate(stops):
        value = low + (high - low) * number / (len(stops) - 1)
        item = {"value": repr(value), "color": colour, "label": f"{value:.4g}{ending}", "alpha": str(OPAQUE)}
        ET.SubElement(shader, "item", item)
    return renderer


def _gradient(stops: Sequence[str]) -> ET.Element:
    """The ramp itself, from which QGIS makes other steps."""
    first, *inner, last = (with_alpha(rgb(colour)) for colour in stops)
    between = ":".join(f"{number / (len(stops) - 1):.6g};{colour}" for number, colour in enumerate(inner, 1))
    ramp = ET.Element("colorramp", type="gradient", name="[source]")
    values = {"color1": first, "color2": last, "discrete": "0", "rampType": "gradient", "stops": between}
    for name, value in values.items():
        ET.SubElement(ramp, "prop", k=name, v=value)
    return ramp
