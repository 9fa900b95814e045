"""The sentences and tables of the report: headline, key figures, failures, provenance, files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

from pyproj import Transformer
from pyproj.exceptions import ProjError

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import mapping, named_periods, numbers, rows, text, texts
from tilewright.tasks.report.format import number
from tilewright.tasks.report.layer_views import THINGS
from tilewright.tasks.report.performance import Fact, mostly_start_up, total_seconds, with_unit
from tilewright.tasks.report.preview import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.report.fields import Fields
    from tilewright.tasks.report.layer_views import LayerView


_CHECKSUM_KEYS = ("checksums_stated", "checksums_verified")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """A file of the product; `href` is relative to the report and safe to follow."""

    name: str
    href: str
    note: str


def headline(report: Fields) -> str:
    """One sentence with the area mapped or the places, the model, the scenes, the period and the pixel size."""
    grid, n_scenes = mapping(report, "grid"), len(rows(report, "scenes"))
    phrases = []
    places = mapping(report, "places")
    if (n_places := number(places.get("rows"))) is not None:
        phrases.append(f"{words.plural(n_places, 'place')}, {words.count(places.get('observed'))} of them observed,")
    if (area := number(report.get("area_km2"))) is not None:
        phrases.append(f"{words.figure(area)}\u00a0km²")
    if model := text(mapping(report, "model"), "name"):
        phrases.append(f"mapped by {model}")
    if n_scenes:
        phrases.append(f"from {words.plural(n_scenes, 'scene')}")
    if period := period_text(report):
        phrases.append(f"({period})" if ":" in period else f"of {period}")
    if number(grid.get("resolution")):
        phrases.append(f"at {_pixel_size(grid)}")
    return " ".join(phrases) + "." if phrases else ""


def period_text(report: Fields) -> str:
    """The period of the job, or that of the scenes' dates if the report names none."""
    periods = named_periods(report, "period")
    if not periods:
        dates = sorted(at for scene in rows(report, "scenes") if (at := words.moment(scene.get("datetime"))))
        periods = [("", dates[0], dates[-1])] if dates else []
    if len(periods) == 1:
        return _date_range(*periods[0][1:])
    return "; ".join(
        f"{label}: {_date_range(start, end)}" if label else _date_range(start, end) for label, start, end in periods
    )


def _date_range(start: object, end: object) -> str:
    first, last = words.day(start), words.day(end)
    if first == last:
        return first
    same_year = first[-4:] == last[-4:]
    return f"{first[:-5] if same_year else first} – {last}"


def _pixel_size(grid: Fields) -> str:
    frame = frame_of(grid)
    resolution = words.figure(grid.get("resolution"))
    return f"{resolution}\u00a0m" if frame is None or frame.metres_per_unit() == 1 else f"{resolution} units"


def frame_of(grid: Fields) -> Frame | None:
    """The extent of the maps; None if the grid has no bounds, or bounds of no area."""
    bounds = numbers(grid, "bounds", 4)
    if not bounds or bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        return None
    return Frame(
        crs=text(grid, "crs"),
        bounds=(bounds[0], bounds[1], bounds[2], bounds[3]),
        resolution=number(grid.get("resolution")) or 0.0,
    )


def centre_text(grid: Fields) -> str:
    """Centre of the grid in degrees: "48.292° N, 13.140° E"; empty if it cannot be computed."""
    frame = frame_of(grid)
    if frame is None:
        return ""
    x, y = (frame.bounds[0] + frame.bounds[2]) / 2, (frame.bounds[1] + frame.bounds[3]) / 2
    try:
        longitude, latitude = Transformer.from_crs(frame.crs, "EPSG:4326", always_xy=True).transform(x, y)
    except ProjError:
        return ""
    if not (math.isfinite(longitude) and math.isfinite(latitude)):
        return ""
    return f"{abs(latitude):.3f}°\u00a0{'NS'[latitude < 0]}, {abs(longitude):.3f}°\u00a0{'EW'[longitude < 0]}"


