"""The command on the embedding of a finished product: find."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- read by typer
from typing import Annotated

import typer

from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.cli.options import AsJson, Target, print_json
from tilewright.flows.shown import shown


def find(
    output: Target,
    *,
    like: Annotated[str | None, typer.Option(metavar="LON,LAT", help="As the window or pixel at this place.")] = None,
    vector: Annotated[Path | None, typer.Option(metavar="FILE.npy", help="As this vector of the same model.")] = None,
    text: Annotated[
        str | None, typer.Option(metavar="WORDS", help="As these words, by the text model of the product's card.")
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many.")] = 10,
    within: Annotated[
        str | None, typer.Option(metavar="AREA", help="Only with the centre in it: a box, WKT or a file, as in a job.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The rows also there: .parquet, .geojson, .fgb, .gpkg or .csv.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Nearly, and faster, by this index; made where it is not there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the windows or pixels of a finished product whose vectors are most alike, the best first."""
    with exit_codes():
        from tilewright.flows.ask.find import find_alike
        from tilewright.flows.ask.queries import read_place, read_vector
        from tilewright.flows.cli.terminal import Terminal
        from tilewright.tasks.tables.convert import check_target, write_as

        if to is not None:
            check_target(to, product=output)
        with Terminal(quiet=as_json) as terminal:
            found = find_alike(
                output,
                like=None if like is None else read_place(like),
                vector=None if vector is None else read_vector(vector),
                text=text,
                k=k,
                within=within,
                index=index,
                listener=terminal,
            )
        if to is not None:
            write_as(found.table, to)
        if as_json:
            print_json({**found.to_json(), "to": None if to is None else str(to)})
        else:
            typer.echo("\n".join(shown(line) for line in found.lines(to)))
