"""How the product was made: amounts read and run, seconds of each stage, exactness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import mapping, rows, text
from tilewright.tasks.report.format import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilewright.tasks.report.fields import Fields


_RUN_KEYS = ("total", "wall")  # keys of `seconds` that hold the length of the run and not of one stage

EXCEPTED = " Pixels with or beside missing observations are excepted: those are filled from within their own window."

LAYERS_TOLD = 8
"""Layers whose seam index the page tells; report.json has all."""

ROUNDED = "; but for the rounding of "
"""What begins the part of a reason that excepts a precision's own rounding."""

OWN_WINDOW = "each place has a window of its own"
"""What begins the reason of answers that are one for the window of a place, of which no map tells."""

OWN_VECTOR = "each vector has a window of its own"
"""The same of vectors that are one for each window."""

_VERDICTS = {
    "own": ("Exact: each place by itself", "What a row gets depends on no other row, and on no order of work."),
    "vectors": ("Exact: each window by itself", "A vector depends on no other window, and on no cut of the work."),
    "exact": (
        "Exact: the tiles are the whole image",
        "Every pixel has the value the model would give if it saw the whole area in one piece.",
    ),
    "measured": (
        "Measured, not proven: no window tried shows a seam",
        "Every pixel that was tried has the value the model would give if it saw the whole area in one piece.",
    ),
    "inexact": (
        "Not exact: windows can show at their seams",
        "Some pixels can differ from what the model would give if it saw the whole area in one piece.",
    ),
    "unknown": ("Exactness is not stated", ""),
}

