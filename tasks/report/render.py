"""report.html: one page that opens offline, rendered from report.json and the pictures of the layers."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tilewright.catalogs.fields import visible
from tilewright.tasks.colours import GROUND, OBJECT_COLOURS, RAMP_STOPS, UNSEEN, ramp_table
from tilewright.tasks.report import format as words
from tilewright.tasks.report import performance, sections
from tilewright.tasks.report.asked_facts import asked_facts
from tilewright.tasks.report.fields import mapping, rows, text
from tilewright.tasks.report.layer_views import layer_views, scene_uri
from tilewright.tasks.report.outlines.payload import payload, table_view
from tilewright.tasks.report.promise_table import promise_table
from tilewright.tasks.report.timeline import drift_table, step_table, timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tilewright.tasks.report.layer_views import LayerView
    from tilewright.tasks.report.outlines.payload import TableView
    from tilewright.tasks.report.outlines.table import TableOutlines
    from tilewright.tasks.report.preview import Frame


_TEMPLATES = Path(__file__).parent / "templates"

_FILTERS = (
    *("count", "figure", "fixed", "percent", "share", "size", "duration", "day", "instant", "plural"),
    *("area", "distance"),
)


_BLOCKS = {
    "tables_style": ("/*<tables-style>*/", "/*</tables-style>*/"),
    "tables_canvas": ("<!--tables-canvas-->", "<!--/tables-canvas-->"),
    "tables_controls": ("<!--tables-controls-->", "<!--/tables-controls-->"),
    "tables_rows": ("<!--tables-rows-->", "<!--/tables-rows-->"),
    "tables_files": ("<!--tables-files-->", "<!--/tables-files-->"),
}
"""The blocks of the template that tell of tables, and the marks around each in the page; no name of others can hold
one of them, since "<" is escaped everywhere.
"""

_VIEWER = ('<script type="application/json" id="viewer">', "</script>")

_OF_MAPS = {"tables_canvas", "tables_controls"}
"""Blocks that a page without a map does not have."""


def render_report(
    report: Mapping[str, object],
    *,
    true_colour: NDArray[np.uint8] | None = None,
    scene_image: str = "",
    maps: Mapping[str, NDArray[np.uint8]],
    change: object | None = None,
    tables: Sequence[TableOutlines] = (),
) -> str:
    """The whole page as one HTML text that loads no other file.

    `report` is the content of report.json; any key may be missing, and every text in it is treated as hostile.
    `true_colour` (y, x, 3) uint8 and `maps` (y, x, 4) uint8 by layer name cover `grid.bounds`; their sizes may differ.
    `scene_image` is `true_colour` as `scene_uri` makes it, if that was made before. `tables` are listed, and their
    shapes drawn over the maps.
    `change` is what the page tells of a map of change (`ChangeView` in tasks/compare/section.py), None for other maps.
    """
    layers, grid, job = layer_views(report, maps), mapping(report, "grid"), mapping(report, "job")
    frame = sections.frame_of(grid)
    first = next(iter(maps.values()), true_colour)
    views = _table_views(report, layers, tables)
    script = "".join((_TEMPLATES / name).read_text("utf-8") for name in ("shapes.js", "report.js"))
    return page_environment().get_template("report.html.j2").render(
        report=report,
        name=text(report, "name") or "Unnamed product",
        version=text(report, "tilewright_version"),
        headline=sections.headline(report),
        place=sections.centre_text(grid),
        crs=text(grid, "crs"),
        figures=sections.key_figures(report),
        verdict=performance.exactness(report),
        failures=sections.failure_lines(report),
        warnings=sections.warnings(report),
        layers=layers,
        change=change,
        tables=views,
        histograms=rows(report, "histograms"),
        ratio=min(max(first.shape[1] / first.shape[0], 0.6), 2.4) if first is not None and first.size else 1.5,
        scene_image="" if true_colour is None or not true_colour.size else scene_image or scene_uri(true_colour),
        line=timeline(report),
        steps=step_table(report),
        drift=drift_table(report),
        cost=performance.cost_chart(report),
        work=performance.work_facts(report, asked_facts(report)),
        promises=promise_table(report),
        provenance=sections.provenance(report),
        job=_job_text(job) or text(report, "job"),
        files=sections.files(report, layers),
        finished=words.instant(report.get("finished")),
        attribution=text(report, "attribution"),
        ramp_css=", ".join(RAMP_STOPS),
        unseen_css=UNSEEN,
        ground_colour=GROUND,
        object_colours=OBJECT_COLOURS,
        located=frame is not None,
        viewer=_viewer_json(layers, frame, views),
        script=script,
        script_hash=csp_hash(script),
    )  # fmt: skip


def _table_views(
    report: Mapping[str, object], layers: Sequence[LayerView], tables: Sequence[TableOutlines]
) -> list[TableView]:
    """The views of tables, in the colours of the layers and tables that the report lists."""
    tables_only = layer_views({"layers": rows(report, "tables")}, {})
    views_by_colour = [layer for layer in (*tables_only, *layers) if layer.classes]
    colours = {layer.name: {row.value: row.colour for row in layer.classes} for layer in views_by_colour}
    return [table_view(table, colours) for table in tables]


def with_tables(page: str, report: Mapping[str, object], tables: Sequence[TableOutlines]) -> str | None:
    """The page of a product that shows these tables alone, and the files of its ``report``, which names them.

    None for a page that was not rendered with the marks, such as that of an older version.
    """
    layers = layer_views(report, {})
    views = _table_views(report, layers, tables)
    pictured = _BLOCKS["tables_canvas"][0] in page
    template = page_environment().get_template("report.html.j2")
    context = {"tables": views, "pictured": pictured, "files": sections.files(report, layers)}
    changed: str | None = page
    for name, marks in _BLOCKS.items():
        if name in _OF_MAPS and not pictured:
            continue
        text = "".join(template.blocks[name](template.new_context(context)))
        changed = _between(changed, marks, text)
    if changed is None:
        return None
    try:
        viewer = json.loads(_found(changed, _VIEWER) or "null")
    except ValueError:
        return None
    if not isinstance(viewer, dict):
        return None
    return _between(changed, _VIEWER, script_json(_seen({**viewer, "tables": payload(views)})))


def _between(page: str | None, marks: tuple[str, str], text: str) -> str | None:
    """The page with a text between two marks in place of what is there; None where they are not."""
    inside = None if page is None else _found(page, marks)
    if page is None or inside is None:
        return None
    start = page.index(marks[0]) + len(marks[0])
    return page[:start] + text + page[start + len(inside) :]


def _found(page: str, marks: tuple[str, str]) -> str | None:
    _, opened, rest = page.partition(marks[0])
    inside, closed, _ = rest.partition(marks[1])
    return inside if opened and closed else None


def _job_text(job: Mapping[str, object]) -> str:
    """A job as YAML, to be copied into a file; empty if there is none."""
    if not job:
        return ""
    # JSON first: it names what YAML could not.
    plain = json.loads(json.dumps(job, ensure_ascii=False, default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)).rstrip()


def load_templates() -> None:
    """Compiles the page's templates, so that rendering does not wait for it."""
    page_environment().get_template("report.html.j2")


