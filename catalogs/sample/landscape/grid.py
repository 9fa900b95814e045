"""The union grid of the embedded sample and its two granules."""

from __future__ import annotations

from dataclasses import dataclass

CRS = "EPSG:32633"

# Origin of the union, a multiple of 60 m as every Sentinel-2 granule's is.
WEST, NORTH = 490_020, 5_400_000

RESOLUTION = 10

HEIGHT, WIDTH = 1098, 2094

# Pixels of the union grid along a side of a pixel of the DEM (30 m), which has the same origin.
DEM_FACTOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """One Sentinel-2 granule of the sample, a tenth of a real one in each direction.

    `column` is its first column in the union grid at 10 m; it holds `size` x `size` pixels at 10 m.
    """

    name: str
    column: int
    size: int = HEIGHT

    @property
    def west(self) -> int:
        """Easting of the left edge in metres."""
        return WEST + self.column * RESOLUTION

    def columns(self, resolution: int) -> slice:
        """Columns of this granule in a raster of the union at `resolution` metres."""
        factor = resolution // RESOLUTION
        return slice(self.column // factor, (self.column + self.size) // factor)


# The second starts on the real western edge of the squares 33UW*, 499980 m; they share 102 columns.
GRANULES = (Granule(name="33UVP", column=0), Granule(name="33UWP", column=996))
