"""Denoisers whose loops have answers that numpy computes: a prediction that is linear in state, time and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.graphs import Draft
from tests.support.worlds import write_card

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

OF_STATE, OF_PICTURE, OF_TIME = 0.8, 0.5, 0.25
"""A linear prediction is OF_STATE x + OF_PICTURE picture + OF_TIME time."""

ALPHAS = [0.02, 0.2, 0.5, 0.8, 0.99, 1.0]

SIGMAS = [1.0, 0.8, 0.5, 0.2, 0.05, 0.0]

DDIM = {"kind": "ddim", "steps": 5, "prediction": "epsilon", "alphas": ALPHAS, "times": [9, 7, 5, 3, 1], "seed": 3}

EULER = {"kind": "euler", "steps": 5, "prediction": "velocity", "sigmas": SIGMAS, "seed": 3}

HEUN = {**EULER, "kind": "heun"}


def linear(draft: Draft, *, reach: int = 0, mean: float = 0.0, time: int = FLOAT) -> str:
    """The linear prediction of `x` and `picture`; of pixels `reach` below and right of each, and of windows' means."""
    x = "x"
    if reach:
        weight = np.zeros((1, 1, 2 * reach + 1, 2 * reach + 1), np.float32)
        weight[0, 0, reach, reach] = weight[0, 0, -1, -1] = 0.5
        x = draft.node("Conv", x, draft.constant(weight), pads=[reach] * 4)
    if mean:
        x = draft.node("Add", x, scaled(draft, draft.node("GlobalAveragePool", x), mean))
    times = draft.node("Cast", "t", to=FLOAT) if time != FLOAT else "t"
    shaped = draft.node("Unsqueeze", times, draft.constant(np.array([1, 2, 3])))
    told = draft.node("Add", scaled(draft, "picture", OF_PICTURE), scaled(draft, shaped, OF_TIME))
    return draft.node("Add", scaled(draft, x, OF_STATE), told)


def scaled(draft: Draft, name: str, factor: float) -> str:
    return draft.node("Mul", name, draft.constant(np.array([factor], np.float32)))


def denoiser(
    folder: Path, loop: dict[str, Any], *, reach: int = 0, mean: float = 0.0, time: int = FLOAT,
    side: int | None = None, channels: int = 1, tile: dict[str, Any] | None = None,
    picture: dict[str, Any] | None = None, batch: int | None = None, times: Any = ("batch",),
) -> Path:  # fmt: skip
    """The folder of a card around a linear denoiser; `side` fixes its window, `mean` lets it see the whole of it."""
    draft = Draft()
    made = linear(draft, reach=reach, mean=mean, time=time)
    return denoiser_card(
        folder, draft.model_many(*ports(side=side, channels=channels, time=time, batch=batch, result=made)),
        loop, channels=channels, tile=tile, picture=picture, times=times,
    )  # fmt: skip


def ports(*, side: int | None, channels: int, time: int, batch: int | None, result: str) -> tuple[Any, Any]:
    """The inputs and outputs of a denoiser of pictures of one band."""
    sides = [side or "h", side or "w"]
    first = batch or "n"
    inputs = [("x", FLOAT, [first, channels, *sides]), ("picture", FLOAT, [first, 1, *sides]), ("t", time, [first])]
    return inputs, [(result, "e", FLOAT, [first, channels, *sides])]


def denoiser_card(
    folder: Path, model: onnx.ModelProto, loop: dict[str, Any] | None, *, channels: int = 1,
    tile: dict[str, Any] | None = None, picture: dict[str, Any] | None = None, times: Any = ("batch",),
) -> Path:  # fmt: skip
    """The folder of a card around a denoiser with inputs x, picture and t and the output e."""
    layers = ["image"] if channels == 1 else [f"image_{number}" for number in range(channels)]
    return write_card(
        folder, model,
        inputs=[
            {"name": "picture", "bands": ["red"], "tw:missing": {"fill": 0, "pad": "fill"}, **(picture or {})},
            {"name": "x", "dims": ["batch", "channel", "height", "width"], "tw:extra": {"kind": "state"}},
            {"name": "t", "dims": list(times), "tw:extra": {"kind": "time"}},
        ],
        outputs=[{"name": "e", "dims": ["batch", "channel", "height", "width"], "tw:layers": layers}],
        tile=tile,
        properties={"tw:sampler": loop} if loop else {},
    )  # fmt: skip


def loop_by_hand(loop: dict[str, Any], noise: np.ndarray, predict: Any) -> np.ndarray:
    """The image of a loop in float64, written out as its papers have it; `predict(x, time)` is the graph's answer."""
    told, x = loop["prediction"], noise.astype(np.float64)
    if loop["kind"] == "ddim":
        for number, time in enumerate(loop["times"]):
            a, b = loop["alphas"][number : number + 2]
            answer = predict(x, time)
            if told == "epsilon":
                clean = (x - np.sqrt(1 - a) * answer) / np.sqrt(a)
            elif told == "velocity":
                clean = np.sqrt(a) * x - np.sqrt(1 - a) * answer
            else:
                clean = answer
            error = (x - np.sqrt(a) * clean) / np.sqrt(1 - a)
            x = np.sqrt(b) * clean + np.sqrt(1 - b) * error
        return x
    sigmas = loop["sigmas"]
    times = loop.get("times") or sigmas
    x = sigmas[0] * x

    def slope(at: np.ndarray, number: int) -> np.ndarray:
        answer = predict(at, times[number])
        return np.asarray((at - answer) / sigmas[number] if told == "sample" else answer)

    for number in range(loop["steps"]):
        span = sigmas[number + 1] - sigmas[number]
        here = slope(x, number)
        ahead = x + span * here
        if loop["kind"] == "heun" and sigmas[number + 1] > 0:
            ahead = x + span * (here + slope(ahead, number + 1)) / 2
        x = ahead
    return x
