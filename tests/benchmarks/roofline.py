"""How near a session comes to what one core can multiply: the benchmark's U-Net against a plain matrix product.

`python -m tests.benchmarks.roofline FOLDER` prints one JSON line; all are timed alternately in one process, in CPU
seconds of the calling thread, which other programs on the machine disturb little. The peak is the faster of two
products: the runtime's own and numpy's BLAS. The U-Net runs as a job runs it (`models/optimise/tune.py`);
`plain_fraction` is what the graph reaches as it came. Takes seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path

# Before numpy is imported: the product is to use one core, as one call of the model does.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
from onnx import TensorProto, helper

from tests.benchmarks.field import BANDS, Field, flops_per_pixel, write_model
from tests.support.graphs import save
from tilewright.models.card.card import load_card
from tilewright.models.optimise.tune import tuned_card
from tilewright.models.run.open import open_session
from tilewright.models.run.session import open_graph

SIDE = 568
GEMM = 1024
ROUNDS = 7
REPEATS = {"unet": 1, "plain": 1, "gemm": 10, "blas": 10}


def gemm_graph() -> object:
    """A square matrix product, run by the same runtime: the peak the model is compared with."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [GEMM, GEMM]) for name in ("a", "b", "c")]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "gemm", value[:2], value[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def main() -> None:
    """Time both and print GFLOP/s of each and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    field = Field(folder=folder, side=SIDE)
    write_model(field)
    card = load_card(field.card)
    plain = open_session(card, provider="cpu")
    unet = open_session(tuned_card(card, window=SIDE, stride=4, cache=folder / "tuned"), provider="cpu")
    gemm = opened(folder / "gemm.onnx", gemm_graph())
    window = {"x": random.normal(size=(1, len(BANDS), SIDE, SIDE)).astype(np.float32)}
    factors = {name: random.normal(size=(GEMM, GEMM)).astype(np.float32) for name in ("a", "b")}
    ways = {
        "unet": lambda: unet.run(window),
        "plain": lambda: plain.run(window),
        "gemm": lambda: gemm.run(factors),
        "blas": lambda: factors["a"] @ factors["b"],
    }
    seconds = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            # A product takes a tenth of a window's time: as many tries as fit beside it, for as calm a best.
            for _ in range(REPEATS[name]):
                began = time.thread_time()
                work()
                seconds[name].append(time.thread_time() - began)
    rates = {"gflops_model": flops_per_pixel() * SIDE**2 / min(seconds["unet"]) / 1e9}
    rates |= {f"gflops_{name}": 2 * GEMM**3 / min(seconds[name]) / 1e9 for name in ("gemm", "blas")}
    fraction = rates["gflops_model"] / max(rates["gflops_gemm"], rates["gflops_blas"])
    shares = {"gemm_fraction": fraction, "plain_fraction": fraction * min(seconds["unet"]) / min(seconds["plain"])}
    rounded = {name: round(rate, 1) for name, rate in rates.items()} | {name: round(x, 3) for name, x in shares.items()}
    print(json.dumps({"benchmark": "roofline", **rounded}))


def opened(path: Path, model: object) -> object:
    """A session of one thread for a graph."""
    save(model, path.parent, path.name)
    return open_graph(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), provider="cpu", threads=1)


if __name__ == "__main__":
    main()
