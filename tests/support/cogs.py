"""Small layers to be written as COGs, for tests and for the processes they start."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from affine import Affine

from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.write import CogFacts, write_cog

TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_400_000)
CLASSES = (
    CogClass(value=0, name="other", color="#BDBDBD"),
    CogClass(value=1, name="water", color="2E86DE", description="open water"),
    CogClass(value=3, name="forêt & co", color="#117733"),
)
CLASS = CogSpec(name="class", dtype="uint8", nodata=255, kind="class", classes=CLASSES, description="what covers it")
PERCENT = CogSpec(name="confidence", dtype="uint8", nodata=255, kind="percent", unit="%")
VALUE = CogSpec(name="height", dtype="float32", nodata=math.nan, kind="value", unit="m")


def write(path: Path, pixels: np.ndarray, spec: CogSpec, **options: object) -> CogFacts:
    return write_cog(
        path,
        rows=lambda r0, r1: pixels[r0:r1],
        shape=pixels.shape,
        transform=TRANSFORM,
        crs="EPSG:32633",
        spec=spec,
        **options,
    )


def patches(shape: tuple[int, int], values: tuple[int, ...] = (0, 1, 3, 255), seed: int = 1) -> np.ndarray:
    """Classes in squares of 16 px with single pixels sprinkled over them."""
    random = np.random.default_rng(seed)
    coarse = random.choice(values, size=(-(-shape[0] // 16), -(-shape[1] // 16)))
    fine = np.kron(coarse, np.ones((16, 16)))[: shape[0], : shape[1]].astype(np.uint8)
    sprinkled = random.random(shape) < 0.05
    fine[sprinkled] = random.choice(values, size=int(sprinkled.sum()))
    return fine
