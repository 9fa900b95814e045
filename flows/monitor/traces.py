"""OpenTelemetry spans of a run: one in all, one per stage, one per block. Off unless an exporter is configured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tilewright.flows.ending import interruption_words
from tilewright.flows.errors import classify, sentence
from tilewright.tasks.progress import Advance, Stage

if TYPE_CHECKING:
    from tilewright.tasks.progress import Event


class TraceListener:
    """A listener that traces. A block's span is written when the block is done, with the seconds of its stages."""

    def __init__(self, run: str, *, tracer: Any = None) -> None:
        from opentelemetry import trace

        self.trace = trace
        self.tracer = tracer if tracer is not None else _tracer()
        self.root = self.tracer.start_span("tilewright.run", attributes={"tilewright.run": run})
        self.stage: Any = None

    def __call__(self, event: Event) -> None:
        """Trace one event."""
        if isinstance(event, Stage):
            self._end_stage()
            self.stage = self._child(f"tilewright.{event.name}", self.root)
        elif isinstance(event, Advance) and event.block:
            now = time.time_ns()
            took = int(1e9 * sum(event.seconds.values()))
            attributes = {"tilewright.block": event.block, "tilewright.km2": event.km2}
            seconds = {f"tilewright.seconds.{stage}": value for stage, value in event.seconds.items()}
            span = self._child("tilewright.block", self.stage or self.root, start=now - took)
            span.set_attributes({**attributes, **seconds, "tilewright.bytes_read": event.bytes_read})
            span.end(now)

    def ended(self, error: BaseException | None) -> None:
        """End the run's span, with the class and message of the error if it failed."""
        self._end_stage()
        if isinstance(error, KeyboardInterrupt):
            self.root.set_attribute("tilewright.ended", interruption_words(error))
        elif error is not None:
            self.root.set_attribute("tilewright.error_class", classify(error).value)
            self.root.set_status(self.trace.StatusCode.ERROR, sentence(error))
        self.root.end()

    def _child(self, name: str, parent: Any, *, start: int | None = None) -> Any:
        return self.tracer.start_span(name, context=self.trace.set_span_in_context(parent), start_time=start)

    def _end_stage(self) -> None:
        if self.stage is not None:
            self.stage.end()
            self.stage = None


def _tracer() -> Any:
    """A tracer of the process's provider, or of a new one that exports as the environment says."""
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError:
            return trace.get_tracer("tilewright")
        provider = TracerProvider(resource=Resource.create({"service.name": "tilewright"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer("tilewright")