_ALONE = {"own": OWN_WINDOW, "vectors": OWN_VECTOR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A named figure, with a short note that explains it."""

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

    `overlapping` is True if the stages add up to more than the run, `short` if most of the run is start-up and
    publishing.
    """

    stages: tuple[CostBar, ...]
    total: CostBar | None
    floor: CostBar | None
    overlapping: bool
    short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """Whether tiled output equals whole-image output, in sentences; `state` is "exact" (proven), "measured",
    "inexact" or "unknown".
    """

    state: str
    title: str
    sentences: tuple[str, ...]


def work_facts(report: Fields, asked: Iterable[Fact] = ()) -> tuple[Fact, ...]:
    """The figures next to the cost chart, with those of what a job ``asked`` for; what is not held is left out."""
    skipped = number(report.get("windows_skipped"))
    skipped_note = "" if skipped is None else f"{words.count(skipped)} skipped"
    shown = (
        Fact(
            name="Read",
            value=words.size(report.get("bytes_read")),
            note="from the files, compressed, in whole tiles",
        ),
        Fact(name="Read factor", value=words.figure(report.get("read_factor")), note="pixels read per pixel needed"),
        Fact(
            name="Units" if mapping(report, "places") else "Blocks",
            value=words.count(report.get("blocks")),
            note=_blocks_note(report),
        ),
        Fact(
            name="Windows run",
            value=words.count(report.get("windows_run")),
            note=skipped_note,
        ),
        Fact(name="Pixels computed", value=words.figure(report.get("passes")), note="per pixel that has a value"),
        Fact(name="Speed", value=with_unit(report.get("km2_per_s"), "km²/s")),
        Fact(name="Provider", value=text(report, "provider") or words.ABSENT, note=_provider_note(report)),
        *_precision_facts(report),
        *asked,
        Fact(name="Peak memory", value=words.megabytes(report.get("peak_memory_mb"))),
    )
    return tuple(fact for fact in shown if fact.value != words.ABSENT)


def _blocks_note(report: Fields) -> str:
    """What a block is, or how many the last run made where others stood from before."""
    made = number(report.get("blocks_made"))
    if made is None or made == number(report.get("blocks")):
        return (
            "rows of the table that are worked on together" if mapping(report, "places") else "units of work and write"
        )
    return f"{words.count(made)} made by the last run, of which the times and the speed are"


def _precision_facts(report: Fields) -> tuple[Fact, ...]:
    """How the precision agreed with single precision on some windows of the job; none where it is single."""
    check = mapping(report, "precision_check")
    shares = [share for each in mapping(check, "agreement").values() if (share := number(each)) is not None]
    if not shares:
        return ()
    seconds, single = number(check.get("seconds_per_window")), number(check.get("fp32_seconds_per_window"))
    speed = f"; a window took {seconds:.3g} s, in fp32 {single:.3g} s" if seconds and single else ""
    note = f"of the pixels of {words.count(check.get('windows'))} windows are as in fp32, in the least equal layer"
    return (Fact(name=f"Agreement of {report.get('precision')}", value=f"{min(shares):.2%}", note=note + speed),)


_PRECISIONS = {"fp16": ", in half precision", "bf16": ", in bfloat16", "int8": ", quantised to 8 bits"}


def _provider_note(report: Fields) -> str:
    """How the provider ran the model: fused, in half precision, tuned."""
    fused = ", with the card inside its graph" if report.get("fused") else ""
    half = _PRECISIONS.get(str(report.get("precision")), "")
    tuned = ", its graph tuned to the windows" if report.get("tuned") else ""
    return f"that really ran the model{fused}{half}{tuned}"


def total_seconds(report: Fields) -> float | None:
    """Measured length of the run in seconds: `seconds.total`, or floor / efficiency if the report lacks it."""
    seconds = mapping(report, "seconds")
    for key in _RUN_KEYS:
        if (total := number(seconds.get(key))) is not None:
            return total
    floor, efficiency = number(report.get("floor_seconds")), number(report.get("efficiency"))
    return floor / efficiency if floor is not None and efficiency else None


def mostly_start_up(report: Fields) -> bool:
    """True if blocks, divided by the workers, took less than half of the run: its speed then says little."""
    seconds, total = mapping(report, "seconds"), total_seconds(report)
    busy = sum(number(seconds.get(stage)) or 0.0 for stage in ("read", "infer", "write"))
    return total is not None and busy / (number(report.get("workers")) or 1) < total / 2


def cost_chart(report: Fields) -> CostChart:
    """The stages in the order of the report, the whole run and its floor, as bars on one scale."""
    listed = {
        str(name): number(value) for name, value in mapping(report, "seconds").items() if str(name) not in _RUN_KEYS
    }
    stages = {name: seconds for name, seconds in listed.items() if seconds is not None and seconds >= 0}
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


def exactness(report: Fields) -> Exactness:
    """The exactness of the product: its title, its meaning, then the reason, the receptive field and the trim, and what
    its own windows showed.
    """
    exact = report.get("exact")
    state = "exact" if exact is True else "inexact" if exact is False else "unknown"
    if state == "inexact" and report.get("exactness") == "measured":
        state = "measured"
    reason = text(report, "exact_reason") or text(mapping(report, "receptive_field"), "reason")
    alone = next((word for word, begin in _ALONE.items() if state == "exact" and reason.startswith(begin)), state)
    title, meaning = _VERDICTS[alone]
    reason = reason[:1].upper() + reason[1:] + ("." if reason and not reason.endswith((".", "!")) else "")
    receptive_field = _receptive_field(report)
    # An exact map is exact because of its receptive field and its trim: the reason would repeat both.
    details = ("" if state == "exact" and receptive_field else reason, receptive_field, _trim(report))
    why = " ".join(sentence for sentence in details if sentence)
    excepted = EXCEPTED if state == "exact" and "filled from their own window" in reason else ""
    _, _, numbers = reason.partition(ROUNDED)
    rounded = f" It is excepted that this model rounds otherwise: {numbers}" if state == "exact" and numbers else ""
    screen = text(mapping(report, "screen"), "model")
    screened = f" That is said of the windows in which {screen} lets the model look." if screen else ""
    sentences = (f"{meaning}{excepted}{rounded}{screened}", why, _compared(report))
    return Exactness(state=state, title=title, sentences=tuple(sentence for sentence in sentences if sentence))


def _compared(report: Fields) -> str:
    """The numbers of the windows that the run compared with shifted ones; empty if the report has none."""
    seams = mapping(report, "seams")
    windows, pixels = number(seams.get("windows")), number(seams.get("pixels"))
    if windows is None or pixels is None:
        return ""
    if not windows:
        return "No window of this run was compared with a shifted one."
    share = f"{number(seams.get('percent')) or 0.0:.3f}\u00a0%"
    beside = number(seams.get("gap_pixels")) or 0
    gaps = (
        f" Beside missing observations {words.count(seams.get('gap_differing'))} of {words.count(beside)} differ."
        if beside
        else ""
    )
    return (
        f"Windows compared with shifted ones: {words.count(windows)}, differing pixels "
        f"{words.count(seams.get('differing'))} of {words.count(pixels)} ({share}), greatest difference "
        f"{number(seams.get('largest')) or 0.0:.2g}.{gaps}{_indices(seams)}"
    )


def _indices(seams: Fields) -> str:
    """The seam index of each layer of which any pixel changes, as a sentence; empty where none does."""
    told = []
    for row in rows(seams, "layers"):
        index, name = number(row.get("index")), text(row, "name")
        if index:
            told.append(f"{name} {100 * index:.3g}\u00a0%" if row.get("of") == "share" else f"{name} {index:.2g}")
    more = f" and {len(told) - LAYERS_TOLD} more" if len(told) > LAYERS_TOLD else ""
    shown = ", ".join(told[:LAYERS_TOLD]) + more
    return f" Seam index (share of pixels of classes, mean change of values): {shown}." if told else ""


def _receptive_field(report: Fields) -> str:
    field = mapping(report, "receptive_field")
    radius = number(field.get("radius")) if field else number(report.get("receptive_field"))
    if radius is None:
        return "The model's receptive field has no measured bound." if field.get("verdict") == "unbounded" else ""
    if field.get("verdict") == "effectively-bounded":
        below = f" (below {words.figure(field.get('tolerance'))} beyond)" if number(field.get("tolerance")) else ""
        return f"The model's influence fades within {words.count(radius)}\u00a0px of a pixel{below}."
    known = "proven" if field.get("verdict") == "bounded" else "measured"
    if radius == 0 and known == "proven":
        return "The model looks at each pixel alone (receptive field 0\u00a0px)."
    return f"The model sees {words.count(radius)}\u00a0px to each side of a pixel ({known} receptive field)."


def _trim(report: Fields) -> str:
    trim, window = number(report.get("trim")), number(report.get("window"))
    if trim is None:
        return ""
    trimmed = f"{words.count(window)}\u00a0px window" if window else "window"
    return f"{words.count(trim)}\u00a0px were trimmed from each side of a {trimmed}."


def with_unit(value: object, unit: str) -> str:
    """A figure and its unit."""
    return words.ABSENT if number(value) is None else f"{words.figure(value)}\u00a0{unit}"
