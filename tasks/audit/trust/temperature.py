"""Temperature scaling: one number that makes probabilities as sure as they are right, and what it mends.

Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (2017), section 4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.tasks.audit.evaluate.scores import calibration
from tilewright.tasks.audit.evaluate.tally import N_BINS, bin_of
from tilewright.tasks.audit.trust.labelled import FOLDS
from tilewright.tasks.audit.trust.sureness import PERCENT

if TYPE_CHECKING:
    from tilewright.tasks.audit.trust.labelled import LabelledScores

LEAST = 50
"""Labels of which a temperature is fitted, at least: of fewer the calibration error is noise."""

ENDS = (0.05, 20.0)
"""Temperatures between which one is sought: where hardly a label is wrong, the likeliest is 0."""

AT_END = 1e-3
"""Part of its logarithm by which a temperature is still at an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logs:
    """Logarithms of probabilities (label, column), the column that is ``true``, and that of the ``mapped`` class;
    ``weights`` are the pixels that each label stands for.
    """

    logs: np.ndarray
    true: np.ndarray
    mapped: np.ndarray
    weights: np.ndarray

    def part(self, kept: np.ndarray) -> _Logs:
        return _Logs(logs=self.logs[kept], true=self.true[kept], mapped=self.mapped[kept], weights=self.weights[kept])

    def loss(self, temperature: float) -> float:
        """The mean negative log likelihood of the labels at a temperature."""
        scaled = self.logs / temperature
        each = np.logaddexp.reduce(scaled, axis=1) - _taken(scaled, self.true)
        return float(np.average(each, weights=self.weights))

    def confidence(self, temperature: float) -> np.ndarray:
        """The probability of the mapped class at a temperature (label,)."""
        scaled = self.logs / temperature
        return np.minimum(np.exp(_taken(scaled, self.mapped) - np.logaddexp.reduce(scaled, axis=1)), 1.0)


def temperature_json(found: LabelledScores) -> dict[str, Any]:
    """What temperature scaling does for a layer, as JSON values.

    ``temperature`` divides the logarithms of the probabilities (of a confidence: those of being right and of being
    wrong), and is fitted to all labels by maximum likelihood; above 1 the model is surer than it is right. Labels of a
    sample with strata count by the pixels they stand for (``weighted``), as all figures here do. ``before``
    and ``after`` are of the same labels, each scaled by a temperature fitted to the other parts alone. It is None, and
    ``note`` says why, where no such number can be fitted.
    """
    logs = _logs(found)
    entry: dict[str, Any] = {"of": found.of, "n": len(logs.true), "folds": FOLDS, "weighted": found.weighted}
    entry |= {"temperature": None, "before": None, "after": None, "note": None}
    n, right = len(logs.true), logs.true == logs.mapped
    if n < LEAST:
        return {**entry, "note": f"{n} labels are too few to fit a temperature: {LEAST} are needed."}
    if right.all() or not right.any():
        said = "is wrong" if right.all() else "is right"
        return {**entry, "note": f"None of {n} labels {said}: no temperature can be fitted."}
    folds = _folds(found)
    fitted = _fitted(logs)
    if not _inside(fitted):
        return {**entry, "note": "The labels do not say how sure the model should be: no temperature fits them best."}
    plain, scaled, losses = logs.confidence(1.0), np.empty(n), []
    for fold in range(FOLDS):
        held = folds == fold
        if held.any():
            temperature = _fitted(logs.part(~held))
            scaled[held] = logs.part(held).confidence(temperature)
            losses.append(logs.part(held).loss(temperature) * float(logs.weights[held].sum()))
    return {
        **entry,
        "temperature": fitted,
        "before": _calibrated(plain, right, logs.weights, logs.loss(1.0)),
        "after": _calibrated(scaled, right, logs.weights, math.fsum(losses) / float(logs.weights.sum())),
    }


def _calibrated(sure: np.ndarray, right: np.ndarray, weights: np.ndarray, loss: float) -> dict[str, Any]:
    """The expected calibration error with its bins, and the mean negative log likelihood; ``n`` counts labels."""
    bins = bin_of(sure)
    told = np.stack(
        [np.bincount(bins, weights=weights * each, minlength=N_BINS) for each in (np.ones(len(sure)), right, sure)]
    )
    found = calibration(told) or {}
    for row, n in zip(found.get("bins", ()), np.bincount(bins, minlength=N_BINS).tolist(), strict=False):
        row["n"] = n
    return {**found, "nll": loss}


def _fitted(logs: _Logs) -> float:
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - slow to load, and only of use here

    low, high = (math.log(end) for end in ENDS)
    found = minimize_scalar(  # type: ignore[no-untyped-call]
        lambda logarithm: logs.loss(math.exp(logarithm)), bounds=(low, high), method="bounded", options={"xatol": 1e-8}
    )
    return math.exp(float(found.x))


def _inside(temperature: float) -> bool:
    low, high = (math.log(end) for end in ENDS)
    return low + AT_END < math.log(temperature) < high - AT_END


def _scored(found: LabelledScores) -> np.ndarray:
    """Labels that are mapped as a class."""
    return found.mapped < len(found.scores)


def _folds(found: LabelledScores) -> np.ndarray:
    folds: np.ndarray = found.folds[_scored(found)]
    return folds


def _logs(found: LabelledScores) -> _Logs:
    kept = _scored(found)
    # A percent of 0 is anything below a half: a quarter is the middle of it.
    floor = 0.0025 if found.full == PERCENT else 1e-6
    labels, mapped, weights = found.labels[kept], found.mapped[kept], found.weights[kept]
    if found.of == "probabilities":
        shares = np.clip(found.scores[:, kept].T / found.full, floor, 1.0)
        return _Logs(logs=np.log(shares), true=labels, mapped=mapped, weights=weights)
    sure = np.clip(_taken(found.scores[:, kept].T, mapped) / found.full, floor, 1.0 - floor)
    nobody = np.zeros(len(labels), dtype=np.int64)
    logs = np.log(np.stack([sure, 1.0 - sure], axis=1))
    return _Logs(logs=logs, true=(labels != mapped).astype(np.int64), mapped=nobody, weights=weights)


def _taken(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The value of each row (row, column) in a column of its own."""
    found: np.ndarray = np.take_along_axis(values, columns[:, None], axis=1)[:, 0]
    return found