def _viewer_json(layers: tuple[LayerView, ...], frame: Frame | None, views: Sequence[TableView]) -> str:
    viewer = {
        "crs": frame.crs[:40] if frame else "",
        "bounds": frame.bounds if frame else None,
        "metres": frame.ground_metres_per_unit() if frame else 1.0,
        "unseen": UNSEEN[1:],
        "ramp": ["".join(f"{channel:02x}" for channel in colour) for colour in ramp_table()],
        "layers": [
            {
                "title": layer.title,
                "unit": layer.unit,
                "ends": layer.ends,
                "classes": [[colour[1:], name] for colour, name in layer.named_colours],
            }
            for layer in layers
            if layer.image
        ],
        "tables": payload(views),
    }
    return script_json(_seen(viewer))


def script_json(value: object) -> str:
    """A value as JSON that stands in a script element."""
    # "<" is the only way out of a script element of any type.
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _seen(value: Any) -> Any:
    """The value with characters that turn or hide text written as their escapes: names are those of others."""
    if isinstance(value, dict):
        return {key: _seen(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_seen(inner) for inner in value]
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(visible(line) for line in value.split("\n"))
    return value


def csp_hash(script: str) -> str:
    """The source by which a page's policy lets this script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


@cache
def page_environment() -> Environment:
    """The templates of the pages, in which every text is escaped and what cannot be seen is written out."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(words, name) for name in _FILTERS})
    return environment
