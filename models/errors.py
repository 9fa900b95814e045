"""The error that refuses a card."""

from __future__ import annotations


class CardError(ValueError):
    """A model card that cannot be honoured. The message names the value, the expected value and the field to change."""
