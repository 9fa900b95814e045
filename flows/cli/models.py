"""The commands about models: ``models list``, ``show`` and ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tilewright.flows.cli.exits import exit_codes, say
from tilewright.flows.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.card.card import ModelCard

models_app = typer.Typer(
    help="The models at hand, and the check of a card against its ONNX file.", no_args_is_help=True
)


@models_app.command("list")
def models_list(*, as_json: AsJson = False) -> None:
    """List the models that come with Tilewright."""
    with exit_codes():
        from tilewright.flows.cli.tables import print_models
        from tilewright.models.card.registry import builtin_names, find_card

        cards = [find_card(name) for name in builtin_names()]
        if as_json:
            print_json([{"name": card.name, "sha256": card.sha256, "tasks": list(card.tasks)} for card in cards])
        else:
            print_models(cards)


@models_app.command("show")
def models_show(name: Annotated[str, typer.Argument(help="A name, path or URL.")], *, as_json: AsJson = False) -> None:
    """Show what a card asks for and gives."""
    with exit_codes():
        from tilewright.flows.cli.tables import print_card
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
    *,
    as_json: AsJson = False,
) -> None:
    """Prove a card against its ONNX file, measure the receptive field, and say what it cost."""
    with exit_codes():
        from tilewright.flows.cli.tables import print_check
        from tilewright.flows.environment import certificates
        from tilewright.models.card.registry import find_card
        from tilewright.models.measure.check import check_card

        found = find_card(card, base=Path.cwd(), cache=_cache() / "models", certificates=certificates())
        report = check_card(found, provider=provider, cache=_cache())
        for sentence in _unknown_bands(found):
            say(f"! {sentence}")
        if as_json:
            print_json(report.to_json())
        else:
            print_check(report)


def _unknown_bands(card: ModelCard) -> Iterator[str]:
    """A sentence on each band that a collection we know does not have; a source of one's own may still add it."""
    from tilewright.catalogs.sensors import band_of, canonical_collection, known_bands

    for spec in card.inputs:
        collection = canonical_collection(spec.collection)
        known = known_bands(collection)
        unknown = [band for band in spec.source_bands if band_of(collection, band) is None] if known else []
        if unknown:
            yield (
                f"Input {spec.name}: {collection} has no band {', '.join(unknown)}, which only your own source can "
                f"add; it has: {', '.join(known)}."
            )


def _cache() -> Path:
    from tilewright.flows.environment import cache_folder

    return cache_folder()
