"""Prepares publishing in a thread while the model runs: imports, templates, background picture."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np

    from tilewright.tasks.block.worker import Worker


LIBRARIES = ("tilewright.tasks.publish.publish", "stac_geoparquet.arrow")
"""Modules that a run needs only at its end and that take longest to import."""

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

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._begin = worker.model.timer.begun
        self._background: Future[np.ndarray | None] = Future()

    def __enter__(self) -> Self:
        Thread(target=self._prepare, name="tilewright-prefetch", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """The thread is not stopped: it is a daemon."""

    def background(self) -> np.ndarray | None:
        """The scenes in true colour, (y, x, 3) uint8, None if no scene can be shown. Raises the thread's error."""
        self._begin.set()
        return self._background.result()

    def _prepare(self) -> None:
        self._begin.wait(FIRST_CALL_TIMEOUT_S)
        # An import that fails here fails again, with its message, in publishing.
        with suppress(ImportError, MemoryError):
            for name in LIBRARIES:
                import_module(name)
        try:
            from tilewright.tasks.publish.publish import PICTURE_SIZE
            from tilewright.tasks.report.background import background_picture
            from tilewright.tasks.report.render import load_templates

            load_templates()
            picture = background_picture(self._worker.plan, self._worker.access, max_size=PICTURE_SIZE)
        except BaseException as error:
            self._background.set_exception(error)
        else:
            self._background.set_result(picture)
