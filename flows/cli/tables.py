"""Tables of plans, scenes, products and models on the terminal, readable at 80 columns."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from shapely.geometry import shape

from tilewright.catalogs.search import left_out_sentence
from tilewright.flows.shown import MAX_WIDTH, shown, wrapped
from tilewright.tasks.grid.areas import covered_share
from tilewright.tasks.plan.footprints import percent_below
from tilewright.tasks.plan.identities import input_warnings
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shapely.geometry.base import BaseGeometry

    from tilewright.catalogs.scene import Scene
    from tilewright.catalogs.search import Found
    from tilewright.flows.estimate.estimate import Estimate
    from tilewright.flows.estimate.pricing import Cost
    from tilewright.models.card.card import ModelCard
    from tilewright.models.imports.importing import Imported
    from tilewright.models.measure.check import CheckReport
    from tilewright.models.spec.outputs import OutputSpec
    from tilewright.tasks.plan.plan import Plan


def estimate_json(plan: Plan, expected: Estimate, *, cost: Cost, n_shards: int) -> dict[str, Any]:
    """The dry run of a plan as JSON values, cut in so many shards."""
    from tilewright.flows.estimate.pricing import shards_json
    from tilewright.tasks.plan.chosen import chosen_json
    from tilewright.tasks.plan.identities import input_counts
    from tilewright.tasks.vector.layer_polygons import table_names

    chosen = chosen_json(plan.inputs)
    return {
        **expected.to_json(),
        "windows": {**asdict(plan.raster.lattice), "why": plan.model.windows_reason},
        "exact": plan.model.exact,
        "exactness": plan.model.exactness,
        "fused": plan.model.fused,
        "tuned": plan.model.tuned,
        "input_files": input_counts(plan),
        **({"clearest": chosen} if chosen else {}),
        **({"tables": [{"name": name, "rows": None} for name in names]} if (names := table_names(plan)) else {}),
        **plan.search_json(),
        "cost": cost.to_json(),
        "shards": shards_json(plan, n_shards),
    }


def print_estimate(
    plan: Plan, estimate: Estimate, *, more: Sequence[tuple[str, str]] = (), warnings: Sequence[str] = ()
) -> None:
    """Print the dry run, one figure a line, then the (label, text) of ``more``, then the plan's warnings and these."""
    console = _console()
    console.print(Text(f"Plan of {shown(plan.name)}", style="bold"))
    _print_facts(console, [*estimate.lines(plan), *more])
    for warning in (*plan.warnings, *input_warnings(plan), *warnings):
        first, *rest = wrapped(f"! {shown(warning)}", console.width)
        console.print(Text(first[:2], style="yellow") + Text(first[2:]), soft_wrap=True)
        for line in rest:
            console.print(Text(line), soft_wrap=True)


def print_finished(name: str, output: str) -> None:
    """Print that a job of a chain has nothing to do."""
    console = _console()
    console.print(Text(f"Plan of {shown(name)}", style="bold"))
    _print_words(console, f"  complete already in {output}")


def print_status(existing: Mapping[str, Any]) -> None:
    """Print a product's state."""
    console = _console()
    done, total = existing["blocks_done"], existing["blocks_total"]
    # An interrupted run has not failed: the JSON has one state for both, this line has two.
    state = "stopped" if existing["state"] == "failed" and not existing["failures"] else existing["state"]
    noun, _, of = existing["unit"].partition(" ")
    counted = f"{plural(total, noun)} {of}".strip()
    _print_words(console, f"{existing['name']}: {state}, {done} of {counted}")
    for failure in existing["failures"]:
        _print_words(console, f"  failed: {' '.join(f'{key}={value}' for key, value in failure.items())}")
    for table in existing["tables"]:
        _print_words(console, f"  table {table.get('file')}: {plural(table.get('rows'), 'row')}")
    _print_words(console, f"  {existing['advice']}")


