"""The shapes that a graph really takes, found by running it: which sizes of window, and how many windows a call."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.card.tile import size_words
from tilewright.models.errors import CardError, InferenceError
from tilewright.models.measure.probe import len_of
from tilewright.models.measure.structure import TRAINING_NORM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilewright.models.measure.probe import Arrays, Port, Probe


START_SIZES: Final = (64, 96, 80, 112, 128, 160, 192, 224, 256, 320, 384, 512)

EVEN: Final = 64
"""Sizes that this divides lose no pixel where a graph halves them, so that two of them show its scale and its crop."""

MATE_TOLERANCE: Final = 1e-4
"""Difference, relative to an output's deviation, above which a window's values depend on the other windows of its
batch; a larger batch may add in another order."""

FEW: Final = 1e-3
"""Share of a window's values that may differ by more: ties between classes."""

ROUNDINGS: Final = 16
"""Rounding errors of the largest value that a sum in another order may cost."""

NARROW: Final = 0.3
"""Share of an input's range that the values of one window fill: two windows at its ends have none in common."""

SizesByOutput = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSizes:
    """The windows that suit a graph, in reference pixels: `start` is the smallest side tried that does.

    `fixed` is the height and width of the only windows that do, None if larger ones do too.
    """

    start: int
    fixed: tuple[int, int] | None


def window_sizes(probe: Probe, *, stated: int | None, baked: Sequence[int] = ()) -> WindowSizes:
    """The sizes of window of a graph: those of its ports, else found by running it.

    `stated` is the card's own window, `baked` are sizes that may be built into the graph.
    Raises CardError if none suits: the graph does not run, or its outputs are cropped, scaled or stretched otherwise
    than the card says.
    """
    fixed = [port.fixed for port in (*probe.inputs, *probe.outputs) if port.spatial and port.fixed]
    if fixed:
        _refuse_unfit_fixed(probe, fixed[0])
        return WindowSizes(start=min(fixed[0]), fixed=fixed[0])
    given: dict[int, SizesByOutput] = {}
    start = next((side for side in START_SIZES if _fits(probe, side, given)), None)
    if start is not None and any(_fits(probe, side, given) for side in (2 * start, *START_SIZES) if side != start):
        return WindowSizes(start=start, fixed=None)
    if start is not None:
        if any(_scale(port, given) not in {None, port.ratio, 0} for port in probe.outputs):
            _refuse(probe, given)
        return WindowSizes(start=start, fixed=(start, start))
    built_in = _built_in(probe, given, baked) if all(_scale(port, given) in {None, 0} for port in probe.outputs) else []
    candidates = dict.fromkeys([*([stated] if stated else []), *built_in])
    only = next((side for side in candidates if _fits(probe, side, given)), None)
    if only is None:
        _refuse(probe, given)
    assert only is not None, "a graph without a size that fits is refused"
    return WindowSizes(start=only, fixed=(only, only))


def fixed_by_resize(stated: int | None, resizes: Sequence[str]) -> WindowSizes:
    """The card's own window for a graph that runs on any, but brings each to a size built in (`resizes`, as words).

    Raises CardError if the card has none: a window of another size than in training would be stretched.
    """
    if stated is None:
        raise CardError(
            f"the graph runs on windows of any size, but has a size built in ({', '.join(resizes)}), so windows of "
            "another size than in training give stretched answers: write that size as properties.tw:tile.window, or "
            "export the model with free sizes"
        )
    return WindowSizes(start=stated, fixed=(stated, stated))


def _built_in(probe: Probe, given: dict[int, SizesByOutput], baked: Sequence[int]) -> list[int]:
    """Sides to try on a graph that has a size built in: those of its outputs, then `baked`."""
    outputs = {
        int(side / port.ratio) for port in probe.outputs for sizes in given.values() for side in sizes[port.name]
    }
    return [*sorted(outputs), *baked]


def _fits(probe: Probe, side: int, given: dict[int, SizesByOutput]) -> bool:
    """True if windows of `side` suit; the outputs' sizes are added to `given` if the graph runs."""
    sizes = probe.sizes((side, side))
    if sizes is not None:
        given[side] = sizes
    return sizes is not None and probe.fits((side, side), sizes)


