"""What Prefect's page shows of a run: progress while it works, then the report, pictures, links and failures."""

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

from tilewright.flows.prefect_server import few_retries, server_answers
from tilewright.flows.run.outcome import closing_lines
from tilewright.tasks.progress import Advance, Notice, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilewright.flows.maintain.watch import WatchResult
    from tilewright.flows.run.outcome import Outcome
    from tilewright.tasks.progress import Event, Listener


EVERY_SECONDS = 5.0
"""Between two updates of the progress artifact: each is a call to the server, which the blocks wait for."""

MOST_ROWS = 500

MOST_NAMES = 20

UNREACHABLE = (HTTPError, OSError)


class Artifacts:
    """A listener that keeps a progress artifact and the flow run's log, and tells the next listener too."""

    def __init__(self, following: Listener | None) -> None:
        self.following = following
        self.logger = get_run_logger()
        self.artifact: Any = None
        self.done = 0
        self.total = 0
        self.shown = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event; costs a call to the server at stages, every few seconds and at the last block."""
        if self.following is not None:
            self.following(event)
        if FlowRunContext.get() is None:
            return
        match event:
            case Stage():
                self.logger.info("%s %s", event.name, event.note)
                self.artifact = None
                if event.name == "blocks":
                    self.done, self.total, self.shown = 0, event.total, time.monotonic()
                    with suppress(*UNREACHABLE), few_retries():
                        self.artifact = create_progress_artifact(progress=0.0, key="blocks-done")
            case Advance() if self.artifact is not None and self.done < self.total:
                self._advance(event.done)
            case Notice():
                self.logger.warning("%s", event.text)
            case _:
                pass

    def _advance(self, n_done: int) -> None:
        self.done += n_done
        now = time.monotonic()
        if now - self.shown >= EVERY_SECONDS or self.done >= self.total:
            self.shown = now
            # A server out of reach is no reason to stop the blocks: what they do is in the ledger.
            try:
                with few_retries():
                    update_progress_artifact(artifact_id=self.artifact, progress=100.0 * self.done / self.total)
            except UNREACHABLE:
                self.artifact = None


def leave_artifacts(outcome: Outcome) -> None:
    """Leave a finished run's artifacts: run-report (markdown), product (link), preview (image), failures (table).

    The product stands: a server that is out of reach by now gets none.
    """
    if not server_answers():
        return
    preview = place_url(outcome.place("preview.png"))
    create_markdown_artifact(key="run-report", markdown=report_markdown(outcome, preview))
    create_link_artifact(key="product", link=place_url(outcome.place("item.json")), link_text=outcome.name)
    create_image_artifact(key="preview", image_url=preview, description=outcome.name)
    leave_failures(outcome.report.get("failures", []))


def leave_ticks(ticks: Sequence[WatchResult]) -> None:
    """Leave what a look found, a row per product, and the artifacts of those that were made or updated."""
    for tick in ticks:
        if tick.outcome is not None:
            leave_artifacts(tick.outcome)
    if not server_answers():
        return
    rows = [{**tick.summary(), "scenes": ", ".join(tick.scenes[:MOST_NAMES])} for tick in ticks[:MOST_ROWS]]
    create_table_artifact(key="watch", table=rows, description="What this look found.")


def leave_failures(rows: Sequence[Mapping[str, Any]]) -> None:
    """Leave a table of failures where there are any."""
    if rows and server_answers():
        create_table_artifact(key="failures", table=[dict(row) for row in rows[:MOST_ROWS]])


def report_markdown(outcome: Outcome, preview: str) -> str:
    """The closing summary as markdown, with the preview where a browser can reach it."""
    lines = "\n".join(f"    {line}" for line in closing_lines(outcome))
    picture = f"\n![{outcome.name}]({preview})\n" if preview.startswith("http") else ""
    return f"# {outcome.name}\n\n{lines}\n{picture}"


def place_url(place: str) -> str:
    """A place of the product as a URL."""
    return place if "://" in place else f"file://{place}"
