"""Plans, scenes, states and zones of products on the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rich.text import Text

from tilewright.flows.shown import shown, wrapped
from tilewright.tasks.plan.identities import input_warnings
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.catalogs.scene import Scene
    from tilewright.flows.estimate.estimate import Estimate
    from tilewright.flows.estimate.pricing import Cost
    from tilewright.tasks.plan.plan import Plan


from tilewright.flows.cli.printed.console import (
    MOST_ROWS,
    print_columns,
    print_facts,
    print_line,
    print_words,
    shown_console,
)


def estimate_json(
    plan: Plan, expected: Estimate, *, cost: Cost, n_shards: int, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """The dry run of a plan as JSON values, cut in so many shards; ``warnings`` beside the plan's own."""
    from tilewright.flows.estimate.pricing import shards_json
    from tilewright.tasks.plan.chosen import chosen_json
    from tilewright.tasks.plan.identities import input_counts
    from tilewright.tasks.vector.layer_polygons import table_names

    chosen = chosen_json(plan.inputs)
    grid = plan.raster.product_grid
    return {
        "name": plan.name,
        **expected.to_json(),
        "warnings": [*plan.warnings, *input_warnings(plan), *warnings],
        "grid": {
            "crs": grid.crs,
            "resolution": grid.resolution,
            "bounds": list(grid.bounds_of(grid.extent)),
            "shape": list(grid.extent.shape),
        },
        "layers": list(plan.named_layers),
        "scenes": {entry.name: [_scene_json(scene) for scene in entry.scenes] for entry in plan.inputs},
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


def _scene_json(scene: Scene) -> dict[str, Any]:
    """A scene of a plan in a few words for machines."""
    moment = scene.datetime.astimezone(UTC).isoformat()
    return {"collection": scene.collection, "id": scene.id, "datetime": moment, "cloud_cover": scene.cloud_cover}


def print_inputs(plan: Plan) -> None:
    """Print the scenes of each input of a plan, a line each."""
    console = shown_console()
    for entry in plan.inputs:
        print_line(console, f"Scenes of input {entry.name}:")
        rows = [(scene.datetime.date().isoformat(), scene.collection, scene.id) for scene in entry.scenes]
        print_columns(console, ("date", "collection", "scene"), rows, right=set())


def print_estimate(
    plan: Plan, estimate: Estimate, *, more: Sequence[tuple[str, str]] = (), warnings: Sequence[str] = ()
) -> None:
    """Print the dry run, one figure a line, then the (label, text) of ``more``, then the plan's warnings and these."""
    console = shown_console()
    console.print(Text(f"Plan of {shown(plan.name)}", style="bold"))
    print_facts(console, [*estimate.lines(plan), *more])
    for warning in (*plan.warnings, *input_warnings(plan), *warnings):
        first, *rest = wrapped(f"! {shown(warning)}", console.width)
        console.print(Text(first[:2], style="yellow") + Text(first[2:]), soft_wrap=True)
        for line in rest:
            console.print(Text(line), soft_wrap=True)


def print_finished(name: str, output: str) -> None:
    """Print that a job of a chain has nothing to do."""
    console = shown_console()
    console.print(Text(f"Plan of {shown(name)}", style="bold"))
    print_words(console, f"  complete already in {output}")


def print_status(existing: Mapping[str, Any]) -> None:
    """Print a product's state."""
    console = shown_console()
    done, total = existing["blocks_done"], existing["blocks_total"]
    noun, _, of = existing["unit"].partition(" ")
    counted = f"{plural(total, noun)} {of}".strip()
    print_words(console, f"{existing['name']}: {existing['state']}, {done} of {counted}")
    for failure in existing["failures"]:
        print_words(console, f"  failed: {' '.join(f'{key}={value}' for key, value in failure.items())}")
    for table in existing["tables"]:
        print_words(console, f"  table {table.get('file')}: {plural(table.get('rows'), 'row')}")
    print_words(console, f"  {existing['advice']}")


def print_statuses(states: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Print the states of products, by their outputs, a row each, and then how many are in which state."""
    console = shown_console()
    rows = [
        (
            each["name"],
            each["state"],
            f"{each['blocks_done']}/{each['blocks_total']}",
            str(each["blocks_failed"] or ""),
            output,
        )
        for output, each in states
    ]
    print_columns(console, ("name", "state", "done", "failed", "output"), rows, right={2, 3})
    counts = Counter(each["state"] for _, each in states)
    print_line(console, f"{plural(len(rows), 'product')}: {', '.join(f'{n} {state}' for state, n in counts.items())}")


def print_zones(columns: Any, names: Sequence[str], to: str) -> None:
    """Print the first zones of a table, the columns of these names as far as the terminal is wide, and where all is."""
    console = shown_console()
    rows = [[_figure(row[name]) for name in names] for row in columns.slice(0, MOST_ROWS).to_pylist()]
    fits, width = 0, 0
    for number, name in enumerate(names):
        width += 2 + max(len(shown(cell)) for cell in (name, *(row[number] for row in rows)))
        fits = number + 1 if width - 2 <= console.width else fits
    fits = max(fits, 1)
    if rows:
        print_columns(console, names[:fits], [row[:fits] for row in rows], right=set(range(fits)))
    n_rows, n_more = columns.num_rows, len(names) - fits
    if n_rows > len(rows):
        print_line(console, f"... and {plural(n_rows - len(rows), 'zone')} more")
    if n_more:
        print_words(console, f"{plural(n_more, 'column')} more: {', '.join(names[fits:])}")
    print_line(console, f"{plural(n_rows, 'zone')} in {to}")


def _figure(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
