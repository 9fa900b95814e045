"""The steps from scenes to a published product as plain functions: no job, no Prefect.

grid/     pixels, blocks, windows, areas
storage/  bytes in a folder or bucket, ledger, lock
read/     one band of one file on any grid
zarr/     the product's store and its pyramid
cube/     scenes as a lazy cube; which scenes touch a box
compose/  masks, steps, composites, gaps
cog/      one layer -> COG, VRT
plan/     everything that decides a product's pixels
lossy/    values stored with a stated error
block/    one block: read, infer, merge, write
serving/  a model that serves the job's own: masks of scenes, screens, shifts of dates
report/   report.html and preview.png
compare/  what changed between two products, or two dates of a run
audit/    how good a map is: held against labels, its inputs against the training's
publish/  complete blocks -> published product
progress  events of a run; colours: of classes and values

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.tasks.compose.lazy import composite as composite
    from tilewright.tasks.compose.lazy import valid_mask as valid_mask
    from tilewright.tasks.compose.mask_rule import MaskRule as MaskRule
    from tilewright.tasks.cube.load import load_cube as load_cube
    from tilewright.tasks.grid.grid import plan_grid as plan_grid
    from tilewright.tasks.read.access import Access as Access

_NAMES = {
    "Access": "read.access",
    "MaskRule": "compose.mask_rule",
    "composite": "compose.lazy",
    "load_cube": "cube.load",
    "plan_grid": "grid.grid",
    "valid_mask": "compose.lazy",
}

__all__ = [
    "Access",
    "MaskRule",
    "composite",
    "load_cube",
    "plan_grid",
    "valid_mask",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tilewright.tasks.{_NAMES[name]}"), name)
