"""Measures a model's receptive field on its real graph: the trim with which tiled output equals whole-image output.

Half of a noise window is perturbed, and the outputs of the other half are compared bit for bit with an unperturbed run:
the distance from the edge to the farthest changed pixel is the reach. This covers both axes, both sides, every position
of the edge modulo the total stride, and several perturbations, of all inputs at once and of each alone. Finally the
trim is verified by comparing windows with a whole image.

Pixels that were not tried may reach farther, so the trim is the one that the graph's operators prove (`reach`); without
a proof the measured one is taken, and called measured.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from tilewright.models.cache import read_kept, write_kept
from tilewright.models.card.tile import DEFAULT_STEP
from tilewright.models.errors import CardError
from tilewright.models.measure.perturb import SIDES, Perturbation, worst_reaches
from tilewright.models.measure.ports import card_ports, planes
from tilewright.models.measure.probe import UNCHANGED_MARGIN, Port, Probe
from tilewright.models.measure.reach.bound import reach_bound
from tilewright.models.measure.reach.field import TOLERANCE, VERDICTS, ReceptiveField, settled
from tilewright.models.measure.reach.loop import LONGEST_TRIM, averaged, looped
from tilewright.models.measure.reach.values import Unproven
from tilewright.models.measure.shapes import START_SIZES, fixed_by_resize, takes_batches, window_sizes
from tilewright.models.measure.stride import refuse_disguised_crop, tiling_difference, total_stride
from tilewright.models.measure.structure import (
    batch_mixers,
    built_in_sizes,
    fixed_resizes,
    mixing_operators,
    stores_single_batch,
    structural_reach,
)
from tilewright.models.run.session import open_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.probe import Reach
    from tilewright.models.measure.reach.bound import Bound
    from tilewright.models.measure.shapes import WindowSizes
    from tilewright.models.spec.sampler import SamplerSpec


# Long side in pixels of the largest window tried on a graph of free size, and on one with operators that mix the whole
# window, whose memory may grow with the square of the area.
LONGEST_WINDOW, LONGEST_MIXING_WINDOW = 2048, 256

# Long side in pixels of the largest narrow window that a graph's theoretical reach may require (far kernel taps).
LONGEST_NARROW_WINDOW = 8192

# Increased when a measurement would yield another result, so that cached ones are measured again.
VERSION = 6


def measure_receptive_field(card: ModelCard, *, cache: Path | None = None) -> ReceptiveField:
    """The receptive field of the card's graph: read from the folder `cache`, else measured (some seconds of one core)
    and written there.

    Raises CardError if the graph suits no window tried, its outputs have another size than the card says, or windows
    change their batch mates.
    """
    if card.sampler:
        return _of_loop(card.sampler, measure_receptive_field(card.one_call, cache=cache), card.tile.trim)
    resized = any(spec.resize for spec in card.inputs)
    inputs, outputs = card_ports(card)
    # sha256 covers the graph file alone; the card's digest covers external weights too.
    content = card.digest if card.weights else card.sha256
    key = repr((VERSION, TOLERANCE, content, inputs, outputs, card.tile.window, resized))
    path = cache / f"receptive-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json" if cache else None
    field = _read_cached(path) if path else None
    if field is None:
        field = measure_graph(
            card.model_path, sha256=content, inputs=inputs, outputs=outputs, window=card.tile.window, resized=resized
        )
        if path:
            # A measurement that cannot be kept costs only time.
            with suppress(OSError):
                write_kept(path, asdict(field))
    _refuse_unproven_crop(card, field)
    return field


def _of_loop(sampler: SamplerSpec, field: ReceptiveField, trim: int | str) -> ReceptiveField:
    """The receptive field of a loop, from that of one evaluation; `trim` is the card's own."""
    most = max(LONGEST_TRIM, trim if isinstance(trim, int) else 0)
    average, evaluations = sampler.average, sampler.evaluations
    if average is None:
        return looped(field, evaluations=evaluations, most=most)
    return averaged(field, evaluations=evaluations, window=average.window, step=average.step, most=most)


def _refuse_unproven_crop(card: ModelCard, field: ReceptiveField) -> None:
    """Refuse a crop that only the sizes in the card say, where comparing windows has not shown it."""
    stated = {entry["name"] for entry in card.raw["properties"]["mlm:output"] if entry.get("tw:crop") is not None}
    if field.trim is not None and field.difference is not None:
        return
    for output in card.outputs:
        if any(output.cropped) and output.name not in stated:
            raise CardError(
                f"properties.mlm:output ({output.name}): result.shape is {sum(output.crop or ()):g} px smaller than "
                f"the window, and that the graph crops them could not be shown ({field.reason}): write tw:crop "
                f"{max(output.crop or (0,)):g} if it does, or the tw:scale it has"
            )


