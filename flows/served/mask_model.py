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
from tilewright.tasks.compose.mask_rule import MaskRule

if TYPE_CHECKING:
    from tilewright.flows.job.job import Job
    from tilewright.flows.job.mask import MaskOptions
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec


@lru_cache(maxsize=8)
def mask_card(reference: str) -> ModelCard:
    """The card of a mask's model. Raises JobError for one that is not found or not valid, or makes no mask."""
    try:
        card = find_card(reference, base=Path.cwd(), cache=cache_folder() / "models", certificates=certificates())
    except CardError as error:
        raise JobError(f"mask.model: {error}") from error
    if len(card.inputs) != 1 or card.inputs[0].dates.kind != "composite":
        raise JobError(
            f"mask.model: {card.name} takes {len(card.inputs)} inputs, or several dates; a mask is made of each scene "
            "alone, by a model with one input of kind composite."
        )
    if any(extra.kind == "place_mask" for extra in card.extras):
        raise JobError(f"mask.model: {card.name} is told the shape of a place (place_mask), and a scene has none.")
    if class_layer(card) is None:
        raise JobError(f"mask.model: {card.name} gives no layer of classes, of which some could be dropped.")
    return card


def model_rule(options: MaskOptions) -> MaskRule:
    """The rule of a mask by a model. Raises JobError for a class that the model does not know."""
    card = mask_card(options.model)
    layer = class_layer(card)
    assert layer is not None, "a card of a mask has a layer of classes"
    known = {each.name: each.value for each in layer.classes}
    values = {each.value for each in layer.classes}
    strange = [each for each in options.drop if each not in known and each not in values]
    if strange:
        hint = did_you_mean(str(strange[0]), known)
        raise JobError(f"mask.drop: {card.name} knows no class {strange[0]!r}{hint}: it tells {', '.join(known)}.")
    return MaskRule(
        kind="model",
        model=card.digest,
        sees=card.inputs[0].source_bands,
        drop=tuple(sorted({known[each] if isinstance(each, str) else each for each in options.drop})),
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
