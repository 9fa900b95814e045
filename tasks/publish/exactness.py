"""The word that a product's exactness deserves: what its plan proves, held against what its own windows showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tilewright.tasks.block.seams import LayerSeams, Seams, joined_seams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tilewright.models.spec.outputs import LayerSpec
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.ledger import BlockEntry


INDEX_DIGITS: Final = 6
"""Digits of a seam index that are told: sums over blocks in another order move the last ones of float64."""


def exactness_json(plan: Plan, blocks: Iterable[BlockEntry], specs: Sequence[LayerSpec]) -> dict[str, Any]:
    """The keys ``exact``, ``exactness``, ``exact_reason`` and ``seams`` of report.json; ``specs`` are of the layers.

    ``exactness`` is ``proven`` (from the graph's operators; no window of the run contradicts them), ``measured`` (no
    window tried differs, but that is no proof) or ``no``; ``exact`` is True for ``proven`` alone. The seam ``index`` of
    a layer is the share of its pixels (``of``: share) or the mean change of its values (``of``: change) where windows
    are half a step away: 0 where it is proven that nothing changes, None where no window could be compared.
    """
    seams = joined_seams(Seams.from_json(entry.seams) for entry in blocks)
    word, reason = _verdict(plan, seams)
    classes = {spec.name for spec in specs if spec.kind in {"class", "id"}}
    seam_layers = {spec.name for spec in specs if spec.source == "seams"}
    product = [name for name in plan.raster.layers if name not in seam_layers]
    told = _seams_json(seams, product, classes=classes, exact=word == "proven")
    return {"exact": word == "proven", "exactness": word, "exact_reason": reason, "seams": told}


def contradictions(plan: Plan, report: Mapping[str, Any]) -> list[str]:
    """The warning of a product whose windows contradict what the graph's operators prove, or hang on their batch."""
    taken_back = plan.model.exactness != "no" and report["exactness"] == "no"
    return [f"The word exact is taken back: {report['exact_reason']}."] if taken_back else []


def _verdict(plan: Plan, seams: Seams) -> tuple[str, str]:
    """The word and its reason as a clause."""
    model = plan.model
    if model.exactness == "no":
        return "no", model.exact_reason
    if worst := _worst(seams.mates):
        return "no", (
            f"{_found(worst, seams)} beside other windows of their batch: the model mixes its batch mates; "
            "run it with tile.batch: 1"
        )
    if worst := _worst(seams.layers):
        seen = f"{_found(worst, seams)} when it is run again half a step away"
        if model.exactness == "measured":
            return "no", f"{seen}: a pixel's result hangs on its window's place"
        return "no", (
            f"{seen}, although the operators of {model.card['name']} were taken to prove that they cannot: please "
            "report this model to the maintainers of Tilewright"
        )
    return model.exactness, model.exact_reason


def _worst(layers: Mapping[str, LayerSeams]) -> tuple[str, LayerSeams] | None:
    """The layer of which the greatest share differs, if any differs by more than ties."""
    differing = [(name, each) for name, each in layers.items() if each.differs]
    return max(differing, key=lambda pair: pair[1].share, default=None)


def _found(worst: tuple[str, LayerSeams], seams: Seams) -> str:
    name, layer = worst
    largest = f" (by up to {layer.largest:.2g})" if layer.largest else ""
    windows = f"{seams.windows} windows of this run" if seams.windows > 1 else "a window of this run"
    return f"{100 * layer.share:.3g} % of the pixels of {name} in {windows} differ{largest}"


def _seams_json(seams: Seams, product: Sequence[str], *, classes: set[str], exact: bool) -> dict[str, Any]:
    """The numbers of the compared windows; those of all layers are of the layer that differs most.

    A layer of the ``product`` of which no window was compared has a row too, for its index.
    """
    shown = {"windows": seams.windows, **_shares(list(seams.layers.values()))}
    layers = [
        {
            "name": name,
            "index": 0.0 if exact else _rounded(seams.layers.get(name, LayerSeams()).index),
            "of": "share" if name in classes else "change",
            **_shares([seams.layers.get(name, LayerSeams())]),
        }
        for name in dict.fromkeys([*seams.layers, *product])
    ]
    mates = {"mates": _shares(list(seams.mates.values()))} if seams.mates else {}
    return {**shown, "layers": layers, **mates}


def _rounded(index: float | None) -> float | None:
    return None if index is None else float(f"{index:.{INDEX_DIGITS}g}")


def _shares(layers: list[LayerSeams]) -> dict[str, Any]:
    worst = max(layers, key=lambda each: each.share, default=None)
    return {
        "pixels": worst.pixels if worst else 0,
        "differing": worst.differing if worst else 0,
        "percent": 100 * worst.share if worst else 0.0,
        "largest": max((each.largest for each in layers), default=0.0),
        "gap_pixels": max((each.gap_pixels for each in layers), default=0),
        "gap_differing": max((each.gap_differing for each in layers), default=0),
    }
