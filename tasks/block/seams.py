"""Compares some windows of a run with the same windows run again half a step away: what a seam would show.

The windows are drawn by a hash of their place on the lattice, so that neither the block nor the workers choose them.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tilewright.models.measure.window import answers_per_window, output_scale
from tilewright.models.transforms.postprocess import layers_from_scores
from tilewright.models.transforms.preprocess import derive_bands
from tilewright.tasks.block.inputs import on_model_grid
from tilewright.tasks.block.output_grid import at_output, output_box
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.grid.drawn_places import drawn_places, sample_size
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.grid.windows import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.outputs import LayerSpec, OutputSpec
    from tilewright.tasks.block.inputs import BlockInputs
    from tilewright.tasks.grid.windows import Lattice
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.plan.raster import RasterPlan


FEW: Final = 1e-3
"""Share of pixels that may differ by more than rounding: ties between classes."""

DEVIATIONS: Final = {"cpu": 1e-4, "other": 1e-2, "rough": 8e-2}
"""Difference, in standard deviations of a layer, that rounding may cause. Source: other providers multiply with 10 to
11 bits (TF32, float16), bfloat16 and whole numbers of int8 have 8, the CPU 24."""

ROUNDING: Final = {"cpu": 64 * 2.0**-24, "other": 4 * 2.0**-11, "rough": 4 * 2.0**-8}
"""The same as a share of a layer's largest value, for layers that hardly vary."""

PERCENT: Final = 1
"""Whole percents by which rounding may move a percentage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSeams:
    """A layer in windows that were run twice: ``pixels`` in both, those ``differing`` by more than rounding, the
    ``largest`` difference of values (0 for classes), and the sum of all changes, ``changed`` (of a class each is 1).

    ``gap_pixels`` and ``gap_differing`` are the same for pixels beside missing observations, which are filled from
    within a window; they are not in the numbers above.
    """

    pixels: int = 0
    differing: int = 0
    largest: float = 0.0
    gap_pixels: int = 0
    gap_differing: int = 0
    changed: float = 0.0

    def __add__(self, other: LayerSeams) -> LayerSeams:
        """The sum over both; of the largest differences the larger."""
        return LayerSeams(
            pixels=self.pixels + other.pixels,
            differing=self.differing + other.differing,
            largest=max(self.largest, other.largest),
            gap_pixels=self.gap_pixels + other.gap_pixels,
            gap_differing=self.gap_differing + other.gap_differing,
            changed=self.changed + other.changed,
        )

    @property
    def index(self) -> float | None:
        """The seam index: the share of pixels whose class changes, or the mean change of values; None of no pixels."""
        return self.changed / self.pixels if self.pixels else None

    @property
    def share(self) -> float:
        """The share of pixels that differ; 0 if there are none."""
        return self.differing / self.pixels if self.pixels else 0.0

    @property
    def differs(self) -> bool:
        """True if more pixels differ than ties explain."""
        return self.share > FEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """The windows of a block that were compared: with shifted ones by layer, and with themselves beside other windows
    of a batch (``mates``, empty where one window runs at a time).
    """

    windows: int = 0
    layers: dict[str, LayerSeams] = field(default_factory=dict)
    mates: dict[str, LayerSeams] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values; empty if no window was compared."""
        return asdict(self) if self.windows else {}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Seams:
        """The numbers that ``to_json`` wrote; none for anything else, as entries of before and damaged ones hold."""
        try:
            layers, mates = (
                {str(name): LayerSeams(**each) for name, each in plain[part].items()} for part in ("layers", "mates")
            )
            made = cls(windows=int(plain["windows"]), layers=layers, mates=mates)
            joined_seams([made, made])
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return cls()
        return made


def joined_seams(parts: Iterable[Seams]) -> Seams:
    """The sum of several."""
    windows, totals = 0, {"layers": dict[str, LayerSeams](), "mates": dict[str, LayerSeams]()}
    for part in parts:
        windows += part.windows
        for kind, total in totals.items():
            for name, each in getattr(part, kind).items():
                total[name] = total.get(name, LayerSeams()) + each
    return Seams(windows=windows, **totals)


