"""What stands at a step where a pixel was not seen: what job and card together ask of each input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.job import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalogs.scene import Scene
    from flows.job import Job
    from models.card import ModelCard
    from models.inputs import InputSpec


def check_gaps(job: Job, card: ModelCard) -> None:
    """Refuse a job's ``gaps`` for a model none of whose inputs has several steps: it would do nothing."""
    if job.gaps is not None and not any(_has_steps(spec) for spec in card.inputs):
        raise JobError(
            f"gaps is {job.gaps!r}, but no input of {card.name} has several steps between which to fill: leave it out."
        )


def gap_rule(job: Job, spec: InputSpec, scenes: Sequence[Scene]) -> str:
    """The rule of one input: the card's, else the job's, else ``leave``.

    Raises JobError where job and card ask for different things, and where classes would be interpolated.
    """
    own, wish = spec.missing.gaps, job.gaps if _has_steps(spec) else None
    if own is not None and wish is not None and own != wish:
        raise JobError(
            f"gaps is {wish!r}, but input {spec.name} of the model takes {own!r} (tw:missing.gaps): leave gaps out."
        )
    rule = own or wish or "leave"
    classes = sorted(band for band in spec.source_bands if _is_class(band, spec, scenes)) if _has_steps(spec) else []
    if rule == "interpolate" and classes:
        raise JobError(
            f"Input {spec.name}: band {', '.join(classes)} holds classes, and nothing lies between two classes: "
            "write carry or leave instead of interpolate (gaps in the job, tw:missing.gaps in the card)."
        )
    return rule


def _has_steps(spec: InputSpec) -> bool:
    return spec.dates.steps != 1


def _is_class(band: str, spec: InputSpec, scenes: Sequence[Scene]) -> bool:
    return spec.unit == "class" or any(asset.unit == "class" for scene in scenes if (asset := scene.asset(band)))
