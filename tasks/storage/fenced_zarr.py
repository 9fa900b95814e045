"""The Zarr store of a run: reads as any other, and writes under the run's fence."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from tilewright.tasks.storage.guard import put_file, remove_file, remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from zarr.core.buffer import Buffer

    from tilewright.tasks.storage.fence import Fence
    from tilewright.tasks.storage.storage import Storage


class FencedStore(WrapperStore[Any]):
    """A Zarr store below ``prefix`` of a storage with a fence; each write and removal may raise FencedError."""

    def __init__(self, store: Any, *, storage: Storage, prefix: str) -> None:
        assert storage.fence is not None, "a storage without a fence has plain Zarr stores"
        super().__init__(store)
        self.storage = storage
        self.prefix = prefix

    def _with_store(self, store: Any) -> FencedStore:
        return type(self)(store, storage=self.storage, prefix=self.prefix)

    @property
    def _place(self) -> tuple[Path | None, Fence]:
        fence = self.storage.fence
        assert fence is not None, "checked when the store was made"
        return self.storage.folder, fence

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
        folder, fence = self._place
        self._check_writable()
        if folder is not None:
            await asyncio.to_thread(remove_file, folder, f"{self.prefix}/{key}", fence)
            return
        await asyncio.to_thread(self.storage.check_fence)
        await self._store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        folder, fence = self._place
        self._check_writable()
        if folder is not None:
            await asyncio.to_thread(remove_folder, folder, f"{self.prefix}/{prefix}".rstrip("/"), fence)
            return
        await asyncio.to_thread(self.storage.check_fence)
        await self._store.delete_dir(prefix)

    async def clear(self) -> None:
        """Remove every object of the store."""
        await self.delete_dir("")

    async def _put(self, key: str, value: Buffer, *, create: bool) -> None:
        folder, fence = self._place
        self._check_writable()
        if folder is not None:
            content = memoryview(value.as_buffer_like())
            write: Callable[[], bool] = partial(put_file, folder, f"{self.prefix}/{key}", content, fence, create=create)
            # Zarr has one event loop for all threads of a process: a shard of many megabytes would hold them all up.
            await asyncio.to_thread(write)
            return
        await asyncio.to_thread(self.storage.check_fence)
        await (self._store.set_if_not_exists if create else self._store.set)(key, value)
