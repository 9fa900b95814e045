"""The Zarr store of a run: reads as any other, and writes under the run's fence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from tilewright.tasks.storage.guard import put_file, remove_file, remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from zarr.core.buffer import Buffer

    from tilewright.tasks.storage.fence import Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class FencedPlace:
    """The place of a Zarr store in a product: ``prefix`` below its ``folder``, None for a bucket; whose it must be.

    ``check`` looks at the lock and raises FencedError.
    """

    folder: Path | None
    prefix: str
    fence: Fence
    check: Callable[[], None]


class FencedStore(WrapperStore[Any]):
    """A Zarr store whose writes and removals raise FencedError once the product belongs to another run."""

    def __init__(self, store: Any, place: FencedPlace) -> None:
        super().__init__(store)
        self.place = place

    def _with_store(self, store: Any) -> FencedStore:
        return type(self)(store, self.place)

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object."""
        await self._put(key, value, create=False)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one object that does not exist yet."""
        await self._put(key, value, create=True)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        # The wrapped store would write these itself, without the fence.
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def delete(self, key: str) -> None:
        """Remove one object; a missing one is ignored."""
        place = self.place
        self._check_writable()
        if place.folder is not None:
            await asyncio.to_thread(remove_file, place.folder, f"{place.prefix}/{key}", place.fence)
            return
        await asyncio.to_thread(place.check)
        await self._store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        place = self.place
        self._check_writable()
        if place.folder is not None:
            below = f"{place.prefix}/{prefix}".rstrip("/")
            await asyncio.to_thread(remove_folder, place.folder, below, place.fence)
            return
        await asyncio.to_thread(place.check)
        await self._store.delete_dir(prefix)

    async def clear(self) -> None:
        """Remove every object of the store."""
        await self.delete_dir("")

    async def _put(self, key: str, value: Buffer, *, create: bool) -> None:
        place = self.place
        self._check_writable()
        if place.folder is not None:
            content = memoryview(value.as_buffer_like())
            at = f"{place.prefix}/{key}"
            write: Callable[[], bool] = partial(put_file, place.folder, at, content, place.fence, create=create)
            # Zarr has one event loop for all threads of a process: a shard of many megabytes would hold them all up.
            await asyncio.to_thread(write)
            return
        await asyncio.to_thread(place.check)
        await (self._store.set_if_not_exists if create else self._store.set)(key, value)
