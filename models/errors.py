"""The one error by which a card is refused."""

from __future__ import annotations


class CardError(ValueError):
    """A model card that cannot be honoured: what was given, what was expected, which field to change."""
