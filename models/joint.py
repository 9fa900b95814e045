"""A card that stands for several runs: of one model seen from several sides, or of several models."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.receptive import measure_receptive_field

if TYPE_CHECKING:
    from pathlib import Path

    from models.card import ModelCard
    from models.outputs import OutputSpec
    from models.receptive import ReceptiveField

VERDICTS = ("bounded", "effectively-bounded", "unbounded")
"""From the best to the worst: a joint model is as bounded as its least bounded member."""


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


def receptive_field(card: ModelCard, *, cache: Path | None = None) -> ReceptiveField:
    """How far a card sees: measured, and for several members the farthest of them on strides that suit all.

    Flips and turns see as far as the model: its reach is the largest of all four sides.
    """
    if not card.members:
        return measure_receptive_field(card, cache=cache)
    fields = [receptive_field(member, cache=cache) for member in card.members]
    worst = max(fields, key=lambda field: VERDICTS.index(field.verdict))
    stride = math.lcm(*(field.stride for field in fields))
    radii = [field.radius for field in fields if field.radius is not None]
    trims = [field.trim for field in fields if field.trim is not None]
    bounded = len(radii) == len(trims) == len(fields)
    return replace(
        worst,
        stride=stride,
        radius=max(radii) if bounded else None,
        trim=math.ceil(max(trims) / stride) * stride if bounded else None,
        difference=max((field.difference for field in fields if field.difference is not None), default=None),
    )
