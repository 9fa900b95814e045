"""The raster part of a plan: grid, blocks, windows and layers, and the geometry that follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

from shapely.geometry import mapping, shape

from tilewright.tasks.grid.blocks import Block, block_at, covered_box
from tilewright.tasks.grid.cells import PreparedArea
from tilewright.tasks.grid.grid import Grid
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.grid.windows import Lattice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry


class StoreBoxes(TypedDict):
    """The whole blocks, the product and the side of a block in product pixels, as arguments of ``open_store``."""

    box: PixelBox
    extent: PixelBox
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterPlan:
    """Grid, blocks, windows and layers of a product.

    ``grid`` is the model's grid; the product has ``up / down`` pixels per model-grid pixel along a side. ``aoi`` is
    the area of interest, GeoJSON in the grid's CRS. ``margin`` is the number of pixels read beyond the halo for masks
    that grow, ``spare`` that for windows that are run again half a step away. ``blocks`` are (row, col) on the lattice
    of blocks.
    """

    grid: Grid
    aoi: dict[str, Any]
    up: int
    down: int
    lattice: Lattice
    margin: int
    layers: tuple[str, ...]
    blocks: tuple[tuple[int, int], ...] = ()
    spare: int = 0
    _area: list[PreparedArea] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def product_grid(self) -> Grid:
        """The grid of the layers."""
        return self.grid.rescale(numerator=self.up, denominator=self.down)

    @property
    def product_block(self) -> int:
        """Pixels per side of a block in the layers."""
        return self.lattice.block * self.up // self.down

    @property
    def product_box(self) -> PixelBox:
        """The box of whole blocks that cover the product, in product pixels."""
        return self.product_box_of(covered_box(self.grid, block=self.lattice.block))

    @property
    def store_boxes(self) -> StoreBoxes:
        """The boxes and the block with which the product's store is opened."""
        return {"box": self.product_box, "extent": self.product_grid.extent, "block": self.product_block}

    @property
    def area(self) -> PreparedArea:
        """The area of interest in the grid's CRS, made once: it may have a hundred thousand corners."""
        if not self._area:
            self._area.append(PreparedArea(shape(self.aoi)))
        return self._area[0]

    @property
    def aoi_geometry(self) -> BaseGeometry:
        """The same as a geometry."""
        return self.area.geometry

    @property
    def read_halo(self) -> int:
        """Pixels that are read beyond a block on each side."""
        return self.lattice.halo + self.margin + self.spare

    def product_box_of(self, box: PixelBox) -> PixelBox:
        """A box of model-grid pixels in product pixels."""
        return box.rescale(numerator=self.up, denominator=self.down)

    def block(self, row: int, col: int) -> Block:
        """The block at a position of the lattice, with its outer box."""
        return self.framed(block_at(row=row, col=col, block=self.lattice.block, halo=0))

    def framed(self, block: Block) -> Block:
        """The block with its outer box: whole steps that touch the area, plus what is read around them."""
        return replace(block, outer=self.touched_steps(block).pad(self.read_halo))

    def touched_steps(self, block: Block) -> PixelBox:
        """The box of the whole steps of a block that touch the grid's extent; the whole block if none does."""
        inside, step = block.inner.intersect(self.grid.extent), self.lattice.step
        if inside.empty:
            return block.inner
        return inside.cover(numerator=1, denominator=step).rescale(numerator=step, denominator=1)

    def all_blocks(self) -> tuple[Block, ...]:
        """The plan's blocks, in order."""
        return tuple(self.block(row, col) for row, col in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """The keys of the plan's JSON that this part holds."""
        return {
            "grid": {"crs": self.grid.crs, "resolution": self.grid.resolution, "area": asdict(self.grid.extent)},
            "area": self.aoi,
            "up": self.up,
            "down": self.down,
            "lattice": asdict(self.lattice),
            "margin": self.margin,
            **({"spare": self.spare} if self.spare else {}),
            "layers": list(self.layers),
            "blocks": [list(place) for place in self.blocks],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> RasterPlan:
        """The part that ``to_json`` wrote, from the keys of a whole plan."""
        grid = plain["grid"]
        return cls(
            grid=Grid(crs=grid["crs"], resolution=grid["resolution"], extent=PixelBox(**grid["area"])),
            aoi=plain["area"],
            up=plain["up"],
            down=plain["down"],
            lattice=Lattice(**plain["lattice"]),
            margin=plain["margin"],
            spare=plain.get("spare", 0),
            layers=tuple(plain["layers"]),
            blocks=tuple((int(row), int(col)) for row, col in plain["blocks"]),
        )


def aoi_json(aoi: BaseGeometry) -> dict[str, Any]:
    """A geometry as GeoJSON values with plain lists, so that it equals itself after a round trip."""
    return _plain_lists(mapping(aoi))


def _plain_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_lists(inner) for key, inner in value.items()}
    return [_plain_lists(inner) for inner in value] if isinstance(value, (list, tuple)) else value
