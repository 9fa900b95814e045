"""The outcome of a search: its scenes, the items left out with the reason, and why the others do not count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from tilewright.catalogs.scene import Scene


KEPT, UNUSABLE, OUTSIDE_PERIOD = "kept", "cannot be used", "outside the period"

OUTSIDE_AREA, CLOUDY, OTHER_PASS, NO_BAND = (
    "outside the area",
    "cloudier than filter.max_cloud",
    "of another orbit, mode or platform than filter asks",
    "without any of the bands",
)

FATES = (OUTSIDE_PERIOD, OUTSIDE_AREA, CLOUDY, OTHER_PASS, NO_BAND, UNUSABLE, KEPT)
"""The fates of items, from the first condition that is asked to the last."""

SHOWN = 5
"""The most items that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An item that cannot be used, or a band of it, and the reason as a clause."""

    item: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The scenes of a search in order, `left_out` without repetition, and the fate of every item by its id.

    `moments` are those of the items outside the period, by their ids.
    """

    scenes: tuple[Scene, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    fates: Mapping[str, str] = field(default_factory=dict)
    moments: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def n_unusable(self) -> int:
        """How many items of the area and the period cannot be used at all."""
        return sum(fate == UNUSABLE for fate in self.fates.values())

    @property
    def unusable_share(self) -> float:
        """The share (0-1) of items that cannot be used among those of the area and the period; 0 without any."""
        inside = sum(fate not in {OUTSIDE_PERIOD, OUTSIDE_AREA} for fate in self.fates.values())
        return self.n_unusable / inside if inside else 0.0

    def counts(self) -> dict[str, int]:
        """How many items had each fate, in the order in which the conditions are asked."""
        counted = Counter(self.fates.values())
        return {fate: counted[fate] for fate in FATES if counted[fate]}


def merged(parts: Iterable[Found]) -> Found:
    """The outcomes of several searches as one: an item that one of them keeps is kept, whatever the others say.

    Of two items of unlike moments with the same id the later found is left out.
    """
    scenes: dict[tuple[str, str], Scene] = {}
    fates: dict[str, str] = {}
    left_out: dict[LeftOut, None] = {}
    moments: dict[str, datetime] = {}
    for part in parts:
        for scene in part.scenes:
            known = scenes.get((scene.collection, scene.id))
            if known is None or known.datetime == scene.datetime:
                scenes[scene.collection, scene.id] = scene
            else:
                left_out[same_id(scene.id, known)] = None
        left_out |= dict.fromkeys(part.left_out)
        moments |= part.moments
        for item, fate in part.fates.items():
            fates[item] = max(fates.get(item, fate), fate, key=FATES.index)
    ordered = sorted(scenes.values(), key=lambda scene: (scene.datetime, scene.id))
    outside = {item: moment for item, moment in moments.items() if fates.get(item, OUTSIDE_PERIOD) == OUTSIDE_PERIOD}
    return Found(scenes=tuple(ordered), left_out=tuple(left_out), fates=fates, moments=outside)


def same_id(item: str, other: Scene) -> LeftOut:
    """The entry of an item that cannot be told from another one."""
    shown = other.datetime.isoformat().replace("+00:00", "Z")
    return LeftOut(item=item, reason=f"another item, of {shown}, has the same id: give each its own")


def left_out_sentence(left_out: tuple[LeftOut, ...]) -> str:
    """One sentence that counts the items left out and names the first of them with the reasons; empty without any."""
    if not left_out:
        return ""
    names = list(dict.fromkeys(entry.item for entry in left_out))
    cases = "; ".join(f"{entry.item} ({entry.reason})" for entry in left_out[:SHOWN])
    more = f"; and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    verb = "item cannot be used and is" if len(names) == 1 else "items cannot be used and are"
    return f"{len(names)} {verb} left out, whole or in part: {cases}{more}."


def check_share(found: Found, *, most: float, source: str) -> None:
    """Do nothing if scenes are left and at most the share `most` (0-1) of the items cannot be used.

    Raises:
        CatalogError: items of the area and the period cannot be used: all of them, or more than that share.
    """
    if not found.n_unusable or (found.scenes and found.unusable_share <= most):
        return
    sentence = left_out_sentence(found.left_out)
    if not found.scenes:
        raise CatalogError(f"{source} has nothing left that can be used. {sentence}")
    raise CatalogError(
        f"{found.unusable_share:.0%} of the items of {source} in the area and the period cannot be used, and "
        f"tolerance.items_left_out is {most:g}. {sentence}"
    )
