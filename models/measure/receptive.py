"""How far a model sees, measured on its real graph: the trim that makes tiled output equal whole-image output.

Half of a noise window is disturbed and the outputs of the other half are compared bit for bit with the calm run: the
farthest pixel that felt it is the reach from that border. Both axes, both sides, every place of the border modulo the
total stride, several disturbances, all inputs at once and each alone. At the end the trim is proven by comparing
windows with a whole image.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from tilewright.models.cache import keep
from tilewright.models.measure.perturb import SIDES, Perturbation, worst_reaches
from tilewright.models.measure.ports import card_ports
from tilewright.models.measure.probe import CLEAR, Probe, ProbePort
from tilewright.models.measure.stride import proven_difference, total_stride
from tilewright.models.run.session import open_graph

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.probe import Reach


# Relative to the outputs' own standard deviation: below it a difference is arithmetic noise, or as good as it.
TOLERANCE = 1e-4

VERDICTS = ("bounded", "effectively-bounded", "unbounded")
"""From the best to the worst: a joint model is as bounded as its least bounded member."""

# Long side of the largest window tried on a graph of free size, in pixels, and on one with operators that mix the whole
# window, where memory may grow with the square of the area.
LONGEST, LONGEST_MIXING = 2048, 256

# Long side of the largest window a graph's own arithmetic may ask for, short across: taps that lie far apart are felt
# in no shorter one.
LONGEST_BY_STRUCTURE = 8192

# Raised when a measurement would come out differently, so that cached ones are taken again.
VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptiveField:
    """How far the model sees, in pixels of its finest input (those of the output where `tw:scale` is 1).

    `radius`: an output pixel depends on no input farther away, wherever it lies; None where that is unbounded.
    `trim`: pixels to cut from each side of windows that start at multiples of `stride`, itself a multiple of it; None
    with `radius`. It may be below the radius rounded up, since such windows' borders never fall on the worst places.
    `stride`: the total stride; windows start at multiples of it and are multiples of it long.
    `verdict`: bounded (nothing from beyond `radius`, bit for bit), effectively-bounded (what comes from beyond is below
    `tolerance` of the outputs' standard deviation), or unbounded; `reason` says why in one sentence.
    `difference`: the largest difference of windows with this trim from a whole image, relative to the outputs'
    standard deviation (for classes the share of unlike pixels); None where no two windows could be compared.
    """

    radius: int | None
    stride: int
    verdict: str
    reason: str
    tolerance: float = TOLERANCE
    trim: int | None = None
    difference: float | None = None


def measure_receptive_field(card: ModelCard, *, cache: Path | None = None) -> ReceptiveField:
    """The receptive field of the card's graph: read from the folder `cache` if it was measured before, else measured
    (some seconds of one core) and kept there.

    Raises ValueError where the graph runs on no window tried, or its outputs are not of the size the card says.
    """
    if any(spec.resize for spec in card.inputs):
        return _unbounded(1, "windows are resized to the graph's own size, so a pixel's samples hang on its window")
    inputs, outputs = card_ports(card)
    # External weights are not among the bytes of the graph: the card's digest speaks for them.
    content = card.digest if card.weights else card.sha256
    kept = cache / f"receptive-{_key(content, inputs, outputs)}.json" if cache else None
    known = _read(kept) if kept else None
    if known is None:
        known = measure_graph(card.model_path, sha256=content, inputs=inputs, outputs=outputs)
        if kept:
            _write(kept, known)
    return known


def measure_graph(
    path: Path,
    *,
    sha256: str,
    inputs: tuple[ProbePort, ...],
    outputs: tuple[ProbePort, ...],
    tolerance: float = TOLERANCE,
) -> ReceptiveField:
    """The receptive field of the graph at `path` (bytes of hash `sha256`), whose axes mean what the ports say.

    Always on the CPU provider, where unlike pixels are never computed together.
    Raises ValueError as `measure_receptive_field`.
    """
    rows = not any(port.spatial for port in inputs)
    if rows and not any(port.spatial for port in outputs):
        return ReceptiveField(radius=0, stride=1, verdict="bounded", reason="each pixel is a row of its own", trim=0)
    if rows or not any(port.spatial for port in outputs):
        return _unbounded(1, "it gives one answer for the whole window, not one per pixel", tolerance)
    from tilewright.models.measure.global_operators import mixing_operators
    from tilewright.models.measure.theoretical import structural_reach

    mixers = mixing_operators(path)
    probe = Probe(open_graph(path, sha256=sha256, provider="cpu"), inputs=inputs, outputs=outputs)
    possible = structural_reach(path, jumps={port.name: float(1 / port.ratio) for port in inputs if port.spatial})
    field = _measure(Perturbation(probe, tolerance=tolerance, slim=True), mixers, possible)
    if field.verdict == "unbounded" and field.difference is not None and 2 * (possible + CLEAR) <= LONGEST:
        # Slim windows are cheaper and miss only what reaches far along both axes at once: the proof has told.
        field = _measure(Perturbation(probe, tolerance=tolerance, slim=False), mixers, possible)
    return field


def _measure(trial: Perturbation, mixers: tuple[str, ...], possible: int) -> ReceptiveField:
    """`possible` is how far the graph could see by its structure, so how far must be looked."""
    suspects = f"; the graph has {', '.join(mixers)}" if mixers else ""
    needed = 2 * (possible + CLEAR)
    if needed > LONGEST_BY_STRUCTURE and not trial.fixed:
        seen = f"its kernels could reach {possible} px, farther than can be measured"
        return _unbounded(trial.multiple(), seen + suspects, trial.tolerance)
    length, reaches = _grown(trial, shortest=needed, longest=LONGEST_MIXING if mixers else LONGEST)
    if not any(each.heard for each in reaches):
        return _unbounded(1, "no noise tried changed its outputs, so nothing can be measured; write tw:tile trim")
    exact = all(each.exact is not None for each in reaches)
    reach = _largest(reaches, exact=exact)
    if reach is None:
        strength = max(each.strength for each in reaches)
        seen = f"what happens {length // 2} pixels away moves it by {strength:.2g} of the outputs' deviation"
        return _unbounded(trial.multiple(), seen + suspects, trial.tolerance)
    stride = total_stride(trial, reach=reach)
    if stride is None:
        return _unbounded(
            trial.multiple(),
            f"no shift of the input up to 64 pixels shifts its output alike{suspects}",
            trial.tolerance,
        )
    radius, aligned = worst_reaches(trial, length=length, stride=stride, exact=exact)
    return _proven(trial, radius=radius, trim=ceil(aligned / stride) * stride, stride=stride, exact=exact, why=suspects)


def _grown(trial: Perturbation, *, shortest: int, longest: int) -> tuple[int, list[Reach]]:
    """The length of the first window that shows the whole reach on all sides, or of the longest; and its reaches."""
    length = min(trial.fixed) if trial.fixed else trial.start * 2
    while not trial.fixed and length < shortest:
        length *= 2
    while True:
        middle = trial.middle(length, trial.probe.unit)
        reaches = [trial.reach(length, middle, axis, side) for axis, side in SIDES]
        seen = all(each.exact is not None for each in reaches)
        if seen or trial.fixed or length * 2 > longest:
            return length, reaches
        length *= 2


def _largest(reaches: list[Reach], *, exact: bool) -> int | None:
    found = [each.exact if exact else each.effective for each in reaches]
    known = [each for each in found if each is not None]
    return max(known) if len(known) == len(found) else None


def _proven(trial: Perturbation, *, radius: int, trim: int, stride: int, exact: bool, why: str) -> ReceptiveField:
    proof = proven_difference(trial, trim=trim, stride=stride)
    difference, allowed = proof or (None, 0.0)
    if difference is not None and difference > allowed:
        return ReceptiveField(
            radius=None,
            stride=stride,
            verdict="unbounded",
            reason=f"windows trimmed by {trim} differ from a whole image by {difference:.2g} of the outputs' "
            f"deviation: a pixel's result hangs on its window's size or place{why}",
            tolerance=trial.tolerance,
            difference=difference,
        )
    return ReceptiveField(
        radius=radius,
        stride=stride,
        verdict="bounded" if exact else "effectively-bounded",
        reason="nothing is felt from farther away, bit for bit"
        if exact
        else f"what comes from farther away stays below {trial.tolerance:g} of the outputs' deviation{why}",
        tolerance=trial.tolerance,
        trim=trim,
        difference=difference,
    )


def _unbounded(stride: int, reason: str, tolerance: float = TOLERANCE) -> ReceptiveField:
    return ReceptiveField(radius=None, stride=stride, verdict="unbounded", reason=reason, tolerance=tolerance)


def _key(content: str, inputs: tuple[ProbePort, ...], outputs: tuple[ProbePort, ...]) -> str:
    """What the measurement depends on, as hexadecimal digits: the model's bytes, the ports, this code's version."""
    return hashlib.sha256(repr((VERSION, TOLERANCE, content, inputs, outputs)).encode()).hexdigest()[:32]


def _read(path: Path) -> ReceptiveField | None:
    """The kept measurement; None where there is none or it cannot be read, so that it is measured again."""
    try:
        return ReceptiveField(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, field: ReceptiveField) -> None:
    """A field that cannot be kept costs time only."""
    with suppress(OSError):
        keep(path, (json.dumps(asdict(field), indent=2) + "\n").encode())


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