def _refuse_unfit_fixed(probe: Probe, fixed: tuple[int, int]) -> None:
    sizes = probe.sizes(fixed)
    if sizes is None:
        raise CardError(
            f"the graph does not run on its own window of {fixed[0]} x {fixed[1]} pixels; correct the card's shapes"
        )
    if not probe.fits(fixed, sizes):
        port = _unfit(probe, fixed[0], sizes)
        words = size_words(window=fixed[0], size=sizes[port.name][0], scale=float(port.ratio), cropped=port.crop)
        raise CardError(f"properties.mlm:output ({port.name}): the graph gives {words}")


def _refuse(probe: Probe, given: dict[int, SizesByOutput]) -> None:
    """Raise the CardError for a graph of free size that takes no window, or gives outputs of another size."""
    tried = ", ".join(map(str, START_SIZES))
    if not given:
        raise CardError(
            f"the graph runs on none of the window sizes tried ({tried}); if a size is built into it, fix height and "
            "width in the card's shapes, or write the window it was trained on as tw:tile.window"
        )
    side = min(given, key=lambda each: (each % EVEN, each))
    port = next(
        (port for port in probe.outputs if _scale(port, given) not in {None, port.ratio}),
        _unfit(probe, side, given[side]),
    )
    path, size = f"properties.mlm:output ({port.name})", given[side][port.name][0]
    scale = _scale(port, given)
    if scale == 0:
        raise CardError(
            f"{path}: the graph gives {size} pixels whatever its window: its size is built in, and no window tried "
            "suits the card; export it with free height and width, or correct tw:scale or tw:crop"
        )
    if scale is None or scale == port.ratio:
        words = size_words(window=side, size=size, scale=float(port.ratio), cropped=port.crop)
        raise CardError(f"{path}: the graph gives {words}")
    if size == side * scale:
        raise CardError(
            f"{path}.tw:scale is {float(port.ratio):g}; the graph gives {size} for a window of {side}: write tw:scale "
            f"{float(scale):g}, or pad inside the graph"
        )
    words = size_words(window=side, size=size, scale=float(scale), cropped=(0, 0))
    raise CardError(
        f"{path}.tw:scale is {float(port.ratio):g}; the true one is {float(scale):g}: the graph gives {words}"
    )


def _unfit(probe: Probe, side: int, sizes: SizesByOutput) -> Port:
    """The first output of another size than the card says."""
    return next(
        (port for port in probe.outputs if set(sizes[port.name]) != {side * port.ratio - sum(port.crop)}),
        probe.outputs[0],
    )


def _scale(port: Port, given: dict[int, SizesByOutput]) -> Fraction | None:
    """The output's pixels per pixel of the window between two sizes that ran; None if fewer did."""
    sides = sorted(side for side in given if side % EVEN == 0) if len(given) > 1 else []
    sides = sides if len(sides) > 1 else sorted(given)
    if len(sides) < 2:
        return None
    first, last = sides[0], sides[-1]
    return Fraction(given[last][port.name][0] - given[first][port.name][0], last - first)


