"""A card that stands for several runs: of one model seen from several sides, or of several models."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import OutputSpec


def joint_output(output: OutputSpec, measures: tuple[str, ...]) -> OutputSpec:
    """An output whose scores come from several runs, with planes of `measures` behind them."""
    axes = output.axes
    sides = [output.shape[axes.index(axis)] for axis in ("height", "width")] if not output.rows else []
    joint = replace(output, scored=True, labels=False, data_type="float32", measures=(*output.measures, *measures))
    return replace(
        joint,
        dim_order=("batch", "channel", *(("height", "width") if sides else ())),
        shape=(-1, joint.n_planes, *sides),
    )


def joint_card(members: tuple[ModelCard, ...], *, role: str, name: str, **changes: Any) -> ModelCard:
    """A card over `members` in a `role`; its digest changes with theirs, with the role and with what it gives."""
    outputs = [[output.name, list(output.measures)] for output in changes["outputs"]]
    plain = json.dumps([role, [card.digest for card in members], outputs])
    sha256 = hashlib.sha256("".join(card.sha256 for card in members).encode()).hexdigest()
    return replace(
        members[0],
        name=name,
        members=members,
        role=role,
        digest=hashlib.sha256(plain.encode()).hexdigest(),
        sha256=members[0].sha256 if len(members) == 1 else sha256,
        **changes,
    )
