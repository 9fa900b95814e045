"""The units of a layer's levels: which are filled already, of which blocks, and which objects each consists of."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.grid.cells import block_range
from tilewright.tasks.inventory.listing import list_some
from tilewright.tasks.storage.documents import read_object
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.store import ProductStore


DEPTH = 3
"""Levels made from one read. A unit is one shard of the third level, which is 8 x 8 shards of the full layer."""

WRITTEN_SHARE = 16
"""All units of a layer are in one object, which is written again for every sixteenth of them: a run that breaks off
fills that many again, and for each one the cost of an object would grow with the square of their number."""

FORMAT = 3
"""Raised when the way levels are made changes, so that no existing one is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitObjects:
    """The keys that a unit's objects may have, and a digest of those that exist: chunks of nodata have no object."""

    possible: tuple[str, ...]
    existing: str


@dataclass(slots=True, kw_only=True)
class FilledUnits:
    """The units of a layer: ``known`` of earlier runs by unit, and the places (row, col) of the blocks ``behind`` each.

    A known unit has the digests of its ``blocks``, of the ``keys`` of its objects and, once it was listed whole, of
    their ``sizes``. ``checksums`` are those of the layer's blocks by absolute (row, col); None checks none. If it
    ``follows`` the blocks of a run, objects lie there for long before the last is written: each is ``seen`` at once.
    """

    storage: Storage
    key: str
    known: dict[str, dict[str, str]]
    behind: dict[str, list[tuple[int, int]]]
    checksums: Mapping[tuple[int, int], str] | None = None
    follows: bool = False
    seen: dict[str, Listed] = field(default_factory=dict)
    objects: dict[str, UnitObjects] = field(default_factory=dict)
    _unwritten: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(
        cls,
        store: ProductStore,
        name: str,
        *,
        checksums: Mapping[tuple[int, int], str] | None,
        places: Collection[tuple[int, int]],
        created: bool,
    ) -> FilledUnits:
        """The units of a layer, from the ``places`` of its blocks and their ``checksums`` by absolute (row, col).

        No filled unit is known if ``checksums`` is None or an array was ``created``. Blocks that are not there yet have
        no checksum.
        """
        key = f"{STATE_FOLDER}/pyramid/{name}.json"
        plain = read_object(store.storage, key) if checksums is not None and not created else None
        behind: dict[str, list[tuple[int, int]]] = {}
        for row, col in sorted(places):
            for unit in _units_of(store, row, col):
                behind.setdefault(unit, []).append((row, col))
        follows = checksums is not None and any(place not in checksums for place in places)
        known = _known(plain or {})
        return cls(storage=store.storage, key=key, known=known, behind=behind, checksums=checksums, follows=follows)

    def is_filled(self, unit: str, possible: tuple[str, ...], there: Mapping[str, Listed]) -> bool:
        """True if a unit has been filled from the same blocks, and its objects are ``there`` as they were then."""
        record = self.known.get(unit)
        if record is None or record["blocks"] != self._wanted(unit):
            return False
        filled = record["keys"] == _keys_digest(possible, there) and record.get("sizes") in {
            None,
            _sizes_digest(possible, there),
        }
        if filled:
            self.objects[unit] = UnitObjects(possible=possible, existing=record["keys"])
        return filled

    def record(self, unit: str, possible: tuple[str, ...], existing: Collection[str], *, kept: bool) -> None:
        """Note the objects of a unit; one that is ``kept`` is recorded as filled, for later runs."""
        digest = _keys_digest(possible, existing)
        with self._lock:
            self.objects[unit] = UnitObjects(possible=possible, existing=digest)
            if kept and (wanted := self._wanted(unit)) is not None:
                self.known[unit] = {"blocks": wanted, "keys": digest}
                self._unwritten += 1
                if self._unwritten * WRITTEN_SHARE > len(self.known):
                    self._write()

    def look(self, keys: Collection[str]) -> None:
        """See how objects are that were written just now; only in a layer that follows the blocks of a run."""
        if self.follows:
            there = list_some(self.storage, keys)
            with self._lock:
                self.seen.update(there)

    def settle(self, there: Mapping[str, Listed]) -> list[str]:
        """The units whose objects are not those that were written or seen, which are forgotten; of the others the sizes
        are recorded.
        """
        changed = {key for key, seen in self.seen.items() if there.get(key) != seen}
        wrong = [
            unit
            for unit, each in self.objects.items()
            if each.existing != _keys_digest(each.possible, there) or not changed.isdisjoint(each.possible)
        ]
        before = {unit: dict(record) for unit, record in self.known.items()}
        for unit, each in self.objects.items():
            if unit in self.known:
                self.known[unit]["sizes"] = _sizes_digest(each.possible, there)
        for unit in wrong:
            self.known.pop(unit, None)
        if self.known != before:
            self._write()
        return wrong

    def keys(self) -> Iterator[str]:
        """The keys that objects of the layer may have, also those that no object has."""
        for each in self.objects.values():
            yield from each.possible

    def forget(self, keys: Collection[str]) -> None:
        """Forget the units that one of these keys is of, so that they are filled again."""
        found = {unit for unit, each in self.objects.items() if not set(keys).isdisjoint(each.possible)}
        if found & self.known.keys():
            self.known = {unit: record for unit, record in self.known.items() if unit not in found}
            self._write()

    def _wanted(self, unit: str) -> str | None:
        """The digest of the blocks behind a unit; None without checksums, without blocks, and until all are there."""
        places = self.behind.get(unit)
        if self.checksums is None or places is None or not all(place in self.checksums for place in places):
            return None
        blocks = {f"{row}_{col}": self.checksums[row, col] for row, col in places}
        return json_digest({"format": FORMAT, "blocks": blocks})

    def _write(self) -> None:
        self._unwritten = 0
        self.storage.write_json(self.key, self.known)


def _known(plain: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The records of units, without what is none."""
    return {
        unit: record
        for unit, record in plain.items()
        if isinstance(record, dict)
        and {"blocks", "keys"} <= record.keys()
        and all(isinstance(digest, str) for digest in record.values())
    }


def _keys_digest(possible: tuple[str, ...], there: Collection[str] | Mapping[str, Any]) -> str:
    return json_digest([key for key in possible if key in there])


def _sizes_digest(possible: tuple[str, ...], there: Mapping[str, Listed]) -> str:
    return json_digest([there[key].size for key in possible if key in there])


def _units_of(store: ProductStore, row: int, col: int) -> list[str]:
    """The names of the units that a block touches: up to four, since units begin at the product's first pixel."""
    block, extent = store.block, store.extent
    inside = block_at(row=row, col=col, block=block, halo=0).inner.intersect(extent)
    if inside.empty:
        return []
    rows, cols = block_range(inside.shift(-extent.row_start, -extent.col_start), block=block << DEPTH)
    return [f"{unit_row}_{unit_col}" for unit_row in rows for unit_col in cols]
