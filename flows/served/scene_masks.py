"""The masks of a plan's scenes: the model measured when it is planned, and opened in each process that reads scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.flows.environment import cache_folder
from tilewright.flows.job.job import JobError
from tilewright.flows.served.mask_model import FIELD, class_layer, lasting_reference, mask_card, served_card
from tilewright.models.errors import memory_for
from tilewright.models.measure.facts import ModelFacts, measure_model
from tilewright.models.run.open import open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS
from tilewright.tasks.block.infer import LoadedModel
from tilewright.tasks.grid.windows import Lattice, lattice_of
from tilewright.tasks.plan.served import ServedModel
from tilewright.tasks.serving.kept_blocks import KeptBlocks
from tilewright.tasks.serving.lazy_map import NoPlaces
from tilewright.tasks.serving.scene_masks import SceneMasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.flows.job.job import Job
    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan

DEFAULT_RESOLUTION = 10.0
"""Metres, for a card that does not say how large its pixels are: the finest of Sentinel-2."""

BLOCK = 1024
"""Pixels of a block of a scene's map: small, since a job may ask for a corner of a scene alone."""


STRENGTH = ("proven", "measured", "no")
"""What may be known of tiled and whole, the strongest first."""

Judge = Callable[["ModelCard", ModelFacts, Lattice], tuple[str, str]]
"""The word and the reason of ``flows/plan/exactness.py``."""


def served_mask(job: Job, inputs: Sequence[InputPlan], *, judge: Judge) -> ServedModel | None:
    """The model that makes the masks of a plan's inputs, measured; None where no model makes any.

    ``judge`` gives the word for what is known of tiled and whole, with its reason.
    Raises what ``measure_model`` raises.
    """
    if not any(entry.mask.kind == "model" for entry in inputs):
        return None
    card = mask_card(job.mask.model)
    with memory_for(card.name):
        facts = measure_model(card, provider=job.provider, cache=cache_folder(), fuse="no")
    lattice, layer = lattice_of(facts.windows, block=BLOCK), class_layer(card)
    assert layer is not None, "a card of a mask has a layer of classes"
    return ServedModel(
        card={"reference": lasting_reference(job.mask.model, card, base=Path.cwd()), "name": card.name}
        | _digests(card),
        lattice=lattice,
        resolution=card.resolution or DEFAULT_RESOLUTION,
        up=facts.scale.numerator,
        down=facts.scale.denominator,
        layer=layer.name,
        exactness=judge(card, facts, lattice)[0],
    )


def weakened(word: str, reason: str, served: ServedModel | None, role: str) -> tuple[str, str]:
    """The word and the reason for a product whose model is served by another, in a role, of which less is known."""
    if served is None or STRENGTH.index(served.exactness) <= STRENGTH.index(word):
        return word, reason
    known = {"measured": "is equal in tiles and whole only as far as was tried", "no": "depends on its windows"}
    return served.exactness, f"{reason}; but {served.card['name']}, which {role}, {known[served.exactness]}"


def open_scene_masks(plan: Plan, *, provider: str) -> SceneMasks | None:
    """The masks of this process for the scenes of a plan, kept in the cache; None where no model makes any.

    Raises ProviderError where the provider cannot run, JobError where the card has changed since.
    """
    served = plan.mask_model
    if served is None:
        return None
    model = load_served(served, field=FIELD, provider=provider)
    return SceneMasks(
        served=served,
        model=model,
        blocks=KeptBlocks(cache_folder() / "masks"),
        versions=plan.versions,
    )


def load_served(served: ServedModel, *, field: str, provider: str) -> LoadedModel:
    """The model that a plan holds under a field of its job, ready to run.

    Raises ProviderError where the provider cannot run, JobError where the card has changed since.
    """
    card = served_card(served.card["reference"], field=field)
    if card.digest != served.card["digest"]:
        raise JobError(
            f"{field}: {served.card['reference']} is not the one this product was begun with: its card or files have "
            "changed. Restore them, run with --update or --replace, or choose another output."
        )
    session = open_session(card, provider=provider)
    batch = card.batch or (GPU_BATCH if session.provider in GPUS else 1)
    return LoadedModel(card=card, session=session, batch=batch, sampled=NoPlaces())


def _digests(card: ModelCard) -> dict[str, str]:
    return {"digest": card.digest, "sha256": card.sha256}
