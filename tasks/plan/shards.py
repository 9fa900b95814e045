"""The shards of a plan: sequences of neighbouring blocks, each done by a flow run of its own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One part of a plan's blocks: ``number`` of ``total``, counted from 1, and the (row, col) of its blocks."""

    number: int
    total: int
    places: tuple[tuple[int, int], ...]


def cut_shards(plan: Plan, n_shards: int) -> tuple[Shard, ...]:
    """The plan's blocks in ``n_shards`` sequences of equal length; fewer shards if there are fewer blocks.

    The same plan and ``n_shards`` always give the same cut, so that a shard is identified by its number.
    """
    places = plan.raster.blocks
    total = max(1, min(n_shards, len(places)))
    edges = [len(places) * number // total for number in range(total + 1)]
    return tuple(
        Shard(number=number, total=total, places=places[start:stop])
        for number, (start, stop) in enumerate(pairwise(edges), start=1)
    )