class SampledPlaces:
    """The places (row, column) of the lattice whose windows a plan compares, drawn once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int, bool], frozenset[tuple[int, int]]] = {}

    def of(self, plan: Plan, *, windows_per_call: int, told: bool) -> frozenset[tuple[int, int]]:
        """Of windows that touch the area. A call counts as its windows; what is ``told`` hangs on no proof."""
        key = (plan.settings_key(), windows_per_call, told)
        with self._lock:
            if key not in self._known:
                proven = plan.model.exact and not told
                self._known[key] = _drawn(plan.raster, windows_per_call=windows_per_call, proven=proven)
            return self._known[key]


def _drawn(raster: RasterPlan, *, windows_per_call: int, proven: bool) -> frozenset[tuple[int, int]]:
    n_windows = prod(map(len, block_range(raster.grid.extent, block=raster.lattice.step)))
    size = sample_size(n_windows, windows_per_call=windows_per_call, proven=proven)
    return frozenset(islice(drawn_places(raster.grid, raster.area, step=raster.lattice.step), size))


def shifted_window(window: Window, inputs: BlockInputs, raster: RasterPlan) -> Window | None:
    """The window half a step away, both ways if the block's pixels reach, on the stride; None if they do not."""
    lattice = raster.lattice
    half = lattice.half_step
    # Pixels of the margin may lack a mask that grows from beyond it.
    room = inputs.block.outer.pad(-raster.margin)
    for down, right in ((1, 1), (1, 0), (0, 1)):
        for vertical, horizontal in product((1, -1), repeat=2):
            rows, cols = half * down * vertical, half * right * horizontal
            outer = window.outer.shift(rows, cols)
            if half < lattice.step and outer.intersect(room) == outer:
                return Window(row=window.row, col=window.col, outer=outer, kept=window.kept.shift(rows, cols))
    return None


