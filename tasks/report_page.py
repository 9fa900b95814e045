"""The sentences and tables of the report: what was mapped, from what, how exactly, at what cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

from pyproj import Transformer
from pyproj.exceptions import ProjError

from tasks import report_words as words
from tasks.preview import Frame
from tasks.report_fields import numbers, part, rows, spans, text, texts
from tasks.report_words import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks.report_fields import Fields
    from tasks.report_layers import LayerView

_VERDICTS = {
    "exact": (
        "Exact: the tiles are the whole image",
        "Every pixel has the value the model would give if it saw the whole area in one piece.",
    ),
    "inexact": (
        "Not exact: windows can show at their seams",
        "Some pixels can differ from what the model would give if it saw the whole area in one piece.",
    ),
    "unknown": ("Exactness is not stated", ""),
}

_WHOLE = ("total", "wall")  # keys of `seconds` that are the run's length and not one of its stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A named figure, and what it stands for in a few words."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A bar of the cost chart: `width` in percent of the longest."""

    name: str
    seconds: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of each stage, of the run and of its floor, on one scale; `overlapping` when stages add up to more than the run."""

    stages: tuple[Stage, ...]
    total: Stage | None
    floor: Stage | None
    overlapping: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether tiled output is whole-image output, in plain words; `state` is "exact", "inexact" or "unknown"."""

    state: str
    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the product; `href` is relative to the report and safe to follow."""

    name: str
    href: str
    note: str


def headline(report: Fields) -> str:
    """One sentence: how much was mapped, by which model, from how many scenes, of what time, at what pixel size."""
    grid, n_scenes = part(report, "grid"), len(rows(report, "scenes"))
    said = []
    if (area := number(report.get("area_km2"))) is not None:
        said.append(f"{words.figure(area)}\u00a0km²")
    if model := text(part(report, "model"), "name"):
        said.append(f"mapped by {model}")
    if n_scenes:
        said.append(f"from {words.plural(n_scenes, 'scene')}")
    if period := period_text(report):
        said.append(f"of {period}")
    if number(grid.get("resolution")):
        said.append(f"at {_pixel_size(grid)}")
    return " ".join(said) + "." if said else ""


def period_text(report: Fields) -> str:
    """The period asked for, or the dates of the scenes where the report names none."""
    named = spans(report, "period")
    if not named:
        dates = sorted(at for scene in rows(report, "scenes") if (at := words.moment(scene.get("datetime"))))
        named = [("", dates[0], dates[-1])] if dates else []
    return "; ".join(f"{label}: {_span(start, end)}" if label else _span(start, end) for label, start, end in named)


def _span(start: object, end: object) -> str:
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
    """Where the maps lie; None when the grid names no bounds, or bounds without an inside."""
    bounds = numbers(grid, "bounds", 4)
    if not bounds or bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        return None
    return Frame(
        crs=text(grid, "crs"),
        bounds=(bounds[0], bounds[1], bounds[2], bounds[3]),
        resolution=number(grid.get("resolution")) or 0.0,
    )


def place(grid: Fields) -> str:
    """Centre of the grid in degrees: "48.292° N, 13.140° E"; empty where it cannot be told."""
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
    """The figures of the first row; one that the report does not know is left out."""
    grid, scenes = part(report, "grid"), rows(report, "scenes")
    clouds = [cloud for scene in scenes if (cloud := number(scene.get("cloud_cover"))) is not None]
    shape = numbers(grid, "shape", 2)
    efficiency, floor = number(report.get("efficiency")), number(report.get("floor_seconds"))
    total, speed = total_seconds(report), number(report.get("km2_per_s"))
    shown = (
        Fact(name="Area mapped", value=_unit(report.get("area_km2"), "km²"), note=place(grid)),
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
            note=f"{words.figure(speed)} km²/s" if speed is not None else "",
        ),
        Fact(
            name="Efficiency",
            value=words.share(efficiency),
            note=f"floor {words.duration(floor)}" if floor is not None else "",
        ),
    )
    return tuple(fact for fact in shown if fact.value != words.ABSENT)


def work_facts(report: Fields) -> tuple[Fact, ...]:
    """What was read and run, beside the cost chart; a figure that the report does not know is left out."""
    run, skipped = report.get("windows_run"), number(report.get("windows_skipped"))
    shown = (
        Fact(name="Read", value=words.size(report.get("bytes_read")), note="bytes from the archive"),
        Fact(name="Read factor", value=words.figure(report.get("read_factor")), note="pixels read per pixel needed"),
        Fact(name="Blocks", value=words.count(report.get("blocks")), note="units of work and write"),
        Fact(
            name="Windows run",
            value=words.count(run),
            note=f"{words.count(skipped)} skipped" if skipped is not None else "",
        ),
        Fact(name="Passes", value=words.figure(report.get("passes")), note="pixels computed per pixel kept"),
        Fact(name="Speed", value=_unit(report.get("km2_per_s"), "km²/s")),
        Fact(name="Provider", value=text(report, "provider") or words.ABSENT, note="that really ran the model"),
        Fact(name="Peak memory", value=words.megabytes(report.get("peak_memory_mb"))),
    )
    return tuple(fact for fact in shown if fact.value != words.ABSENT)


def _unit(value: object, unit: str) -> str:
    return words.ABSENT if number(value) is None else f"{words.figure(value)}\u00a0{unit}"


def total_seconds(report: Fields) -> float | None:
    """Measured length of the run: `seconds.total`, or floor / efficiency where it is not written."""
    seconds = part(report, "seconds")
    for key in _WHOLE:
        if (total := number(seconds.get(key))) is not None:
            return total
    floor, efficiency = number(report.get("floor_seconds")), number(report.get("efficiency"))
    return floor / efficiency if floor is not None and efficiency else None


def cost(report: Fields) -> Cost:
    """The stages in the order given, the whole run and its floor, as bars on one scale."""
    given = {str(name): number(value) for name, value in part(report, "seconds").items() if str(name) not in _WHOLE}
    stages = {name: seconds for name, seconds in given.items() if seconds is not None and seconds >= 0}
    total, floor = total_seconds(report), number(report.get("floor_seconds"))
    longest = max([*stages.values(), total or 0, floor or 0, 1e-9])

    def bar(name: str, seconds: float | None) -> Stage | None:
        if seconds is None:
            return None
        return Stage(name=name, seconds=seconds, width=round(100 * max(seconds, 0) / longest, 2))

    bars = (bar(name.replace("_", " "), seconds) for name, seconds in stages.items())
    return Cost(
        stages=tuple(stage for stage in bars if stage),
        total=bar("whole run", total),
        floor=bar("floor", floor),
        overlapping=total is not None and sum(stages.values()) > 1.05 * total,
    )


def verdict(report: Fields) -> Verdict:
    """The exactness of the product: its title, then why, how far the model sees, and what was cut."""
    exact = report.get("exact")
    state = "exact" if exact is True else "inexact" if exact is False else "unknown"
    title, meaning = _VERDICTS[state]
    details = (_sentence(text(report, "exact_reason")), _reach(report), _cut(report))
    why = " ".join(sentence for sentence in details if sentence)
    return Verdict(state=state, title=title, sentences=tuple(sentence for sentence in (meaning, why) if sentence))


def _sentence(words_given: str) -> str:
    return (
        words_given[:1].upper() + words_given[1:] + ("" if words_given.endswith((".", "!")) else ".")
        if words_given
        else ""
    )


def _reach(report: Fields) -> str:
    field = part(report, "receptive_field")
    radius = number(field.get("radius")) if field else number(report.get("receptive_field"))
    if radius is None:
        return "The model's receptive field has no measured bound." if field.get("verdict") == "unbounded" else ""
    if radius == 0:
        return "The model looks at each pixel alone (receptive field 0\u00a0px)."
    return f"The model sees {words.count(radius)}\u00a0px to each side of a pixel (measured receptive field)."


def _cut(report: Fields) -> str:
    trim, window = number(report.get("trim")), number(report.get("window"))
    if trim is None:
        return ""
    of = f"{words.count(window)}\u00a0px window" if window else "window"
    return f"{words.count(trim)}\u00a0px were trimmed from each side of a {of}."


def problems(report: Fields) -> tuple[str, ...]:
    """One line per failure: what failed where, and why."""
    lines = []
    for failure in rows(report, "failures"):
        where = [text(failure, key) for key in ("item", "band", "asset", "block")]
        reason = text(failure, "reason") or text(failure, "message") or "no reason recorded"
        lines.append(" · ".join([*(entry for entry in where if entry), reason]))
    return tuple(lines)


def warnings(report: Fields) -> tuple[str, ...]:
    """The warnings, as they were written."""
    return tuple(text(entry, "reason") or text(entry, "message") for entry in rows(report, "warnings"))


def provenance(report: Fields) -> tuple[Fact, ...]:
    """Everything that made the product, one row each; what is not known is left out."""
    model, grid = part(report, "model"), part(report, "grid")
    bounds, shape = numbers(grid, "bounds", 4), numbers(grid, "shape", 2)
    versions = part(report, "versions")
    shown = (
        Fact(name="Model", value=text(model, "name"), note=", ".join(texts(model, "tasks"))),
        Fact(name="Model SHA-256", value=text(model, "sha256")),
        Fact(name="Card", value=text(model, "card") or text(report, "card")),
        Fact(name="Architecture", value=text(model, "architecture")),
        Fact(name="Source", value=text(report, "source")),
        Fact(name="Period", value=period_text(report)),
        Fact(name="CRS", value=text(grid, "crs")),
        Fact(name="Bounds", value=", ".join(f"{bound:.10g}" for bound in bounds), note="minx, miny, maxx, maxy"),
        Fact(name="Shape", value=" × ".join(words.count(side) for side in shape), note="rows × columns"),
        Fact(name="Tilewright", value=text(report, "tilewright_version")),
        Fact(name="Versions", value=", ".join(f"{name} {versions[name]}" for name in versions)),
        Fact(name="Started", value=_when(report, "started")),
        Fact(name="Finished", value=_when(report, "finished")),
        Fact(name="Plan key", value=text(report, "key")),
    )
    return tuple(fact for fact in shown if fact.value)


def _when(report: Fields, key: str) -> str:
    shown = words.instant(report.get(key))
    return "" if shown == words.ABSENT else shown


def files(report: Fields, layers: Iterable[LayerView]) -> tuple[File, ...]:
    """The files of the product: those the report lists, else those every product has."""
    listed = [
        (text(entry, "href"), text(entry, "title"), words.size(entry.get("bytes"))) for entry in rows(report, "files")
    ]
    if not any(href for href, _, _ in listed):
        cogs = [
            (f"{layer.name}.tif", f"{layer.title}, Cloud-Optimized GeoTIFF", "")
            for layer in layers
            if layer.name != "observations"
        ]
        listed = [
            *cogs,
            ("data.zarr", "every layer and the observations, Zarr", ""),
            ("item.json", "STAC Item", ""),
            ("report.json", "the figures of this page", ""),
            ("preview.png", "preview", ""),
        ]
    return tuple(
        File(name=href, href=relative(href), note=" · ".join(n for n in (title, weight) if n and n != words.ABSENT))
        for href, title, weight in listed
        if href
    )


def relative(name: str) -> str:
    """A link to a file beside the report; whatever the name holds, it stays a path below the report's folder."""
    steps = [step for step in name.split("/") if step not in {"", ".", ".."}]
    return "./" + "/".join(quote(step, safe="") for step in steps)
