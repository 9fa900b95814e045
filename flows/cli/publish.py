"""The command that makes a finished product known elsewhere: ``push``."""

from __future__ import annotations

from typing import Annotated

import typer

from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.cli.options import AsJson, Target, print_json
from tilewright.flows.shown import shown


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
    with exit_codes():
        from tilewright.flows.maintain.push import push_lines, push_product

        pushed = push_product(output, api, address=address)
        if as_json:
            print_json(pushed)
        else:
            typer.echo("\n".join(shown(line) for line in push_lines(pushed)))
