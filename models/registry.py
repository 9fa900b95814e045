"""A model's name, path or address as a card whose files lie here and are verified."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.card import ModelCard, load_card
from models.card_field import did_you_mean
from models.refusal import CardError
from models.remote import fetch_card, is_remote

BUILTIN: Final = Path(__file__).parent / "builtin"
CARD: Final = "card.json"


def builtin_names() -> tuple[str, ...]:
    """The names of the models that come with Tilewright, sorted."""
    return tuple(sorted(path.parent.name for path in BUILTIN.glob(f"*/{CARD}")))


def find_card(reference: str, *, base: Path | None = None, cache: Path | None = None) -> ModelCard:
    """The verified card of a built-in name, a `card.json`, a folder that holds one, or an http(s) or s3 URL of either.

    Paths are relative to `base` (the working folder when None). What is downloaded is kept in `cache`
    (`~/.cache/tilewright/models` when None) under the card's sha256.
    Raises CardError: unknown name (with the names there are), or whatever makes the card unusable.
    """
    if is_remote(reference):
        return load_card(fetch_card(reference, cache or Path.home() / ".cache" / "tilewright" / "models"))
    if reference in builtin_names():
        return load_card(BUILTIN / reference / CARD)
    path = (base or Path()) / reference
    if path.is_file() or (path / CARD).is_file():
        return load_card(path)
    raise CardError(
        f"model is {reference!r}{did_you_mean(reference, builtin_names())}; write a built-in name "
        f"({', '.join(builtin_names())}), the path of a card.json or its folder, or an http(s) or s3 URL of it"
    )
