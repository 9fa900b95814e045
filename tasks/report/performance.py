"""How the product was made: what was read and run, how long each stage took, how exact it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import part, text
from tilewright.tasks.report.format import number

if TYPE_CHECKING:
    from tilewright.tasks.report.fields import Fields


_WHOLE = ("total", "wall")  # keys of `seconds` that are the run's length and not one of its stages

_VERDICTS = {
    "exact": (
        "Exact: the tiles are the whole image",
        "Every pixel has the value the model would give if it saw the whole area in one piece.",
    ),
    "inexact": (
        "Not exact: windows can show at their seams",
        "Some pixels can differ from what the model would give if it saw the whole area in one piece.",
    ),
    "unknown": ("Exactness is not stated", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A named figure, and what it stands for in a few words."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBar:
    """A bar of the cost chart: `width` in percent of the longest."""

    name: str
    seconds: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChart:
    """Seconds of each stage, of the run and of its floor, on one scale.

    `overlapping` says that the stages add up to more than the run, `short` that start-up and publishing are most of it.
    """

    stages: tuple[CostBar, ...]
    total: CostBar | None
    floor: CostBar | None
    overlapping: bool
    short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """Whether tiled output is whole-image output, in plain words; `state` is "exact", "inexact" or "unknown"."""

    state: str
    title: str
    sentences: tuple[str, ...]


def work_facts(report: Fields) -> tuple[Fact, ...]:
    """What was read and run, beside the cost chart; a figure that the report does not know is left out."""
    skipped = number(report.get("windows_skipped"))
    passed_over = "" if skipped is None else f"{words.count(skipped)} skipped"
    shown = (
        Fact(name="Read", value=words.size(report.get("bytes_read")), note="bytes from the archive"),
        Fact(name="Read factor", value=words.figure(report.get("read_factor")), note="pixels read per pixel needed"),
        Fact(name="Blocks", value=words.count(report.get("blocks")), note="units of work and write"),
        Fact(
            name="Windows run",
            value=words.count(report.get("windows_run")),
            note=passed_over,
        ),
        Fact(name="Passes", value=words.figure(report.get("passes")), note="pixels computed per pixel kept"),
        Fact(name="Speed", value=with_unit(report.get("km2_per_s"), "km²/s")),
        Fact(name="Provider", value=text(report, "provider") or words.ABSENT, note=_way(report)),
        Fact(name="Peak memory", value=words.megabytes(report.get("peak_memory_mb"))),
    )
    return tuple(fact for fact in shown if fact.value != words.ABSENT)


def _way(report: Fields) -> str:
    """How the provider ran the model."""
    fused = ", with the card inside its graph" if report.get("fused") else ""
    half = ", in half precision" if report.get("precision") == "fp16" else ""
    tuned = ", its graph tuned to the windows" if report.get("tuned") else ""
    return f"that really ran the model{fused}{half}{tuned}"


def total_seconds(report: Fields) -> float | None:
    """Measured length of the run: `seconds.total`, or floor / efficiency where it is not written."""
    seconds = part(report, "seconds")
    for key in _WHOLE:
        if (total := number(seconds.get(key))) is not None:
            return total
    floor, efficiency = number(report.get("floor_seconds")), number(report.get("efficiency"))
    return floor / efficiency if floor is not None and efficiency else None


def mostly_start_up(report: Fields) -> bool:
    """True where blocks, spread over the cores, were less than half of a run: it says little about speed then."""
    seconds, total = part(report, "seconds"), total_seconds(report)
    busy = sum(number(seconds.get(stage)) or 0.0 for stage in ("read", "infer", "write"))
    return total is not None and busy / (number(report.get("workers")) or 1) < total / 2


def cost(report: Fields) -> CostChart:
    """The stages in the order given, the whole run and its floor, as bars on one scale."""
    given = {str(name): number(value) for name, value in part(report, "seconds").items() if str(name) not in _WHOLE}
    stages = {name: seconds for name, seconds in given.items() if seconds is not None and seconds >= 0}
    total, floor = total_seconds(report), number(report.get("floor_seconds"))
    longest = max([*stages.values(), total or 0, floor or 0, 1e-9])

    def bar(name: str, seconds: float | None) -> CostBar | None:
        if seconds is None:
            return None
        return CostBar(name=name, seconds=seconds, width=round(100 * max(seconds, 0) / longest, 2))

    bars = (bar(name.replace("_", " "), seconds) for name, seconds in stages.items())
    return CostChart(
        stages=tuple(stage for stage in bars if stage),
        total=bar("whole run", total),
        floor=bar("floor", floor),
        overlapping=total is not None and sum(stages.values()) > 1.05 * total,
        short=mostly_start_up(report),
    )


def verdict(report: Fields) -> Exactness:
    """The exactness of the product: its title, then why, how far the model sees, and what was cut."""
    exact = report.get("exact")
    state = "exact" if exact is True else "inexact" if exact is False else "unknown"
    title, meaning = _VERDICTS[state]
    reason = _sentence(text(report, "exact_reason") or text(part(report, "receptive_field"), "reason"))
    reach = _reach(report)
    # What makes an exact map exact is its reach and what was cut: the reason would say them again.
    details = ("" if state == "exact" and reach else reason, reach, _cut(report))
    why = " ".join(sentence for sentence in details if sentence)
    return Exactness(state=state, title=title, sentences=tuple(sentence for sentence in (meaning, why) if sentence))


def _sentence(given: str) -> str:
    end = "" if not given or given.endswith((".", "!")) else "."
    return given[:1].upper() + given[1:] + end


def _reach(report: Fields) -> str:
    field = part(report, "receptive_field")
    radius = number(field.get("radius")) if field else number(report.get("receptive_field"))
    if radius is None:
        return "The model's receptive field has no measured bound." if field.get("verdict") == "unbounded" else ""
    if field.get("verdict") == "effectively-bounded":
        below = f" (below {words.figure(field.get('tolerance'))} beyond)" if number(field.get("tolerance")) else ""
        return f"The model's influence fades within {words.count(radius)}\u00a0px of a pixel{below}."
    if radius == 0:
        return "The model looks at each pixel alone (receptive field 0\u00a0px)."
    return f"The model sees {words.count(radius)}\u00a0px to each side of a pixel (measured receptive field)."


def _cut(report: Fields) -> str:
    trim, window = number(report.get("trim")), number(report.get("window"))
    if trim is None:
        return ""
    of = f"{words.count(window)}\u00a0px window" if window else "window"
    return f"{words.count(trim)}\u00a0px were trimmed from each side of a {of}."


def with_unit(value: object, unit: str) -> str:
    """A figure and its unit."""
    return words.ABSENT if number(value) is None else f"{words.figure(value)}\u00a0{unit}"
