"""What a run says while it works: small events, told to whoever listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A coarse step began: ``plan``, ``prepare``, ``blocks``, ``cogs``, ``publish``; ``total`` units lie ahead."""

    name: str
    total: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """``done`` units of the running stage more are finished; ``km2`` of ground with them.

    Where the unit is a block: its name, the bytes it read and its busy seconds per stage.
    """

    done: int = 1
    km2: float = 0.0
    note: str = ""
    block: str = ""
    bytes_read: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence the user should read: a warning, a failure inside the tolerance; of which block and item, if any."""

    text: str
    block: str = ""
    item: str = ""


Event = Stage | Advance | Notice


class Listener(Protocol):
    """Whoever is told: the terminal, Prefect, a log."""

    def __call__(self, event: Event) -> None:
        """Take one event; must not raise."""


def silent(event: Event) -> None:
    """A listener that wants to know nothing."""
    del event
