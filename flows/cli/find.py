"""The commands that give places of a finished product: find, sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.cli.options import AsJson, Target, print_json
from tilewright.flows.shown import shown

DEFAULT_FILE = "sample.parquet"
"""Where the sample goes in the folder that the command is given in."""


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
    with exit_codes(as_json=as_json):
        from tilewright.flows.ask.find import find_alike
        from tilewright.flows.ask.queries import read_place, read_vector
        from tilewright.flows.cli.printed.terminal import Terminal
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


def sample(
    output: Target,
    *,
    n: Annotated[int | None, typer.Option("--n", "-n", metavar="PLACES", help="How many places to label.")] = None,
    standard_error: Annotated[
        float | None, typer.Option(metavar="SHARE", help="As many as give the overall accuracy this standard error.")
    ] = None,
    expect: Annotated[
        list[str],
        typer.Option(metavar="NAME=SHARE", help="Accuracy expected of a stratum; SHARE alone: of all others."),
    ] = [],  # noqa: B006
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which layer, if there are several of classes.")
    ] = None,
    strata: Annotated[
        str | None, typer.Option(metavar="WHAT", help="class, confidence, none, or a file of zones (by name or id).")
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="stratified, random (without strata) or systematic (a grid).")
    ] = "stratified",
    allocation: Annotated[str, typer.Option(help="Among strata: proportional, equal or neyman.")] = "proportional",
    least: Annotated[
        int, typer.Option("--least-per-stratum", help="At least so many of each; good practice gives rare classes 50.")
    ] = 2,
    min_distance: Annotated[
        float, typer.Option(metavar="METRES", help="No two places nearer; estimates become approximate.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed, another sample.")] = 1,
    to: Annotated[
        Path, typer.Option(metavar="FILE", help="The places: .parquet, .geojson, .gpkg, .fgb or .csv.")
    ] = Path(DEFAULT_FILE),
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="A page on which to label them in a browser.")
    ] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="A product in a bucket is your own: show the scenes that it names.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw places to label from a finished product, by a design that lets `evaluate` estimate accuracy and areas."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.ask.sample import draw_sample
        from tilewright.flows.ask.sample_page import check_page, write_page
        from tilewright.flows.ask.sample_request import SampleRequest, expectations
        from tilewright.flows.cli.printed.terminal import Terminal
        from tilewright.tasks.audit.design.table import check_fresh
        from tilewright.tasks.tables.convert import check_target, write_as

        check_target(to, product=output)
        check_fresh(to)
        if page is not None:
            check_page(page, product=output, n=n)
        request = SampleRequest(
            n=n,
            standard_error=standard_error,
            expect=expectations(expect),
            layer=layer,
            strata=strata,
            scheme=scheme,
            allocation=allocation,
            least=least,
            min_distance=min_distance,
            seed=seed,
        )
        with Terminal(quiet=as_json) as terminal:
            drawn = draw_sample(output, request, listener=terminal)
            if page is not None:
                write_page(output, drawn, page, trusted=trusted, listener=terminal)
        write_as(drawn.table, to)
        if as_json:
            print_json({**drawn.to_json(), "to": str(to), "page": None if page is None else str(page)})
        else:
            for line in drawn.lines(to=str(to)):
                typer.echo(shown(line))
            if page is not None:
                typer.echo(shown(f"Label them in a browser: {page}"))
