"""Options that several commands share, and JSON output."""

from __future__ import annotations

import importlib.metadata
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tilewright.flows.shown import shown_json

if TYPE_CHECKING:
    from tilewright.flows.cli.printed.terminal import Terminal

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job, a YAML or JSON file.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]

Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the job; may be repeated.")]

OutputUri = Annotated[str | None, typer.Option("--output", help="A folder or s3://bucket/prefix.")]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the last line only.")]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: how far it is, how long stages took.")]

Notify = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Post a small JSON there at the end; TILEWRIGHT_NOTIFY for one that is secret."),
]

Target = Annotated[str, typer.Argument(metavar="OUTPUT", help="A product's folder or URI.")]

Targets = Annotated[
    list[str], typer.Argument(metavar="OUTPUT...", help="Products' folders or URIs, a folder of them, a chain's file.")
]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Printing:
    """How much a command prints, and whether as JSON."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise typer.BadParameter("give one of --quiet and --verbose, not both")

    def terminal(self, *, silent: bool = False) -> Terminal:
        """The listener that prints so much."""
        from tilewright.flows.cli.printed.terminal import Terminal

        return Terminal(quiet=self.as_json or silent, brief=self.quiet, verbose=self.verbose)


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
