"""Progress events of a run, and the listener that receives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The start of a stage: ``plan``, ``prepare``, ``blocks``, ``cogs``, ``publish``, with its ``total`` of units.

    ``rows``: so many rows of a table are a unit of a job over places; 0 for blocks of a map.
    """

    name: str
    total: int = 0
    rows: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Completion of ``done`` more units of the current stage, which cover ``km2`` of ground.

    If the unit is a block, or of ``rows`` of a table: its name, the bytes it read and its busy seconds per stage.
    """

    done: int = 1
    km2: float = 0.0
    rows: int = 0
    note: str = ""
    block: str = ""
    bytes_read: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence for the user: a warning or a tolerated failure, with the block and item it concerns, if any."""

    text: str
    block: str = ""
    item: str = ""


Event = Stage | Advance | Notice


class Listener(Protocol):
    """A receiver of events: the terminal, Prefect, a log."""

    def __call__(self, event: Event) -> None:
        """Process one event; must not raise."""


def silent(event: Event) -> None:
    """A listener that ignores every event."""
    del event
