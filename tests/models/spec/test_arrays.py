"""The axes of a model's arrays: an order that calls an axis of classes or bands by another name."""

from __future__ import annotations

import pytest

from tilewright.models.errors import CardError
from tilewright.models.spec.arrays import refuse_misplaced_channels

ROWS = ["batch", "height", "width", "class"]
FIRST = ["batch", "class", "height", "width"]


@pytest.mark.parametrize(
    ("order", "shape", "n", "better"),
    [
        (ROWS, (-1, 3, -1, -1), 3, FIRST),
        (FIRST, (-1, -1, -1, 3), 3, ["batch", "height", "width", "class"]),
        (["batch", "height", "width", "bands"], (-1, 2, -1, -1), 2, ["batch", "bands", "height", "width"]),
        (["batch", "y", "x", "channel"], (1, 4, 0, 0), 4, ["batch", "channel", "y", "x"]),
        (["batch", "time", "height", "width", "bands"], (-1, 3, 4, -1, -1), 4,
         ["batch", "time", "bands", "height", "width"]),
    ],
)  # fmt: skip
def test_an_order_that_gives_the_number_of_classes_to_a_side_is_refused_with_the_right_one(order, shape, n, better):
    with pytest.raises(CardError) as refusal:
        refuse_misplaced_channels("mlm:output (y).result", order, shape, n)
    assert str(refusal.value) == (
        f"mlm:output (y).result.dim_order is {order}, and the graph's array {list(shape)}: write {better}"
    )


@pytest.mark.parametrize(
    ("order", "shape", "n"),
    [
        (FIRST, (-1, 3, -1, -1), 3),
        # Its own axis has a size, which is compared elsewhere.
        (FIRST, (-1, 3, 3, 3), 3),
        (FIRST, (-1, 4, 3, -1), 3),
        # Both sides may be what they are called.
        (FIRST, (-1, -1, 3, 3), 3),
        (FIRST, (-1, -1, 224, 224), 3),
        (["batch", "height", "width"], (-1, 3, -1), 3),
        (ROWS, (-1, 1, -1, -1), 1),
        (["batch", "class"], (-1, -1), 3),
    ],
)
def test_an_order_that_may_be_right_is_left(order, shape, n):
    refuse_misplaced_channels("at", order, shape, n)
