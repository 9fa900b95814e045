"""The word that a product's exactness deserves: what its plan proves, held against what its own windows showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tasks.block.seams import Seams, joined_seams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.block.seams import LayerSeams
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.ledger import BlockEntry


def exactness_json(plan: Plan, blocks: Iterable[BlockEntry]) -> dict[str, Any]:
    """The keys ``exact``, ``exactness``, ``exact_reason`` and ``seams`` of report.json.

    ``exactness`` is ``proven`` (from the graph's operators; no window of the run contradicts them), ``measured`` (no
    window tried differs, but that is no proof) or ``no``; ``exact`` is True for ``proven`` alone.
    """
    seams = joined_seams(Seams.from_json(entry.seams) for entry in blocks)
    word, reason = _verdict(plan, seams)
    return {"exact": word == "proven", "exactness": word, "exact_reason": reason, "seams": _seams_json(seams)}


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


def _seams_json(seams: Seams) -> dict[str, Any]:
    """The numbers of the compared windows; those of all layers are of the layer that differs most."""
    shown = {"windows": seams.windows, **_shares(list(seams.layers.values()))}
    layers = [{"name": name, **_shares([each])} for name, each in seams.layers.items()]
    mates = {"mates": _shares(list(seams.mates.values()))} if seams.mates else {}
    return {**shown, "layers": layers, **mates}


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
