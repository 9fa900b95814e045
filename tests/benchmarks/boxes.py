"""Suppression of many boxes at once, against a plain loop over them.

`python -m tests.benchmarks.boxes [--number 100000] [--times 3] [--turned]` prints one JSON line: CPU seconds of ours
and of a loop in numpy that compares the best box left with all others, for upright boxes as everybody writes it.
Things are told some four times each, as by windows that overlap and by neighbouring anchors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from tilewright.models.spec.boxes import BOX
from tilewright.tasks.boxes.suppress import suppress

MOST = 0.5


def made(number: int, *, turned: bool) -> np.ndarray:
    """Boxes of things on a square in which every tenth of the ground is covered."""
    random = np.random.default_rng(1)
    things = number // 4
    side = (things * 12 * 8 * 10) ** 0.5
    thing = random.integers(0, things, number)
    boxes = np.zeros(number, dtype=BOX)
    for axis in ("x", "y"):
        boxes[axis] = random.uniform(0, side, things)[thing] + random.normal(0, 0.7, number)
    boxes["w"], boxes["h"] = 12 + random.normal(0, 0.5, number), 8 + random.normal(0, 0.5, number)
    boxes["angle"] = random.uniform(0, 3, things)[thing] + random.normal(0, 0.05, number) if turned else 0
    boxes["score"], boxes["value"] = random.uniform(0.25, 1, number), 1
    return boxes


def loop(boxes: np.ndarray) -> int:
    """The number of boxes left by the loop."""
    order = np.argsort(-boxes["score"])
    left, top = boxes["x"] - boxes["w"] / 2, boxes["y"] - boxes["h"] / 2
    right, bottom = left + boxes["w"], top + boxes["h"]
    area = boxes["w"] * boxes["h"]
    n_left = 0
    while len(order):
        best, rest = order[0], order[1:]
        n_left += 1
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[shared / (area[best] + area[rest] - shared) <= MOST]
    return n_left


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--turned", action="store_true")
    asked = parser.parse_args()
    boxes = made(asked.number, turned=asked.turned)
    seconds: dict[str, list[float]] = {"ours": [], **({} if asked.turned else {"loop": []})}
    n_left: dict[str, int] = {}
    for _ in range(asked.times):
        for way, took in seconds.items():
            began = time.process_time()
            n_left[way] = len(suppress(boxes, most=MOST, per_class=True)) if way == "ours" else loop(boxes)
            took.append(time.process_time() - began)
    medians = {way: round(statistics.median(each), 2) for way, each in seconds.items()}
    print(json.dumps({"benchmark": "boxes", "number": asked.number, "turned": asked.turned, "left": n_left,
                      "cpu": medians}))  # fmt: skip


if __name__ == "__main__":
    main()
