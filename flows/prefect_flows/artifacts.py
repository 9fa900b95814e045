"""The Prefect artifacts of a run: progress while it works, then report, picture, link and failures."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from httpx import HTTPError
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from tilewright.flows.prefect_server import limit_retries, server_answers
from tilewright.flows.run.outcome import closing_lines
from tilewright.flows.shown import shown
from tilewright.tasks.progress import Advance, Notice, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.flows.maintain.watch import WatchResult
    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Event, Listener


EVERY_SECONDS = 5.0
"""Seconds between two updates of the progress artifact, because the blocks wait for each call to the server."""

MAX_ROWS = 500

MAX_NAMES = 20

UNREACHABLE = (HTTPError, OSError)


class Artifacts:
    """A listener that updates a progress artifact and the flow run's log, and passes events to another listener."""

    def __init__(self, listener: Listener | None) -> None:
        self.listener = listener
        self.logger = get_run_logger()
        self.artifact: Any = None
        self.done = 0
        self.total = 0
        self.updated_at = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event; calls the server at the stage of blocks, then every few seconds and at the last block."""
        if self.listener is not None:
            self.listener(event)
        if FlowRunContext.get() is None:
            return
        match event:
            case Stage():
                self.logger.info("%s %s", event.name, shown(event.note))
                self.artifact = None
                if event.name == "blocks":
                    self.done, self.total, self.updated_at = 0, event.total, time.monotonic()
                    with suppress(*UNREACHABLE), limit_retries():
                        self.artifact = create_progress_artifact(progress=0.0, key="blocks-done")
            case Advance() if self.artifact is not None and self.done < self.total:
                self._advance(event.done)
            case Notice():
                self.logger.warning("%s", shown(event.text))
            case _:
                pass

    def _advance(self, n_done: int) -> None:
        self.done += n_done
        now = time.monotonic()
        if now - self.updated_at >= EVERY_SECONDS or self.done >= self.total:
            self.updated_at = now
            # An unreachable server is no reason to stop the blocks: the ledger records them.
            try:
                with limit_retries():
                    update_progress_artifact(artifact_id=self.artifact, progress=100.0 * self.done / self.total)
            except UNREACHABLE:
                self.artifact = None


def create_artifacts(outcome: Outcome) -> None:
    """Create a finished run's artifacts: run-report (markdown), product (link), preview (image), failures (table).

    Nothing is created while the server is unreachable: the product is complete without them.
    """
    if not server_answers():
        return
    preview = place_url(outcome.place("preview.png"))
    create_markdown_artifact(key="run-report", markdown=report_markdown(outcome, preview))
    create_link_artifact(key="product", link=place_url(outcome.place("item.json")), link_text=outcome.name)
    create_image_artifact(key="preview", image_url=preview, description=outcome.name)
    create_failures_artifact(outcome.report.get("failures", []))


def create_watch_artifacts(results: Sequence[WatchResult]) -> None:
    """Create a table of a watch's results, and the artifacts of the products that were made or updated."""
    for result in results:
        if result.outcome is not None:
            create_artifacts(result.outcome)
    if not server_answers():
        return
    rows = [
        _shown_row({**result.summary(), "scenes": ", ".join(result.scenes[:MAX_NAMES])})
        for result in results[:MAX_ROWS]
    ]
    create_table_artifact(key="watch", table=rows, description="What this look found.")


def create_failures_artifact(rows: Sequence[Mapping[str, Any]]) -> None:
    """Create a table of failures, if there are any."""
    if rows and server_answers():
        create_table_artifact(key="failures", table=[_shown_row(row) for row in rows[:MAX_ROWS]])


def report_markdown(outcome: Outcome, preview: str) -> str:
    """The closing summary as markdown, with the preview if it has an http(s) URL."""
    lines = "\n".join(f"    {shown(line)}" for line in closing_lines(outcome))
    picture = f"\n![{outcome.name}]({preview})\n" if preview.startswith("http") else ""
    return f"# {outcome.name}\n\n{lines}\n{picture}"


def _shown_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its texts as a terminal may get them: they are those of others."""
    return {key: shown(value) if isinstance(value, str) else value for key, value in row.items()}


def place_url(place: str) -> str:
    """A path or URI of the product as a URL."""
    return place if "://" in place else f"file://{place}"
