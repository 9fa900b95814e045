"""What the files and levels of a product are made of: its blocks as they come, and those whose ids are known."""

from __future__ import annotations

from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.tasks.inventory.arrivals import AbandonedError, Checksums

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from tilewright.tasks.grid.pixel_box import PixelBox
    from tilewright.tasks.instances.numbering import NumberedLayer
    from tilewright.tasks.inventory.arrivals import Arrivals, ArrivedBlocks, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSources:
    """The blocks of all layers: ``blocks`` of those that are as workers wrote them, ``id_blocks`` of layers of ids.

    The latter are looked at once their objects are ``numbered``: until then their blocks hold marks.
    """

    arrivals: Arrivals
    blocks: ArrivedBlocks
    id_blocks: ArrivedBlocks
    numbered: Mapping[str, Future[NumberedLayer]]

    def wait_for_ids(self) -> None:
        """Return when the objects of all layers are numbered. Raises AbandonedError where one could not be."""
        with self.arrivals.waiting():
            wait(self.numbered.values())
        if any(each.cancelled() or each.exception() is not None for each in self.numbered.values()):
            # Its own error is told by whoever asks for the table.
            raise AbandonedError("The objects of a layer could not be numbered.")

    def ready(self, box: PixelBox) -> None:
        """Return when the blocks of all layers that a box of absolute pixels touches are there, ids and all.

        Raises AbandonedError if they do not come, StorageError if storage refuses.
        """
        self.blocks.ready(box)
        if self.numbered:
            self._ids_ready(box)

    def ready_of(self, layer: str) -> Callable[[PixelBox], None]:
        """The same for one layer."""
        return self._ids_ready if layer in self.numbered else self.blocks.ready

    def checksums_of(self, layer: str) -> Mapping[Place, str]:
        """The checksums of a layer's blocks that are there, by place; of ids once they are known."""
        if layer in self.numbered:
            return self.numbered[layer].result().checksums
        return Checksums(arrivals=self.arrivals, layer=layer)

    def changed(self) -> list[str]:
        """The keys of objects that are not as they were when they were read first."""
        return [*self.blocks.changed(), *(self.id_blocks.changed() if self.numbered else ())]

    def _ids_ready(self, box: PixelBox) -> None:
        self.wait_for_ids()
        self.id_blocks.ready(box)