def print_scenes(scenes: Sequence[Scene]) -> None:
    """Print the scenes of a job, one a line, then the reasons for their radiometric states."""
    console = _console()
    days = sorted({scene.datetime.date().isoformat() for scene in scenes})
    span = f"{days[0]} to {days[-1]}" if len(days) > 1 else days[0]
    _print_line(console, f"{plural(len(scenes), 'scene')} on {plural(len(days), 'day')}, {span}")
    rows = [
        (
            scene.datetime.date().isoformat(),
            "" if scene.cloud_cover is None else f"{scene.cloud_cover:.0f} %",
            scene.baseline or "",
            scene.state,
            scene.id,
        )
        for scene in scenes
    ]
    _print_columns(console, ("date", "cloud", "baseline", "radiometry", "scene"), rows, right={1})
    _print_line(console, "Why this radiometry:")
    reasons = Counter((scene.state, scene.state_reason) for scene in scenes)
    _print_facts(console, [(state, f"{reason} ({plural(n, 'scene')})") for (state, reason), n in reasons.items()])


def search_words(found: Found, shares: Mapping[str, float]) -> Iterator[str]:
    """The sentences on a search beside its scenes: the items left out, and how much of the area is covered."""
    if found.left_out:
        yield left_out_sentence(found.left_out)
    for period, share in shares.items() if found.scenes else ():
        words = "all" if share == 1 else percent_below(share)
        yield f"The footprints of the scenes cover {words} of the area in {period}."


