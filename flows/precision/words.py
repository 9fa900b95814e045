"""How each word of a map by words scores over an area, which its plan holds: what is usual for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tilewright.flows.precision.windows import usual_windows
from tilewright.models.errors import CardError, memory_for
from tilewright.models.measure.window import answers_per_window
from tilewright.models.run.open import open_session
from tilewright.models.run.text import scored_card
from tilewright.tasks.block.infer import LoadedModel, infer_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.plan.plan import Plan


OF_PIXELS: Final = 8
"""Windows whose pixels are looked at."""

OF_WINDOWS: Final = 64
"""The same of a model that gives one vector for each window."""

LEAST: Final = 8
"""Windows, or pixels, from which a spread can be told."""

DIGITS: Final = 6
"""Digits that the plan keeps: fewer than machines round alike."""


def with_usual_scores(plan: Plan, card: ModelCard) -> Plan:
    """The plan of a map by words with the mean and the deviation of each word's scores. Reads some windows.

    Raises CardError where too few windows have a valid pixel, or a word scores the same everywhere.
    """
    words = [each.name for output in card.outputs if output.words for each in output.classes]
    with memory_for(card.name):
        n, total, squares = 0, np.zeros(len(words)), np.zeros(len(words))
        middle = np.zeros((len(words), 1))
        for scores in _scores(plan, card):
            # From a place in their midst, so that the squares keep their digits.
            middle = middle if n else scores[:, :1]
            n += scores.shape[1]
            total += (scores - middle).sum(axis=1)
            squares += ((scores - middle) ** 2).sum(axis=1)
    if n < LEAST:
        raise CardError(f"classify.calibrated: {n} vectors can be seen here, and a spread needs {LEAST}: leave it out.")
    means = total / n
    deviations = np.sqrt(np.maximum(squares / n - means**2, 0))
    usual = {
        word: [float(f"{mean:.{DIGITS}g}"), float(f"{deviation:.{DIGITS}g}")]
        for word, mean, deviation in zip(words, middle[:, 0] + means, deviations, strict=True)
    }
    for word, (mean, deviation) in usual.items():
        if deviation <= 1e-5 * max(1.0, abs(mean)):
            raise CardError(
                f"classify.calibrated: {word!r} is as like one place as another here: leave calibrated out."
            )
    return replace(plan, model=replace(plan.model, usual=usual))


def _scores(plan: Plan, card: ModelCard) -> Iterator[np.ndarray]:
    """The scores of each window's valid pixels, or its one vector, (word, number) float64."""
    scored = scored_card(card)
    output = scored.outputs[0]
    session = open_session(card, provider="cpu")
    model = LoadedModel(card=scored, session=session, batch=card.batch or 1)
    alone = answers_per_window(output, card)
    for inputs in usual_windows(plan, OF_WINDOWS if alone else OF_PIXELS):
        found = infer_block(plan, model, inputs).layers
        planes = np.stack([found[name] for name in output.layers]).reshape(len(output.layers), -1).astype(np.float64)
        there = planes[:, np.isfinite(planes).all(axis=0)]
        if there.size:
            yield there[:, :1] if alone else there
