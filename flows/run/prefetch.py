"""Prepares the end of a run in threads while the model runs: layers of blocks that came, imports, pictures."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from tilewright.flows.machine import n_cores, threads_cpu
from tilewright.tasks.inventory.arrivals import AbandonedError, Arrivals
from tilewright.tasks.progress import silent
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import numpy as np
    from odc.geo.geobox import GeoBox

    from tilewright.models.card.card import ModelCard
    from tilewright.tasks.block.worker import Worker
    from tilewright.tasks.places.worker import PlacesWorker
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.publish.layers import BegunLayers
    from tilewright.tasks.storage.ledger import BlockEntry


T = TypeVar("T")

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
        self._background: _Aside[tuple[np.ndarray | None, str]] = _Aside(self._prepare, name=NAME)
        self._cpu: float | None = None

    def __enter__(self) -> Self:
        self._background.start()
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

    def _prepare(self) -> tuple[np.ndarray | None, str]:
        self._begin.wait(FIRST_CALL_TIMEOUT_S)
        try:
            # An import that fails here fails again, with its message, in publishing.
            with suppress(Exception):
                for name in LIBRARIES:
                    import_module(name)
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
            return picture, "" if picture is None or not picture.size else scene_uri(picture)
        finally:
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
        self._all: list[tuple[Arrivals, _Aside[BegunLayers]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # Also what was taken: a run may be interrupted before whoever took it can end it.
        for arrivals, _ in self._all:
            arrivals.abandon()
        for _, aside in self._all:
            # One that was not started by then begins nothing.
            if aside.started and (begun := self._result(aside)) is not None:
                begun.abandon(self._listener)

    def begin(self, done: Mapping[str, BlockEntry], *, standing: Collection[tuple[int, int]]) -> None:
        """Begin the layers of a product of which these blocks are there, found whole.

        ``standing``: the places (row, col) of those that are in the finished arrays alone.
        """
        worker, planned = self._worker, self._worker.plan.raster.blocks
        is_new = not standing and not any(True for _ in worker.storage.keys(f"{STATE_FOLDER}/cogs"))
        if self._room and self._arrivals is None and len(done) < len(planned) and is_new:
            arrivals = Arrivals.of(planned, done.values())
            aside = _Aside(partial(self._begin, arrivals), name="tilewright-early")
            self._all.append((arrivals, aside))
            aside.start()
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

    def _result(self, begun: _Aside[BegunLayers]) -> BegunLayers | None:
        """What a thread began, at once; None if it could not."""
        self._worker.model.timer.begun.set()
        return None if begun.error() is not None else begun.result()

    def _begin(self, arrivals: Arrivals) -> BegunLayers:
        self._worker.model.timer.begun.wait(FIRST_CALL_TIMEOUT_S)
        if arrivals.abandoned:
            raise AbandonedError("The run ended before its blocks were there.")
        from tilewright.tasks.publish.layers import begin_layers

        return begin_layers(self._worker.storage, self._worker.plan, self._card, arrivals, n_cores=n_cores())


class _Aside(Generic[T]):
    """One call in a daemon thread, whose end is awaited.

    Awaited is the thread, not an answer: one that dies before it can answer, as Python lets it where memory is short
    at its birth, would be awaited for ever.
    """

    def __init__(self, call: Callable[[], T], *, name: str) -> None:
        self._call = call
        self._answer: Future[T] = Future()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    def result(self) -> T:
        """What the call answered. Raises its error; MemoryError where the thread ended without a word."""
        if (error := self.error()) is not None:
            raise error
        return self._answer.result()

    def error(self) -> BaseException | None:
        """The error that the call ended with, None if it answered. Waits for its end."""
        self._thread.join()
        if not self._answer.done():
            return MemoryError(f"A thread of the run ({self._thread.name}) ended before it could answer.")
        return self._answer.exception()

    def _run(self) -> None:
        try:
            answer = self._call()
        except BaseException as error:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(answer)
