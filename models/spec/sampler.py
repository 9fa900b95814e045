"""A loop around a denoiser (`tw:sampler`): its steps, the noise that it begins with, the windows that it averages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from tilewright.models.errors import CardError
from tilewright.models.spec.arrays import AXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.models.spec.inputs import ExtraInput, InputSpec
    from tilewright.models.spec.outputs import OutputSpec


FIELD: Final = "tw:sampler"

STATE_DIMS: Final = ("batch", "bands", "height", "width")

Kind = Literal["ddim", "euler", "heun"]

Prediction = Literal["epsilon", "velocity", "sample"]

Port = TypeVar("Port", "InputSpec", "ExtraInput", "OutputSpec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """Windows of `window` px of the card's grid, `step` apart, whose predictions are averaged in each evaluation."""

    window: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStep:
    """A step from the state x: the graph answers at `time`, and the slope of x is `of_state` x + `of_answer` answer.

    The next state is `keep` x + `gain` slope. `corrected`: time, `of_state` and `of_answer` of a second evaluation at
    the next state; the slope then is the mean of both. None without one.
    """

    time: float
    keep: float
    gain: float
    of_state: float
    of_answer: float
    corrected: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSpec:
    """The loop of a card. `levels` are n + 1 alpha-bars (ddim) or sigmas, `times` the scaled time input at each step.

    `state` and `time` name the graph's inputs, `output` its prediction, of `channels` channels and `scale` pixels per
    pixel of the card's grid. `average`: windows that are averaged inside the loop; `shapes` are then those of the
    graph's arrays for such a window, by name, and `fixed` names those that take no other.
    """

    kind: Kind
    prediction: Prediction
    levels: tuple[float, ...]
    times: tuple[float, ...]
    state: str
    time: str
    output: str
    channels: int
    scale: float = 1.0
    seed: int = 0
    average: Average | None = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    fixed: frozenset[str] = frozenset()

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.levels) - 1

    @property
    def evaluations(self) -> int:
        """Times that the graph runs for one window, or for each of the windows that are averaged."""
        return sum(2 if step.corrected else 1 for step in self.loop_steps())

    def calls(self, window: int) -> int:
        """Times that the graph runs for a window of so many pixels of the card's grid a side."""
        inside = self.average
        per_side = 1 if inside is None else max(0, window - inside.window) // inside.step + 1
        return self.evaluations * per_side**2

    def first_step(self) -> SamplerSpec:
        """The loop that ends after one evaluation."""
        kind: Kind = "ddim" if self.kind == "ddim" else "euler"
        return replace(self, kind=kind, levels=self.levels[:2], times=self.times[:1])

    @property
    def first(self) -> float:
        """The deviation of the state that the loop begins with."""
        return 1.0 if self.kind == "ddim" else self.levels[0]

    def words(self) -> str:
        """The loop as text for a person."""
        inside = self.average
        windows = f", of windows of {inside.window} px, {inside.step} px apart, averaged in each" if inside else ""
        steps = f"{self.steps} step{'s' if self.steps > 1 else ''}"
        return f"{self.kind} of {steps}, {self.evaluations} evaluations{windows}; noise of seed {self.seed}"

    def loop_steps(self) -> Iterator[LoopStep]:
        """The loop, step by step.

        Source: ddim: Song, Meng and Ermon, ICLR 2021, equation 12 with eta 0; its velocity: Salimans and Ho, ICLR 2022,
        appendix D. euler and heun: Karras et al., NeurIPS 2022, algorithm 1, which leaves the correction out of a step
        that ends at sigma 0, as the scheduler of flows in diffusers (FlowMatchHeunDiscreteScheduler) does.
        """
        for number in range(self.steps):
            here, there = self.levels[number], self.levels[number + 1]
            if self.kind == "ddim":
                yield _ddim(self.prediction, here, there, time=self.times[number])
                continue
            corrected = None
            if self.kind == "heun" and there > 0:
                corrected = (self.times[number + 1], *_slope(self.prediction, there))
            of_state, of_answer = _slope(self.prediction, here)
            yield LoopStep(
                time=self.times[number],
                keep=1.0,
                gain=there - here,
                of_state=of_state,
                of_answer=of_answer,
                corrected=corrected,
            )


def _ddim(prediction: Prediction, here: float, there: float, *, time: float) -> LoopStep:
    """The step from alpha-bar `here` to `there`: x <- sqrt(there) x0 + sqrt(1 - there) e, whose slope is e.

    e is told by the graph, or by the clean image x0 = (x - sqrt(1 - here) e) / sqrt(here), or by the velocity
    sqrt(here) e - sqrt(1 - here) x0.
    """
    clean, noisy = sqrt(here), sqrt(1 - here)
    of_state, of_answer = {
        "epsilon": (0.0, 1.0),
        "velocity": (noisy, clean),
        "sample": (1 / noisy, -clean / noisy),
    }[prediction]
    keep = sqrt(there / here)
    return LoopStep(time=time, keep=keep, gain=sqrt(1 - there) - keep * noisy, of_state=of_state, of_answer=of_answer)


def _slope(prediction: Prediction, sigma: float) -> tuple[float, float]:
    """The factors of state and answer in dx / dsigma: the graph's own answer, or (x - x0) / sigma."""
    return (1 / sigma, -1 / sigma) if prediction == "sample" else (0.0, 1.0)


def free_windows(
    spec: SamplerSpec, ports: Sequence[Port], ratios: Mapping[str, float]
) -> tuple[SamplerSpec, tuple[Port, ...]]:
    """The ports with free height and width, where a loop averages windows of the graph's, and the loop with the shapes
    of such a window; `ratios` are pixels per pixel of the card's grid by name.

    A constant stays as it is: each window has it. Raises CardError for a size that is not that of such a window.
    """
    shapes, fixed, freed = dict(spec.shapes), set(spec.fixed), []
    for port in ports:
        sides = [at for at, name in enumerate(port.dim_order) if AXES.get(name) in {"height", "width"}]
        if spec.average is None or getattr(port, "kind", "") == "constant" or not sides:
            freed.append(port)
            continue
        expected = round(spec.average.window * ratios.get(port.name, 1.0))
        sizes = {port.shape[side] for side in sides}
        if not sizes <= {-1, expected}:
            raise CardError(
                f"properties.{FIELD}.average.window is {spec.average.window}; {port.name} is fixed to {max(sizes)} px, "
                f"and not to the {expected} px of such a window: write the graph's own"
            )
        shapes[port.name] = tuple(expected if at in sides else n for at, n in enumerate(port.shape))
        fixed |= {port.name} if expected in sizes else set()
        freed.append(replace(port, shape=tuple(-1 if at in sides else n for at, n in enumerate(port.shape))))
    return replace(spec, shapes=tuple(shapes.items()), fixed=frozenset(fixed)), tuple(freed)
