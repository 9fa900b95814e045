"""The ranges of a model's tensors over some of a job's windows, which its plan holds: they make its quantised graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tilewright.flows.environment import cache_folder
from tilewright.flows.precision.windows import calibration_windows
from tilewright.models.errors import CardError, memory_for
from tilewright.models.optimise.quantise import measure_ranges, quantised_card
from tilewright.models.run.open import open_session
from tilewright.tasks.block.infer import LoadedModel, infer_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from tilewright.models.card.card import ModelCard
    from tilewright.models.run.session import Runner
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    """A runner that keeps what it is given."""

    runner: Runner
    feeds: list[Mapping[str, NDArray[Any]]] = field(default_factory=list)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.feeds.append(dict(feeds))
        return self.runner.run(feeds)


def with_ranges(plan: Plan, card: ModelCard) -> Plan:
    """The plan of a quantised model with its ranges, and the sha256 of the graph that they make. Reads some windows.

    The plan holds the ranges and not the graph: whoever has the plan and the model, a worker, a later run or a rebuilt
    product elsewhere, makes the same graph of them, and the sha256 says so.

    Raises CardError where the graph cannot be quantised, or no window has a valid pixel.
    """
    with memory_for(card.name):
        ranges = measure_ranges(card, calibration_feeds(plan, card))
        if not ranges or not any(high > low for low, high in ranges.values()):
            raise CardError(
                "precision: int8 could not be calibrated: no window read has a valid pixel. Run with precision: fp32."
            )
        quantised = quantised_card(card, ranges, cache=cache_folder() / "quantised")
    model = replace(plan.model, ranges={name: list(ends) for name, ends in ranges.items()}, quantised=quantised.sha256)
    return replace(plan, model=model)


def calibration_feeds(plan: Plan, card: ModelCard) -> Iterator[Mapping[str, NDArray[Any]]]:
    """What the model is given for each window that is calibrated on."""
    session = open_session(card, provider="cpu")
    for inputs in calibration_windows(plan):
        recorder = _Recorder(runner=session.runner)
        model = LoadedModel(card=card, session=replace(session, runner=recorder), batch=card.batch or 1)
        infer_block(plan, model, inputs)
        yield from recorder.feeds
