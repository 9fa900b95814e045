"""Is this run the same as that one: what differs held against what may, and the one sentence that says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.compare.cells import most_apart
from tilewright.tasks.compare.difference.words import plain, share_words, unit_words
from tilewright.tasks.compare.lattice import CompareError, common_layers, common_tables, listed_names
from tilewright.tasks.compare.places import lonlat_bounds, lonlat_middle
from tilewright.tasks.compare.words import place_words, short
from tilewright.tasks.grid.areas import pixel_metres
from tilewright.tasks.report import format as figures
from tilewright.tasks.tables.convert import PARQUET
from tilewright.tasks.vector.layer_polygons import polygons_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.tasks.compare.cells import CellCounts
    from tilewright.tasks.compare.difference.objects import ObjectDifference
    from tilewright.tasks.compare.difference.tolerance import SameLimits
    from tilewright.tasks.compare.finished import FinishedProduct
    from tilewright.tasks.grid.grid import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class SameCheck:
    """One thing that is held against its tolerances; ``share`` of its ``n`` parts differs, ``allowed`` may.

    ``words`` say what differs, and where. ``near``: parts that differ, and by no more than may.
    """

    name: str
    kind: str
    n: int
    n_differ: int
    allowed: float
    words: str
    told: dict[str, Any]
    near: int = 0

    @property
    def share(self) -> float:
        """The share of what differs; 0 where there is nothing."""
        return self.n_differ / self.n if self.n else 0.0

    @property
    def within(self) -> bool:
        """Whether no more differs than may."""
        return self.share <= self.allowed

    def json(self) -> dict[str, Any]:
        """The check as JSON values."""
        facts = {"name": self.name, "kind": self.kind, "n": self.n, "n_differ": self.n_differ, "share": self.share}
        return {**facts, "allowed": self.allowed, "within": self.within, **self.told}


def pixel_check(
    name: str, kind: str, cells: CellCounts, n_apart: int, *, unit: str = "", limits: SameLimits, grid: Grid
) -> SameCheck:
    """The check of a layer, from the pixels that either product observed and those of them that are apart."""
    # Where most of what differs lies, and not where a cell differs most.
    most = np.where(cells.differ == cells.differ.max(initial=1), cells.differ, 0)
    worst = most_apart(cells.n, most, first=cells.first, extent=grid.extent, most=1)
    n = int(cells.n.sum())
    told: dict[str, Any] = {"most_different": None}
    where = ""
    if worst:
        lon, lat = lonlat_middle(grid, worst[0].box)
        told["most_different"] = {
            "bbox": lonlat_bounds(grid, worst[0].box), "lon": lon, "lat": lat, "share": worst[0].share, "n": worst[0].n
        }  # fmt: skip
        if lon is not None and lat is not None:
            half = "most of them" if 2 * int(most.max()) > n_apart else "the most of them"
            where = f", {half} around {place_words(lon, lat, metres=max(pixel_metres(grid)))}"
    differ = "differ or were observed in one alone"
    if kind == "values":
        told |= {"atol": limits.atol, "rtol": limits.rtol}
        if limits.atol or limits.rtol:
            parts = [f"{limits.atol:g}{unit_words(unit)}"] if limits.atol else []
            parts += [f"{share_words(limits.rtol)} of A's"] if limits.rtol else []
            differ = f"are further apart than {' and '.join(parts)} or were observed in one alone"
    share = share_words(n_apart / n) if n else "0 %"
    words = f"in {short(name)} {share} of the {figures.count(n)} pixels that either observed {differ}{where}"
    return SameCheck(name=name, kind=kind, n=n, n_differ=n_apart, allowed=limits.differ, words=words, told=told)


def object_check(found: ObjectDifference, *, limits: SameLimits, grid: Grid) -> SameCheck:
    """The check of a table of objects."""
    where = ""
    if (lone := found.lone) is not None:
        at = place_words(lone.lon, lone.lat, metres=max(pixel_metres(grid)))
        where = f", the largest of {'A' if lone.of_a else 'B'} alone ({short(lone.kind)}) at {at}"
    scores = f" and {figures.count(found.n_scores)} have another score" if found.n_scores else ""
    words = (
        f"in the table {short(found.table)} {figures.count(found.n - found.n_matched)} of {figures.count(found.n)} "
        f"objects are in one alone (IoU {found.iou:g}){scores}{where}"
    )
    return SameCheck(
        name=found.table,
        kind="objects",
        n=found.n,
        n_differ=found.n_apart,
        allowed=limits.differ,
        words=words,
        told={"iou": limits.iou, "atol": limits.atol, "rtol": limits.rtol, "n_scores": found.n_scores},
        near=found.n_near,
    )


def form_checks(a: FinishedProduct, b: FinishedProduct) -> list[SameCheck]:
    """The checks of what has no tolerance: the rectangle, which layers and tables there are, and tables of no classes,
    which are the same if their files are.

    Raises CompareError for a layer of which neither its pixels nor a table of its name can tell.
    """
    for name in [name for name in a.skipped if name in b.skipped]:
        if name not in a.tables or name not in b.tables:
            raise CompareError(
                f"--same cannot tell for the layer {short(name)}, which holds neither classes nor values on the grid "
                "and has no table: compare its arrays yourself, or make both products without it."
            )
    checks = []
    shapes = [" x ".join(str(side) for side in each.grid.extent.shape[::-1]) for each in (a, b)]
    words = f"A covers another rectangle ({shapes[0]} px) than B ({shapes[1]} px)"
    checks.append(_form("grid", differs=a.grid.extent != b.grid.extent, words=words))
    kinds = a.kinds(), b.kinds()
    for word, mine, theirs in (("A", *kinds), ("B", *kinds[::-1])):
        alone = [name for name, kind in mine.items() if theirs.get(name) != kind]
        words = f"only {word} has {listed_names(alone)} as such a layer or table"
        checks.append(_form(f"only_{word.lower()}", differs=bool(alone), words=words))
    others = {*common_tables(a, b), *map(polygons_table, common_layers(a, b))}
    checks += [file_check(a, b, name) for name in a.tables if name in b.tables and name not in others]
    return checks


def file_check(a: FinishedProduct, b: FinishedProduct, name: str) -> SameCheck:
    """The check of a table that both have and that is the same if its file is, by the checksums of the reports."""
    sums = [each.tables[name].get("checksum") for each in (a, b)]
    words = f"the table {short(name)} has other rows in A than in B"
    return _form(name, differs=sums[0] != sums[1] or not sums[0], words=words)


def polygons_table(layer: str) -> str:
    """The name of the table of a layer's polygons, which follow from its pixels: where these differ, they do too."""
    return polygons_name(layer).removesuffix(PARQUET)


