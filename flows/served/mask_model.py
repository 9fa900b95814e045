"""The model that makes the masks of a job's scenes: its card, the rule it stands for, and its grid and windows."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import cache_folder, certificates
from tilewright.flows.job.job import JobError
from tilewright.models.card.registry import find_card
from tilewright.models.errors import CardError
from tilewright.models.fields import did_you_mean
from tilewright.models.stochastic.passes import stochastic_card
from tilewright.tasks.compose.mask_rule import MaskRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.flows.job.job import Job
    from tilewright.flows.job.mask import MaskOptions
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec


FIELD = "mask.model"
"""The key of a job under which refusals of a mask's card are said."""


@lru_cache(maxsize=8)
def served_card(reference: str, *, field: str) -> ModelCard:
    """The card that a job names under a field. Raises JobError for one that is not found or not valid."""
    try:
        card = find_card(reference, base=Path.cwd(), cache=cache_folder() / "models", certificates=certificates())
        return stochastic_card(card, cache=cache_folder() / "drawn")
    except CardError as error:
        raise JobError(f"{field}: {error}") from error


def mask_card(reference: str) -> ModelCard:
    """The card of a mask's model. Raises JobError for one that is not found or not valid, or makes no mask."""
    card = served_card(reference, field=FIELD)
    if len(card.inputs) != 1 or card.inputs[0].dates.kind != "composite":
        takes = "several inputs" if len(card.inputs) != 1 else f"dates of the kind {card.inputs[0].dates.kind}"
        raise JobError(
            f"{FIELD}: {card.name} takes {takes}; a mask is made of each scene alone, by a model with one input of "
            "kind composite."
        )
    if any(extra.kind == "place_mask" for extra in card.extras):
        raise JobError(f"{FIELD}: {card.name} is told the shape of a place (place_mask), and a scene has none.")
    if class_layer(card) is None:
        raise JobError(f"{FIELD}: {card.name} gives no layer of classes, of which some could be dropped.")
    return card


def class_values(card: ModelCard, given: Sequence[int | str], *, field: str) -> tuple[int, ...]:
    """The values of classes of a card's first layer of classes, ascending; ``given`` by name or value.

    Raises JobError naming ``field`` for a class that the card does not know.
    """
    layer = class_layer(card)
    assert layer is not None, "the card has a layer of classes"
    known = {each.name: each.value for each in layer.classes}
    strange = [each for each in given if each not in known and each not in known.values()]
    if strange:
        hint = did_you_mean(str(strange[0]), known)
        raise JobError(f"{field}: {card.name} knows no class {strange[0]!r}{hint}: it tells {', '.join(known)}.")
    return tuple(sorted({known[each] if isinstance(each, str) else each for each in given}))


def model_rule(options: MaskOptions) -> MaskRule:
    """The rule of a mask by a model. Raises JobError for a class that the model does not know."""
    card = mask_card(options.model)
    return MaskRule(
        kind="model",
        model=card.digest,
        sees=card.inputs[0].source_bands,
        drop=class_values(card, options.drop, field="mask.drop"),
        dilation=options.dilation,
    )


def mask_request(job: Job) -> dict[str, Any]:
    """What a job's request says of a mask by a model: its digest in place of its name; nothing for other masks."""
    if job.mask.kind != "model":
        return {}
    return {"mask": {**job.mask.request(), "model": mask_card(job.mask.model).digest}}


def class_layer(card: ModelCard) -> LayerSpec | None:
    """The first layer of classes of a card, None without one."""
    return next((spec for spec in card.layer_specs() if spec.kind == "class"), None)


def lasting_reference(name: str, card: ModelCard, *, base: Path) -> str:
    """A card's ``name`` as it is valid in any working folder: a full path for a local one, else its name or URL."""
    local = base / name
    return str(local.resolve()) if local.exists() else name if "://" in name else card.name
