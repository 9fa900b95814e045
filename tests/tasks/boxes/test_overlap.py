"""Overlap of turned boxes is that of their outlines, and suppression is the greedy one whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity

from tilewright.models.spec.boxes import BOX
from tilewright.tasks.boxes import suppress as suppression
from tilewright.tasks.boxes.overlap import corners, iou, outlines
from tilewright.tasks.boxes.suppress import suppress


def made(n, *, seed=0, side=100.0, turned=True):
    random = np.random.default_rng(seed)
    boxes = np.zeros(n, dtype=BOX)
    boxes["x"], boxes["y"] = random.uniform(0, side, (2, n))
    boxes["w"], boxes["h"] = random.uniform(0.5, 20, (2, n))
    boxes["angle"] = random.uniform(-7, 7, n) if turned else 0
    boxes["score"] = random.integers(1, 50, n) / 50
    boxes["value"] = random.integers(0, 3, n)
    return boxes


def outline_of(box):
    """The box by another way: an upright one, turned about its centre; y is down, so clockwise on the map."""
    upright = shapely.box(-box["w"] / 2, -box["h"] / 2, box["w"] / 2, box["h"] / 2)
    turned = shapely.affinity.rotate(upright, box["angle"], origin=(0, 0), use_radians=True)
    return shapely.affinity.translate(turned, box["x"], box["y"])


def test_a_quarter_turn_makes_width_of_height_and_a_small_one_goes_from_x_to_y():
    box = np.zeros(1, dtype=BOX)
    box["x"], box["y"], box["w"], box["h"], box["angle"] = 10, 20, 8, 2, np.pi / 2
    assert np.allclose(shapely.bounds(outlines(box))[0], [9, 16, 11, 24])
    box["angle"] = 0.1
    right_end = corners(box)[0][1:3].mean(axis=0)
    assert right_end[0] > 10
    assert right_end[1] > 20


@pytest.mark.parametrize("turned", [True, False])
def test_iou_is_that_of_the_outlines(turned):
    first, second = made(1000, seed=1, side=12, turned=turned), made(1000, seed=2, side=12, turned=turned)
    found = iou(first, second, outlines(first), outlines(second))
    for number in range(1000):
        one, two = outline_of(first[number]), outline_of(second[number])
        assert found[number] == pytest.approx(one.intersection(two).area / one.union(two).area, abs=1e-9)
    assert (found > 0.1).sum() > 50


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("most", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("turned", [True, False])
def test_it_is_the_greedy_suppression_in_any_order(per_class, most, turned, monkeypatch):
    boxes = made(400, seed=4, side=60, turned=turned)
    left = []
    for box in sorted(boxes, key=lambda box: (-box["score"], box["y"], box["x"])):
        shape = outline_of(box)
        others = [other for other, value in left if not per_class or value == box["value"]]
        if all(shape.intersection(other).area / shape.union(other).area <= most + 1e-12 for other in others):
            left.append((shape, box["value"]))
    random = np.random.default_rng(5)
    found = suppress(boxes, most=most, per_class=per_class)
    assert len(found) == len(left)
    assert [box["value"] for box in found] == [value for _, value in left]
    for ranks in (1, 7, 1000):
        monkeypatch.setattr(suppression, "RANKS", ranks)
        assert suppress(random.permutation(boxes), most=most, per_class=per_class).tobytes() == found.tobytes()


ODD = {
    "none": (made(0), 0),
    "one": (made(1), 1),
    "all_the_same": (np.repeat(made(1), 5000), 1),
    "touching": (np.array([(x, 5.0, 2.0, 2.0, 0.0, 0.5, 1) for x in range(0, 20, 2)], dtype=BOX), 10),
    "hair_thin": (np.array([(5.0, 5.0, 1e-9, 1e9, 0.3, 0.5, 1)] * 2, dtype=BOX), 1),
    "huge": (np.array([(5.0, 5.0, 1e12, 1e12, 0.0, s, 1) for s in (0.5, 0.6)], dtype=BOX), 1),
}


@pytest.mark.parametrize(("boxes", "n_left"), ODD.values(), ids=ODD)
def test_odd_boxes(boxes, n_left):
    assert len(suppress(boxes, most=0.5, per_class=True)) == n_left


def test_many_boxes_over_each_other_are_not_all_compared_with_all(monkeypatch):
    boxes = made(20_000, side=1, turned=False)
    boxes["w"] = boxes["h"] = 1000
    compared = []

    def counted(first, *rest):
        compared.append(len(first))
        return iou(first, *rest)

    monkeypatch.setattr(suppression, "iou", counted)
    found = suppress(boxes, most=0.5, per_class=True)
    assert sorted(found["value"].tolist()) == [0, 1, 2]
    # Of a chunk of 256 the best would be compared with all, and so would be those that it drops.
    assert sum(compared) < 40 * len(boxes)