def measure_graph(
    path: Path,
    *,
    sha256: str,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    tolerance: float = TOLERANCE,
    window: int | None = None,
    resized: bool = False,
) -> ReceptiveField:
    """The receptive field of the graph at `path`, a file with the hash `sha256`; the ports name its axes.

    `window` is the card's own. `resized`: windows are brought to the graph's fixed size before it.
    Always runs on the CPU provider, where the arithmetic of a pixel does not depend on other pixels.
    Raises CardError as `measure_receptive_field`.
    """
    inputs, window = _at_own_sizes(inputs, window) if resized else (inputs, window)
    probe = Probe(open_graph(path, sha256=sha256, provider="cpu"), inputs=inputs, outputs=outputs)
    pixels_in, pixels_out = any(port.spatial for port in inputs), bool(probe.outputs)
    mapped = pixels_in and pixels_out and not resized
    sizes = window_sizes(probe, stated=window, baked=built_in_sizes(path)) if mapped else None
    if sizes and sizes.fixed is None and (resizes := fixed_resizes(path)):
        sizes = fixed_by_resize(window, resizes)
    side = sizes.start if sizes else window or START_SIZES[0]
    batches = takes_batches(
        probe,
        outputs,
        size=(sizes and sizes.fixed) or (side, side),
        mixers=batch_mixers(path),
        single=stores_single_batch(path),
    )
    if sizes:
        field = _measure_mapped(path, probe, sizes, tolerance=tolerance)
    elif resized:
        field = _unbounded(1, "windows are resized to the graph's own size, so a pixel's samples hang on its window")
    elif pixels_in or pixels_out:
        field = _unbounded(1, "it gives one answer for the whole window, not one per pixel", tolerance)
    else:
        field = ReceptiveField(radius=0, stride=1, verdict="bounded", reason="each pixel is a row of its own", trim=0)
        bound = reach_bound(
            path, inputs=planes(inputs, rows=True), outputs=planes(outputs, rows=True), stride=1, mates=True
        )
        field = settled(field, bound)
    along = reach_bound(
        path, inputs=planes(inputs, rows=True), outputs=planes(outputs, rows=True), stride=1, mates=True
    )
    return replace(field, one_by_one=not batches, mates=_seen_along(along))


def _seen_along(bound: Bound | Unproven) -> str:
    """The reason why windows of a batch may see each other by the `bound` along it; empty if they cannot."""
    if isinstance(bound, Unproven):
        return f"it is not proven that windows do not see their batch mates: {bound.reason}"
    return f"windows may see {bound.radius} of their batch mates" if bound.radius else ""


def _at_own_sizes(inputs: tuple[Port, ...], window: int | None) -> tuple[tuple[Port, ...], int | None]:
    """The inputs with the ratios of the sizes that the graph fixes for them, and the window that these make."""
    sides = [port.shape[port.axes[0]] for port in inputs if port.spatial and port.shape[port.axes[0]] > 0]
    window = max(sides, default=window)
    return tuple(
        replace(port, ratio=Fraction(port.shape[port.axes[0]], window))
        if window and port.spatial and port.shape[port.axes[0]] > 0
        else port
        for port in inputs
    ), window


def _measure_mapped(path: Path, probe: Probe, sizes: WindowSizes, *, tolerance: float) -> ReceptiveField:
    """The receptive field of a graph from pixels to pixels."""
    mixers = mixing_operators(path)
    prove = partial(reach_bound, path, inputs=planes(probe.inputs), outputs=planes(probe.outputs), window=sizes.fixed)
    reach = structural_reach(path, jumps={port.name: float(1 / port.ratio) for port in probe.inputs if port.spatial})
    field = _measure(Perturbation(probe, sizes=sizes, tolerance=tolerance, narrow=True), mixers, reach, prove)
    square_fits = 2 * (reach + UNCHANGED_MARGIN) <= LONGEST_WINDOW
    if field.verdict == "unbounded" and field.difference is not None and square_fits:
        # Narrow windows are cheaper, but miss effects far away along both axes at once; the comparison has found one.
        field = _measure(Perturbation(probe, sizes=sizes, tolerance=tolerance, narrow=False), mixers, reach, prove)
    if sizes.fixed and (field.trim is None or field.difference is None):
        refuse_disguised_crop(probe, sizes, tolerance=tolerance)
    built_in = sizes.fixed and not any(port.fixed for port in (*probe.inputs, *probe.outputs) if port.spatial)
    return replace(field, window=sizes.start) if built_in else field


