"""Checks a card by running its graph: the report of `tilewright models check`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tilewright.models.card.card import check_card_graph
from tilewright.models.measure.facts import prove_card
from tilewright.models.measure.memory import card_memory, window_memory
from tilewright.models.measure.operators.lacking import report_operators
from tilewright.models.measure.receptive import receptive_field
from tilewright.models.measure.window import choose_window, windows_per_call
from tilewright.models.optimise.fuse import obstacle
from tilewright.models.run.open import open_session
from tilewright.models.run.prompt import prompted_card
from tilewright.models.run.providers import GPU_BATCH, GPUS, cpu_fallback
from tilewright.models.run.smoke_run import SmokeRun, quick_run, run_smoke_test
from tilewright.models.stochastic.passes import stochastic_card

if TYPE_CHECKING:
    from pathlib import Path

    from tilewright.models.card.card import ModelCard
    from tilewright.models.card.graph import GraphFacts
    from tilewright.models.measure.operators.lacking import OperatorReport
    from tilewright.models.measure.reach.field import ReceptiveField
    from tilewright.models.measure.stride import WindowProof
    from tilewright.models.measure.window import WindowChoice
    from tilewright.models.run.session import ModelSession


ONE_BY_ONE = (
    "the graph leaves its batch free, but takes one window a call: the number is built into it; write 1 for batch in "
    "the card's shapes"
)

SMOKE_SIDE = 64
"""Side in pixels of the windows of zeros, ones and noise, before rounding up to the stride."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSummary:
    """A card as text: its folder, its inputs and outputs with their shapes, its weight files outside the graph.

    `sha256` is the verified digest of the graph's file, `loop` what runs the graph several times, in a loop or in
    passes; empty without.
    """

    name: str
    folder: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    loop: str = ""

    def lines(self) -> list[tuple[str, str]]:
        """Pairs of label and text for a person."""
        return [
            ("weights", ", ".join(self.weights) or "all inside the graph"),
            *[("input", words) for words in self.inputs],
            *[("output", words) for words in self.outputs],
            *([("loop", self.loop)] if self.loop else []),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFacts:
    """How the graph runs: by which provider, in which batches, and what that costs.

    `cpu_fallback` is onnxruntime's message if some operators run on the CPU instead of the provider, else empty.
    `batch` is the number of windows per call, with the reason. `fuse_obstacle` says why the card's scaling and layers
    cannot move into the graph, empty if they can. `bytes_per_pixel` is host memory per pixel of a window in the CPU
    session, None if it could not be measured. `seconds_per_megapixel` is the time of one core or of the GPU per million
    window pixels.
    """

    provider: str
    cpu_fallback: str
    batch: int
    batch_reason: str
    fuse_obstacle: str
    bytes_per_pixel: float | None
    seconds_per_megapixel: float

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values, by the keys of the report."""
        return {
            "provider": self.provider,
            "beside": self.cpu_fallback,
            "batch": self.batch,
            "batch_why": self.batch_reason,
            "not_fused": self.fuse_obstacle,
            "bytes_per_pixel": self.bytes_per_pixel,
            "seconds_per_megapixel": self.seconds_per_megapixel,
        }

    def lines(self, *, window: int) -> list[tuple[str, str]]:
        """Pairs of label and text for a person; `window` is the side of a window in pixels."""
        obstacle, per_pixel = self.fuse_obstacle, self.bytes_per_pixel
        memory = (
            "not measured"
            if per_pixel is None
            else f"{per_pixel:,.0f} bytes per pixel, {per_pixel * window**2 / 1e6:,.0f} MB a window"
        )
        return [
            ("batch", f"{self.batch} ({self.batch_reason})"),
            ("provider", f"{self.provider}; {self.cpu_fallback or 'it runs every operator'}"),
            ("fuse", f"no: {obstacle}" if obstacle else "yes: scaling and layers can run inside the graph"),
            ("memory", memory),
            ("time", f"{self.seconds_per_megapixel:.2f} s per million pixels of windows"),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The verified facts of a card and the cost of running it. A card that fails is refused with CardError instead."""

    card: CardSummary
    graph: GraphFacts
    operators: OperatorReport
    runs: tuple[SmokeRun, ...]
    receptive_field: ReceptiveField
    window: WindowChoice
    execution: ExecutionFacts
    proof: WindowProof | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values. They are flat: the keys of card and execution lie side by side."""
        return {
            **{key: value for key, value in asdict(self.card).items() if key != "loop" or value},
            "graph": asdict(self.graph),
            "operators": self.operators.to_json(),
            "runs": [asdict(run) for run in self.runs],
            "receptive_field": asdict(self.receptive_field),
            "window": asdict(self.window),
            "proof": asdict(self.proof) if self.proof else None,
            **self.execution.to_json(),
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[tuple[str, str]]:
        """The report for a person: pairs of label and text."""
        graph, field, choice = self.graph, self.receptive_field, self.window
        radius = "" if field.radius is None else f", radius {field.radius} px"
        proof = "" if field.difference is None else f"; windows against a whole image differ by {field.difference:.2g}"
        sizes = f"{choice.window} px, step {choice.step}, trim {choice.trim}, merged by {choice.merge}"
        return [
            ("card", f"{self.card.name}, sha256 {self.card.sha256[:16]}... is the file's"),
            ("graph", f"opset {graph.opset}, {graph.n_bytes / 1e6:.3f} MB"),
            *self.operators.lines(),
            *self.card.lines(),
            *[(f"run on {run.name}", run.words()) for run in self.runs],
            ("receptive field", f"{field.verdict}{radius}: {field.reason}{proof}"),
            *([("compared", field.seen)] if field.seen else []),
            *([("as planned", f"{self.proof.seen}, differ by {self.proof.difference:.2g}")] if self.proof else []),
            ("total stride", f"{field.stride} px"),
            ("window", f"{sizes}; {choice.passes:.2f} passes ({choice.why})"),
            *self.execution.lines(window=choice.window),
            *[("warning", words) for words in self.warnings],
        ]


def check_card(card: ModelCard, *, provider: str = "auto", cache: Path | None = None) -> CheckReport:
    """The report on a card that `load_card` has accepted: the graph is run, its receptive field and cost are measured.

    `cache` is the folder in which measurements are kept. Takes some seconds of one core.
    Raises CardError naming the field to change, ProviderError if the requested provider cannot run.
    """
    card = prompted_card(card, ())
    graph = check_card_graph(card)
    card = stochastic_card(card, cache=cache / "drawn" if cache else None)
    session = open_session(card, provider=provider)
    field = receptive_field(card, cache=cache / "receptive" if cache else None)
    memory_cache = cache / "memory" if cache else None
    per_pixel = card_memory(card, stride=field.stride, cache=memory_cache, window=field.window)
    of_window = partial(window_memory, card, stride=field.stride, cache=memory_cache, window=field.window)
    window = choose_window(card, field, per_pixel=of_window)
    smallest = max([SMOKE_SIDE, *(loop.average.window for loop in card.loops if loop.average)])
    side = card.tile.window or field.window or -(-smallest // field.stride) * field.stride
    runs, run_warnings = run_smoke_test(card, session, side=side)
    batch, _ = _batch(card, session)
    calls = windows_per_call(card, batch=batch)
    proof = prove_card(card, field, window, calls=calls, provider=session.provider, cache=cache and cache / "proof")
    return CheckReport(
        card=_card_summary(card),
        graph=graph,
        operators=report_operators(card.model_path),
        runs=runs,
        receptive_field=field,
        window=window,
        execution=_execution_facts(card, session, window, bytes_per_pixel=per_pixel),
        proof=proof,
        warnings=(
            *_field_warnings(card, field, window),
            *_proof_warnings(field, proof),
            *run_warnings,
            *([session.note] if session.note else []),
        ),
    )


def _card_summary(card: ModelCard) -> CardSummary:
    return CardSummary(
        name=card.name,
        folder=str(card.folder),
        sha256=card.sha256,
        inputs=tuple(
            f"{spec.name}: {', '.join(spec.bands)} of {spec.collection}"
            f"{f' at {spec.resolution:g} m' if spec.resolution else ''}, {spec.dates.kind}, {spec.data_type} "
            f"{_shape(spec.shape, spec.dim_order)}"
            for spec in card.inputs
        ),
        outputs=tuple(
            f"{spec.name}: {spec.data_type} {_shape(spec.shape, spec.dim_order)} -> "
            f"{', '.join(layer.name for layer in spec.layer_specs())}"
            for spec in card.outputs
        )
        + tuple(
            f"{output.name}: {output.data_type} {_shape(output.shape, output.dim_order)} -> {table.name} ({kind})"
            for kind, tables in (("boxes", card.boxes), ("masks", card.masks))
            for table in tables
            for output in table.outputs
        )
        + tuple(f"{port.name}: {port.data_type} -> {name} (words)" for name in card.answers for port in card.ports),
        weights=tuple(f"{path.name} {path.stat().st_size / 1e6:.3f} MB" for path in card.weights),
        loop=card.sampler.words() if card.sampler else card.stochastic.words() if card.stochastic else "",
    )


def _execution_facts(
    card: ModelCard, session: ModelSession, window: WindowChoice, *, bytes_per_pixel: float | None
) -> ExecutionFacts:
    batch, batch_reason = _batch(card, session)
    # OpenVINO runs all operators of a graph or refuses it.
    alone = session.provider in {"cpu", "openvino"}
    return ExecutionFacts(
        provider=session.provider,
        cpu_fallback="" if alone else cpu_fallback(card.model_path, provider=session.provider),
        batch=batch,
        batch_reason=batch_reason,
        fuse_obstacle=obstacle(card, blended=window.merge == "blend"),
        bytes_per_pixel=bytes_per_pixel,
        seconds_per_megapixel=_seconds_per_megapixel(card, session, window.window),
    )


def _shape(shape: tuple[int, ...], dims: tuple[str, ...]) -> str:
    return " x ".join(f"{'free' if n < 1 else n} {dim}" for n, dim in zip(shape, dims, strict=True))


def _batch(card: ModelCard, session: ModelSession) -> tuple[int, str]:
    """Windows per call, and the reason as text."""
    if card.batch:
        return card.batch, "fixed by the card's shape"
    if session.provider in GPUS:
        return GPU_BATCH, "hides the transfers of a GPU"
    return 1, "a larger one gains nothing on a CPU"


def _field_warnings(card: ModelCard, field: ReceptiveField, window: WindowChoice) -> list[str]:
    return [*_trim_warnings(card, field, window), *([ONE_BY_ONE] if field.one_by_one else [])]


def _proof_warnings(field: ReceptiveField, proof: WindowProof | None) -> list[str]:
    differing = [f"{proof.seen}, differ by {proof.difference:.2g}"] if proof and not proof.holds else []
    return [*differing, *([f"with several windows a call, {field.mates}"] if field.mates else [])]


def _trim_warnings(card: ModelCard, field: ReceptiveField, window: WindowChoice) -> list[str]:
    if field.trim is None:
        return [f"the map will depend on where windows lie: {field.reason}"]
    if field.verdict == "measured":
        return [f"that tiled output equals the whole is measured, not proven: {field.reason}"]
    if window.trim < field.trim:
        return [f"tw:tile.trim is {card.tile.trim}; the model needs {field.trim} for tiled output to equal the whole"]
    return []


def _seconds_per_megapixel(card: ModelCard, session: ModelSession, side: int) -> float:
    quick, feeds, times = quick_run(card, side=side)
    if card.loops:
        session = open_session(quick, provider=session.provider)
    session.run(feeds)
    started = time.perf_counter()
    session.run(feeds)
    return (time.perf_counter() - started) * times / side**2 * 1e6