def _form(name: str, *, differs: bool, words: str) -> SameCheck:
    return SameCheck(name=name, kind="form", n=1, n_differ=int(differs), allowed=0.0, words=words, told={})


def same_json(checks: Sequence[SameCheck]) -> dict[str, Any]:
    """The verdict as JSON values: ``same``, the sentence, and every check."""
    return {
        "same": all(check.within for check in checks),
        "sentence": same_sentence(checks),
        "checks": [check.json() for check in checks],
    }


def same_sentence(checks: Sequence[SameCheck]) -> str:
    """The sentence of the verdict: of all that is beyond what may, or of all that differs, what differs most."""
    beyond = [check for check in checks if not check.within]
    apart = beyond or [check for check in checks if check.n_differ]
    if not apart:
        near = [check.name for check in checks if check.near]
        far = f"nothing differs by more than may ({listed_names(near)} by less)" if near else "nothing differs"
        return plain(f"The same: {far}.")
    # What has no tolerance comes first: no share tells how much it matters.
    most = max(apart, key=lambda check: (check.kind == "form", check.share - check.allowed, check.share))
    if not beyond:
        allowed = f"{share_words(most.allowed)} may"
        return plain(f"The same within what may differ: {most.words}; {allowed}.")
    more = [check.name for check in beyond if check is not most]
    also = f"; also beyond what may differ: {listed_names(more)}" if more else ""
    if most.kind == "form":
        return plain(f"Not the same: {most.words}{also}.")
    allowed = f"; {share_words(most.allowed)} may" if most.allowed else "; none may"
    return plain(f"Not the same: {most.words}{allowed}{also}.")
