"""The commands on finished products: push, view, catalog, zones, export, compare, evaluate."""

from __future__ import annotations

import shutil
from pathlib import Path  # noqa: TC003 -- read by typer
from typing import TYPE_CHECKING, Annotated

import typer

from tilewright.flows.cli.exits import NOT_SAME_EXIT, exit_codes
from tilewright.flows.cli.options import AsJson, Target, print_json
from tilewright.flows.shown import MAX_WIDTH, shown, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.flows.job.job import Job
    from tilewright.flows.run.outcome import Outcome


def push(
    output: Target,
    api: Annotated[str, typer.Argument(metavar="API", help="The URL of a STAC API with transactions.")],
    *,
    address: Annotated[
        str | None, typer.Option(help="The product's public URL, where it is not OUTPUT itself.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a finished product's Items into a STAC API; a second push updates them."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.maintain.push import push_lines, push_product

        pushed = push_product(output, api, address=address)
        if as_json:
            print_json(pushed)
        else:
            typer.echo("\n".join(shown(line) for line in push_lines(pushed)))


def view(
    outputs: Annotated[list[str], typer.Argument(metavar="OUTPUT...", help="Finished products: folders or URIs.")],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser, if there is a screen.")
    ] = True,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Remote products are your own: their scenes may be read.")
    ] = False,
) -> None:
    """Look at finished products on a map in a browser, served on this machine alone until Ctrl-C."""
    with exit_codes():
        from tilewright.flows.view.serve import view_products

        view_products(outputs, port=port, browser=browser, trusted=trusted, say=lambda words: typer.echo(shown(words)))


def catalog(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder in which products lie.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Join the finished products in a folder, as of watch or backfill, by a STAC Collection in it."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.maintain.join import join_products
        from tilewright.tasks.report.format import plural

        joined = join_products(folder)
        if as_json:
            print_json(joined)
            return
        for kind, names in joined["collections"].items():
            typer.echo(shown(f"{kind}: {plural(len(names), 'product')}, {', '.join(names)}"))
        for name in joined["left_out"]:
            typer.echo(shown(f"{name}: left out, it is not finished"))
        typer.echo(shown(f"  in {joined['file']}"))


def zones(
    output: Target,
    file: Annotated[Path, typer.Argument(metavar="ZONES", help="Polygons: .parquet, .geojson, .fgb, .gpkg or .shp.")],
    layers: Annotated[str | None, typer.Option(metavar="A,B", help="Only these layers of the product.")] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Beside the product: .parquet, .geojson, .fgb, .gpkg, .csv.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Measure the layers of a finished product in each zone of a file, by the share of each pixel inside."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.ask.added_table import check_beside
        from tilewright.flows.ask.zones import TABLE_NAME, add_zones, columns_by_worth, zone_rows, zone_statistics
        from tilewright.flows.cli.printed.products import print_zones
        from tilewright.flows.cli.printed.terminal import Terminal
        from tilewright.tasks.tables.convert import write_as

        if to is not None:
            check_beside(to, output, given=file, what="zones")
        names = None if layers is None else [name.strip() for name in layers.split(",") if name.strip()]
        with Terminal(quiet=as_json) as terminal:
            if to is None:
                table = add_zones(output, file, layers=names, listener=terminal)
            else:
                table = zone_statistics(output, file, layers=names, listener=terminal)
                write_as(table, to)
        place = f"{output.rstrip('/')}/{TABLE_NAME}.parquet" if to is None else str(to)
        if as_json:
            print_json({"rows": zone_rows(table), "to": place})
        else:
            print_zones(table.columns, columns_by_worth(table.columns), place)


def export(
    output: Target,
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="Of format .geojson, .fgb, .gpkg, .csv, .pmtiles or .parquet.")
    ],
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which table, if there are several; a .gpkg takes all.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write a table of a finished product as a file for other programs; the product stays as it is."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.ask.export import export_tables
        from tilewright.flows.cli.printed.terminal import Terminal
        from tilewright.tasks.report.format import plural

        with Terminal(quiet=as_json) as terminal:
            written = export_tables(output, to, table=table, listener=terminal)
        if as_json:
            print_json({"to": str(to), "tables": written})
        else:
            for name, n_rows in written.items():
                typer.echo(shown(f"{name}: {plural(n_rows, 'row')} in {to}"))


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A finished product's folder or URI.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, of the same pixels and classes.")],
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DIR", help="A folder or URI for the page, figures, places and maps.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Points with a column of classes: is one of the two better?")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column of the labels; else those named as layers.")] = None,
    layer: Annotated[str | None, typer.Option(help="The layer they are held against, where several could be.")] = None,
    maps: Annotated[
        list[str], typer.Option("--map", metavar="CLASS=A,B", help="The labels that mean a class; may be repeated.")
    ] = [],  # noqa: B006
    same: Annotated[
        bool, typer.Option("--same", help="Exit with 3 unless both are the same within the tolerances, 0 by default.")
    ] = False,
    differ: Annotated[
        list[str], typer.Option(metavar="[LAYER=]0.001", help="The share of pixels or objects that may differ.")
    ] = [],  # noqa: B006
    atol: Annotated[
        list[str], typer.Option(metavar="[LAYER=]0.01", help="The amount by which a value may differ from A's.")
    ] = [],  # noqa: B006
    rtol: Annotated[
        list[str], typer.Option(metavar="[LAYER=]0.001", help="The same, in parts of A's value; both are added.")
    ] = [],  # noqa: B006
    iou: Annotated[
        list[str], typer.Option(metavar="[TABLE=]0.9", help="The overlap from which two objects are one; else 1.")
    ] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Say what changed from one finished product to another, or whether they are the same within tolerances."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.ask.compare import (
            asked_points,
            compare_outputs,
            comparison_lines,
            wanted_tolerances,
        )

        tolerances = wanted_tolerances(same=same, differ=differ, atol=atol, rtol=rtol, iou=iou)
        points = asked_points(labels, column=column, layer=layer, maps=maps)
        document = compare_outputs(a, b, to=to, labels=points, same=tolerances)
        if as_json:
            print_json(document)
        else:
            _print_lines(comparison_lines(document, to))
        if document["same"] and not document["same"]["same"]:
            raise typer.Exit(NOT_SAME_EXIT)


