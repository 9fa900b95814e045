"""Trains the weights of a small ONNX network for the benchmarks that need sure classes (torch is needed).

Networks of seeded weights leave many pixels undecided, which reduced precision then decides otherwise: what bfloat16 or
int8 keep can be told only of trained ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import numpy_helper

if TYPE_CHECKING:
    import onnx

STEPS, CROP, BATCH, RATE = 150, 96, 4, 4e-3


def train(model: onnx.ModelProto, images: np.ndarray, truths: np.ndarray, *, steps: int = STEPS) -> float:
    """Fit all weights of convolutions to these classes by Adam on random crops; the model is changed in place.

    Images are (window, channel, y, x), truths (window, y, x). The share of pixels that the last hundred crops had right
    before each step is given back. Seeded: the same machine makes the same weights.
    """
    import torch

    torch.manual_seed(1)
    random = np.random.default_rng(1)
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    names = {name for node in convs for name in node.input[1:]}
    constants = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in model.graph.initializer}
    weights = {name: torch.nn.Parameter(constants[name]) for name in names}
    optimiser = torch.optim.Adam(weights.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=RATE, total_steps=steps)
    right = []
    for _ in range(steps):
        window = random.integers(len(images), size=BATCH)
        top, left = (random.integers(side - CROP + 1, size=BATCH) for side in images.shape[-2:])
        places = [(w, slice(t, t + CROP), slice(c, c + CROP)) for w, t, c in zip(window, top, left, strict=True)]
        seen = torch.from_numpy(np.stack([images[w, :, rows, cols] for w, rows, cols in places]))
        truth = torch.from_numpy(np.stack([truths[place] for place in places]).astype(np.int64))
        scores = run(model, seen, constants | weights)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores, truth).backward()
        optimiser.step()
        schedule.step()
        right.append(float((scores.argmax(1) == truth).float().mean()))
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].detach().numpy(), tensor.name))
    return float(np.mean(right[-100:]))


def run(model: onnx.ModelProto, image: Any, values: dict[str, Any]) -> Any:
    """The graph's first output for tensors of torch: convolutions, ReLU, pooling, nearest enlarging, concatenation."""
    import torch

    known = values | {model.graph.input[0].name: image}
    for node in model.graph.node:
        given = [known[name] for name in node.input if name]
        attributes = {each.name: each for each in node.attribute}
        match node.op_type:
            case "Conv":
                made = torch.nn.functional.conv2d(*given, padding=tuple(attributes["pads"].ints[:2]))
            case "Relu":
                made = torch.relu(given[0])
            case "MaxPool":
                made = torch.nn.functional.max_pool2d(given[0], tuple(attributes["kernel_shape"].ints))
            case "Resize":
                made = torch.nn.functional.interpolate(given[0], scale_factor=tuple(given[-1].tolist()[2:]))
            case "Concat":
                made = torch.cat(given, dim=1)
            case "Identity":
                made = given[0]
            case _:
                raise ValueError(f"{node.op_type}: no such operator here")
        known[node.output[0]] = made
    return known[model.graph.output[0].name]
