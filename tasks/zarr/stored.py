"""The objects that a finished store consists of, and whether they are all there, by one listing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilewright.tasks.inventory.listing import list_below
from tilewright.tasks.zarr.declare import STORE
from tilewright.tasks.zarr.declared import put_objects
from tilewright.tasks.zarr.store import ChangedStoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.tasks.inventory.listing import Listed
    from tilewright.tasks.storage.storage import Storage
    from tilewright.tasks.zarr.units import FilledUnits


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObjects:
    """What a store consists of: the ``units`` of each layer, the ``declared`` objects by key below it, and what was
    ``there`` when all was written, by key in the product.
    """

    storage: Storage
    units: Mapping[str, FilledUnits]
    declared: Mapping[str, bytes]
    there: Mapping[str, Listed]

    def listed(self) -> StoredObjects:
        """These objects as they are there now.

        Raises ChangedStoreError where a chunk is missing or one too many: its unit is written again by the next try.
        """
        there = list_below(self.storage, STORE)
        wrong = [f"{name} {unit}" for name, filled in self.units.items() for unit in filled.settle(there)]
        if wrong:
            raise ChangedStoreError(
                f"{_some(wrong)} of {self.storage.uri}/{STORE} lack chunks that were written, or hold others"
            )
        return replace(self, there=there)

    def check(self) -> None:
        """Check that every chunk is there as it was when all was written. Metadata and axes are compared and mended.

        Raises ChangedStoreError where one is not: what holds it is written again by the next try.
        """
        put_objects(self.storage, STORE, self.declared)
        there = list_below(self.storage, STORE)
        inner = {f"{STORE}/{key}" for key in self.declared}
        ours = {key for filled in self.units.values() for key in filled.keys()} - inner  # noqa: SIM118 -- no mapping
        changed = sorted(key for key in ours if self.there.get(key) != there.get(key))
        for filled in self.units.values():
            filled.forget(changed)
        if changed:
            raise ChangedStoreError(f"{_some(changed)} of {self.storage.uri} changed after it was written")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