def takes_batches(
    probe: Probe, outputs: Sequence[Port], *, size: tuple[int, int], mixers: Sequence[str], single: bool
) -> bool:
    """True unless the graph leaves its batch free and yet takes only one window a call.

    Unlike windows of `size` are run together and compared with each alone, or, where the graph fixes the number of
    windows, with each beside others. `outputs` are all of the graph's; `mixers` names operators for the refusal.
    `single`: a shape of one window is stored in the graph, which larger batches would spoil.
    Raises CardError for a graph whose values for a window depend on the other windows of its batch.
    """
    if TRAINING_NORM in mixers:
        raise CardError(
            f"the graph has {TRAINING_NORM} (training_mode = 1): it normalises by the windows that happen to be in its "
            "batch, its batch mates, instead of by what it learned; export it in evaluation mode (model.eval())"
        )
    lengths = {port.shape[0] for port in probe.inputs if port.dims[0] == "batch"} - {1}
    n_fixed = max(lengths, default=0)
    if not lengths or any("batch" in port.dims[1:] for port in probe.inputs):
        # The card says that it takes one window a call.
        return True
    n_windows = max(n_fixed, 2)
    windows, others = (
        [unlike_window(probe, size, first + k) for k in range(n_windows)] for first in (0, n_windows + 1)
    )
    try:
        beside = {
            k: probe.session.run(stacked(probe, [*others[:k], windows[k], *others[k + 1 :]]))
            if n_fixed > 1
            else probe.session.run(windows[k])
            for k in (0, n_windows - 1)
        }
        repeated = probe.session.run(windows[0]) if n_fixed < 1 else beside[0]
    except InferenceError:
        # The graph takes no such window at all, which is said elsewhere.
        return True
    if any(_differ(beside[0][port.name], repeated[port.name]) for port in outputs):
        # A graph that draws random numbers is warned of; nothing can be compared.
        return True
    together = _run_together(probe, outputs, windows)
    if together is None:
        return False
    one_by_one = single and not mixers and n_fixed < 1
    for k, result in beside.items():
        for port in outputs:
            at = k if n_fixed > 1 else 0
            if "batch" in port.dims and _differ(_window_of(port, together, k), _window_of(port, result, at)):
                if one_by_one:
                    return False
                raise CardError(_mixing_words(port, mixers, rows=not any(each.spatial for each in probe.inputs)))
    return True


def unlike_window(probe: Probe, size: tuple[int, int], number: int) -> Arrays:
    """One window of noise: low in the range of each input for even numbers, high for odd ones.

    An input without a batch is one for all windows.
    """
    window, common = {}, probe.noise(size, seed=10)
    for port, noise in zip(probe.inputs, probe.noise(size, seed=10 + number).values(), strict=True):
        if "batch" not in port.dims:
            noise = common[port.name]  # noqa: PLW2901
        elif not port.constants:
            end = port.high if number % 2 else port.low
            noise = (end + (noise.astype(np.float64) - end) * NARROW).astype(noise.dtype)  # noqa: PLW2901
        window[port.name] = noise[:1] if port.dims[0] == "batch" else noise
    return window


def stacked(probe: Probe, windows: Sequence[Arrays]) -> Arrays:
    """The windows as one batch; an input without a batch, or with one fixed row, is the same for all of them."""
    return {
        port.name: windows[0][port.name]
        if port.dims[0] != "batch" or port.shape[0] == 1
        else np.concatenate([window[port.name] for window in windows])
        for port in probe.inputs
    }


def _run_together(probe: Probe, outputs: Sequence[Port], windows: Sequence[Arrays]) -> Arrays | None:
    """The results of the windows in one batch; None if the graph does not give as many."""
    try:
        results = probe.session.run(stacked(probe, windows))
    except InferenceError:
        return None
    complete = all(len_of(results[port.name], port) in {None, len(windows)} for port in outputs)
    return results if complete else None


def _window_of(port: Port, results: Arrays, number: int) -> NDArray[Any]:
    return np.take(results[port.name], number, axis=port.dims.index("batch"))


def _differ(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """True if more values differ than rounding and ties explain."""
    if not np.issubdtype(one.dtype, np.floating):
        return bool((one != other).mean() > FEW)
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = np.abs(a[np.isfinite(a)])
    spread = float(np.std(a[np.isfinite(a)])) if finite.size else 0.0
    allowed = MATE_TOLERANCE * spread + ROUNDINGS * float(np.finfo(one.dtype).eps) * float(finite.max(initial=0.0))
    with np.errstate(invalid="ignore"):
        same = (np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))
    return bool((~same).mean() > FEW)


def _mixing_words(port: Port, mixers: Sequence[str], *, rows: bool) -> str:
    kind, mates = ("pixel", "pixels") if rows else ("window", "windows")
    causes = f" ({', '.join(mixers)})" if mixers else ""
    return (
        f"the graph mixes its batch mates{causes}: a {kind} has another {port.name} beside other {mates} of its batch, "
        f"so a map would depend on which {mates} run together; export the model in evaluation mode (model.eval()), or "
        "without what it computes over the batch axis"
    )
