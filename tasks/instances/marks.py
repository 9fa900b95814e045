"""What the blocks of a layer of ids hold until the ids are known: marks, which are told by the ids too.

An id hangs on all blocks, and a block is done alone. So a block stores marks: -1 nothing seen, 0 seen, and 1 inside an
object if each block knows that. When all are there, the ids take the place of the marks (`numbering`). A block says the
same before and after: marks are what its ledger entry has the checksum of, and what numbering is done from, so that a
run that was killed between two blocks, and an update that makes some of them anew, begin from the marks of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.tasks.zarr.store import array_sha256

if TYPE_CHECKING:
    from tilewright.models.spec.outputs import LayerSpec

INSIDE = 1


def marks_of(pixels: np.ndarray, spec: LayerSpec) -> np.ndarray:
    """The marks (y, x) int32 of a block of a layer of ids, which holds marks or ids."""
    return np.minimum(pixels, INSIDE if spec.source == "interior" else 0).astype(np.int32, copy=False)


def marks_sha256(pixels: np.ndarray, spec: LayerSpec) -> str:
    """The checksum of a block of a layer of ids, the same before and after it has them."""
    return array_sha256(marks_of(pixels, spec))