def _measure(
    perturbation: Perturbation, mixers: tuple[str, ...], theoretical: int, prove: Callable[..., Bound | Unproven]
) -> ReceptiveField:
    """The receptive field; windows are long enough to show the `theoretical` reach of the graph, `prove` bounds it."""
    suspects = f"; the graph has {', '.join(mixers)}" if mixers else ""
    needed = 2 * (theoretical + UNCHANGED_MARGIN)
    if needed > LONGEST_NARROW_WINDOW and not perturbation.fixed:
        seen = f"its kernels could reach {theoretical} px, farther than can be measured"
        return _unbounded(perturbation.multiple(), seen + suspects, perturbation.tolerance)
    longest = LONGEST_MIXING_WINDOW if mixers else LONGEST_WINDOW
    length, reaches = _sufficient_length(perturbation, shortest=needed, longest=longest)
    if not any(each.any_change for each in reaches):
        return _unbounded(1, "no noise tried changed its outputs, so nothing can be measured; write tw:tile trim")
    exact = all(each.exact is not None for each in reaches)
    reach = _largest(reaches, exact=exact)
    if reach is None:
        strength = max(each.strength for each in reaches)
        seen = f"what happens {length // 2} pixels away moves it by {strength:.2g} of the outputs' deviation"
        return _unbounded(perturbation.multiple(), seen + suspects, perturbation.tolerance)
    stride = total_stride(perturbation, reach=max(reach, perturbation.probe.crop))
    if stride is None:
        return _unbounded(
            perturbation.multiple(),
            f"no shift of the input up to 64 pixels shifts its output alike{suspects}",
            perturbation.tolerance,
        )
    radius, aligned = worst_reaches(perturbation, length=length, stride=stride, exact=exact)
    faded = f"what comes from farther away stays below {perturbation.tolerance:g} of the outputs' deviation{suspects}"
    measured = ReceptiveField(
        radius=radius,
        stride=stride,
        verdict="bounded" if exact else "effectively-bounded",
        reason=faded,
        tolerance=perturbation.tolerance,
        trim=ceil(max(aligned, perturbation.probe.crop) / stride) * stride,
    )
    return _verified(perturbation, settled(measured, prove(stride=stride), window=perturbation.fixed), why=suspects)


def _sufficient_length(perturbation: Perturbation, *, shortest: int, longest: int) -> tuple[int, list[Reach]]:
    """The length of the first window that shows the whole reach on all sides, else of the longest; and its reaches."""
    length = min(perturbation.fixed) if perturbation.fixed else perturbation.start * 2
    while not perturbation.fixed and length < shortest:
        length *= 2
    while True:
        middle = perturbation.middle(length, perturbation.probe.unit)
        reaches = [perturbation.reach(length, middle, axis, side) for axis, side in SIDES]
        complete = all(each.exact is not None for each in reaches)
        if complete or perturbation.fixed or length * 2 > longest:
            return length, reaches
        length *= 2


def _largest(reaches: list[Reach], *, exact: bool) -> int | None:
    distances = [each.exact if exact else each.effective for each in reaches]
    bounded = [each for each in distances if each is not None]
    return max(bounded) if len(bounded) == len(distances) else None


def _verified(perturbation: Perturbation, field: ReceptiveField, *, why: str) -> ReceptiveField:
    """The field, or an unbounded one if windows with its trim differ from a whole image; without a proof a window of
    the usual step is run too.
    """
    assert field.trim is not None, "a field to verify has a trim"
    steps = (None,) if field.verdict == "bounded" or perturbation.fixed else (None, DEFAULT_STEP)
    compared = [
        found
        for step in steps
        if (found := tiling_difference(perturbation, trim=field.trim, stride=field.stride, step=step))
    ]
    worst = max((difference for difference, _, _ in compared), default=None)
    seen = "; ".join(words for _, _, words in compared)
    if all(difference <= allowed for difference, allowed, _ in compared):
        return replace(field, difference=worst, seen=seen)
    reason = (
        f"windows trimmed by {field.trim} differ from a whole image by {worst:.2g} of the outputs' deviation: "
        f"a pixel's result hangs on its window's size or place{why}"
    )
    return replace(_unbounded(field.stride, reason, perturbation.tolerance), difference=worst, seen=seen)


def _unbounded(stride: int, reason: str, tolerance: float = TOLERANCE) -> ReceptiveField:
    return ReceptiveField(radius=None, stride=stride, verdict="unbounded", reason=reason, tolerance=tolerance)


def _read_cached(path: Path) -> ReceptiveField | None:
    """The cached measurement; None if there is none or it cannot be read, so that it is measured again."""
    try:
        return ReceptiveField(**read_kept(path))
    except (ValueError, TypeError):
        return None


def receptive_field(card: ModelCard, *, cache: Path | None = None) -> ReceptiveField:
    """The receptive field of a card: measured; for a card with members the largest of theirs on a common stride.

    Flips do not change it, because a model's reach is already the largest of all four sides.
    """
    if not card.members:
        return measure_receptive_field(card, cache=cache)
    fields = [receptive_field(member, cache=cache) for member in card.members]
    worst = max(fields, key=lambda field: VERDICTS.index(field.verdict))
    stride = math.lcm(*(field.stride for field in fields))
    windows = {field.window for field in fields if field.window}
    if len(windows) > 1:
        raise CardError(f"ensemble: its models run on windows of {sorted(windows)} alone; take models of one window")
    radii = [field.radius for field in fields if field.radius is not None]
    trims = [field.trim for field in fields if field.trim is not None]
    bounded = len(radii) == len(trims) == len(fields)
    return replace(
        worst,
        stride=stride,
        window=max(windows, default=None),
        one_by_one=any(field.one_by_one for field in fields),
        mates=next((field.mates for field in fields if field.mates), ""),
        radius=max(radii) if bounded else None,
        trim=math.ceil(max(trims) / stride) * stride if bounded else None,
        difference=max((field.difference for field in fields if field.difference is not None), default=None),
    )
