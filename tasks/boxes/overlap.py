"""How much boxes overlap, upright and turned ones, and their outlines."""

from __future__ import annotations

import numpy as np
import shapely


def corners(boxes: np.ndarray) -> np.ndarray:
    """The corners (box, 4, 2) of boxes (BOX) as x, y with y down, in the order left top, right top, right bottom, left
    bottom of the box before it is turned.
    """
    cos, sin = np.cos(boxes["angle"]), np.sin(boxes["angle"])
    half_w, half_h = boxes["w"] / 2, boxes["h"] / 2
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
    along, across = signs[:, 0] * half_w[:, None], signs[:, 1] * half_h[:, None]
    x = boxes["x"][:, None] + along * cos[:, None] - across * sin[:, None]
    y = boxes["y"][:, None] + along * sin[:, None] + across * cos[:, None]
    return np.stack([x, y], axis=-1)


def outlines(boxes: np.ndarray) -> np.ndarray:
    """The boxes as polygons, y down, in pixels."""
    return shapely.polygons(corners(boxes))


def iou(boxes: np.ndarray, others: np.ndarray, shapes: np.ndarray, other_shapes: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs of boxes (BOX), whose outlines are `shapes` and `other_shapes`; 0 to 1."""
    shared = np.zeros(len(boxes))
    upright = (boxes["angle"] == 0) & (others["angle"] == 0)
    for axis, size in (("x", "w"), ("y", "h")):
        low = np.maximum(boxes[axis] - boxes[size] / 2, others[axis] - others[size] / 2)
        high = np.minimum(boxes[axis] + boxes[size] / 2, others[axis] + others[size] / 2)
        shared = np.maximum(high - low, 0) * (1 if axis == "x" else shared)
    turned = ~upright
    if turned.any():
        shared[turned] = shapely.area(shapely.intersection(shapes[turned], other_shapes[turned]))
    # Of equal boxes all is shared, however thin they are: outlines are rounded.
    equal = np.logical_and.reduce([boxes[name] == others[name] for name in ("x", "y", "w", "h", "angle")])
    shared = np.where(equal, boxes["w"] * boxes["h"], shared)
    union = boxes["w"] * boxes["h"] + others["w"] * others["h"] - shared
    return np.asarray(shared / union)
