"""A U-Net denoiser of some million parameters in a loop of 20 steps: seconds, memory, and its seams.

`python -m tests.benchmarks.sampler [--side 256] [--steps 20] [--workers 2] [--ways trim,blend,inside]` prints one JSON
line per way: windows of 64 px whose images are joined after the loop (`trim`), blended after it (`blend`), or averaged
in each evaluation inside of it (`inside`). Weights are random, from a fixed seed; instance norms let the graph see its
whole window, as the norms of published denoisers do. The seam index is the mean change of a pixel where windows lie
half a step away, here in deviations of the image.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.denoisers import denoiser_card
from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run
from tilewright.models.card.card import load_card
from tilewright.models.measure.memory import card_memory
from tilewright.models.run.open import open_session

WINDOW, WIDTHS, CHANNELS, EMBEDDED = 64, (32, 96, 256), 3, 64

TILES: dict[str, dict[str, Any]] = {
    "trim": {"step": 32, "trim": 16, "merge": "trim"},
    "blend": {"step": 32, "trim": 16, "merge": "blend"},
    "inside": {"step": 64, "trim": 64, "merge": "trim"},
}


class _Unet:
    """The graph being built; every block is told the time."""

    def __init__(self) -> None:
        self.draft = Draft(5)
        frequencies = np.exp(np.linspace(0, np.log(1000), EMBEDDED // 2)).astype(np.float32)[None]
        column = self.draft.node("Unsqueeze", "t", self.draft.constant(np.array([1])))
        angles = self.draft.node("Mul", column, self.draft.constant(frequencies))
        waves = [self.draft.node(wave, angles) for wave in ("Sin", "Cos")]
        self.time = self.draft.node("Relu", self.linear(self.draft.node("Concat", *waves, axis=1), EMBEDDED, EMBEDDED))

    def linear(self, x: str, n_in: int, n_out: int) -> str:
        weight = self.draft.random.normal(0, n_in**-0.5, (n_in, n_out)).astype(np.float32)
        return self.draft.node("MatMul", x, self.draft.constant(weight))

    def block(self, x: str, n_in: int, n_out: int) -> str:
        """Two convolutions, each normed, the time between them."""
        x = self.normed(self.draft.conv(x, n_in, n_out), n_out)
        told = self.draft.node(
            "Unsqueeze", self.linear(self.time, EMBEDDED, n_out), self.draft.constant(np.array([2, 3]))
        )
        x = self.draft.conv(self.draft.node("Add", x, told), n_out, n_out)
        return self.normed(x, n_out)

    def normed(self, x: str, n: int) -> str:
        ones, zeros = (self.draft.constant(np.full(n, value, np.float32)) for value in (1, 0))
        return self.draft.node("Relu", self.draft.node("InstanceNormalization", x, ones, zeros))


def unet(*, side: int = WINDOW) -> onnx.ModelProto:
    """The velocity of a state of CHANNELS channels, beside a picture of one band."""
    made = _Unet()
    draft = made.draft
    x, n = draft.node("Concat", "x", "picture", axis=1), CHANNELS + 1
    skips = []
    for level, width in enumerate(WIDTHS):
        if level:
            x = draft.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x, n = made.block(x, n, width), width
        skips.append((x, width))
    x = made.block(x, n, n)
    for skip, width in reversed(skips[:-1]):
        x = made.block(draft.node("Concat", draft.up(x), skip, axis=1), n + width, width)
        n = width
    told = draft.conv(x, n, CHANNELS, (1, 1))
    # A flow that leads from noise towards what the network draws: x - image.
    velocity = draft.node("Sub", "x", draft.node("Mul", told, draft.constant([0.3])))
    float_ = TensorProto.FLOAT
    return draft.model_many(
        [("x", float_, ["n", CHANNELS, side, side]), ("picture", float_, ["n", 1, side, side]), ("t", float_, ["n"])],
        [(velocity, "e", float_, ["n", CHANNELS, side, side])],
    )


def flow(steps: int) -> dict[str, Any]:
    """The loop of a flow in so many equal steps of euler."""
    sigmas = [1 - number / steps for number in range(steps)] + [0.0]
    return {"kind": "euler", "steps": steps, "prediction": "velocity", "sigmas": sigmas, "seed": 1}


def measured(folder: Path, world: World, way: str, *, side: int, steps: int, workers: int) -> dict[str, Any]:
    """The figures of one way."""
    loop = flow(steps) | ({"average": {"window": WINDOW, "step": WINDOW // 2}} if way == "inside" else {})
    path = denoiser_card(folder / way, unet(), loop, channels=CHANNELS, tile=TILES[way])
    card = load_card(path)
    began = time.perf_counter()
    job = pixel_job(world, path, folder / f"out-{way}", rows=(0, side), cols=(0, side), tile={"block": side})
    report = run(job, workers=workers).report
    seconds = time.perf_counter() - began
    image = [layer(folder / f"out-{way}", f"image_{number}") for number in range(CHANNELS)]
    changes = [row["index"] for row in report["seams"]["layers"]]
    told = [index / float(np.std(each)) for index, each in zip(changes, image, strict=True) if index is not None]
    return {
        "way": way,
        "windows": report["windows_run"],
        "compared": report["seams"]["windows"],
        "exactness": report["exactness"],
        "seconds": round(seconds, 1),
        "infer_seconds": round(report["seconds"]["infer"], 1),
        "peak_mb": round(report["peak_memory_mb"]),
        "bytes_per_pixel": round(card_memory(card, stride=1) or 0),
        "seam_index": round(float(np.mean(told)), 4) if told else None,
        "deviation": round(float(np.std(image)), 3),
    }


def one_window(folder: Path, *, steps: int) -> dict[str, Any]:
    """The size of the graph, and seconds of a loop over one window on one core."""
    model = unet()
    card = load_card(denoiser_card(folder / "one", model, flow(steps), channels=CHANNELS, tile={"step": None}))
    session = open_session(card, provider="cpu")
    random = np.random.default_rng(0)
    shapes = {"x": (1, CHANNELS, WINDOW, WINDOW), "picture": (1, 1, WINDOW, WINDOW), "t": (1,)}
    feeds = {name: random.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    session.run(feeds)
    began = time.process_time()
    session.run(feeds)
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    return {"parameters": parameters, "steps": steps, "cpu_seconds_a_window": round(time.process_time() - began, 2)}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ways", default=",".join(TILES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        print(json.dumps({"benchmark": "sampler", **one_window(folder, steps=asked.steps)}), flush=True)
        world = World(folder / "world")
        rows, cols = np.mgrid[: asked.side + 512, : asked.side + 512]
        picture = (
            0.3 + 0.1 * np.sin(rows / 9) * np.cos(cols / 13) + np.random.default_rng(2).normal(0, 0.02, rows.shape)
        )
        world.add(picture.astype(np.float32), "red", at=(-256, -256), unit="reflectance")
        for way in asked.ways.split(","):
            found = measured(folder, world, way, side=asked.side, steps=asked.steps, workers=asked.workers)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
