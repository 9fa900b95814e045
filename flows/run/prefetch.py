"""Prepares the end of a run in threads while the model runs: layers of blocks that came, imports, pictures."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Self

from tilewright.flows.machine import n_cores, threads_cpu
from tilewright.tasks.inventory.arrivals import AbandonedError, Arrivals
from tilewright.tasks.progress import silent
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from odc.geo.geobox import GeoBox

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.publish.layers import BegunLayers
    from tilewright.tasks.storage.ledger import BlockEntry


LIBRARIES = ("tilewright.tasks.publish.publish", "stac_geoparquet.arrow")
"""Modules that a run needs only at its end and that take longest to import."""

NAME = "tilewright-prefetch"

FIRST_CALL_TIMEOUT_S = 10.0
"""Seconds after which the model is assumed to run in other processes, on a cluster's workers."""


class Prefetch:
    """Prepares publishing in a thread: imports, templates, the background picture.

        with Prefetch(worker) as prefetch:
            ...  # blocks
            prefetch.background()

    The thread waits for the model's first call, since the interpreter is busy until then. It ends with the
    process: after a failed run only the reads in progress are awaited.
    """

    def __init__(self, worker: Worker | PlacesWorker, *, ground: GeoBox | None = None) -> None:
        """``ground``: where the picture is to lie for a table of places, whose grid is the globe; None: the product."""
        self._worker, self._ground = worker, ground
        self._begin = worker.model.timer.begun
        self._background: Future[tuple[np.ndarray | None, str]] = Future()
        self._cpu: float | None = None

    def __enter__(self) -> Self:
        Thread(target=self._prepare, name=NAME, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """The thread is not stopped: it is a daemon."""

    def background(self) -> np.ndarray | None:
        """The scenes in true colour, (y, x, 3) uint8, None if no scene can be shown. Raises the thread's error."""
        self._begin.set()
        return self._background.result()[0]

    def scene_image(self) -> str:
        """The scenes in true colour as the report's page embeds them; empty if there are none. Raises as above."""
        self._begin.set()
        return self._background.result()[1]

    def cpu(self) -> float:
        """CPU seconds of the thread so far."""
        return threads_cpu((NAME,)) if self._cpu is None else self._cpu

    def _prepare(self) -> None:
        self._begin.wait(FIRST_CALL_TIMEOUT_S)
        # An import that fails here fails again, with its message, in publishing.
        with suppress(ImportError, MemoryError):
            for name in LIBRARIES:
                import_module(name)
        try:
            from tilewright.tasks.publish.publish import PICTURE_SIZE
            from tilewright.tasks.report.background import background_picture, ground_picture
            from tilewright.tasks.report.layer_views import scene_uri
            from tilewright.tasks.report.render import load_templates

            load_templates()
            plan, access = self._worker.plan, self._worker.access
            picture = (
                background_picture(plan, access, max_size=PICTURE_SIZE)
                if self._ground is None
                else ground_picture(plan, access, self._ground)
            )
            # Compressing it takes as long as all the rest of the page.
            image = "" if picture is None or not picture.size else scene_uri(picture)
        except BaseException as error:
            self._background.set_exception(error)
        else:
            self._background.set_result((picture, image))
        self._cpu = time.thread_time()


class EarlyLayers:
    """Begins a product's layers while its blocks run: its threads write of them what has come.

        with EarlyLayers(worker, card, room=True) as early:
            early.begin(done, standing=worker.store.standing)
            ...  # early.add(entry) for each block
            early.take()

    Only a product of which no file was made before is begun early: what an update or a second try can keep is known
    once all blocks are there. Without ``room`` in memory nothing is begun. What was begun ends with the run.
    """

    def __init__(self, worker: Worker, card: ModelCard, *, room: bool, listener: Listener = silent) -> None:
        self._worker, self._card, self._room, self._listener = worker, card, room, listener
        self._arrivals: Arrivals | None = None
        self._all: list[tuple[Arrivals, Thread, Future[BegunLayers]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # Also what was taken: a run may be interrupted before whoever took it can end it.
        for arrivals, _, _ in self._all:
            arrivals.abandon()
        for _, thread, future in self._all:
            # One that was not started by then begins nothing.
            if thread.ident is not None and (begun := self._result(future)) is not None:
                begun.abandon(self._listener)

    def begin(self, done: Mapping[str, BlockEntry], *, standing: Collection[tuple[int, int]]) -> None:
        """Begin the layers of a product of which these blocks are there, found whole.

        ``standing``: the places (row, col) of those that are in the finished arrays alone.
        """
        worker, planned = self._worker, self._worker.plan.raster.blocks
        is_new = not standing and not any(True for _ in worker.storage.keys(f"{STATE_FOLDER}/cogs"))
        if self._room and self._arrivals is None and len(done) < len(planned) and is_new:
            arrivals = Arrivals.of(planned, done.values())
            future: Future[BegunLayers] = Future()
            thread = Thread(target=self._begin, args=(arrivals, future), name="tilewright-early", daemon=True)
            self._all.append((arrivals, thread, future))
            thread.start()
            self._arrivals = arrivals

    def add(self, entry: BlockEntry) -> None:
        """Note a block that is stored and recorded."""
        if self._arrivals is not None:
            self._arrivals.add(entry)

    def take(self) -> BegunLayers | None:
        """The layers that were begun, once; None if none were, or they could not be."""
        if self._arrivals is None:
            return None
        self._arrivals = None
        # What could not be begun is made, or fails with its message, once all blocks are there.
        return self._result(self._all[-1][-1])

    def _result(self, begun: Future[BegunLayers]) -> BegunLayers | None:
        """What a thread began, at once; None if it could not."""
        self._worker.model.timer.begun.set()
        return None if begun.exception() is not None else begun.result()

    def _begin(self, arrivals: Arrivals, begun: Future[BegunLayers]) -> None:
        try:
            self._worker.model.timer.begun.wait(FIRST_CALL_TIMEOUT_S)
            if arrivals.abandoned:
                raise AbandonedError("The run ended before its blocks were there.")
            from tilewright.tasks.publish.layers import begin_layers

            layers = begin_layers(self._worker.storage, self._worker.plan, self._card, arrivals, n_cores=n_cores())
        except BaseException as error:
            begun.set_exception(error)
        else:
            begun.set_result(layers)