def evaluate(
    output: Target,
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Points or polygons as for zones, a .csv with lon, lat, or a .tif.")
    ],
    *,
    column: Annotated[str | None, typer.Option(help="The column of the labels; else those named as layers.")] = None,
    layer: Annotated[str | None, typer.Option(help="The layer it is held against, where several could be.")] = None,
    maps: Annotated[
        list[str], typer.Option("--map", metavar="CLASS=A,B", help="The labels that mean a class; may be repeated.")
    ] = [],  # noqa: B006
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|season|tile|FILE",
            help="Scored by groups too: of a column, season of a date, MGRS tile of 100 km, or zones of a file.",
        ),
    ] = None,
    ious: Annotated[
        list[float], typer.Option("--iou", metavar="0.5", help="Overlaps from which objects of a table count as found.")
    ] = [],  # noqa: B006
    trust: Annotated[
        float | None,
        typer.Option(metavar="0.9", help="Where to trust the map, with this coverage of each class: trusted.tif."),
    ] = None,
    imagery: Annotated[
        bool, typer.Option("--imagery", help="The worst places with pictures of the product's own scenes.")
    ] = False,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="A product in a bucket is your own: show the scenes that it names.")
    ] = False,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DIR", help="Beside the product: a folder or URI for the files.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold a finished product against labels: accuracy by class, errors of values, calibration, and where it errs."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.audit.evaluate import evaluation_lines
        from tilewright.flows.audit.files import Wanted
        from tilewright.flows.audit.series import evaluate_at, series_lines
        from tilewright.flows.cli.printed.terminal import Terminal

        wanted = Wanted(
            column=column, layer=layer, maps=maps, by=by, ious=ious, trust=trust, imagery=imagery, trusted=trusted
        )
        with Terminal(quiet=as_json) as terminal:
            document = evaluate_at(output, labels, wanted, to=to, listener=terminal)
        if as_json:
            print_json(document)
        else:
            lines = series_lines if "dates" in document else evaluation_lines
            _print_lines(lines(document, to or output))


def _print_lines(lines: Iterable[str]) -> None:
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    for line in lines:
        typer.echo("\n".join(wrapped(shown(line), width)))


def check_copy(job: Job, to: Path) -> None:
    """Check that the table of a job over places can also be written to a path. Raises a ValueError."""
    from tilewright.flows.ask.added_table import check_beside
    from tilewright.flows.job.job import JobError

    if job.places is None:
        raise JobError("--to writes the table of a job over places: leave it out, or give places instead of area.")
    check_beside(to, job.output_uri, given=job.base / job.places.file, what="places")


def copy_places(outcome: Outcome, to: Path) -> None:
    """Write the table of places of a finished product to a path, in the format of its ending."""
    from tilewright.flows.ask.added_table import write_beside
    from tilewright.flows.environment import storage_options
    from tilewright.tasks.plan.places import PLACES_FILE
    from tilewright.tasks.storage.storage import open_storage

    write_beside(open_storage(outcome.output, options=storage_options(outcome.output)), PLACES_FILE, to)
