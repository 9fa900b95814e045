"""What publishing needs and no block decides, made while the model runs: libraries, templates, the scenes' picture."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from tilewright.tasks.block.block import Worker


LIBRARIES = ("tilewright.tasks.publish.publish", "stac_geoparquet.arrow")
"""Modules that a run needs only at its end, and that take longest to load."""

PATIENCE_S = 10.0
"""After this the model is taken to run elsewhere, on a cluster's workers."""


class Prefetch:
    """Work begun for the end of a run. It ends with the process: where blocks fail only reads under way are waited for.

    It waits for the model's first call, since the interpreter is busy until then: the first block comes first.
    """

    def __init__(self, worker: Worker) -> None:
        self._begin = worker.engine.pace.begun
        self._background: Future[np.ndarray | None] = Future()
        Thread(target=self._work, args=(worker,), name="tilewright-ahead", daemon=True).start()

    def background(self) -> np.ndarray | None:
        """The scenes in true colour, (y, x, 3) uint8, None where there are none to show. What went wrong is raised."""
        self._begin.set()
        return self._background.result()

    def _work(self, worker: Worker) -> None:
        self._begin.wait(PATIENCE_S)
        # What cannot be loaded now says so where it is needed.
        with suppress(ImportError, MemoryError):
            for name in LIBRARIES:
                import_module(name)
        try:
            from tilewright.tasks.publish.publish import PICTURE_SIZE
            from tilewright.tasks.report.background import background_picture
            from tilewright.tasks.report.render import load_templates

            load_templates()
            made = background_picture(worker.plan, max_size=PICTURE_SIZE, sign=worker.sign, gdal=worker.gdal)
        except BaseException as error:
            self._background.set_exception(error)
        else:
            self._background.set_result(made)
