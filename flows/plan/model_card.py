"""The card that a job runs: its model's card, extended by the job's ensemble and augmentation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from tilewright.flows.environment import cache_folder, certificates
from tilewright.flows.job.job import JobError
from tilewright.flows.job.options import AugmentOptions, ClassifyOptions, EnsembleOptions, Texts
from tilewright.flows.served.mask_model import lasting_reference
from tilewright.models.card.registry import find_card
from tilewright.models.run.augment import NOISE, augmented_card, noisy_card
from tilewright.models.run.ensemble import SPLIT, ensemble_card
from tilewright.models.run.prompt import prompted_card
from tilewright.models.run.text import classified_card
from tilewright.models.stochastic.passes import stochastic_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan


REFERENCE = "reference"
"""The key of a plan's ``card`` for the model's reference; further models of an ensemble have ``reference.2`` and on."""


def job_card(job: Job) -> ModelCard:
    """The card of a job.

    Raises CardError where a card is not found or not valid, or does not fit the others of its ensemble.
    """
    names = (job.model, *job.ensemble.models)
    cards = [
        find_card(name, base=job.base, cache=cache_folder() / "models", certificates=certificates()) for name in names
    ]
    return _completed(cards, job.ensemble, job.augment, job.classify, job.prompt, seams=job.seams)


def card_facts(job: Job, card: ModelCard) -> dict[str, str]:
    """The references, name and digests with which a job's card is found and verified again, from any working folder."""
    cards = _own_cards(card)
    names = (job.model, *job.ensemble.models)
    references = {
        REFERENCE if number == 1 else f"{REFERENCE}.{number}": lasting_reference(name, own, base=job.base)
        for number, (name, own) in enumerate(zip(names, cards, strict=True), start=1)
    }
    return {**references, "name": card.name, "digest": card.digest, "sha256": card.sha256}


def card_images(card: ModelCard, layers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those of the layers that are written as bands of one file, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    image_of = {spec.name: spec.image for spec in card.layer_specs()}
    for name in layers:
        if image := image_of.get(name):
            found[image] = (*found.get(image, ()), name)
    return found


def load_plan_card(plan: Plan) -> ModelCard:
    """The card that a plan was made with.

    Raises JobError where the card under its reference has changed since, or the plan was bent.
    """
    references = model_references(plan)
    cards = [
        find_card(name, base=Path.cwd(), cache=cache_folder() / "models", certificates=certificates())
        for name in references
    ]
    try:
        ensemble = EnsembleOptions.model_validate(plan.request.get("ensemble") or {})
        augment = AugmentOptions.model_validate(plan.request.get("augment") or {})
        classify = ClassifyOptions.model_validate(plan.request.get("classify") or {})
        prompts = TypeAdapter(Texts).validate_python(plan.request.get("prompt") or ())
    except ValidationError as error:
        raise JobError(
            "The plan's ensemble, augment, classify or prompt is none that a job may ask for: somebody changed it."
        ) from error
    card = _completed(cards, ensemble, augment, classify, prompts, seams=plan.request.get("seams") is True)
    if card.digest != plan.model.card["digest"]:
        raise JobError(
            f"The model {', '.join(references)} is not the one this product was begun with: its card or files have "
            "changed. Restore them, run with --update or --replace, or choose another output."
        )
    return card


def model_references(plan: Plan) -> list[str]:
    """The names, paths and URLs of the models of a plan, in order."""
    return [str(value) for key, value in plan.model.card.items() if key.partition(".")[0] == REFERENCE]


def _completed(
    cards: Sequence[ModelCard],
    ensemble: EnsembleOptions,
    augment: AugmentOptions,
    classify: ClassifyOptions,
    prompts: Sequence[str],
    *,
    seams: bool,
) -> ModelCard:
    card = cards[0]
    if drawing := next((each for each in cards if each.stochastic), None):
        _refuse_beside(drawing, alone=len(cards) == 1, augment=augment, classify=classify)
        card = stochastic_card(card, cache=cache_folder() / "drawn")
    if len(cards) > 1 and (prompts or any(each.words for each in cards)):
        raise JobError("prompt: words are given to one model: leave ensemble or prompt out.")
    card = prompted_card(card, prompts)
    if classify.words and len(cards) > 1:
        raise JobError("classify: words are compared with the vectors of one model: leave ensemble or classify out.")
    if classify.calibrated and (not classify.words or augment.kind != "none"):
        raise JobError(
            "classify.calibrated: it needs words, and a model that is run once: "
            + (
                "leave augment out."
                if classify.words
                else "write classify: {words: [water, forest], calibrated: true}."
            )
        )
    if classify.words:
        card = classified_card(card, classify.words, least=classify.least)
    if len(cards) > 1:
        card = ensemble_card(cards, combine=ensemble.combine, disagreement=ensemble.disagreement, split=ensemble.split)
    card = _augmented(card, augment)
    return _with_seams(card) if seams else card


def _refuse_beside(card: ModelCard, *, alone: bool, augment: AugmentOptions, classify: ClassifyOptions) -> None:
    """Refuse other runs of a model that runs in passes already. Raises JobError."""
    others = {"ensemble": not alone, "augment": augment.kind != "none", "classify": bool(classify.words)}
    if beside := next((key for key, asked in others.items() if asked), None):
        raise JobError(f"{beside}: {card.name} runs in passes with what it draws (tw:stochastic): leave {beside} out.")


def _augmented(card: ModelCard, augment: AugmentOptions) -> ModelCard:
    measures = {"spread": augment.spread, "split": augment.split}
    if augment.split and any(SPLIT[0] in output.measures for output in card.outputs):
        raise JobError("split: the parts of the entropy are those of ensemble or of augment: leave one of them out.")
    if augment.kind == NOISE:
        sigma = augment.sigma or {}
        return noisy_card(card, sigma=sigma, passes=augment.n_runs, seed=augment.seed, **measures)
    return augmented_card(card, kind=augment.kind, **measures) if augment.kind != "none" else card


def _with_seams(card: ModelCard) -> ModelCard:
    """The card with a layer of the seams of each of its own. Raises JobError where it has none."""
    if card.pixelwise or len(card.per_window) == len(card.outputs):
        why = "takes single pixels" if card.pixelwise else "gives nothing for each pixel"
        raise JobError(f"seams: {card.name} {why}, so its windows have no seams: leave seams out.")
    names = Counter(spec.name for spec in replace(card, seams=True).layer_specs())
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise JobError(f"seams: {card.name} has a layer {twice} of its own: leave seams out.")
    return replace(card, seams=True)


def _own_cards(card: ModelCard) -> tuple[ModelCard, ...]:
    """The original cards, in order, of which an ensemble or augmented card is made."""
    return tuple(own for member in card.members for own in _own_cards(member)) if card.members else (card,)
