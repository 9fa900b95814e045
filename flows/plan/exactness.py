"""Whether the tiles of a plan are the whole image: proven, measured, or neither; and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.tasks.report.performance import OWN_VECTOR, OWN_WINDOW

if TYPE_CHECKING:
    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.facts import ModelFacts
    from tilewright.models.measure.stride import WindowProof
    from tilewright.tasks.grid.windows import Lattice


def judge_exactness(card: ModelCard, facts: ModelFacts, lattice: Lattice) -> tuple[str, str]:
    """The word and its reason as a clause.

    ``proven``: the graph's operators leave no way for tiled inference to differ from whole-image inference.
    ``measured``: no window tried differs. ``no``: it differs, or nothing is known. Vectors of windows are no map: what
    is asked of them is whether one hangs on other windows.
    """
    if card.embedding and len(card.per_window) == len(card.outputs):
        return _of_own_windows(facts)
    word, reason = _of_layers(card, facts, lattice)
    finds = ", ".join([*(table.name for table in card.boxes), *(masks.name for masks in card.masks)])
    if not finds or card.only_boxes:
        return word, reason
    return word, f"{reason}. That is said of the layers; what {finds} holds depends on the windows"


def judge_places(card: ModelCard, facts: ModelFacts, lattice: Lattice) -> tuple[str, str]:
    """The same for a job over places: whether a raster's pixel is the map's; of one answer for a window, whether it
    hangs on other rows.
    """
    if len(card.per_window) < len(card.outputs):
        return judge_exactness(card, facts, lattice)
    return _of_own_windows(facts, row=True)


def _of_own_windows(facts: ModelFacts, *, row: bool = False) -> tuple[str, str]:
    """The same for what is one answer for each window, or for the window of each row of a table."""
    if facts.mates:
        return "measured", f"{facts.mates}; in one batch windows answer as alone as far as was tried"
    if row:
        return "proven", f"{OWN_WINDOW}: what it gets depends on no other row, and on no order of work"
    return "proven", f"{OWN_VECTOR}: what it is depends on no other window, and on no cut of the work"


def _of_layers(card: ModelCard, facts: ModelFacts, lattice: Lattice) -> tuple[str, str]:
    """The same for the layers of a model."""
    if obstacle := _obstacle(card, facts, lattice):
        return "no", obstacle
    receptive, proof = facts.receptive, facts.proof
    seen = (proof.seen if proof else "") or receptive.seen
    tried = f" ({seen})" if seen else ""
    if receptive.verdict == "measured":
        return "measured", f"{receptive.reason}; tiled equals whole as far as was tried{tried}"
    if facts.mates:
        return "measured", f"{facts.mates}; in one batch they answer as alone as far as was tried{tried}"
    # The trim counts from the edge of a stride, so it is less than the radius around a pixel inside the stride.
    beyond = f", {receptive.trim} px beyond a stride of {receptive.stride}" if receptive.stride > 1 else ""
    sees = f"sees {receptive.radius} px around a pixel{beyond}, and windows lose {lattice.trim} px on each side"
    looks = sees if receptive.radius else "looks at each pixel alone"
    excepted = "pixels beside missing ones" if receptive.radius else "pixels that lack a band"
    gaps = f", but for {excepted}, which are filled from their own window"
    return "proven", f"the model {looks}: tiled equals whole{gaps if card.filled_from_window else ''}"


def _obstacle(card: ModelCard, facts: ModelFacts, lattice: Lattice) -> str:
    """Why tiled inference differs from whole-image inference, as a clause; empty if nothing says that it does."""
    receptive = facts.receptive
    summaries = [] if card.pixelwise else [extra.name for extra in card.extras if extra.of_window]
    obstacle = ""
    if card.answers:
        obstacle = "an answer in words is one for its whole window, so what is said depends on the windows"
    elif card.only_boxes:
        obstacle = (
            "a detector looks at its whole window, so what it finds depends on its windows; a box counts if its centre "
            "lies in the middle of its window, and once, whatever the blocks"
        )
    elif receptive.trim is None:
        obstacle = f"the model's receptive field has no bound ({receptive.reason}); its map depends on its windows"
    elif lattice.merge == "blend":
        obstacle = "overlapping windows are blended, as the card asks; a seam is softened, not absent"
    elif lattice.trim < receptive.trim:
        obstacle = f"the trim of {lattice.trim} px is less than the {receptive.trim} px the model needs"
    elif summaries:
        obstacle = f"input {summaries[0]} is one number for a whole window, so a map depends on its windows"
    elif card.per_window:
        obstacle = f"output {card.per_window[0]} is one answer for a whole window, so a map depends on its windows"
    elif facts.proof and not facts.proof.holds:
        obstacle = _contradicted(card, facts, facts.proof)
    elif receptive.verdict not in {"bounded", "measured"}:
        obstacle = f"tiled equals whole to {receptive.tolerance:g} of the outputs' deviation ({receptive.reason})"
    return obstacle


def _contradicted(card: ModelCard, facts: ModelFacts, proof: WindowProof) -> str:
    """The finding that windows as they are used differ, as a clause."""
    found = f"{proof.seen}, differ by {proof.difference:.2g} of the outputs' deviation"
    if facts.receptive.verdict != "bounded":
        return f"{found}: a pixel's result hangs on its window's size or place"
    return (
        f"{found}, although the operators of {card.name} were taken to prove that they cannot: please report this "
        "model to the maintainers of Tilewright"
    )
