"""Answers in words by an encoder and decoders of about 60 million parameters: seconds a window, and memory.

`python -m tests.benchmarks.words [--tokens N] [--windows N] [--provider cpu|cuda]` makes the graphs with random weights
(a vision transformer of 6 layers, a decoder of 4 layers, vocabulary 32 000), lets the decoder write N tokens for each
window with and without its cache, and prints both, and whether they wrote the same.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

from tilewright.models.run.generate import Decoding, written
from tilewright.models.run.session import open_graph

WIDTH, HEADS, ENCODER, DECODER, VOCABULARY, SIDE, PATCH = 512, 8, 6, 4, 32_000, 224, 16

STATES = (SIDE // PATCH) ** 2


class _Graph:
    """A graph of transformer layers with random weights; weights of one name are the same in all graphs."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}

    def weight(self, name: str, *shape: int) -> str:
        if name not in self.weights:
            random = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
            size = 1 / np.sqrt(shape[0])
            values = (random.standard_normal(shape, np.float32) * np.float32(size)).astype(np.float32)
            self.weights[name] = numpy_helper.from_array(values, name)
        return name

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(np.array(values, dtype), name)
        return name

    def node(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, name: str, n_in: int, n_out: int) -> str:
        return self.node("MatMul", x, self.weight(name, n_in, n_out))

    def norm(self, x: str, name: str) -> str:
        gain = self.constant(np.ones(WIDTH), np.float32)
        return self.node("LayerNormalization", x, gain, axis=-1)

    def heads(self, x: str, out: str = "") -> str:
        split = self.node("Reshape", x, self.constant([0, 0, HEADS, WIDTH // HEADS]))
        return self.node("Transpose", split, out=out, perm=[0, 2, 1, 3])

    def attend(self, q: str, k: str, v: str, name: str, *, causal: bool = False) -> str:
        turned = self.node("Transpose", k, perm=[0, 1, 3, 2])
        root = self.constant(np.sqrt(WIDTH / HEADS), np.float32)
        found = self.node("Div", self.node("MatMul", self.heads(q), turned), root)
        if causal:
            shape = self.node("Shape", found)
            ones = self.node("Expand", self.constant(-1e9, np.float32), shape)
            found = self.node("Add", found, self.node("Trilu", ones, self.constant(1), upper=1))
        weights = self.node("Softmax", found, axis=-1)
        joined = self.node("Transpose", self.node("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", joined, self.constant([0, 0, WIDTH])), f"{name}.out", WIDTH, WIDTH)

    def feed_forward(self, x: str, name: str) -> str:
        up = self.linear(self.norm(x, name), f"{name}.up", WIDTH, 4 * WIDTH)
        return self.node("Add", x, self.linear(self.node("Relu", up), f"{name}.down", 4 * WIDTH, WIDTH))

    def model(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        ports = [[helper.make_tensor_value_info(*each) for each in group] for group in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, "words", *ports, initializer=[*self.weights.values()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    @property
    def parameters(self) -> int:
        return sum(int(np.prod(each.dims)) for each in self.weights.values())


def encoder() -> tuple[bytes, int]:
    """A vision transformer: pixel_values (batch, 3, 224, 224) -> last_hidden_state (batch, 196, 512)."""
    graph = _Graph()
    kernel = graph.weight("patch", WIDTH, 3, PATCH, PATCH)
    x = graph.node("Conv", "pixel_values", kernel, strides=[PATCH, PATCH])
    x = graph.node("Transpose", graph.node("Reshape", x, graph.constant([0, WIDTH, -1])), perm=[0, 2, 1])
    x = graph.node("Add", x, graph.weight("place", STATES, WIDTH))
    for number in range(ENCODER):
        name, plain = f"e{number}", graph.norm(x, f"e{number}")
        q, k, v = (graph.linear(plain, f"{name}.{each}", WIDTH, WIDTH) for each in "qkv")
        x = graph.node("Add", x, graph.attend(q, graph.heads(k), graph.heads(v), name))
        x = graph.feed_forward(x, name)
    graph.node("Identity", x, out="last_hidden_state")
    inputs = [("pixel_values", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])]
    return graph.model(inputs, [("last_hidden_state", TensorProto.FLOAT, ["batch", STATES, WIDTH])]), graph.parameters


def decoder(*, past: bool) -> tuple[bytes, int]:
    """A decoder as exporters lay it out: of all tokens, or of the last one with the keys and values of those before."""
    graph, float32, size = _Graph(), TensorProto.FLOAT, WIDTH // HEADS
    inputs: list[Any] = [("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    outputs: list[Any] = [("logits", float32, ["batch", "tokens", VOCABULARY])]
    inputs += [] if past else [("encoder_hidden_states", float32, ["batch", STATES, WIDTH])]
    x = graph.node("Gather", graph.weight("vocabulary", VOCABULARY, WIDTH), "input_ids")
    for number in range(DECODER):
        name, plain = f"d{number}", graph.norm(x, f"d{number}")
        kept = {}
        for part, letter in (("key", "k"), ("value", "v")):
            key, own = f"{number}.decoder.{part}", graph.heads(graph.linear(plain, f"{name}.{letter}", WIDTH, WIDTH))
            if past:
                inputs.append((f"past_key_values.{key}", float32, ["batch", HEADS, "said", size]))
                own = graph.node("Concat", f"past_key_values.{key}", own, axis=2)
            kept[part] = graph.node("Identity", own, out=f"present.{key}")
            outputs.append((f"present.{key}", float32, ["batch", HEADS, "all", size]))
        q = graph.linear(plain, f"{name}.q", WIDTH, WIDTH)
        x = graph.node("Add", x, graph.attend(q, kept["key"], kept["value"], name, causal=not past))
        seen = {}
        for part in ("key", "value"):
            key = f"{number}.encoder.{part}"
            if past:
                inputs.append((f"past_key_values.{key}", float32, ["batch", HEADS, STATES, size]))
                seen[part] = f"past_key_values.{key}"
            else:
                made = graph.linear("encoder_hidden_states", f"{name}.cross.{part}", WIDTH, WIDTH)
                seen[part] = graph.heads(made, out=f"present.{key}")
                outputs.append((f"present.{key}", float32, ["batch", HEADS, STATES, size]))
        q = graph.linear(graph.norm(x, f"{name}.cross"), f"{name}.cross.q", WIDTH, WIDTH)
        x = graph.node("Add", x, graph.attend(q, seen["key"], seen["value"], f"{name}.cross"))
        x = graph.feed_forward(x, name)
    graph.node("MatMul", graph.norm(x, "last"), graph.weight("head", WIDTH, VOCABULARY), out="logits")
    return graph.model(inputs, outputs), graph.parameters


def _open(folder: Path, name: str, content: bytes, provider: str, *, growing: bool = True) -> Any:
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return open_graph(folder / name, sha256=digest, provider=provider, threads=2, growing=growing)


def main() -> None:
    """Print seconds a window and memory, with and without a cache."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--provider", default="cpu")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (first, n_first), (second, n_second), (then, _) = encoder(), decoder(past=False), decoder(past=True)
        print(f"{(n_first + n_second) / 1e6:.1f} M parameters, of which the encoder has {n_first / 1e6:.1f} M")
        images, all_tokens, last_token = (
            _open(folder, name, content, asked.provider)
            for name, content in (("encoder.onnx", first), ("decoder.onnx", second), ("then.onnx", then))
        )
        random, said = np.random.default_rng(1), {}
        windows = random.standard_normal((asked.windows, 1, 3, SIDE, SIDE), np.float32)
        for name, cached in (("with a cache", last_token), ("without", None)):
            spent, said[name] = [], []
            for window in windows:
                began = time.perf_counter()
                states = images.run({"pixel_values": window})["last_hidden_state"]
                seen = time.perf_counter()
                steps = Decoding(first=all_tokens, then=cached, states=states)
                said[name].append(written(steps, [1], ends=frozenset(), most=asked.tokens))
                spent.append((seen - began, time.perf_counter() - seen))
            look, write = np.median(np.array(spent), axis=0)
            print(f"{name}: {look:.3f} s the encoder, {write:.3f} s for {asked.tokens} tokens, a window")
        print(f"the same tokens: {said['with a cache'] == said['without']}")
    print(f"{psutil.Process().memory_info().rss / 1e6:,.0f} MB resident, on {images.provider}")


if __name__ == "__main__":
    main()
