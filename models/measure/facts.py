"""Measures everything about a model that a plan depends on, in one function."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Literal

from tilewright.models.cache import read_kept, write_kept
from tilewright.models.errors import CardError
from tilewright.models.measure.memory import window_memory
from tilewright.models.measure.ports import card_ports
from tilewright.models.measure.probe import Probe
from tilewright.models.measure.receptive import VERSION, receptive_field
from tilewright.models.measure.stride import WindowProof, prove_windows
from tilewright.models.measure.window import choose_window, output_scale, windows_per_call
from tilewright.models.optimise.fuse import obstacle
from tilewright.models.optimise.tune import tuned_card
from tilewright.models.run.open import active_provider, open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS
from tilewright.models.run.session import open_graph

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.models.measure.reach.field import ReceptiveField
    from tilewright.models.measure.window import WindowChoice

FINEST_SCALE = Fraction(1, 64)
"""Scale (output pixels per model-grid pixel) below which windows need not start at whole output pixels.

Such an output has about one value per window."""

LOOP_STEP = 64
"""Pixels between the windows of a proven loop that are compared, at least; each takes many runs of its graph."""

ROUGH = 1e-2
"""Difference, relative to an output's deviation, that the arithmetic of a GPU may cause (TF32 has 11 bits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Facts of a card's model for one set of execution options; they depend neither on an area nor on scenes.

    ``scale``: pixels of the finest output per model-grid pixel along a side. ``provider``: the execution provider that
    really runs. ``fuse_obstacle``: why the card's scaling and layers cannot move into its graph, empty if they can,
    None if that was not considered. ``tuned``: True if the graph is replaced by one rewritten for the window.
    ``proof``: windows of this size compared with each other, None if no two could be. ``mates``: why it is not proven
    that the windows of a call do not see each other, empty if it is or if one runs at a time.
    """

    receptive: ReceptiveField
    windows: WindowChoice
    scale: Fraction
    provider: str
    fuse_obstacle: str | None
    tuned: bool
    proof: WindowProof | None = None
    mates: str = ""

    @property
    def fused(self) -> bool:
        """True if the fused graph runs."""
        return self.fuse_obstacle == ""


def measure_model(
    card: ModelCard,
    *,
    provider: str,
    cache: Path,
    step: int | None = None,
    batch: int | None = None,
    fuse: Literal["auto", "yes", "no"] = "auto",
    half: bool = False,
) -> ModelFacts:
    """The facts of a card's model. Runs the model unless ``cache``, a folder, holds its measurements.

    ``step``: pixels between windows, None to choose it. ``batch``: windows per call, None for the provider's default.
    ``fuse``: ``auto`` fuses on a GPU only. On a CPU rounding pixels to uint16 costs more than scaling them, so that the
    graph is tuned to its window instead. ``half``: arithmetic in float16.

    Raises CardError if a fixed window has no room for its trim or the graph takes no batch, ProviderError if the
    provider cannot run.
    """
    receptive = receptive_field(card, cache=cache / "receptive")
    per_pixel = partial(window_memory, card, stride=receptive.stride, cache=cache / "memory", window=receptive.window)
    free = choose_window(card, receptive, step=step, per_pixel=per_pixel)
    scale = max((output_scale(output, card, step=free.step) for output in card.outputs), default=Fraction(1))
    # Windows start at whole pixels of both the model's grid and the product's.
    stride = scale.denominator if scale >= FINEST_SCALE else 1
    windows = choose_window(card, receptive, stride=stride, step=step, per_pixel=per_pixel)
    runs_on = active_provider(card, provider=provider)
    default = GPU_BATCH if runs_on in GPUS else 1
    if receptive.one_by_one and (card.batch or batch or default) > 1:
        raise CardError(
            f"a batch of {card.batch or batch or default} was to run, but the graph of {card.name} takes one window a "
            "call: the number is built into it; write 1 for batch in the card's shapes, and no tile.batch above 1"
        )
    considered = fuse == "yes" or half or (fuse == "auto" and runs_on in GPUS)
    reason = obstacle(card, blended=windows.merge == "blend", half=half) if considered else None
    # What a rounding moves in a detector may be a box more or less.
    # A graph in a loop has its windows' size from the loop.
    tunable = not card.detects and not card.loops and not considered and fuse != "no" and runs_on == "cpu"
    calls = windows_per_call(card, batch=card.batch or batch or default)
    # What a graph's windows see is proven in single precision by onnxruntime, whatever computes the product.
    proves_on = "cpu" if runs_on == "openvino" else runs_on
    return ModelFacts(
        receptive=receptive,
        windows=windows,
        scale=scale,
        provider=runs_on,
        fuse_obstacle=reason,
        tuned=tunable
        and tuned_for(card, window=windows.window, stride=windows.stride, batch=card.batch or batch or 1, cache=cache)
        is not card,
        proof=prove_card(card, receptive, windows, calls=calls, provider=proves_on, cache=cache / "proof"),
        mates=receptive.mates if calls > 1 else "",
    )


def prove_card(
    card: ModelCard, receptive: ReceptiveField, windows: WindowChoice, *, calls: int, provider: str, cache: Path | None
) -> WindowProof | None:
    """The proof of a card's windows as they are run, ``calls`` of them at a time; kept in the folder ``cache``, if any.

    None where nothing is claimed (no bound, blended windows), where no two windows can be compared, or where a loop
    averages windows: what it sees is bounded however it runs, and a window of it takes long. Those of other loops that
    are proven are as small as their trim allows.
    """
    averaged = any(loop.average for loop in card.loops)
    if receptive.trim is None or windows.merge == "blend" or card.pixelwise or card.per_window or averaged:
        return None
    if card.stochastic and card.members:
        # What windows see is a matter of one pass, in which whatever may be drawn is tried.
        (card,) = card.members
    inputs, outputs = card_ports(card)
    # Where the graph fixes the number of windows, its own inputs are so many unlike ones.
    batch = 1 if card.batch else calls
    proven = receptive.verdict == "bounded"
    if card.loops and proven and not card.tile.window:
        step = min(windows.step, ceil(LOOP_STEP / windows.stride) * windows.stride)
        windows = replace(windows, step=step, window=step + 2 * windows.trim)
    key = repr((VERSION, card.digest, card.sha256, inputs, outputs, windows, batch, provider, proven))
    path = cache / f"proof-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json" if cache else None
    with suppress(ValueError, TypeError, KeyError):
        if path:
            kept = read_kept(path)["proof"]
            return WindowProof(**kept) if kept else None
    content = card.digest if card.weights else card.sha256
    session = (
        open_session(card, provider=provider)
        if card.members or card.sampler
        else open_graph(card.model_path, sha256=content, provider=provider)
    )
    proof = prove_windows(
        Probe(session, inputs=inputs, outputs=outputs),
        window=windows.window,
        trim=windows.trim,
        step=windows.step,
        stride=windows.stride,
        tolerance=receptive.tolerance if provider == "cpu" else ROUGH,
        batch=batch,
        proven=proven,
    )
    if path:
        # A proof that cannot be kept costs only time.
        with suppress(OSError):
            write_kept(path, {"proof": asdict(proof) if proof else None})
    return proof


def tuned_for(card: ModelCard, *, window: int, stride: int, batch: int, cache: Path) -> ModelCard:
    """The card with its graph tuned to windows of ``window`` pixels; the unchanged card if nothing is gained."""
    calls = windows_per_call(card, batch=batch)
    return tuned_card(card, window=window, stride=stride, cache=cache / "tuned", batch=calls)
