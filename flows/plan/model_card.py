"""The card a job runs: its model's, with the models beside it and the sides it is seen from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import AugmentOptions, EnsembleOptions, JobError
from tilewright.models.card.registry import find_card
from tilewright.models.run.augment import augmented_card
from tilewright.models.run.ensemble import ensemble_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan


REFERENCE = "reference"
"""The key under which a plan keeps where its model is found; those beside it stand under ``reference.2`` and on."""


def job_card(job: Job) -> ModelCard:
    """The card of a job.

    Raises CardError where one is not found, not right, or cannot stand beside the others.
    """
    names = (job.model, *job.ensemble.models)
    cards = [find_card(name, base=job.base, cache=cache_folder() / "models") for name in names]
    return _completed(cards, job.ensemble, job.augment)


def card_facts(job: Job, card: ModelCard) -> dict[str, str]:
    """What finds and proves a job's card again from anywhere."""
    cards = _own_cards(card)
    names = (job.model, *job.ensemble.models)
    references = {
        REFERENCE if number == 1 else f"{REFERENCE}.{number}": _reference(job, name, own)
        for number, (name, own) in enumerate(zip(names, cards, strict=True), start=1)
    }
    return {**references, "name": card.name, "digest": card.digest, "sha256": card.sha256}


def load_plan_card(plan: Plan) -> ModelCard:
    """The card a plan was made with.

    Raises JobError where the card found under its reference is another one by now.
    """
    references = [value for key, value in plan.model.card.items() if key.partition(".")[0] == REFERENCE]
    cards = [find_card(name, base=Path.cwd(), cache=cache_folder() / "models") for name in references]
    ensemble = EnsembleOptions.model_validate(plan.request.get("ensemble") or {})
    card = _completed(cards, ensemble, AugmentOptions.model_validate(plan.request.get("augment") or {}))
    if card.digest != plan.model.card["digest"]:
        raise JobError(
            f"The model {', '.join(references)} is not the one this product was begun with: its card or files have "
            "changed. Restore them, run with --update or --replace, or choose another output."
        )
    return card


def _completed(cards: Sequence[ModelCard], ensemble: EnsembleOptions, augment: AugmentOptions) -> ModelCard:
    card = cards[0]
    if len(cards) > 1:
        card = ensemble_card(cards, combine=ensemble.combine, disagreement=ensemble.disagreement)
    if augment.kind != "none":
        card = augmented_card(card, kind=augment.kind, spread=augment.spread)
    return card


def _own_cards(card: ModelCard) -> tuple[ModelCard, ...]:
    """The cards that were found, in order, below all that was made of them."""
    return tuple(own for member in card.members for own in _own_cards(member)) if card.members else (card,)


def _reference(job: Job, name: str, card: ModelCard) -> str:
    """How a card is found again from anywhere: the job's own word where that is a name or URL, else a full path."""
    beside = job.base / name
    return str(beside.resolve()) if beside.exists() else name if "://" in name else card.name
