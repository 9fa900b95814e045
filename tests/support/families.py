"""What the tests of model families share: pixels of known values, the job over them, and numpy's side of answers."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.support.worlds import layer, pixel_job, run

SIDE = 160
ROWS, COLS = (9, 147), (13, 139)
HERE = slice(*ROWS), slice(*COLS)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
IMAGE = ["batch", "height", "width"]
SERIES = ("batch", "time", "bands", "height", "width")
VALUE = {"name": "y", "tw:layers": ["value"]}
PAIR = {"period": {"before": "2023-06-01/2023-06-30", "after": "2023-09-01/2023-09-30"}}


def noise(seed, *, low=0.02, high=0.6, side=SIDE):
    return np.random.default_rng(seed).uniform(low, high, (side, side)).astype(np.float32)


def blocky(seed, *, size=1, low=0.02, high=0.6):
    """Noise in squares of `size` pixels, on the world's full side."""
    return noise(seed, low=low, high=high, side=SIDE // size).repeat(size, 0).repeat(size, 1)


def values_of(draft, result, *, inputs, shape):
    return draft.model_many(inputs, [(result, "y", FLOAT, shape)])


def softmax(scores):
    made = np.exp(scores - scores.max(axis=0))
    return made / made.sum(axis=0)


def entropy(shares):
    return -(shares * np.log(shares)).sum(axis=0) / np.log(len(shares))


def onnx_array(model, index):
    from onnx import numpy_helper

    return numpy_helper.to_array(model.graph.initializer[index]).astype(np.float64)


def close(percent, expected):
    assert np.abs(percent - expected).max() <= 0.51


def pair_scenes(world):
    before, after = noise(1), noise(2)
    world.add(before, "red", day="2023-06-05", unit="reflectance")
    world.add(after, "red", day="2023-09-05", unit="reflectance")
    return before, after


def produced(world, card, output, **changes):
    """The layers by name of a job over rows 9-147 and columns 13-139 of the world with that card."""
    outcome = run(pixel_job(world, card, output, rows=ROWS, cols=COLS, **changes))
    return {entry["name"]: layer(outcome.output, entry["name"]) for entry in outcome.report["layers"]}
