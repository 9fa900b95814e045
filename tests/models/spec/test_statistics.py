"""What a card says of its bands' values: read, implied, or refused by the name of the field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.cards import good_card, load, put
from tilewright.models.errors import CardError
from tilewright.models.optimise.fuse_specs import fused_input
from tilewright.models.spec.statistics import BandStatistics

RADAR = "mlm:input/1/tw:statistics"
SCALING = "mlm:input/1/value_scaling"
STATED = [{"mean": -11.6, "stddev": 3.1, "count": 9, "valid_percent": 98.5}, {"minimum": -30, "maximum": 0}]


def told(tmp_path: Path, **changes: Any) -> tuple[Any, ...]:
    """The statistics of the radar input of a card with these changes; `__` stands for a slash."""
    card = good_card()
    for path, value in changes.items():
        put(card, path.replace("__", "/"), value)
    return load(tmp_path, card).inputs[1].statistics


def test_statistics_are_read_band_by_band(tmp_path):
    stated = told(tmp_path, **{RADAR: STATED})
    assert stated == (BandStatistics(mean=-11.6, stddev=3.1), BandStatistics(minimum=-30.0, maximum=0.0))
    both = [{"mean": -12, "stddev": 3, "minimum": -40, "maximum": 10}, {}]
    assert told(tmp_path, **{RADAR: both}) == (
        BandStatistics(mean=-12.0, stddev=3.0, minimum=-40.0, maximum=10.0),
        None,
    )
    assert told(tmp_path, **{RADAR: None}) == (None, None)


def test_a_scaling_of_each_band_implies_its_statistics_and_one_of_all_bands_does_not(tmp_path):
    scores = [{"type": "z-score", "mean": -11.6, "stddev": 3.1}, {"type": "min-max", "minimum": -30, "maximum": 0.3}]
    implied = (
        BandStatistics(mean=-11.6, stddev=3.1, stated=False),
        BandStatistics(minimum=-30.0, maximum=0.3, stated=False),
    )
    assert told(tmp_path, **{SCALING: scores}) == implied
    assert told(tmp_path, **{SCALING: scores[:1]}) == (None, None)
    clips = [{"type": "clip", "minimum": -30, "maximum": 0}, {"type": "offset", "value": 3}]
    assert told(tmp_path, **{SCALING: clips}) == (None, None)
    # A deviation in which nothing could be counted is one to scale by all the same.
    tiny = [{"type": "z-score", "mean": 0, "stddev": 1e-307}, scores[1]]
    assert told(tmp_path, **{SCALING: tiny}) == (None, implied[1])
    # What is stated goes before.
    assert told(tmp_path, **{SCALING: scores, RADAR: STATED}) == told(tmp_path, **{RADAR: STATED})


def test_a_graph_into_which_the_scaling_moves_keeps_the_statistics(tmp_path):
    card = good_card()
    put(card, RADAR, STATED)
    loaded = load(tmp_path, card)
    spec = replace(loaded.inputs[1], derived={})
    fused = fused_input(loaded, spec)
    assert fused.data_type == "uint16"
    assert fused.statistics == spec.statistics != ()


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("a mapping", {RADAR: {"vv": {"mean": 0, "stddev": 1}}}, "tw:statistics .* list of objects"),
    ("numbers", {RADAR: [0.1, 0.2]}, "tw:statistics .* list of objects"),
    ("too few", {f"{RADAR}/1": ...}, "tw:statistics .* each of the 2 bands"),
    ("too many", {RADAR: [*STATED, {}]}, "tw:statistics .* each of the 2 bands"),
    ("an unknown key", {f"{RADAR}/0/std": 1}, r"tw:statistics\[0\].std .*did you mean 'stddev'"),
    ("a mean alone", {f"{RADAR}/0/stddev": ...}, r"tw:statistics\[0\].stddev is missing; write mean and stddev"),
    ("a deviation alone", {f"{RADAR}/0/mean": ...}, r"tw:statistics\[0\].mean is missing; write mean and stddev"),
    ("a deviation of 0", {f"{RADAR}/0/stddev": 0}, r"tw:statistics\[0\].stddev is 0; write a positive number"),
    (
        "a deviation beyond floats",
        {f"{RADAR}/0/stddev": 1e-322},
        r"tw:statistics\[0\].stddev is .* size that values have",
    ),
    (
        "a mean beyond all",
        {f"{RADAR}/0": {"mean": 1e300, "stddev": 1}},
        r"tw:statistics\[0\].stddev is 1; .* size that",
    ),
    ("a text", {f"{RADAR}/0/stddev": "3.1"}, r"tw:statistics\[0\].stddev is '3.1'"),
    ("a truth value", {f"{RADAR}/0/mean": True}, r"tw:statistics\[0\].mean is True"),
    ("infinity", {f"{RADAR}/0/mean": float("inf")}, "mean"),
    ("a huge whole number", {f"{RADAR}/0/mean": 10**400}, "mean"),
    ("a minimum alone", {f"{RADAR}/1/maximum": ...}, r"tw:statistics\[1\].maximum is missing"),
    ("a reversed range", {f"{RADAR}/1/maximum": -31}, r"tw:statistics\[1\].maximum is -31; .* greater than minimum"),
    ("a range beyond floats", {f"{RADAR}/1": {"minimum": -1.7e308, "maximum": 1.7e308}}, r"\[1\].maximum"),
    ("a mean outside", {f"{RADAR}/0": {"mean": 2, "stddev": 1, "minimum": 0, "maximum": 1}}, r"\[0\].mean is 2;"),
    ("statistics beside no pixels", {"mlm:input/0/tw:statistic": []}, "did you mean 'tw:statistics'"),
]


@pytest.mark.parametrize(("changes", "sentence"), [pytest.param(c, s, id=name) for name, c, s in WRONG])
def test_wrong_statistics_are_refused_by_the_name_of_their_field(tmp_path, changes, sentence):
    card = good_card()
    put(card, RADAR, [dict(each) for each in STATED])
    for path, value in changes.items():
        put(card, path, value)
    with pytest.raises(CardError, match=sentence) as refusal:
        load(tmp_path, card)
    assert "\n" not in str(refusal.value)
