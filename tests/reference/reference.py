"""A slow second opinion on what counts as observed: sections 3 to 5 of docs/observed.md, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean, median
from typing import Any

import numpy as np
from shapely.geometry import shape

from tests.reference.looks import Item, Look, Question, look_of, span_of

PASS_GAP = timedelta(minutes=30)
AGAIN = timedelta(minutes=2)
"""Time after which a scene of a place seen before is another look, and no piece of the same one."""

Pass = list[Look]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The composites (step, band, y, x) with NaN, their counts, and the map's; or why the question is refused."""

    refused: str = ""
    composites: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    observations: np.ndarray = field(default_factory=lambda: np.zeros(0))
    mapped: np.ndarray = field(default_factory=lambda: np.zeros(0))
    unsure: np.ndarray = field(default_factory=lambda: np.zeros(0))
    passes: tuple[tuple[Pass, ...], ...] = ()


def answer(question: Question) -> Answer:
    """Sections 4 and 5: the steps reduced over their passes, and the map's pixels."""
    held = [[item for item in question.items if _is_in(item, step)] for step in question.steps]
    if refused := _refusal(question, held):
        return Answer(refused=refused)
    height, width = question.shape
    looks = {item["id"]: look_of(item, question) for item in question.items}
    passes = tuple(tuple(passes_of([looks[item["id"]] for item in items])) for items in held)
    steps = [reduced(found, question) for found in passes]
    counts = np.array([count for _, count in steps])
    per_step = counts.min(axis=1)
    seen = per_step > 0
    unsure = np.zeros((height, width), bool)
    for look in looks.values():
        unsure |= look.unsure
    return Answer(
        composites=np.array([composite for composite, _ in steps]),
        counts=counts,
        observations=per_step.sum(axis=0),
        mapped=seen.all(axis=0) if question.every_step else seen.any(axis=0),
        unsure=unsure,
        passes=passes,
    )


def _is_in(item: Item, step: tuple[datetime, datetime]) -> bool:
    first, last = span_of(item)
    return first <= step[1] and last >= step[0]


def _refusal(question: Question, held: list[list[Item]]) -> str:
    """Section 4, its last paragraph; and what a job asks for and no scene has.

    A step without any scene is missing as a whole, and a pair has none such.
    """
    if not any(held):
        return "no scene"
    for number, items in enumerate(held):
        if not items and question.every_step:
            return f"no scene in step {number}"
        lacking = [band for band in question.bands if items and not any(band in item["assets"] for item in items)]
        if lacking:
            return f"no scene of step {number} has {lacking}"
    mask = question.mask
    if mask is not None and mask.named and not any(mask.band in item["assets"] for items in held for item in items):
        return f"no scene has {mask.band}, by which clouds were to be told"
    return ""


# ------------------------------------------------------------------------------------- sections 3 and 4: passes


def passes_of(looks: Sequence[Look]) -> list[Pass]:
    """The passes of a step in order of their first moment."""
    passes: list[Pass] = []
    last: dict[tuple[Any, ...], Pass] = {}
    for look in sorted(looks, key=lambda look: (look.moment, look.item["id"])):
        properties = look.item["properties"]
        kind = look.item["collection"], properties.get("platform"), properties.get("sat:relative_orbit")
        current = last.get(kind)
        if current is None or look.moment - current[-1].moment > PASS_GAP or looks_again(look, current):
            current = last[kind] = []
            passes.append(current)
        current.append(look)
    return passes


def looks_again(look: Look, current: Pass) -> bool:
    """Whether a scene of the pass, more than two minutes before, covers more than half of this one's footprint."""
    place = shape(look.item["geometry"])
    return any(
        look.moment - other.moment > AGAIN and place.intersection(shape(other.item["geometry"])).area > 0.5 * place.area
        for other in current
    )


def joined(one: Pass, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """A pass as one picture (band, y, x): each pixel wholly from the first scene that sees it, NaN where none does.

    With it the scene of each pixel, (y, x).
    """
    picture = np.full((len(question.bands), *question.shape), np.nan)
    scenes = np.full(question.shape, None, dtype=object)
    taken = np.zeros(question.shape, bool)
    for look in sorted(one, key=lambda look: (-len(look.values), look.moment, look.item["id"])):
        mine = look.seen & ~taken
        for number, band in enumerate(question.bands):
            if band in look.values:
                picture[number][mine] = look.values[band][mine]
        scenes[mine] = look
        taken |= look.seen
    return picture, scenes


def asked(look: Look, question: Question) -> tuple[Any, ...]:
    """The place of a scene among those that see a pixel: in time, or after its own cloud where that is asked for."""
    cover = look.item["properties"]["eo:cloud_cover"] if question.reducer == "least-cloudy" else 0
    return cover, look.moment, look.item["id"]


def reduced(passes: Sequence[Pass], question: Question) -> tuple[np.ndarray, np.ndarray]:
    """(composite, count) of a step, (band, y, x) each."""
    pictures = [joined(one, question) for one in passes]
    composite = np.full((len(question.bands), *question.shape), np.nan)
    count = np.zeros(composite.shape, int)
    for place in np.ndindex(*composite.shape):
        seen = [(scenes[place[1:]], picture[place]) for picture, scenes in pictures if not np.isnan(picture[place])]
        numbers = [number for _, number in sorted(seen, key=lambda one: asked(one[0], question))]
        count[place] = len(numbers)
        if numbers:
            composite[place] = REDUCERS[question.reducer](numbers)
    return composite, count


REDUCERS = {
    "median": median,
    "mean": fmean,
    "min": min,
    "max": max,
    "first": lambda numbers: numbers[0],
    "least-cloudy": lambda numbers: numbers[0],
    "last": lambda numbers: numbers[-1],
}
