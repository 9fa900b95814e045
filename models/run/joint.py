"""Joint cards, which combine several runs: of one model on flipped windows, or of several models."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import OutputSpec


def joint_output(
    output: OutputSpec, measures: tuple[str, ...], *, crop: tuple[float, float] | None = None
) -> OutputSpec:
    """An output whose scores combine several runs, followed by the planes of `measures`.

    `crop` is the widest rim that one of the runs leaves out.
    """
    axes = output.axes
    sizes = [output.shape[axes.index(axis)] for axis in ("height", "width")] if not output.rows else []
    joint = replace(output, scored=True, labels=False, data_type="float32", measures=(*output.measures, *measures))
    return replace(
        joint,
        crop=crop,
        dim_order=("batch", "channel", *(("height", "width") if sizes else ())),
        shape=(-1, joint.n_planes, *sizes),
    )


def joint_card(members: tuple[ModelCard, ...], *, role: str, name: str, **changes: Any) -> ModelCard:
    """The joint card of `members` in a `role`; its digest covers theirs, the role and the outputs."""
    outputs = [[output.name, list(output.measures)] for output in changes["outputs"]]
    canonical = json.dumps([role, [card.digest for card in members], outputs])
    sha256 = hashlib.sha256("".join(card.sha256 for card in members).encode()).hexdigest()
    return replace(
        members[0],
        name=name,
        members=members,
        sampler=None,
        role=role,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        sha256=members[0].sha256 if len(members) == 1 else sha256,
        **changes,
    )
