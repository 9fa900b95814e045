"""Parts of a class map: pixels of one value that are joined by their edges, numbered, and joined across strips."""

from __future__ import annotations

import numpy as np

NUMBER = np.int32
"""Parts of one map are fewer than 2**31: their corners would take 100 GB."""

AT_A_TIME = 1 << 18
"""Numbers that are looked up or joined at a time, in some 100 bytes of memory each."""

FEW_VALUES = 6
"""Values up to which a strip is labelled value by value; above, all at once on twice the rows and columns."""


def label_parts(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts (y, x) int32 of values (y, x), 1 to n, 0 where not valid, and the value of each; that of 0 is none."""
    from scipy.ndimage import label  # type: ignore[attr-defined]  # noqa: PLC0415 -- slow to load, and few jobs need it

    kinds = np.unique(values[valid])
    if len(kinds) > FEW_VALUES:
        return _label_at_once(values, valid)
    parts, found = np.zeros(values.shape, dtype=np.int32), [np.zeros(1, dtype=values.dtype)]
    n_parts = 0
    for kind in kinds:
        here = values == kind
        here &= valid
        labelled, n_more = label(here)
        np.add(labelled, n_parts, out=parts, where=here)
        found.append(np.full(n_more, kind, dtype=values.dtype))
        n_parts += n_more
    return parts, np.concatenate(found)


def _label_at_once(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every second row and column stands for a pixel, those between for the edges that join two."""
    from scipy.ndimage import label  # type: ignore[attr-defined]  # noqa: PLC0415 -- as above

    height, width = values.shape
    wide = np.zeros((2 * height - 1, 2 * width - 1), dtype=bool)
    wide[::2, ::2] = valid
    wide[::2, 1::2] = valid[:, :-1] & valid[:, 1:] & (values[:, :-1] == values[:, 1:])
    wide[1::2, ::2] = valid[:-1] & valid[1:] & (values[:-1] == values[1:])
    labelled, n_parts = label(wide)
    parts = np.ascontiguousarray(labelled[::2, ::2])
    kinds = np.zeros(n_parts + 1, dtype=values.dtype)
    kinds[parts[valid]] = values[valid]
    return parts, kinds


def grown(numbers: np.ndarray, size: int) -> np.ndarray:
    """The array itself where it has `size` places, else a copy with a quarter more: to append costs what is added."""
    if size <= len(numbers):
        return numbers
    larger = np.zeros(size + size // 4, dtype=numbers.dtype)
    larger[: len(numbers)] = numbers
    return larger


class Unions:
    """Numbers 0, 1, 2, ... that are joined into sets; each set is known by its least number.

    Source: R. E. Tarjan, Efficiency of a good but not linear set union algorithm, 1975, for whole arrays at a time.
    """

    def __init__(self) -> None:
        self._parent = np.zeros(0, dtype=NUMBER)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, n_more: int) -> int:
        """Add so many numbers, each a set of its own; returns the first of them."""
        first, self._n = self._n, self._n + n_more
        self._parent = grown(self._parent, self._n)
        self._parent[first : self._n] = np.arange(first, self._n)
        return first

    def find(self, numbers: np.ndarray) -> np.ndarray:
        """The least number of the set of each number."""
        found = np.empty(len(numbers), dtype=NUMBER)
        for start in range(0, len(numbers), AT_A_TIME):
            some = slice(start, start + AT_A_TIME)
            found[some] = self._find(numbers[some])
        return found

    def _find(self, numbers: np.ndarray) -> np.ndarray:
        found = self._parent[numbers]
        while True:
            further = self._parent[found]
            if np.array_equal(further, found):
                break
            found = further
        self._parent[numbers] = found
        return found

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        """Join the sets of each pair of numbers."""
        for start in range(0, len(one), AT_A_TIME):
            some = slice(start, start + AT_A_TIME)
            self._join(one[some], other[some])

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        from scipy.sparse import coo_array  # noqa: PLC0415 -- as above
        from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 -- as above

        one, other = self.find(one), self.find(other)
        apart = one != other
        if not apart.any():
            return
        roots, places = np.unique(np.concatenate([one[apart], other[apart]]), return_inverse=True)
        first, second = np.split(places, 2)
        graph = coo_array(  # type: ignore[no-untyped-call]
            (np.ones(len(first), dtype=np.int8), (first, second)), shape=(len(roots), len(roots))
        )
        n_sets, of_root = connected_components(graph, directed=False)
        least = np.full(n_sets, np.iinfo(NUMBER).max, dtype=NUMBER)
        np.minimum.at(least, of_root, roots)
        self._parent[roots] = least[of_root]
