"""The listeners of a run next to its caller's: progress.json always; logs, metrics and traces if configured."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilewright.flows.monitor.progress_file import ProgressFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilewright.flows.environment import MonitorSettings
    from tilewright.tasks.progress import Event, Listener
    from tilewright.tasks.storage.storage import Storage


@contextmanager
def watched(caller: Listener, storage: Storage, name: str, settings: MonitorSettings) -> Iterator[Listener]:
    """A listener that passes each event to all listeners; what is not configured is not imported.

    Structured logs are one JSON object per event on stderr, metrics are Prometheus', traces have a span per stage and
    per block.
    """
    progress = ProgressFile(storage, name)
    listeners: list[Listener] = [caller, progress, *_configured_listeners(settings, name)]

    def notify(event: Event) -> None:
        for listener in listeners:
            listener(event)

    try:
        yield notify
    except BaseException as error:
        progress.close(error)
        _close(listeners, error)
        raise
    progress.close(None)
    _close(listeners, None)


def _configured_listeners(settings: MonitorSettings, name: str) -> Iterator[Listener]:
    if settings.json_log:
        from tilewright.flows.monitor.logs import JsonLog

        yield JsonLog(name)
    if settings.metrics_port is not None:
        from tilewright.flows.monitor.metrics import serve_metrics

        yield serve_metrics(settings.metrics_port, host=settings.metrics_host, run=name)
    if settings.traces:
        from tilewright.flows.monitor.traces import TraceListener

        yield TraceListener(name)


def _close(listeners: list[Listener], error: BaseException | None) -> None:
    for listener in listeners:
        ended = getattr(listener, "ended", None)
        if ended is not None:
            ended(error)
