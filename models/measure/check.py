"""Checks a card by running its graph: the report of `tilewright models check`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tilewright.models.card.graph import check_graph
from tilewright.models.measure.memory import card_memory
from tilewright.models.measure.receptive import measure_receptive_field
from tilewright.models.measure.window import choose_window
from tilewright.models.optimise.fuse import obstacle
from tilewright.models.run.open import open_session
from tilewright.models.run.providers import GPU_BATCH, GPUS, cpu_fallback
from tilewright.models.run.smoke_run import SmokeRun, run_smoke_test, synthetic_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.models.card.graph import GraphFacts
    from tilewright.models.measure.receptive import ReceptiveField
    from tilewright.models.measure.window import WindowChoice
    from tilewright.models.run.session import ModelSession


# Side in pixels of the windows of zeros, ones and noise, before rounding up to the stride.
SMOKE_SIDE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The verified facts of a card and the cost of running it. A card that fails is refused with CardError instead.

    `bytes_per_pixel` is host memory per pixel of a window in the CPU session, None if it could not be measured;
    `seconds_per_megapixel` is the time of one core or of the GPU per million window pixels; `beside` is onnxruntime's
    message if some operators run on the CPU instead of the provider, else empty; `weights` are the external weight
    files with their sizes; `not_fused` says why the card's scaling and layers cannot move into the graph, empty if
    they can.
    """

    name: str
    folder: str
    sha256: str
    graph: GraphFacts
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runs: tuple[SmokeRun, ...]
    receptive_field: ReceptiveField
    window: WindowChoice
    batch: int
    batch_why: str
    provider: str
    beside: str
    weights: tuple[str, ...]
    not_fused: str
    bytes_per_pixel: float | None
    seconds_per_megapixel: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """The report for a person: pairs of label and text."""
        facts = self.graph
        return [
            ("card", f"{self.name}, sha256 {self.sha256[:16]}... is the file's"),
            ("graph", f"opset {facts.opset}, {facts.n_bytes / 1e6:.3f} MB"),
            ("operators", ", ".join(facts.operators)),
            ("weights", ", ".join(self.weights) or "all inside the graph"),
            *[("input", words) for words in self.inputs],
            *[("output", words) for words in self.outputs],
            *[(f"run on {run.name}", run.words()) for run in self.runs],
            ("receptive field", self._field_words()),
            ("total stride", f"{self.receptive_field.stride} px"),
            ("window", self._window_words()),
            ("batch", f"{self.batch} ({self.batch_why})"),
            ("provider", f"{self.provider}; {self.beside or 'it runs every operator'}"),
            ("fuse", f"no: {self.not_fused}" if self.not_fused else "yes: scaling and layers can run inside the graph"),
            ("memory", self._memory_words()),
            ("time", f"{self.seconds_per_megapixel:.2f} s per million pixels of windows"),
            *[("warning", words) for words in self.warnings],
        ]

    def _field_words(self) -> str:
        field = self.receptive_field
        radius = "" if field.radius is None else f", radius {field.radius} px"
        proof = "" if field.difference is None else f"; windows against a whole image differ by {field.difference:.2g}"
        return f"{field.verdict}{radius}: {field.reason}{proof}"

    def _window_words(self) -> str:
        choice = self.window
        sizes = f"{choice.window} px, step {choice.step}, trim {choice.trim}, merged by {choice.merge}"
        return f"{sizes}; {choice.passes:.2f} passes ({choice.why})"

    def _memory_words(self) -> str:
        per_pixel = self.bytes_per_pixel
        if per_pixel is None:
            return "not measured"
        return f"{per_pixel:,.0f} bytes per pixel, {per_pixel * self.window.window**2 / 1e6:,.0f} MB a window"


def check_card(card: ModelCard, *, provider: str = "auto", cache: Path | None = None) -> CheckReport:
    """The report on a card that `load_card` has accepted: the graph is run, its receptive field and cost are measured.

    `cache` is the folder in which measurements are kept. Takes some seconds of one core.
    Raises CardError naming the field to change, ProviderError if the requested provider cannot run.
    """
    graph = check_graph(card.model_path, card.inputs, card.extras, card.outputs, weights=card.weights)
    session = open_session(card, provider=provider)
    field = measure_receptive_field(card, cache=cache / "receptive" if cache else None)
    memory = card_memory(card, stride=field.stride, cache=cache / "memory" if cache else None)
    window = choose_window(card, field, per_pixel=lambda: memory)
    side = card.tile.window or -(-SMOKE_SIDE // field.stride) * field.stride
    runs, run_warnings = run_smoke_test(card, session, side=side)
    batch, batch_why = _batch(card, session)
    return CheckReport(
        name=card.name,
        folder=str(card.folder),
        sha256=card.sha256,
        graph=graph,
        inputs=tuple(
            f"{spec.name}: {', '.join(spec.bands)} of {spec.collection}, {spec.dates.kind}, {spec.data_type} "
            f"{_shape(spec.shape, spec.dim_order)}"
            for spec in card.inputs
        ),
        outputs=tuple(
            f"{spec.name}: {spec.data_type} {_shape(spec.shape, spec.dim_order)} -> "
            f"{', '.join(layer.name for layer in spec.layer_specs())}"
            for spec in card.outputs
        ),
        runs=runs,
        receptive_field=field,
        window=window,
        batch=batch,
        batch_why=batch_why,
        provider=session.provider,
        beside="" if session.provider == "cpu" else cpu_fallback(card.model_path, provider=session.provider),
        weights=tuple(f"{path.name} {path.stat().st_size / 1e6:.3f} MB" for path in card.weights),
        not_fused=obstacle(card, blended=window.merge == "blend"),
        bytes_per_pixel=memory,
        seconds_per_megapixel=_seconds(card, session, window.window),
        warnings=(*_field_warnings(card, field, window), *run_warnings, *([session.note] if session.note else [])),
    )


def _shape(shape: tuple[int, ...], dims: tuple[str, ...]) -> str:
    return " x ".join(f"{'free' if n < 1 else n} {dim}" for n, dim in zip(shape, dims, strict=True))


def _batch(card: ModelCard, session: ModelSession) -> tuple[int, str]:
    if card.batch:
        return card.batch, "fixed by the card's shape"
    if session.provider in GPUS:
        return GPU_BATCH, "hides the transfers of a GPU"
    return 1, "a larger one gains nothing on a CPU"


def _field_warnings(card: ModelCard, field: ReceptiveField, window: WindowChoice) -> list[str]:
    if field.trim is None:
        return [f"the map will depend on where windows lie: {field.reason}"]
    if window.trim < field.trim:
        return [f"tw:tile.trim is {card.tile.trim}; the model needs {field.trim} for tiled output to equal the whole"]
    return []


def _seconds(card: ModelCard, session: ModelSession, side: int) -> float:
    feeds = synthetic_inputs(card, side=side)
    session.run(feeds)
    started = time.perf_counter()
    session.run(feeds)
    return (time.perf_counter() - started) / side**2 * 1e6
