"""The commands about models: ``models list``, ``show``, ``check``, ``import`` and ``new``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tilewright.flows.cli.exits import exit_codes, say
from tilewright.flows.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.card.card import ModelCard

CHECK_SECONDS = 600.0
"""A large U-Net takes a minute or two on one core."""

models_app = typer.Typer(
    help="The models at hand, and the check of a card against its ONNX file.", no_args_is_help=True
)


@models_app.command("list")
def models_list(*, as_json: AsJson = False) -> None:
    """List the models that come with Tilewright."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.cli.printed.models import print_models
        from tilewright.models.card.registry import builtin_names, find_card

        cards = [find_card(name) for name in builtin_names()]
        if as_json:
            print_json([{"name": card.name, "sha256": card.sha256, "tasks": list(card.tasks)} for card in cards])
        else:
            print_models(cards)


@models_app.command("show")
def models_show(name: Annotated[str, typer.Argument(help="A name, path or URL.")], *, as_json: AsJson = False) -> None:
    """Show what a card asks for and gives."""
    with exit_codes(as_json=as_json):
        from tilewright.flows.cli.printed.models import print_card
        from tilewright.flows.environment import certificates
        from tilewright.models.card.registry import find_card

        card = find_card(name, base=Path.cwd(), cache=_cache() / "models", certificates=certificates())
        if as_json:
            print_json(card.raw)
        else:
            print_card(card)


@models_app.command("check")
def models_check(
    card: Annotated[str, typer.Argument(metavar="CARD", help="A card's path, folder, name or URL.")],
    provider: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt or openvino.")] = "auto",
    seconds: Annotated[float, typer.Option(min=1, help="The most that the check may take.")] = CHECK_SECONDS,
    memory_mb: Annotated[int | None, typer.Option(min=64, help="The most memory; else 3/4 of what is free.")] = None,
    *,
    trusted: Annotated[bool, typer.Option("--trusted", help="Run the model in this process, unbounded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove a card against its ONNX file, measure the receptive field, and say what it cost.

    The model runs in a process of its own, whose time and memory are bounded.
    """
    with exit_codes(as_json=as_json):
        if not trusted:
            words = ["models", "check", card, "--provider", provider, "--trusted", *(["--json"] if as_json else [])]
            _check_apart(words, seconds=seconds, megabytes=memory_mb)
            return
        from tilewright.flows.cli.printed.models import print_check
        from tilewright.flows.environment import certificates
        from tilewright.models.card.registry import find_card
        from tilewright.models.errors import memory_for
        from tilewright.models.measure.check import check_card

        found = find_card(card, base=Path.cwd(), cache=_cache() / "models", certificates=certificates())
        with memory_for(found.name):
            report = check_card(found, provider=provider, cache=_cache())
        for sentence in (*_unknown_bands(found), *_fine_pixels(found)):
            say(f"! {sentence}")
        if as_json:
            print_json(report.to_json())
        else:
            print_check(report)


ForeignFile = Annotated[
    Path, typer.Argument(metavar="FILE|FOLDER", help="An ONNX file, its description or their folder.")
]
Facts = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A fact that no file says, such as bands=red,green,blue."),
]
NewFolder = Annotated[Path | None, typer.Option(help="The new folder of the card; else one of the model's name.")]


@models_app.command("import")
def models_import(
    path: ForeignFile,
    sets: Facts = None,
    to: NewFolder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a card of a model of another tool, or say what its files leave open.

    Read are the metadata of Deepness and Ultralytics in ONNX files, models of bioimage.io, the descriptions that hubs
    keep beside a model (config.json, preprocessor_config.json, TerraTorch's YAML) and Items of the MLM extension.
    """
    with exit_codes(as_json=as_json):
        from tilewright.flows.cli.printed.models import print_imported
        from tilewright.flows.shown import shown
        from tilewright.models.imports.importing import MissingFactsError, import_model

        try:
            imported = import_model(path, answers=sets or (), to=to)
        except MissingFactsError as error:
            for line in error.lines:
                typer.echo(shown(f"  {line}"), err=True)
            raise
        if as_json:
            print_json(imported.card.raw)
        else:
            print_imported(imported)
        for sentence in (*_unknown_bands(imported.card), *_fine_pixels(imported.card)):
            say(f"! {sentence}")


@models_app.command("new")
def models_new(
    path: ForeignFile,
    sets: Facts = None,
    to: NewFolder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Begin a card to fill in by hand: shapes, types and checksum as the file has them, a gap for what is missing."""
    with exit_codes(as_json=as_json):
        import json

        from tilewright.flows.schema.card_schema import card_schema
        from tilewright.flows.shown import shown
        from tilewright.models.imports.skeleton import begin_card

        folder, gaps = begin_card(path, answers=sets or (), to=to)
        (folder / "card.schema.json").write_text(json.dumps(card_schema()) + "\n", encoding="utf-8")
        if as_json:
            print_json({"card": str(folder / "card.json"), "missing": gaps})
            return
        typer.echo(shown(f"{folder / 'card.json'} is begun; card.schema.json beside it is for editors."))
        for line in gaps:
            typer.echo(shown(f"  fill in {line}"))
        typer.echo(shown(f"Then: tilewright models check {folder}"))


def _check_apart(words: list[str], *, seconds: float, megabytes: int | None) -> None:
    """Print what the command says in a process of its own, and exit as it does.

    Raises CardError if it passes a bound.
    """
    from tilewright.flows.cli.bounded import Bounds, free_megabytes, run_bounded
    from tilewright.models.errors import CardError

    bounds = Bounds(seconds=seconds, megabytes=megabytes or free_megabytes())
    words = [*words, *(["--debug"] if "--debug" in sys.argv else [])]
    answer = run_bounded(words, bounds, columns=shutil.get_terminal_size().columns)
    if answer.beyond:
        raise CardError(
            f"the model of {words[2]} {answer.beyond}; run it only if you trust it (--trusted), with more --seconds or "
            "--memory-mb if it needs them"
        )
    sys.stdout.write(answer.out)
    sys.stderr.write(answer.err)
    if answer.code:
        raise typer.Exit(answer.code)


def _unknown_bands(card: ModelCard) -> Iterator[str]:
    """A sentence on each band that a collection we know does not have, and on a collection that is called nearly as
    one; a source of one's own may still have them.
    """
    from tilewright.catalogs.sensors import BANDS, band_of, canonical_collection, known_bands
    from tilewright.models.fields import did_you_mean

    for spec in card.inputs:
        collection = canonical_collection(spec.collection)
        known = known_bands(collection)
        if not known and (hint := did_you_mean(collection, BANDS)):
            yield f"Input {spec.name}: only your own source can have the collection {collection}{hint}."
        unknown = [band for band in spec.source_bands if band_of(collection, band) is None] if known else []
        if unknown:
            yield (
                f"Input {spec.name}: {collection} has no band {', '.join(unknown)}, which only your own source can "
                f"add; it has: {', '.join(known)}."
            )


def _fine_pixels(card: ModelCard) -> list[str]:
    """A sentence on a card for pixels much finer than those of its collections."""
    from tilewright.flows.plan.rules import fine_pixels

    sizes = {spec.name: spec.resolution for spec in card.inputs if spec.resolution}
    warning = fine_pixels(card, sizes, "the card asks for")
    return [f"{warning} See tw:resolution, in metres."] if warning else []


def _cache() -> Path:
    from tilewright.flows.environment import cache_folder

    return cache_folder()
