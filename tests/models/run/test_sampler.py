"""Loops around a denoiser: the formulas of their papers, by numpy in float64, for every kind and prediction."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.support.denoisers import (
    ALPHAS,
    DDIM,
    EULER,
    HEUN,
    INT64,
    OF_PICTURE,
    OF_STATE,
    OF_TIME,
    denoiser,
    loop_by_hand,
)
from tilewright.models.card.card import load_card
from tilewright.models.run.open import open_session

SIDE = 24
LOOPS = {
    f"{loop['kind']} {told}": {**loop, "prediction": told}
    for loop in (DDIM, EULER, HEUN)
    for told in ("epsilon", "velocity", "sample")
} | {
    "ends above 0": {**HEUN, "sigmas": [14.6, 3.0, 0.9, 0.4, 0.2, 0.1]},
    "times of its own": {**HEUN, "times": [999.0, 800.0, 500.0, 200.0, 50.0]},
    "one step": {**EULER, "steps": 1, "sigmas": [1.0, 0.0]},
    "ends in noise": {**DDIM, "alphas": [*ALPHAS[:-1], 0.995]},
}


def feeds(n=1, *, side=SIDE, channels=1, seed=1):
    random = np.random.default_rng(seed)
    return {
        "picture": random.uniform(0, 1, (n, 1, side, side)).astype(np.float32),
        "x": random.normal(0, 1, (n, channels, side, side)).astype(np.float32),
        "t": np.zeros(n, np.float32),
    }


def by_hand(loop, given):
    picture = given["picture"].astype(np.float64)
    return loop_by_hand(loop, given["x"], lambda x, time: OF_STATE * x + OF_PICTURE * picture + OF_TIME * time)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_its_formula(tmp_path, name):
    loop = LOOPS[name]
    card = load_card(denoiser(tmp_path, loop))
    given = feeds(2, channels=1)
    made = open_session(card, provider="cpu").run(given)["e"]
    expected = by_hand(loop, given)
    assert made.dtype == np.float32
    assert np.abs(made - expected).max() < 1e-5 * np.abs(expected).max()
    n_corrected = sum(each > 0 for each in loop.get("sigmas", [])[1:]) if loop["kind"] == "heun" else 0
    assert card.sampler.evaluations == loop["steps"] + n_corrected


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"time": INT64}, ("batch",)),
        ({"batch": 1}, ("batch",)),
        ({"batch": 2}, ("batch",)),
        ({"side": SIDE}, ("batch",)),
        ({"time": TensorProto.INT32}, ("batch",)),
    ],
    ids=str,
)
def test_layouts_of_the_time(tmp_path, changes, times):
    card = load_card(denoiser(tmp_path, DDIM, times=times, **changes))
    given = feeds(changes.get("batch") or 1)
    made = open_session(card, provider="cpu").run_batch(given, batch=changes.get("batch") or 1)["e"]
    assert np.abs(made - by_hand(DDIM, given)).max() < 1e-4


def test_every_channel_of_the_state_has_its_own_loop(tmp_path):
    card = load_card(denoiser(tmp_path, DDIM, channels=3))
    assert [layer.name for layer in card.layer_specs()] == ["image_0", "image_1", "image_2"]
    given = feeds(channels=3)
    made = open_session(card, provider="cpu").run(given)["e"]
    assert np.abs(made - by_hand(DDIM, given)).max() < 1e-4


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("loop", [DDIM, HEUN], ids=lambda each: each["kind"])
def test_the_mean_of_windows_inside_the_loop_is_that_of_their_answers(tmp_path, loop, n):
    """A graph that adds its window's mean, by hand: in each evaluation the answers of four windows a pixel."""
    window, step, mean = 16, 8, 0.6
    side = 40
    card = load_card(denoiser(tmp_path, {**loop, "average": {"window": window, "step": step}}, mean=mean, side=window))
    given = feeds(n, side=side)
    ramp = np.clip((np.minimum(np.arange(window), np.arange(window)[::-1]) + 0.5) / (window - step), 1e-3, 1)
    weights = np.outer(ramp, ramp)

    def predict(x, time):
        total, weight = np.zeros(x.shape), np.zeros(x.shape)
        for row in range(0, side - window + 1, step):
            for col in range(0, side - window + 1, step):
                here = (..., slice(row, row + window), slice(col, col + window))
                seen = x[here] + mean * x[here].mean(axis=(2, 3), keepdims=True)
                answer = OF_STATE * seen + OF_PICTURE * given["picture"][here] + OF_TIME * time
                total[here] += answer * weights
                weight[here] += weights
        return total / weight

    made = open_session(card, provider="cpu").run(given)["e"]
    expected = loop_by_hand(loop, given["x"], predict)
    assert np.abs(made - expected).max() < 1e-4


def test_what_is_not_finite_stays_so(tmp_path):
    card = load_card(denoiser(tmp_path, EULER))
    given = feeds()
    given["picture"][0, 0, 3, 4] = np.nan
    made = open_session(card, provider="cpu").run(given)["e"]
    assert np.isnan(made[0, 0, 3, 4])
    assert np.isfinite(made).sum() == made.size - 1
