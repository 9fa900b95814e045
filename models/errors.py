"""The errors that refuse a card, and that a model fails with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class CardError(ValueError):
    """A model card that cannot be honoured. The message names the value, the expected value and the field to change."""


class InferenceError(RuntimeError):
    """The model failed on a batch, or answered otherwise than its card says. The message says on which shapes."""


@contextmanager
def memory_for(name: str) -> Iterator[None]:
    """Refuse the model of that name where the memory of this machine ends while it is measured."""
    try:
        yield
    except MemoryError as error:
        raise CardError(
            f"the memory does not suffice to run {name} ({error}): make tile.step in the job, or window, step and trim "
            "in the card's tw:tile, smaller, or take a machine with more memory"
        ) from error