def key_figures(report: Fields) -> tuple[Fact, ...]:
    """The figures of the first row; a figure that the report does not hold is left out."""
    grid, scenes = mapping(report, "grid"), rows(report, "scenes")
    clouds = [cloud for scene in scenes if (cloud := number(scene.get("cloud_cover"))) is not None]
    shape = numbers(grid, "shape", 2)
    efficiency, floor = number(report.get("efficiency")), number(report.get("floor_seconds"))
    total, speed = total_seconds(report), number(report.get("km2_per_s"))
    places = mapping(report, "places")
    per_second = number(report.get("places_per_s"))
    n_places, n_seen = number(places.get("rows")), number(places.get("observed"))
    shown = (
        Fact(
            name="Places",
            value=words.count(n_places),
            note=f"{words.count(n_seen)} observed" if n_seen is not None else "",
        ),
        Fact(name="Area mapped", value=with_unit(report.get("area_km2"), "km²"), note=centre_text(grid)),
        Fact(
            name="Scenes",
            value=words.count(len(scenes)) if scenes else words.ABSENT,
            note=f"median cloud {words.percent(median(clouds))}" if clouds else "",
        ),
        Fact(
            name="Pixel",
            value=_pixel_size(grid) if number(grid.get("resolution")) else words.ABSENT,
            note=f"{words.count(shape[1])} × {words.count(shape[0])} px" if shape else "",
        ),
        Fact(
            name="Run time",
            value=words.duration(total),
            note=f"{words.figure(speed)} km²/s"
            if speed is not None
            else f"{words.figure(per_second)} places/s"
            if per_second is not None
            else "",
        ),
        # Of a short run it says how long starting takes, not how well the machine was used.
        Fact(
            name="Efficiency",
            value=words.ABSENT if mostly_start_up(report) else words.share(efficiency),
            note=f"floor {words.duration(floor)}" if floor is not None else "",
        ),
    )
    return tuple(fact for fact in shown if fact.value != words.ABSENT)


def failure_lines(report: Fields) -> tuple[str, ...]:
    """One line per failure: item, band, asset, block, and the reason."""
    lines = []
    for failure in rows(report, "failures"):
        names = [text(failure, key) for key in ("item", "band", "asset", "block")]
        reason = text(failure, "reason") or text(failure, "message") or "no reason recorded"
        lines.append(" · ".join([*(name for name in names if name), reason]))
    return tuple(lines)


def warnings(report: Fields) -> tuple[str, ...]:
    """The warnings of the report, unchanged."""
    return tuple(text(entry, "reason") or text(entry, "message") for entry in rows(report, "warnings"))


def provenance(report: Fields) -> tuple[Fact, ...]:
    """Everything that made the product, one row each; an empty row is left out."""
    model, grid = mapping(report, "model"), mapping(report, "grid")
    bounds, shape = numbers(grid, "bounds", 4), numbers(grid, "shape", 2)
    versions = mapping(report, "versions")
    shown = (
        Fact(name="Model", value=text(model, "name"), note=", ".join(texts(model, "tasks"))),
        Fact(name="Model SHA-256", value=text(model, "sha256")),
        Fact(name="Card", value=text(model, "card") or text(report, "card")),
        Fact(name="Architecture", value=text(model, "architecture")),
        Fact(name="Source", value=text(report, "source")),
        Fact(name="Input files", value=input_files_text(mapping(report, "input_files"))),
        *_chosen_facts(report),
        *_usual_facts(report),
        Fact(name="Period", value=period_text(report)),
        Fact(name="CRS", value=text(grid, "crs")),
        Fact(name="Bounds", value=", ".join(f"{bound:.10g}" for bound in bounds), note="minx, miny, maxx, maxy"),
        Fact(name="Shape", value=" × ".join(words.count(side) for side in shape), note="rows × columns"),
        Fact(name="Tilewright", value=text(report, "tilewright_version")),
        Fact(name="Versions", value=", ".join(f"{name} {versions[name]}" for name in versions)),
        Fact(name="Started", value=_instant(report, "started")),
        Fact(name="Finished", value=_instant(report, "finished")),
        Fact(name="Plan key", value=text(report, "key")),
    )
    return tuple(fact for fact in shown if fact.value)