def search_rows(found: Found, area: BaseGeometry, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """The scenes as JSON values, each with the share (0-1) of the area that it covers, and all of each period."""
    return [
        {
            **scene.to_json(),
            "area_share": covered_share(area, [shape(scene.geometry)]),
            "period_shares": dict(shares),
        }
        for scene in found.scenes
    ]


def print_models(cards: Sequence[ModelCard]) -> None:
    """Print the registry: a model's name and task, then its inputs and layers."""
    console = _console()
    for card in cards:
        console.print(Text(shown(card.name), style="bold") + Text(shown(f"  {', '.join(card.tasks)}")), soft_wrap=True)
        reads = "; ".join(f"{entry.collection} {' '.join(entry.bands)}" for entry in card.inputs)
        layers = [layer for output in card.outputs for layer in _given(output)]
        objects = [f"{each.name} (objects)" for each in card.masks]
        words = [f"{name} (words)" for name in card.answers]
        gives = ", ".join([*layers, *(f"{table.name} (boxes)" for table in card.boxes), *objects, *words])
        _print_facts(console, [("  reads", reads), ("  gives", gives)])


def _given(output: OutputSpec) -> tuple[str, ...]:
    """The layers of an output as its card names them."""
    return (*((f"{output.instances.name} (objects)",) if output.instances else ()), *output.layers)


def print_card(card: ModelCard) -> None:
    """Print the inputs and outputs of a card."""
    console = _console()
    console.print(Text(shown(card.name), style="bold") + Text(shown(f"  {', '.join(card.tasks)}")), soft_wrap=True)
    facts = [("sha256", card.sha256)]
    for entry in card.inputs:
        pixels = f" at {entry.resolution:g} m" if entry.resolution else ""
        source = f"{entry.collection} {' '.join(entry.bands)}; {entry.unit}{pixels}, dates: {entry.dates.kind}"
        facts.append((f"input {entry.name}", source))
    for output in card.outputs:
        classes = ", ".join(known.name for known in output.classes)
        facts.append(
            (f"output {output.name}", f"{', '.join(_given(output))}{f'; classes {classes}' if classes else ''}")
        )
    for table in card.boxes:
        classes = ", ".join(known.name for known in table.classes)
        told = ", ".join(output.name for output in table.outputs)
        facts.append((f"output {told}", f"{table.name}, a table of boxes; classes {classes}"))
    facts += [(f"output {port.name}", f"{n}, a table of answers in words") for n in card.answers for port in card.ports]
    for masks in card.masks:
        classes = ", ".join(known.name for known in masks.boxes.classes)
        told = ", ".join(output.name for output in masks.outputs)
        facts.append((f"output {told}", f"{masks.name} (objects with masks); classes {classes}"))
    _print_facts(console, facts)


def print_imported(imported: Imported) -> None:
    """Print where each field of an imported card comes from, and what to do next."""
    console = _console()
    card = imported.card
    console.print(
        Text(shown(card.name), style="bold") + Text(shown(f"  a card from the {imported.format}")), soft_wrap=True
    )
    facts = [
        (f"{part or 'model'} {field}", f"{_short(value)}  ({place})") for part, field, value, place in imported.facts
    ]
    _print_facts(console, [*facts, ("prove it", f"tilewright models check {card.folder}")])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def print_check(report: CheckReport) -> None:
    """Print the check of a card, one finding a line, then its operators and who lacks them."""
    console = _console()
    _print_facts(console, report.lines())
    operators = report.operators.operators
    rows = []
    for each in operators[:MOST_ROWS]:
        kind = {"ONNX": " (function)", "the model": " (own function)"}.get(each.function, "")
        lacking = ", ".join([*each.lacking, *(f"{provider}?" for provider in each.unknown)]) or "-"
        rows.append((f"{each.operator}{kind}", each.domain, str(each.opset), f"{each.nodes:,}", lacking))
    _print_columns(console, ("operator", "domain", "opset", "nodes", "lacking in"), rows, right={2, 3})
    if len(operators) > len(rows):
        _print_line(console, f"... and {plural(len(operators) - len(rows), 'operator')} more (--json has all)")


MOST_CHARACTERS = 100
"""Characters of a field of a card that are shown."""

MOST_ROWS = 20
"""Rows of a table that are shown."""


def print_zones(columns: Any, names: Sequence[str], to: str) -> None:
    """Print the first zones of a table, the columns of these names as far as the terminal is wide, and where all is."""
    console = _console()
    rows = [[_figure(row[name]) for name in names] for row in columns.slice(0, MOST_ROWS).to_pylist()]
    fits, width = 0, 0
    for number, name in enumerate(names):
        width += 2 + max(len(shown(cell)) for cell in (name, *(row[number] for row in rows)))
        fits = number + 1 if width - 2 <= console.width else fits
    fits = max(fits, 1)
    if rows:
        _print_columns(console, names[:fits], [row[:fits] for row in rows], right=set(range(fits)))
    n_rows, n_more = columns.num_rows, len(names) - fits
    if n_rows > len(rows):
        _print_line(console, f"... and {plural(n_rows - len(rows), 'zone')} more")
    if n_more:
        _print_words(console, f"{plural(n_more, 'column')} more: {', '.join(names[fits:])}")
    _print_line(console, f"{plural(n_rows, 'zone')} in {to}")


def _figure(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _console() -> Console:
    console = Console(highlight=False)
    console.width = min(console.width, MAX_WIDTH)
    return console


def _print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print (label, text) in two columns, the text wrapped in its column."""
    rows = [(shown(label), shown(words)) for label, words in facts]
    indent = max(len(label) for label, _ in rows) + 2
    for label, words in rows:
        lines = wrapped(words.lstrip(" "), console.width - indent, hanging=0)
        line = Text(label.ljust(indent), style="dim") + Text(lines[0], style="none")
        console.print(line, soft_wrap=True)
        for more in lines[1:]:
            _print_line(console, " " * indent + more)


def _print_columns(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] | set[int]
) -> None:
    """Print aligned columns, those in ``right`` flush right; the last column is never wrapped."""
    headings, rows = [shown(cell) for cell in headings], [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    console.print(Text(line(headings), style="dim"), soft_wrap=True)
    for row in rows:
        _print_line(console, line(row))


def _print_words(console: Console, words: str) -> None:
    for line in wrapped(shown(words), console.width):
        console.print(Text(line), soft_wrap=True)


def _print_line(console: Console, words: str) -> None:
    # Text of catalogs and cards is never markup, and a path or an id must be copyable as a whole.
    console.print(Text(shown(words)), soft_wrap=True)
