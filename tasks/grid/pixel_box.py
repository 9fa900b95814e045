"""A half-open box of absolute pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelBox:
    """Half-open box of absolute pixels; from the CRS origin, rows count downwards and columns to the right."""

    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @classmethod
    def at(cls, row: int, col: int, *, shape: tuple[int, int]) -> PixelBox:
        """The box of ``shape`` (height, width) whose upper left pixel is (row, col)."""
        return cls(row_start=row, row_stop=row + shape[0], col_start=col, col_stop=col + shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.row_stop - self.row_start, self.col_stop - self.col_start

    @property
    def empty(self) -> bool:
        """True if the box holds no pixel."""
        return self.row_stop <= self.row_start or self.col_stop <= self.col_start

    def pad(self, margin: int) -> PixelBox:
        """The box grown by ``margin`` pixels on each side."""
        return PixelBox(
            row_start=self.row_start - margin,
            row_stop=self.row_stop + margin,
            col_start=self.col_start - margin,
            col_stop=self.col_stop + margin,
        )

    def shift(self, rows: int, cols: int) -> PixelBox:
        """The box moved down and to the right."""
        return PixelBox(
            row_start=self.row_start + rows,
            row_stop=self.row_stop + rows,
            col_start=self.col_start + cols,
            col_stop=self.col_stop + cols,
        )

    def intersect(self, other: PixelBox) -> PixelBox:
        """The box of the pixels in both boxes; it may be empty."""
        return PixelBox(
            row_start=max(self.row_start, other.row_start),
            row_stop=min(self.row_stop, other.row_stop),
            col_start=max(self.col_start, other.col_start),
            col_stop=min(self.col_stop, other.col_stop),
        )

    def around(self, other: PixelBox) -> PixelBox:
        """The smallest box that holds both boxes."""
        return PixelBox(
            row_start=min(self.row_start, other.row_start),
            row_stop=max(self.row_stop, other.row_stop),
            col_start=min(self.col_start, other.col_start),
            col_stop=max(self.col_stop, other.col_stop),
        )

    def rescale(self, *, numerator: int, denominator: int) -> PixelBox:
        """The same ground in pixels ``denominator / numerator`` times the size; the box must end on edges of those."""
        edges = (self.row_start, self.row_stop, self.col_start, self.col_stop)
        assert all(edge * numerator % denominator == 0 for edge in edges), f"{self} is not on the coarser lattice"
        row_start, row_stop, col_start, col_stop = (edge * numerator // denominator for edge in edges)
        return PixelBox(row_start=row_start, row_stop=row_stop, col_start=col_start, col_stop=col_stop)

    def cover(self, *, numerator: int, denominator: int) -> PixelBox:
        """The smallest box in pixels ``denominator / numerator`` times the size that covers this one."""
        return PixelBox(
            row_start=self.row_start * numerator // denominator,
            row_stop=-(-self.row_stop * numerator // denominator),
            col_start=self.col_start * numerator // denominator,
            col_stop=-(-self.col_stop * numerator // denominator),
        )

    def slices_in(self, outer: PixelBox) -> tuple[slice, slice]:
        """(rows, columns) of this box in an array that covers ``outer``."""
        top, left = self.row_start - outer.row_start, self.col_start - outer.col_start
        height, width = self.shape
        return slice(top, top + height), slice(left, left + width)
