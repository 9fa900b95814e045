"""Average precision against a reading of the COCO benchmark by plain loops, on random boxes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from tilewright.tasks.audit.objects.precision import IOUS, average_precision, matched, overlaps


def by_loops(boxes: list, scores: list[float], labels: list, least: float) -> float:
    """Every step as pycocotools' evaluateImg and accumulate do it for one image, one class and all areas."""
    taken: set[int] = set()
    hits = []
    for one in sorted(range(len(boxes)), key=lambda each: -scores[each]):
        best, chosen = min(least, 1 - 1e-10), -1
        for number, label in enumerate(labels):
            if number in taken:
                continue
            common = boxes[one].intersection(label).area
            iou = common / (boxes[one].area + label.area - common)
            if iou < best:
                continue
            best, chosen = iou, number
        taken.add(chosen)
        hits.append(chosen >= 0)
    tp, fp = np.cumsum(hits), np.cumsum(np.logical_not(hits))
    recall, precision = (tp / len(labels)).tolist(), (tp / (tp + fp)).tolist()
    for number in range(len(precision) - 1, 0, -1):
        precision[number - 1] = max(precision[number - 1], precision[number])
    found = []
    for wanted in np.linspace(0.0, 1.0, 101):
        place = int(np.searchsorted(recall, wanted, side="left"))
        found.append(precision[place] if place < len(precision) else 0.0)
    return float(np.mean(found))


@pytest.mark.parametrize("seed", range(12))
def test_average_precision_is_that_of_the_benchmark(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (30, 2))
    sizes = rng.uniform(3, 14, (30, 2))
    labels = [shapely.box(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, sizes, strict=True)]
    moved = corners.repeat(2, axis=0) + rng.normal(0, 1.5, (60, 2))
    sized = sizes.repeat(2, axis=0) * rng.uniform(0.8, 1.2, (60, 2))
    boxes = [shapely.box(x, y, x + w, y + h) for (x, y), (w, h) in zip(moved, sized, strict=True)]
    # Scores of few digits, so that some are equal.
    scores = np.round(rng.random(60), 1)
    found = overlaps(np.array(boxes), np.array(labels))
    order = np.argsort(-scores, kind="stable")
    for least in IOUS:
        hits = matched(order, found, len(labels), least)[order] >= 0
        wanted = by_loops(boxes, scores.tolist(), labels, least)
        assert average_precision(hits, len(labels)) == pytest.approx(wanted, abs=1e-9)


def test_what_is_found_exactly_has_a_precision_of_one_and_nothing_of_none():
    squares = np.array([shapely.box(x, 0, x + 1, 1) for x in (0, 2, 4)])
    for least in (*IOUS, 1.0):
        takes = matched(np.arange(3), overlaps(squares, squares), 3, least)
        assert takes.tolist() == [0, 1, 2]
    assert average_precision(np.array([True] * 3), 3) == 1
    assert average_precision(np.array([], dtype=bool), 3) == 0
    assert average_precision(np.array([False]), 0) is None
    assert overlaps(np.array([], dtype=object), squares).iou.size == 0


def test_squares_that_touch_do_not_overlap():
    one, other = np.array([shapely.box(0, 0, 1, 1)]), np.array([shapely.box(1, 0, 2, 1)])
    assert overlaps(one, other).iou.size == 0
    half = np.array([shapely.box(0, 0, 1, 0.5)])
    assert overlaps(one, half).iou.tolist() == [0.5]
    assert matched(np.array([0]), overlaps(one, half), 1, 0.5).tolist() == [0]
