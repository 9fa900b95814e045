"""How far a loop sees: what is called proven holds, and what a loop around it cannot prove is not called so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.denoisers import DDIM, EULER, FLOAT, HEUN, OF_TIME, denoiser, denoiser_card, ports
from tests.support.graphs import Draft, unet
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card
from tilewright.models.measure.facts import measure_model
from tilewright.models.measure.memory import called_pixels, card_memory, loop_memory, window_memory
from tilewright.models.measure.reach.field import ReceptiveField
from tilewright.models.measure.reach.loop import LONGEST_TRIM, averaged, looped
from tilewright.models.measure.receptive import receptive_field
from tilewright.models.run.open import open_session
from tilewright.models.run.smoke_run import quick_run

BOUNDED = ReceptiveField(radius=6, stride=4, verdict="bounded", reason="r", trim=8)
AVERAGE = {"average": {"window": 16, "step": 8}}


def rough(draft: Draft, *, reach: int, table: str = "") -> str:
    """A prediction that is not linear, and sees `reach` to every side in one evaluation."""
    x = draft.node("Concat", "x", "picture", axis=1)
    side = 2 * reach + 1
    x = draft.node("Tanh", draft.conv(x, 2, 4, (side, side)))
    hidden = draft.node("Mul", "t", draft.constant([OF_TIME]))
    times = draft.node("Unsqueeze", hidden, draft.constant(np.array([1, 2, 3])))
    if table == "expanded":
        times = draft.node("Expand", times, draft.node("Shape", x))
    if table == "a row":
        times = draft.node("Mul", times, draft.constant(np.ones((1, 1, 1, 64), np.float32)))
    if table == "reshaped":
        row = draft.node("Mul", "t", draft.constant(np.ones(64, np.float32)))
        times = draft.node("Reshape", row, draft.constant(np.array([1, 1, 1, 64])))
    return draft.conv(draft.node("Add", x, times), 4, 1, (1, 1))


def rough_card(folder, loop, *, reach, side=None, table="", tile=None):
    draft = Draft(2)
    made = rough(draft, reach=reach, table=table)
    model = draft.model_many(*ports(side=side, channels=1, time=FLOAT, batch=None, result=made))
    return load_card(denoiser_card(folder, model, loop, tile=tile))


def windows_apart(card, field, *, step=32, apart=0):
    """The largest difference between windows with the field's trim and a whole image that holds them."""
    session = open_session(card, provider="cpu")
    step = -(-step // field.stride) * field.stride
    side = step + 2 * field.trim
    if any(loop.average for loop in card.loops):
        side = max(side, 16)
    whole = side + 3 * field.stride + apart
    random = np.random.default_rng(1)
    pixels = {name: random.normal(0, 1, (1, 1, whole, whole)).astype(np.float32) for name in ("x", "picture")}
    full = session.run({**pixels, "t": np.zeros(1, np.float32)})["e"]
    worst = 0.0
    for row, col in ((0, 0), (field.stride, 2 * field.stride), (3 * field.stride, field.stride)):
        here = (..., slice(row, row + side), slice(col, col + side))
        part = session.run({**{name: each[here] for name, each in pixels.items()}, "t": np.zeros(1, np.float32)})["e"]
        inside = (..., slice(field.trim, side - field.trim), slice(field.trim, side - field.trim))
        worst = max(worst, float(np.abs(full[here][inside] - part[inside]).max()))
    return worst, float(np.abs(full).max())


@pytest.mark.parametrize("loop", [DDIM, EULER, HEUN, {**HEUN, **AVERAGE}, {**DDIM, **AVERAGE}], ids=str)
@pytest.mark.parametrize("reach", [1, 3])
def test_windows_trimmed_by_the_loops_reach_equal_the_whole(tmp_path, loop, reach):
    card = rough_card(tmp_path, loop, reach=reach)
    field = receptive_field(card)
    assert field.verdict == "bounded"
    evaluations = card.sampler.evaluations
    expected = reach * evaluations if not card.sampler.average else -(-(8 + (evaluations - 1) * reach) // 8) * 8
    assert field.trim == expected
    difference, largest = windows_apart(card, field)
    assert difference <= 1e-5 * largest


def test_a_smaller_trim_would_not_do(tmp_path):
    card = rough_card(tmp_path, EULER, reach=3)
    field = receptive_field(card)
    difference, _ = windows_apart(card, replace(field, trim=field.trim - 1))
    assert difference > 1e-7


def test_a_graph_that_sees_its_whole_window_is_bounded_by_the_windows_that_are_averaged(tmp_path):
    alone = load_card(denoiser(tmp_path / "alone", EULER, mean=0.7, side=16, tile={"step": None}))
    assert receptive_field(alone).verdict == "unbounded"
    card = load_card(denoiser(tmp_path / "card", {**EULER, **AVERAGE}, mean=0.7, side=16, tile={"step": 16}))
    field = receptive_field(card)
    assert (field.verdict, field.trim, field.stride, field.radius) == ("bounded", 5 * 8, 8, 5 * 15)
    difference, largest = windows_apart(card, field)
    assert difference <= 1e-5 * largest
    difference, _ = windows_apart(card, replace(field, trim=16))
    assert difference > 1e-5


def test_a_u_net_in_a_loop_keeps_its_stride(tmp_path):
    model = unet(2, 1, width=4, depth=2)
    draft = Draft()
    made = draft.node("Concat", "x", "picture", axis=1)
    body = [node for node in model.graph.node if node.output[0] != "y"]
    for node in body:
        node.input[:] = [made if each == "x" else f"u_{each}" if each else "" for each in node.input]
        node.output[:] = [f"u_{each}" for each in node.output]
        node.name = f"u_{node.name}"
    draft.nodes += body
    for tensor in model.graph.initializer:
        tensor.name = f"u_{tensor.name}"
        draft.weights.append(tensor)
    times = draft.node("Unsqueeze", "t", draft.constant(np.array([1, 2, 3])))
    result = draft.node("Add", body[-1].output[0], times)
    loop = {**EULER, "steps": 2, "sigmas": [1.0, 0.5, 0.0]}
    card = load_card(denoiser_card(tmp_path, draft.model_many(*ports(side=None, channels=1, time=FLOAT, batch=None,
                                                                     result=result)), loop))  # fmt: skip
    field, one = receptive_field(card), receptive_field(card.one_call)
    assert (field.stride, field.trim, field.radius) == (4, 2 * one.trim, 2 * one.radius)
    difference, largest = windows_apart(card, field)
    assert difference <= 1e-5 * largest


@pytest.mark.parametrize("table", ["expanded", "a row", "reshaped"])
def test_a_table_along_the_window_is_no_number_of_the_time(tmp_path, table):
    # All of it is one number, but as far as the operators tell it could be a number for each column.
    card = rough_card(tmp_path, EULER, reach=1, table=table, side=None if table == "expanded" else 64)
    field = receptive_field(card)
    assert field.verdict == "measured"
    assert "not proven" in field.reason


def test_the_words_of_loops():
    assert looped(BOUNDED, evaluations=1) == BOUNDED
    five = looped(BOUNDED, evaluations=5)
    assert (five.radius, five.trim, five.verdict) == (30, 40, "bounded")
    measured = looped(replace(BOUNDED, verdict="measured"), evaluations=5)
    assert (measured.trim, measured.verdict) == (40, "measured")
    fading = looped(replace(BOUNDED, verdict="effectively-bounded"), evaluations=5)
    assert (fading.trim, fading.verdict) == (None, "unbounded")
    assert "5 of them may bring it back" in fading.reason
    far = looped(BOUNDED, evaluations=200)
    assert (far.trim, far.verdict) == (None, "unbounded")
    assert f"reach 1600 px, farther than the {LONGEST_TRIM} px" in far.reason
    assert looped(BOUNDED, evaluations=200, most=1600).trim == 1600
    unbounded = replace(BOUNDED, radius=None, trim=None, verdict="unbounded")
    assert looped(unbounded, evaluations=9) == unbounded


@pytest.mark.parametrize("window", [32, 64])
@pytest.mark.parametrize("step", [8, 16, 32])
@pytest.mark.parametrize("evaluations", [1, 2, 9])
def test_windows_that_are_averaged_reach_as_far_as_they_overlap(window, step, evaluations):
    if step == window:
        return
    unbounded = replace(BOUNDED, radius=None, trim=None, verdict="unbounded")
    field = averaged(unbounded, evaluations=evaluations, window=window, step=step)
    assert (field.trim, field.stride, field.verdict) == (evaluations * (window - step), step, "bounded")
    assert averaged(unbounded, evaluations=evaluations, window=window, step=step, most=1).verdict == "unbounded"


@pytest.mark.parametrize(
    ("tile", "words"),
    [
        ({"step": 8, "trim": 0}, "those of tw:tile have 8 px"),
        ({"window": 12, "step": None}, "nothing would be left|have 12 px"),
        ({"window": 20, "step": None, "trim": 0}, "have 20 px"),
    ],
    ids=str,
)
def test_windows_that_hold_none_of_those_averaged_are_refused(tmp_path, tile, words):
    card = rough_card(tmp_path / "card", {**EULER, **AVERAGE}, reach=1, tile=tile)
    with pytest.raises(CardError, match=words):
        measure_model(card, provider="cpu", cache=tmp_path / "cache")


def test_the_facts_of_a_loop(tmp_path):
    card = rough_card(tmp_path / "card", EULER, reach=2)
    facts = measure_model(card, provider="cpu", cache=tmp_path / "cache", fuse="yes")
    assert (facts.windows.trim, facts.windows.step, facts.tuned) == (10, 64, False)
    assert "runs in a loop" in (facts.fuse_obstacle or "")
    assert facts.proof is not None
    assert facts.proof.holds


@pytest.mark.parametrize("change", [{}, AVERAGE], ids=["whole windows", "averaged"])
def test_a_check_tells_the_loop_and_what_its_steps_cost(tmp_path, change):
    loop = {**HEUN, **change}
    card = rough_card(tmp_path / "card", loop, reach=2, side=16 if change else None, tile={"step": 64})
    report = check_card(card, cache=tmp_path / "cache")
    told = dict(report.lines())
    inside = ", of windows of 16 px, 8 px apart, averaged in each" if change else ""
    assert told["loop"] == f"heun of 5 steps, 9 evaluations{inside}; noise of seed 3"
    assert report.execution.seconds_per_megapixel > 0
    assert report.receptive_field.verdict == "bounded"
    assert (report.proof is None) == bool(change)


def test_a_window_costs_its_evaluations_and_the_windows_inside_of_it(tmp_path):
    plain = rough_card(tmp_path / "plain", HEUN, reach=1)
    quick, feeds, times = quick_run(plain, side=40)
    assert (quick.sampler.evaluations, feeds["x"].shape, times) == (1, (1, 1, 40, 40), 9)
    averaged_card = rough_card(tmp_path / "averaged", {**HEUN, **AVERAGE}, reach=1, side=16)
    quick, feeds, times = quick_run(averaged_card, side=40)
    assert (quick.sampler.evaluations, feeds["x"].shape, times) == (1, (1, 1, 16, 16), 9 * 4**2)
    made = open_session(quick, provider="cpu").run(feeds)["e"]
    assert np.isfinite(made).all()


def test_the_memory_of_a_loop_is_that_of_one_call_and_of_its_states(tmp_path):
    card = rough_card(tmp_path / "card", {**HEUN, **AVERAGE}, reach=1, side=16)
    assert called_pixels(card, window=400) == 16**2
    assert window_memory(card, stride=8) == loop_memory(card) == 8 * 4
    plain = rough_card(tmp_path / "plain", HEUN, reach=1)
    assert called_pixels(plain, window=400) == 400**2
    assert card_memory(plain, stride=1) == pytest.approx(card_memory(plain.one_call, stride=1), rel=0.5)
