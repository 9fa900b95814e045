"""Options that several commands share, and JSON output."""

from __future__ import annotations

import importlib.metadata
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tilewright.flows.shown import shown_json

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job, a YAML or JSON file.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]

Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the job; may be repeated.")]

OutputUri = Annotated[str | None, typer.Option("--output", help="A folder or s3://bucket/prefix.")]

Target = Annotated[str, typer.Argument(metavar="OUTPUT", help="A product's folder or URI.")]

Runner = Annotated[str, typer.Option(help="threads, dask, or tcp://scheduler:8786.")]

Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="How many cores to use.")]

EXAMPLE_PRICES = Path(__file__).parents[1] / "estimate" / "prices.yaml"

Prices = Annotated[Path | None, typer.Option(help=f"Your unit prices: a changed copy of {EXAMPLE_PRICES}.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tilewright {importlib.metadata.version('tilewright')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)]

TableFile = Annotated[
    Path | None,
    typer.Option(
        "--to",
        metavar="FILE",
        help="A table of places also there, of format .geojson, .fgb, .gpkg, .csv, .pmtiles or .parquet.",
    ),
]

Wait = Annotated[
    str, typer.Option(metavar="SECONDS|forever", help="Wait so long for a run that is writing the same output.")
]


def wait_seconds(text: str) -> float:
    """Seconds of ``--wait``, infinite for ``forever``. Raises typer.BadParameter for anything else."""
    try:
        seconds = math.inf if text == "forever" else float(text)
    except ValueError:
        seconds = -1.0
    # NaN is no number of seconds either.
    if not seconds >= 0:
        raise typer.BadParameter(f"{text!r}: expected a number of seconds, or forever", param_hint="--wait")
    return seconds


def print_json(plain: Any) -> None:
    """Print one JSON document on stdout, its keys sorted, without secrets of URLs."""
    sys.stdout.write(shown_json(plain, indent=2, sort_keys=True) + "\n")
