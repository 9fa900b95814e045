"""Average precision against a reading of the COCO benchmark by plain loops, on random boxes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from tilewright.tasks.audit.evaluate.label_file import LabelError
from tilewright.tasks.audit.objects import precision
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


@pytest.mark.parametrize("least", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("at_once", [1, 40, 2**21])
def test_pairs_are_those_of_all_shapes_with_each_other_in_parts_of_any_size(monkeypatch, least, at_once):
    rng = np.random.default_rng(5)
    corners, sizes = rng.uniform(0, 30, (2, 60, 2)), rng.uniform(1, 9, (2, 60, 2))
    objects, labels = (
        np.array([shapely.box(x, y, x + w, y + h) for (x, y), (w, h) in zip(*each, strict=True)])
        for each in zip(corners, sizes, strict=True)
    )
    # Turned shapes have less in common than their bounds say.
    labels[::3] = [shapely.affinity.rotate(each, 40) for each in labels[::3]]
    objects[:5] = labels[:5]
    labels[7], objects[9] = None, shapely.Polygon()
    monkeypatch.setattr(precision, "AT_ONCE", at_once)
    monkeypatch.setattr(precision, "CUT_AT_ONCE", at_once)
    found = overlaps(objects, labels, least)
    wanted = {}
    for one, label in np.ndindex(60, 60):
        if labels[label] is not None and (common := objects[one].intersection(labels[label]).area) > 0:
            iou = common / (objects[one].area + labels[label].area - common)
            if iou >= min(least, 1 - precision.LEAST_GAP):
                wanted[one, label] = iou
    told = dict(zip(zip(found.objects.tolist(), found.labels.tolist(), strict=True), found.iou.tolist(), strict=True))
    assert list(told) == sorted(wanted)
    assert len(told) >= 5
    assert told == pytest.approx(wanted, rel=1e-12)
    takes = matched(np.argsort(-found.best(60), kind="stable"), found, 60, least)
    assert found.taken(takes) == [told[one, label] for one, label in enumerate(takes.tolist()) if label >= 0]


@pytest.mark.parametrize("limit", ["MOST_PAIRS", "MOST_LOOKED"])
def test_shapes_that_all_lie_on_one_another_are_refused_before_they_fill_the_memory(monkeypatch, limit):
    monkeypatch.setattr(precision, limit, 10_000)
    pile = shapely.box(0, 0, np.linspace(10, 11, 200), 10)
    with pytest.raises(LabelError, match="10,000 pairs of shapes overlap"):
        overlaps(pile, pile, 0.5)
    assert len(overlaps(pile[:100], pile[:100], 0.5).iou) == 10_000
