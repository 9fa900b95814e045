"""Opens the session of a card, whether it is one model, a loop around it, or combines several runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.errors import CardError
from tilewright.models.run.augment import DRAWN, FLIPS, NOISE, AugmentedRunner
from tilewright.models.run.ensemble import EnsembleRunner, input_prefix
from tilewright.models.run.generate import open_writer
from tilewright.models.run.openvino import import_openvino
from tilewright.models.run.prompt import ROLE as PROMPTS
from tilewright.models.run.prompt import PromptsRunner
from tilewright.models.run.providers import candidates, import_onnxruntime
from tilewright.models.run.sampler import SamplerRunner
from tilewright.models.run.session import open_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import ModelSession, Runner
    from tilewright.models.spec.outputs import OutputSpec


def open_joint(card: ModelCard, **options: Any) -> ModelSession:
    """A session that runs every member of a card and combines their results."""
    sessions = [open_session(member, **options) for member in card.members]
    notes = " ".join(dict.fromkeys(session.note for session in sessions if session.note))
    first = replace(sessions[0], sha256=card.sha256, note=notes, outputs=())
    if card.role == PROMPTS:
        return replace(first, runner=PromptsRunner(card, sessions[0]))
    if card.role in {*FLIPS, NOISE, DRAWN}:
        return replace(first, runner=AugmentedRunner(card, sessions[0]))
    inputs = tuple(
        replace(tensor, name=input_prefix(member, number) + tensor.name)
        for number, (member, session) in enumerate(zip(card.members, sessions, strict=True))
        for tensor in session.inputs
    )
    return replace(first, inputs=inputs, runner=EnsembleRunner(card, sessions))


def open_session(
    card: ModelCard,
    *,
    provider: str = "auto",
    threads: int = 1,
    precision: str = "fp32",
    callers: int | None = None,
) -> ModelSession:
    """The process's session for the card's graph: opened on the first call, the same object afterwards.

    `provider` is auto, cpu, cuda, tensorrt or openvino. `auto` uses CUDA if it really starts, else the CPU, and
    warns once if CUDA is listed but could not start. `threads` is the number of threads of one call; on a CPU many
    callers with one thread each are fastest. `precision` is that of OpenVINO's arithmetic (fp32, bf16, or int8 for a
    quantised graph), and `callers` the most of its calls that compute at a time, None for one per core; onnxruntime
    computes as the graph says, for any number of callers.
    Raises ProviderError if the requested provider cannot run, CardError if the graph cannot be loaded.
    """
    options: dict[str, Any] = {"provider": provider, "threads": threads, "precision": precision, "callers": callers}
    if card.members:
        return open_joint(card, **options)
    if card.stochastic:
        raise CardError(f"{card.name} draws random numbers (tw:stochastic), which nothing here gives places to")
    # sha256 covers the graph file alone; the card's digest covers external weights too.
    content = card.digest if card.weights else card.sha256
    answers = card.words is not None and card.words.generate is not None
    session = open_graph(card.model_path, sha256=content, **options, growing=answers)
    if answers:
        return replace(session, outputs=(), runner=open_writer(card, session, **options))
    if card.sampler:
        return replace(session, runner=SamplerRunner(card, session.runner))
    return replace(session, runner=WholeWindows(card, session.runner)) if any(card.crop) else session


class WholeWindows:
    """Runs a graph that crops its windows, and gives results that cover them.

    The rim left out repeats the outermost pixels. Windows lose it again as part of their trim.
    """

    def __init__(self, card: ModelCard, inner: Runner) -> None:
        self._inner = inner
        self._rims = {output.name: _rims(output) for output in card.outputs if any(output.cropped)}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name, of the whole window's size."""
        results = self._inner.run(feeds)
        return {
            name: np.pad(result, self._rims[name], mode="edge") if name in self._rims else result
            for name, result in results.items()
        }


def _rims(output: OutputSpec) -> list[tuple[int, int]]:
    """The pixels left out before and after along each axis."""
    return [output.cropped if axis in {"height", "width"} else (0, 0) for axis in output.axes]


def active_provider(card: ModelCard, *, provider: str) -> str:
    """The provider that would really run a card; opens a session only if nothing else can tell.

    Raises ProviderError if the requested provider cannot run.
    """
    names = candidates(provider, tuple(import_onnxruntime().get_available_providers()))
    if names == ("openvino",):
        import_openvino()
    return names[0] if names in {("cpu",), ("openvino",)} else open_session(card, provider=provider).provider
