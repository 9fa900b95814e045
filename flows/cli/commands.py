"""The command itself: its help by purpose, an option that stands anywhere, one sentence on a word that is wrong."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from tilewright.flows.cli.exits import AS_JSON, DEBUG, Ending, end_with, say

if TYPE_CHECKING:
    from collections.abc import Iterator


USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
"""What the library raises for words that a command does not take."""

WORDS = (
    (r"Input should be a valid integer|'.*' is not a valid integer", "expected a whole number"),
    (r"Input should be a valid number|'.*' is not a valid float", "expected a number"),
    (r"Input should be", "expected"),
    (r"Got unexpected extra arguments?(\(s\))? \((.*)\)", r"There is one word too many, \2"),
)
"""What the library says of a word that a command does not take, and what is said instead."""

PURPOSES = {
    "Begin": {
        "demo": "build the embedded sample and map water and change on it",
        "init": "write a job, asking for what no option says",
        "models": "list, show, check and import models",
        "doctor": "say what this installation has and lacks",
        "schema": "print the JSON Schema of a job or a card",
    },
    "From a job to a map": {
        "search": "list the scenes that a job would use",
        "plan": "say what a job would do and take; writes no product",
        "run": "run a job, or go on with one that was interrupted",
        "status": "say how far products are",
        "clean": "remove what a broken run left; no published product",
        "rerun": "rebuild a product from its Item, to see if it is the same",
    },
    "Again and again": {
        "watch": "redo the blocks that new or changed scenes touch",
        "backfill": "make a product per row of a table",
        "catalog": "join the products of a folder in one STAC Collection",
        "push": "put products into a STAC API",
    },
    "From a map to answers": {
        "view": "look at products on a map in a browser",
        "compare": "say what changed between two products",
        "zones": "measure the layers in each zone of a file",
        "sample": "draw places to label, for areas with intervals",
        "evaluate": "hold a product against labels",
        "find": "find what is alike, by vector, place or words",
        "export": "write a table for other programs",
    },
}
"""The commands by what they are for, a few words each; the first sentence of a command's own help says more."""

EXAMPLES = {
    "demo": "demo --folder demo",
    "init": "init river.yaml --area 13.1,48.2,13.2,48.3 --period 2021-06 --model ndwi-water",
    "models": "models list",
    "models list": "models list --json",
    "models show": "models show ndwi-water",
    "models check": "models check my-model/card.json",
    "models import": "models import unet.onnx --to my-model --set collection=sentinel-2-l2a",
    "models new": "models new unet.onnx --to my-model",
    "doctor": "doctor --offline",
    "schema": "schema job > job.schema.json",
    "search": "search river.yaml --json",
    "plan": "plan river.yaml --set grid.resolution=20",
    "run": "run river.yaml --output s3://maps/river --workers 4",
    "status": "status out/river",
    "clean": "clean out/river",
    "rerun": "rerun out/river",
    "watch": "watch river.yaml --every month",
    "backfill": "backfill rivers.csv --job river.yaml --home out/rivers",
    "catalog": "catalog out",
    "push": "push out/river https://stac.example.org --address https://maps.example.org/river",
    "view": "view out/june out/july",
    "compare": "compare out/june out/july",
    "zones": "zones out/river parcels.gpkg",
    "sample": "sample out/river --n 300 --page label.html",
    "evaluate": "evaluate out/river labels.csv",
    "find": "find out/vectors --like 13.1,48.2 --to alike.geojson",
    "export": "export out/river --to patches.gpkg",
}
"""What the help of each command ends with, by its words, without the program's name."""


class Commands(TyperGroup):
    """The command, which takes `--debug` at any place among its words, and says in one sentence which is wrong.

    Its help lists the commands by what they are for, in the order in which somebody meets them.
    """

    def make_context(self, *words: Any, **more: Any) -> Any:
        """The context of the first words."""
        with _one_sentence():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the words name."""
        with _one_sentence():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words without the option, which `exit_codes` looks up itself."""
        words = args[: args.index("--")] if "--" in args else args
        kept: list[str] = super().parse_args(ctx, [word for word in words if word != DEBUG] + args[len(words) :])
        return kept

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, None for none; its help and that of its own commands end with an example."""
        command = super().get_command(ctx, cmd_name)
        for words, each in ((cmd_name, command), *_beneath(cmd_name, command)):
            if words in EXAMPLES:
                # The mark keeps the line in one piece.
                each.epilog = f"\b\nExample:\n  tilewright {EXAMPLES[words]}"
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with a few words each, a section for each purpose."""
        del ctx
        for title, commands in PURPOSES.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<8}", words) for name, words in commands.items()])


def _beneath(name: str, command: Any) -> list[tuple[str, Any]]:
    """(words, command) of a group's own commands."""
    return [(f"{name} {each}", inner) for each, inner in getattr(command, "commands", {}).items()]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Exit 2 with one sentence on words that no command takes; without any words the help is shown as ever."""
    try:
        yield
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        said = usage_sentence(error)
        say(said)
        if AS_JSON in sys.argv:
            raise end_with(Ending(as_json=True, said=said), 2) from None
        raise typer.Exit(2) from None


def usage_sentence(error: Any) -> str:
    """One sentence on a word that a command does not take, with the one that was meant and where all are listed."""
    from tilewright.models.fields import did_you_mean

    words = re.split(r" Did you mean| \(Possible|, unable to", error.format_message())[0].rstrip(". ")
    for theirs, ours in WORDS:
        words = re.sub(theirs, ours, words)
    command = getattr(error.ctx, "command", None)
    if given := getattr(error, "option_name", None):
        known = [option for each in getattr(command, "params", ()) for option in each.opts]
        words = f"{words}{did_you_mean(given, known)}"
    elif named := re.match(r"No such command '(.*)'", words):
        words = f"{words}{did_you_mean(named[1], getattr(command, 'commands', ()))}"
    return f"{words}: see {getattr(error.ctx, 'command_path', 'tilewright')} --help."