def core_of(window: Window, lattice: Lattice) -> PixelBox:
    """The pixels of a window that no other window of the lattice has in its core."""
    row, col = window.outer.row_start + lattice.trim, window.outer.col_start + lattice.trim
    return PixelBox.at(row, col, shape=(lattice.step, lattice.step))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamComparison:
    """Compares the answers (``window_answer``) of windows of a block; ``usable`` is over the block's outer box.

    ``provider`` is the one that really runs the model.
    """

    plan: Plan
    card: ModelCard
    inputs: BlockInputs
    usable: np.ndarray
    provider: str

    def seams(
        self,
        windows: tuple[Window, Window],
        answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
        again: dict[str, np.ndarray] | None,
    ) -> Seams:
        """The seams between a window and a shifted one; of the first with itself if it ran ``again``."""
        first, second = windows
        lattice = self.plan.raster.lattice
        core = core_of(first, lattice)
        common = core.intersect(core_of(second, lattice))
        beside = self._beside_gaps(windows, common)
        layers = self._compared(windows, answers, common, beside)
        if not any(each.pixels + each.gap_pixels for each in layers.values()):
            return Seams()
        clear = np.zeros(core.shape, bool)
        mates = self._compared((first, first), (answers[0], again), core, clear) if again is not None else {}
        return Seams(windows=1, layers=layers, mates=mates)

    def _beside_gaps(self, windows: tuple[Window, Window], common: PixelBox) -> np.ndarray:
        """True where a pixel of ``common`` (y, x) may see an observation that is filled from within its window."""
        field = self.plan.model.receptive
        if field.get("radius") is None or not self.card.filled_from_window:
            return np.zeros(common.shape, bool)
        seen = windows[0].outer.around(windows[1].outer)
        missing = np.zeros(seen.shape, bool)
        for spec, entry in zip(self.card.inputs, self.plan.inputs, strict=True):
            steps = self.inputs.steps[entry.name]
            part = steps[(..., *entry.box(seen).slices_in(entry.box(self.inputs.block.outer)))]
            found = np.asarray(np.isfinite(derive_bands(spec, part[np.newaxis])).all(axis=(0, 1, 2)))
            missing |= ~on_model_grid(found, entry)
        # A slow import, which a run needs after its first model call at the earliest.
        from scipy import ndimage  # noqa: PLC0415

        reach = max(int(field["radius"]), int(field.get("trim") or 0))
        near = ndimage.maximum_filter(  # type: ignore[attr-defined]
            missing, size=2 * reach + 1, mode="constant", cval=False
        )
        return np.asarray(near[common.slices_in(seen)])

    def _compared(
        self,
        windows: tuple[Window, Window],
        answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
        common: PixelBox,
        beside: np.ndarray,
    ) -> dict[str, LayerSeams]:
        made: dict[str, LayerSeams] = {}
        usable = self.usable[common.slices_in(self.inputs.block.outer)]
        for output, spec, pair in self._layer_pairs(windows, answers, common):
            scale = output_scale(output, self.card, step=self.plan.raster.lattice.step)
            kept, near = (at_output(mask, scale) for mask in (usable, beside))
            made[spec.name] = self._layer_seams(spec, pair, kept, near)
        return made

    def changes(
        self, windows: tuple[Window, Window], answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    ) -> tuple[PixelBox, dict[str, np.ndarray]]:
        """What the cores of two windows share, and each layer's change there: float32 (y, x), 1 for another class."""
        common = core_of(windows[0], self.plan.raster.lattice).intersect(core_of(windows[1], self.plan.raster.lattice))
        changed = {}
        for _, spec, (one, other) in self._layer_pairs(windows, answers, common):
            differs, gaps = self._differences(spec, one, other)
            known = (np.isfinite(one) & np.isfinite(other)) & (one != spec.nodata) & (other != spec.nodata)
            told = differs if spec.kind == "class" else gaps
            changed[spec.name] = np.where(known, told, np.nan).astype(np.float32)
        return common, changed

    def _layer_pairs(
        self,
        windows: tuple[Window, Window],
        answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
        common: PixelBox,
    ) -> Iterator[tuple[OutputSpec, LayerSpec, tuple[np.ndarray, np.ndarray]]]:
        """Each layer over ``common`` as both windows have it, with its output."""
        for output in self.card.outputs:
            if answers_per_window(output, self.card):
                continue
            first, second = (
                self._layers(output, window, answer, common) for window, answer in zip(windows, answers, strict=True)
            )
            for spec in output.layer_specs():
                yield output, spec, (first[spec.name], second[spec.name])

    def _layers(
        self, output: OutputSpec, window: Window, answer: dict[str, np.ndarray], common: PixelBox
    ) -> dict[str, np.ndarray]:
        """The layers of an output over ``common``, from the answer of a window."""
        lattice = self.plan.raster.lattice
        held = window.outer if lattice.merge == "blend" else window.kept
        there, box = (output_box(each, output, self.card, lattice) for each in (common, held))
        place = there.slices_in(box)
        if lattice.merge == "blend":
            return layers_from_scores(output, answer[output.name][(slice(None), *place)])
        return {spec.name: answer[spec.name][place] for spec in output.layer_specs()}

    def _layer_seams(
        self, spec: LayerSpec, pair: tuple[np.ndarray, np.ndarray], kept: np.ndarray, near: np.ndarray
    ) -> LayerSeams:
        differs, gaps = self._differences(spec, *pair)
        if differs.ndim > kept.ndim:
            differs, gaps = np.asarray(differs.any(axis=-1)), gaps.max(axis=-1)
        clear, beside = kept & ~near, kept & near
        largest = gaps[clear & np.isfinite(gaps)].max(initial=0.0)
        of_classes = spec.kind in {"class", "id"}
        return LayerSeams(
            pixels=int(clear.sum()),
            differing=int((differs & clear).sum()),
            largest=float(largest),
            gap_pixels=int(beside.sum()),
            gap_differing=int((differs & beside).sum()),
            changed=float((differs if of_classes else gaps)[clear].sum()),
        )

    def _differences(self, spec: LayerSpec, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """True where two values differ by more than rounding, and by how much (0 for classes)."""
        if spec.kind in {"class", "id"}:
            return one != other, np.zeros(one.shape)
        if spec.kind == "percent" or spec.dtype == "int8":
            stored = (one != spec.nodata) & (other != spec.nodata)
            gaps = np.where(stored, np.abs(one.astype(np.float64) - other), 0.0)
            return (gaps > PERCENT) | ((one != spec.nodata) != (other != spec.nodata)), gaps
        finite = np.isfinite(one) & np.isfinite(other)
        gaps = np.where(finite, np.abs(np.where(finite, one, 0).astype(np.float64) - np.where(finite, other, 0)), 0.0)
        precision = self.plan.model.precision
        single = precision == "fp32" and self.provider in {"cpu", "openvino"} and spec.dtype != "float16"
        kind = "cpu" if single else "rough" if precision in {"bf16", "int8"} else "other"
        spread = float(one[finite].std(dtype=np.float64)) if finite.any() else 0.0
        highest = float(np.abs(one[finite]).max(initial=0.0))
        allowed = DEVIATIONS[kind] * spread + ROUNDING[kind] * highest
        return (gaps > allowed) | (np.isfinite(one) != np.isfinite(other)), gaps
