"""The blocks of a part are found at the cost of the part, or of all blocks where these are fewer."""

from __future__ import annotations

from collections import UserDict
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.publish.names import blocks_touching
from tilewright.tasks.storage.ledger import BlockEntry

SIDE = 4
PLAN = cast("Any", SimpleNamespace(raster=SimpleNamespace(product_block=SIDE)))


class Counted(UserDict[tuple[int, int], BlockEntry]):
    """Entries by place that count how many of them were looked at."""

    looks = 0

    def get(self, key: Any, default: Any = None) -> Any:
        self.looks += 1
        return self.data.get(key, default)

    def items(self) -> Any:
        self.looks += len(self.data)
        return self.data.items()


def entries_at(places: set[tuple[int, int]]) -> Counted:
    return Counted({place: BlockEntry(row=place[0], col=place[1], key="", written=True) for place in places})


@given(
    st.sets(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), max_size=40),
    st.tuples(st.integers(-30, 20), st.integers(-30, 20)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_they_are_those_with_a_pixel_in_the_box(
    places: set[tuple[int, int]], start: tuple[int, int], shape: tuple[int, int]
) -> None:
    entries, box = entries_at(places), PixelBox.at(*start, shape=shape)
    found = {(entry.row, entry.col) for entry in blocks_touching(PLAN, entries, box)}
    assert found == {
        place
        for place in places
        if not PixelBox.at(place[0] * SIDE, place[1] * SIDE, shape=(SIDE, SIDE)).intersect(box).empty
    }
    touched = (-(-box.row_stop // SIDE) - box.row_start // SIDE) * (-(-box.col_stop // SIDE) - box.col_start // SIDE)
    assert entries.looks <= min(touched, len(places))
