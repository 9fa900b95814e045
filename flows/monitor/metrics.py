"""Prometheus metrics of a run: blocks, mapped km2, bytes, seconds per stage. Off unless a port is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.flows.errors import classify
from tilewright.tasks.progress import Advance, Stage

if TYPE_CHECKING:
    from tilewright.tasks.progress import Event


class MetricsError(ValueError):
    """Requested metrics that cannot be served."""


class Metrics:
    """A listener that counts events in Prometheus metrics.

    Their names are ``tilewright_*``, labelled by the job's name as ``run``.
    """

    def __init__(self, run: str, *, registry: Any = None) -> None:
        from prometheus_client import REGISTRY

        self.run = run
        self.registry = registry if registry is not None else REGISTRY
        family = _metric_families(self.registry)
        self.blocks, self.km2, self.bytes_read, self.seconds, self.total, self.runs = family

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, Stage) and event.name == "blocks":
            self.total.labels(self.run).set(event.total)
        elif isinstance(event, Advance) and event.block:
            self.blocks.labels(self.run, "done").inc()
            self.km2.labels(self.run).inc(event.km2)
            self.bytes_read.labels(self.run).inc(event.bytes_read)
            for stage, seconds in event.seconds.items():
                self.seconds.labels(self.run, stage).inc(seconds)

    def ended(self, error: BaseException | None) -> None:
        """Count the run by how it ended."""
        interrupted = isinstance(error, KeyboardInterrupt)
        state = "complete" if error is None else "interrupted" if interrupted else classify(error).value
        self.runs.labels(self.run, state).inc()
        self.blocks.labels(self.run, "failed").inc(len(getattr(error, "rows", ())))


_KNOWN: dict[int, tuple[Any, ...]] = {}

_SERVED: set[tuple[str, int]] = set()


def serve_metrics(port: str, *, host: str, run: str) -> Metrics:
    """A counting listener whose metrics are served at ``http://host:port/metrics`` until the process ends.

    Raises MetricsError where prometheus_client is missing or the port cannot be used.
    """
    try:
        from prometheus_client import start_http_server
    except ModuleNotFoundError as error:
        raise MetricsError(
            "TILEWRIGHT_METRICS_PORT needs: pip install -c constraints.txt -e '.[watching]' in Tilewright's folder."
        ) from error
    try:
        place = (host, int(port))
        if place not in _SERVED:
            start_http_server(place[1], addr=host)
            _SERVED.add(place)
    except (ValueError, OSError, OverflowError) as error:
        raise MetricsError(f"TILEWRIGHT_METRICS_PORT={port}: cannot be served on {host}: {error}.") from error
    return Metrics(run)


def _metric_families(registry: Any) -> tuple[Any, ...]:
    """The metric families of a registry, made once, so that a second run in the same process adds to them."""
    from prometheus_client import Counter, Gauge

    if id(registry) not in _KNOWN:
        _KNOWN[id(registry)] = (
            Counter("tilewright_blocks", "Blocks by how they ended.", ["run", "state"], registry=registry),
            Counter("tilewright_km2", "Ground mapped, km2.", ["run"], registry=registry),
            Counter("tilewright_read_bytes", "Bytes decoded from scenes.", ["run"], registry=registry),
            Counter("tilewright_stage_seconds", "Busy seconds per stage.", ["run", "stage"], registry=registry),
            Gauge("tilewright_blocks_planned", "Blocks of the plan.", ["run"], registry=registry),
            Counter("tilewright_runs", "Runs by how they ended.", ["run", "state"], registry=registry),
        )
    return _KNOWN[id(registry)]