def _chosen_facts(report: Fields) -> list[Fact]:
    """How many passes each input took where, if they were chosen by cells."""
    return [
        Fact(
            name="Passes chosen",
            value=f"{words.figure(row.get('taken'))} of {words.figure(row.get('found'))} per cell",
            note=f"{text(row, 'input')[:40]}, {words.count(row.get('cells'))} cells",
        )
        for row in rows(report, "clearest")
    ]


def _usual_facts(report: Fields) -> list[Fact]:
    """What is usual for each word of a map by words, if it was calibrated."""
    usual = mapping(report, "usual_scores")
    shown = [
        f"{name[:40]} {words.figure(found[0])} ± {words.figure(found[1])}"
        for name in usual
        if len(found := numbers(usual, name, 2)) == 2
    ]
    note = "a hundred times the cosine over the area, mean and deviation; each word is held against its own"
    return [Fact(name="Usual scores", value="; ".join(shown), note=note)] if shown else []


def input_files_text(counts: Fields) -> str:
    """How many of the input files state a checksum and were verified by it: "4 files; 4 state a checksum, ...".

    Empty if the counts are not known.
    """
    files, stated, verified = (number(counts.get(key)) for key in ("files", *_CHECKSUM_KEYS))
    if files is None or stated is None or verified is None:
        return ""
    if not stated:
        return f"{words.plural(files, 'file')}; none states a checksum"
    found = "all were" if verified == stated else f"{words.count(verified)} were"
    found = "it was" if stated == 1 else found
    told = f"{found} verified" if verified else "which verify: checksums compares"
    verb = "states" if stated == 1 else "state"
    return f"{words.plural(files, 'file')}; {words.count(stated)} {verb} a checksum, {told}"


def _instant(report: Fields, key: str) -> str:
    shown = words.instant(report.get(key))
    return "" if shown == words.ABSENT else shown


def files(report: Fields, layers: Iterable[LayerView]) -> tuple[ReportFile, ...]:
    """The files of the product that the report lists; if it lists none, the files of every product."""
    entries = rows(report, "files")
    listed = [(text(entry, "href"), text(entry, "title"), words.size(entry.get("bytes"))) for entry in entries]
    if not any(href for href, _, _ in listed):
        tables = [(text(table, "file"), f"{words.count(table.get('rows'))} rows") for table in rows(report, "tables")]
        hrefs = {text(row, "name"): text(row, "href") for row in rows(report, "layers")}
        cogs: dict[str, list[str]] = {}
        for layer in layers:
            if layer.name != "observations" and layer.kind != THINGS:
                cogs.setdefault(hrefs.get(layer.name) or f"{layer.name}.tif", []).append(layer.title)
        arrays = [
            (
                text(each, "array"),
                f"{words.count(each.get('dimensions'))} numbers for each of its {text(each, 'of')}, Zarr",
            )
            for each in rows(report, "embeddings")
        ]
        listed = [
            *((href, f"{', '.join(titles)}, {_raster_word(href)}", "") for href, titles in cogs.items()),
            *((file, f"{n_rows}, GeoParquet", "") for file, n_rows in tables),
            *((array, title, "") for array, title in arrays),
            ("data.zarr", "every layer and the observations, Zarr", ""),
            ("item.json", "STAC Item", ""),
            ("report.json", "the figures of this page", ""),
            ("preview.png", "preview", ""),
        ]
    return tuple(
        ReportFile(
            name=href, href=relative_href(href), note=" · ".join(n for n in (title, size) if n and n != words.ABSENT)
        )
        for href, title, size in listed
        if href
    )


def _raster_word(href: str) -> str:
    return "all parts of it, VRT" if href.endswith(".vrt") else "Cloud-Optimized GeoTIFF"


def relative_href(name: str) -> str:
    """A relative link to a file of the product; for any name it is a path below the report's folder."""
    segments = [segment for segment in name.split("/") if segment not in {"", ".", ".."}]
    return "./" + "/".join(quote(segment, safe="") for segment in segments)
