"""Who watches a run beside its caller: progress.json always; logs, metrics and traces where the environment asks."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilewright.flows.monitor.progress_file import ProgressFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.tasks.progress import Event, Listener
    from tilewright.tasks.storage.storage import Storage


LOG, METRICS_PORT, METRICS_HOST = "TILEWRIGHT_LOG", "TILEWRIGHT_METRICS_PORT", "TILEWRIGHT_METRICS_HOST"

TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


@contextmanager
def watched(
    following: Listener, storage: Storage, name: str, *, environ: Mapping[str, str] | None = None
) -> Iterator[Listener]:
    """A listener that tells all of them; what is not asked for is not even imported.

    ``TILEWRIGHT_LOG=json``: one JSON object per event on stderr. ``TILEWRIGHT_METRICS_PORT``: Prometheus, on
    127.0.0.1 or ``TILEWRIGHT_METRICS_HOST``. OpenTelemetry's own variables: a span per stage and per block.
    """
    environ = os.environ if environ is None else environ
    progress = ProgressFile(storage, name)
    listeners: list[Listener] = [following, progress, *_asked_for(environ, name)]

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    try:
        yield tell
    except BaseException as error:
        progress.close(error)
        _close(listeners, error)
        raise
    progress.close(None)
    _close(listeners, None)


def _asked_for(environ: Mapping[str, str], name: str) -> Iterator[Listener]:
    if environ.get(LOG, "").lower() == "json":
        from tilewright.flows.monitor.logs import JsonLog

        yield JsonLog(name)
    if environ.get(METRICS_PORT):
        from tilewright.flows.monitor.metrics import serve_metrics

        yield serve_metrics(environ[METRICS_PORT], host=environ.get(METRICS_HOST, "127.0.0.1"), run=name)
    if any(environ.get(variable, "none") != "none" for variable in TRACES):
        from tilewright.flows.monitor.traces import TraceListener

        yield TraceListener(name)


def _close(listeners: list[Listener], error: BaseException | None) -> None:
    for listener in listeners:
        ended = getattr(listener, "ended", None)
        if ended is not None:
            ended(error)
