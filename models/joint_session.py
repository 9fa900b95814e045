"""The session of a card that stands for several runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.augment import TURNS, AugmentedRunner
from models.ensemble import EnsembleRunner, prefix
from models.session import open_session

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.session import ModelSession


def open_joint(card: ModelCard, *, provider: str, threads: int) -> ModelSession:
    """A session that runs every member of a card and brings their answers together."""
    sessions = [open_session(member, provider=provider, threads=threads) for member in card.members]
    notes = " ".join(dict.fromkeys(session.note for session in sessions if session.note))
    first = replace(sessions[0], sha256=card.sha256, note=notes, outputs=())
    if card.role in TURNS:
        return replace(first, runner=AugmentedRunner(card, sessions[0]))
    inputs = tuple(
        replace(tensor, name=prefix(member, number) + tensor.name)
        for number, (member, session) in enumerate(zip(card.members, sessions, strict=True))
        for tensor in session.inputs
    )
    return replace(first, inputs=inputs, runner=EnsembleRunner(card, sessions))
